"""Speech that was said before: phone sequences of real clips in generated ones.

Only whole transcripts of at least ``clusters.MIN_PHONES`` phones count, so that neither "uh huh" nor a
common phrase does.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.divergence.ngrams import encode, window_keys
from slm_eval.speech.clusters import MIN_PHONES

Phones = Sequence[Hashable]

# Codes of warnings that generated clips are copies of real ones.
SHARED_AUDIO, RECITED = "shared_audio", "recited"


def warn_of_recitation(generated: Sequence[Phones], real: Sequence[Phones]) -> dict[str, str]:
    """Return a line, by its code, where generated clips are copies, at least in part."""
    copies = int(np.count_nonzero(recited(generated, real)))
    if not copies:
        return {}
    return {
        RECITED: f"{copies} of {len(generated)} generated clips hold all phones of a real clip, or lie within one "
        f"({MIN_PHONES} phones or more): recited speech scores as real",
    }


def warnings_of_copies(metric: Mapping[str, Any]) -> list[str]:
    """Return the warnings, in what summary.json says of a metric, that generated clips are copies of real ones."""
    return [line for code, line in metric["warning_codes"].items() if code in {SHARED_AUDIO, RECITED}]


def recited(generated: Sequence[Phones], real: Sequence[Phones]) -> npt.NDArray[np.bool_]:
    """Find the generated clips that hold the whole transcript of a real clip, or lie as a whole within one.

    Windows of ``MIN_PHONES`` phones are numbered; a transcript is looked for where its first window occurs.

    Args:
        generated, real: one sequence of phones per clip.

    Returns:
        shape (generated clips,).

    >>> recited(["ab" * 12, "abc" * 8], ["ab" * 10]).tolist()
    [True, False]
    """
    encoded = encode([*generated, *real])
    ((_, keys),) = window_keys(encoded, (MIN_PHONES,))
    ends = np.cumsum(encoded.lengths)
    n_windows = encoded.n_windows(MIN_PHONES)
    clip = np.repeat(np.arange(n_windows.size), n_windows)
    first = np.cumsum(n_windows) - n_windows  # window of each clip that has one
    start = np.arange(keys.size) - first[clip] + (ends - encoded.lengths)[clip]
    width, text = encoded.ids.dtype.itemsize, encoded.ids.tobytes()
    is_generated = np.arange(n_windows.size) < len(generated)
    is_copy = np.zeros(n_windows.size, dtype=bool)
    for holders, held in ((is_generated, ~is_generated), (~is_generated, is_generated)):
        whole = np.flatnonzero(held & (n_windows > 0))
        places = np.flatnonzero(holders[clip] & np.isin(keys, keys[first[whole]]))
        for length in np.unique(encoded.lengths[whole]).tolist() if places.size else ():
            said: dict[bytes, list[int]] = {}
            for index in whole[encoded.lengths[whole] == length].tolist():
                said.setdefault(text[(ends[index] - length) * width : ends[index] * width], []).append(index)
            for place in places[start[places] + length <= ends[clip[places]]].tolist():
                first_phone = int(start[place])
                copies = said.get(text[first_phone * width : (first_phone + length) * width], ())
                is_copy[[clip[place], *copies]] |= bool(copies)
    return is_copy[: len(generated)]
