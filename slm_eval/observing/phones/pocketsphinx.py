"""Phones by CMU PocketSphinx's allphone search, with the English model that its wheel carries.

No download, no GPU: the recogniser that always works. 39 phones of the CMU set; silence and fillers are dropped.
It runs in the decoding processes, one clip at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from slm_eval.base.errors import UsageError
from slm_eval.base.signature import Signature
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.speech.audio import RESAMPLER

_RATE = 16_000  # Hz, what the en-us model was trained on
# Each phone of the model has three states of at least one frame: windows of 410 samples, one every 160. 45.6 ms.
_MIN_SAMPLES = 730
# The values that PocketSphinx's documentation recommends for phone recognition.
_SEARCH = {"lw": 2.0, "beam": 1e-20, "pbeam": 1e-20, "cmn": "batch"}


class PocketSphinx(Observer):
    """PocketSphinx allphone over 16 kHz speech.

    Args:
        lang: "eng", the one language whose model the wheel carries (None: the same).

    Raises:
        UsageError: another language.
    """

    name = "pocketsphinx"
    sample_rate = _RATE
    in_worker = True
    observes_phones = True

    def __init__(self, lang: str | None = None) -> None:
        if lang not in {None, "eng", "en", "en-us"}:
            raise UsageError(
                f"pocketsphinx recognises 'eng' only, not {lang!r}; use --recognizer allosaurus for others"
            )
        self.lang = "eng"

    @property
    def fingerprint(self) -> Signature:
        """Return the signature of the wheel's version (it carries the model), language and search settings."""
        return Signature(
            self.name,
            rev=1,
            min=_MIN_SAMPLES,
            version=version("pocketsphinx"),
            model="en-us",
            lang=self.lang,
            **_SEARCH,
            rate=_RATE,
            resampler=RESAMPLER,
        )

    def missing(self) -> str | None:
        """Return None, or that the wheel, which is all that is needed, is missing."""
        try:
            version("pocketsphinx")
        except PackageNotFoundError:
            return "the package pocketsphinx is not installed; pip install pocketsphinx"
        return None

    def load(self, device: str) -> None:
        """Read the model; it runs on the CPU."""
        from pocketsphinx import Config, Decoder, get_model_path

        model = get_model_path("en-us")
        self._decoder = Decoder(
            Config(
                hmm=f"{model}/en-us",
                allphone=f"{model}/en-us-phone.lm.bin",
                lm=None,
                dict=None,
                loglevel="FATAL",
                **_SEARCH,
            )
        )

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        """Return the phones of each clip, in order."""
        return [self._observe_one(signal.samples) for signal in signals]

    def _observe_one(self, samples: np.ndarray) -> Observation | Refusal:
        if len(samples) < _MIN_SAMPLES:
            line = f"{len(samples)} samples at 16 kHz; pocketsphinx needs {_MIN_SAMPLES} (45.6 ms)"
            return Refusal("too_short", line)
        pcm = np.round(np.clip(samples, -1.0, 1.0 - 2.0**-15) * 32768.0).astype("<i2")
        # The front end tracks noise from clip to clip: without this, phones depend on the clips heard before.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), no_search=False, full_utt=True)
        self._decoder.end_utt()
        segments = self._decoder.seg() or ()
        return {"phones": [segment.word for segment in segments if segment.word.isalpha() and segment.word != "SIL"]}
