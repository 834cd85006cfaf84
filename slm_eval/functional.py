"""pJSD as a function of phone sequences: numpy only, for use inside other projects. Uncertainty: ``analysis``."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Literal

from slm_eval.divergence.estimators import LN2, UndefinedError, align_keys, jensen_shannon
from slm_eval.divergence.ngrams import count_keys, encode, window_keys

__all__ = ["UndefinedError", "jensen_shannon", "pjsd"]


def pjsd(
    generated_phones: Iterable[Sequence[Hashable]],
    real_phones: Iterable[Sequence[Hashable]],
    n: int = 5,
    base: Literal["e", 2] = "e",
) -> float:
    """Return the Jensen-Shannon divergence of the phone n-gram distributions of generated and of real speech.

    Equations 3.4 to 3.6 of arXiv 2604.24416. The n-grams of each utterance are counted, added over the corpus and
    divided by their total, which gives p of the generated and q of the real side; with m = (p + q) / 2::

        pJSD-n = 1/2 sum p ln(p/m) + 1/2 sum q ln(q/m)

    It is the divergence, not its square root, and the plug-in estimate: two finite samples of one source score above
    0, the more so the larger n and the smaller the samples.

    Args:
        generated_phones: one sequence of phones per utterance, of any lengths. Phones are hashable and sortable
            (strings, integers). A string is a sequence of one-character phones. Windows never cross utterances, and an
            utterance shorter than n adds nothing.
        real_phones: the same, of real speech.
        n: phones per n-gram, at least 1.
        base: "e" for nats, in [0, ln 2]; 2 for bits, in [0, 1].

    Returns:
        the divergence; the order of the utterances does not matter, nor do the two sides' sizes have to be equal.

    Raises:
        UndefinedError: a side has no n-grams (it is also a ValueError).
        ValueError: n below 1, or another base.
        TypeError: a side is one string, or the phones cannot be sorted.

    >>> generated = [["a", "b", "b", "a"], ["a"]]
    >>> real = [["a", "b", "a", "b", "a"], ["b", "a"]]
    >>> round(pjsd(generated, real, n=2), 12)
    0.136357397905
    >>> round(pjsd(generated, real, n=2, base=2), 12)
    0.196722141745
    """
    if base not in ("e", 2):
        raise ValueError(f"base must be 'e' or 2; got {base!r}")
    for name, side in (("generated_phones", generated_phones), ("real_phones", real_phones)):
        if isinstance(side, str):
            raise TypeError(f"{name} must be a sequence of utterances, each a sequence of phones; got one string")
    generated, real = list(generated_phones), list(real_phones)
    both = encode([*generated, *real])
    ((_, keys),) = window_keys(both, (n,))
    n_generated = int(both.n_windows(n)[: len(generated)].sum())
    for name, size, utterances in (
        ("generated", n_generated, generated),
        ("real", keys.size - n_generated, real),
    ):
        if size == 0:
            raise UndefinedError(
                f"the {name} side has no {n}-grams: none of its {len(utterances)} utterances has {n} phones"
            )
    counts = align_keys(*count_keys(keys[:n_generated]), *count_keys(keys[n_generated:]))
    value = jensen_shannon(*counts)
    return value / LN2 if base == 2 else value
