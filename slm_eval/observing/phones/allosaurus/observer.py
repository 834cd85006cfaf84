"""Phones of any language by Allosaurus (Li et al. 2020, uni2005), in batches on CPU and CUDA.

The model directory is the published one (or any in its format); the computation is our own, written from the formulas,
and gives the phones that the package allosaurus 1.0.2 gives for the same 8 kHz int16 signal, whatever the batch. The
package is GPL-3 and is not needed. Resampling to 8 kHz is ours, and is signed.

    signal -> front end (MFCC, normalised per clip, 33 rows a second) -> BLSTM -> logits -> mask, emit -> collapse
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.signature import Signature
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.observing.phones.allosaurus import model as model_files
from slm_eval.speech.audio import RESAMPLER
from slm_eval.weights.locate import at_hand, digest, digest_at, locate, missing

if TYPE_CHECKING:
    from slm_eval.observing.phones.allosaurus.blstm import BLSTM
    from slm_eval.observing.phones.allosaurus.frontend import FrontEnd

_RATE = 8_000  # Hz, what the model was trained on
_MIN_SAMPLES = 280  # two frames: with one, no coefficient varies and the normalisation divides by zero
_ROW_SECONDS = 0.03  # three frames of 10 ms
_ROW_SPAN = 0.045  # what the package calls a duration: 25 ms and two shifts
_MASKED = np.float32(-1e8)  # the logit of a phone outside of the inventory
# Audio that is in memory as features and activations at once (some 25 kB a second); a longer clip goes alone.
_LOAD_SECONDS = 1_800


class Allosaurus(Observer):
    """Allosaurus over 8 kHz speech; an observation is ``{"phones": [...]}``.

    Args:
        lang: ISO-639-3 or Glottolog code of a language ("eng", "stan1293"): only phones of its inventory are heard.
            None, or "ipa": all 229.
        model: a model directory in the published format; None: the weight set ``allosaurus``.
        emit: the blank's raw logit is divided by it. What that does depends on the logit's sign: where it is positive,
            a larger value gives more phones, and where it is negative, fewer.
        timestamps: also observe ``"timestamps": [[start, duration], ...]`` in seconds, one pair per phone.

    Raises:
        UsageError: an unknown language (where the model is at hand, else when it is first used), or an ``emit`` that
            is not above zero.
        SlmEvalError: ``model`` is no whole model directory.
    """

    name = "allosaurus"
    sample_rate = _RATE
    in_worker = False
    observes_phones = True
    _parts: tuple[FrontEnd, BLSTM, Decoder] | None = None
    _digest: str | None = None

    def __init__(
        self, lang: str | None = None, *, model: str | Path | None = None, emit: float = 1.0, timestamps: bool = False
    ) -> None:
        if not (math.isfinite(emit) and emit > 0):
            raise UsageError(f"emit must be a number above 0 (1 changes nothing), got {emit!r}")
        self.lang = (lang or model_files.ALL_PHONES).lower()
        self.model = None if model is None else Path(model)
        self.emit = float(emit)
        self.timestamps = timestamps
        if self.model is not None:
            model_files.check_whole(self.model)
        if self.lang != model_files.ALL_PHONES:
            folder = self._at_hand()
            if folder is not None:
                model_files.check_language(folder, self.lang)

    @property
    def fingerprint(self) -> Signature:
        """Return the signature of the model directory's digest (inventories are in it), language, emit and resampler.

        Raises SlmEvalError where the weights are not to be had.
        """
        optional = {"timestamps": "yes"} if self.timestamps else {}
        return Signature(
            self.name,
            rev=1,
            min=_MIN_SAMPLES,
            model=self._model_digest()[:8],
            lang=self.lang,
            emit=f"{self.emit:g}",
            **optional,
            rate=_RATE,
            resampler=RESAMPLER,
        )

    def missing(self) -> str | None:
        """Return None, or what is missing: the weights, or a part of the directory."""
        if self.model is None:
            return missing("allosaurus")
        try:
            model_files.check_whole(self.model)
        except SlmEvalError as error:
            return str(error)
        return None

    def fetch(self) -> None:
        """Get the weights that are not here yet.

        Raises:
            SlmEvalError: they are not to be had.
        """
        self._folder()

    def load(self, device: str) -> None:
        """Read the model onto ``device``.

        Raises:
            UsageError: an unknown language.
            SlmEvalError: the directory is not whole, its files are damaged, or do not fit each other.
        """
        from slm_eval.observing.phones.allosaurus.blstm import BLSTM
        from slm_eval.observing.phones.allosaurus.frontend import FrontEnd

        folder = self._folder()
        model_files.check_whole(folder)
        names = model_files.phones(folder)
        front_end, network = model_files.front_end_config(folder), model_files.network_config(folder)
        if network.phones != len(names) or network.inputs != 3 * front_end.cepstra:
            raise SlmEvalError(
                f"{folder}: am_config.json has {network.phones} phones and {network.inputs} inputs, phone.txt "
                f"{len(names)} with the blank and pm_config.json 3 x {front_end.cepstra}; get the model again"
            )
        allowed = model_files.inventory(folder, self.lang, names)
        state = model_files.network_state(folder, network)
        decoder = Decoder(names, allowed, self.emit, self.timestamps)
        self._parts = (FrontEnd(front_end, device), BLSTM(state, network.layers, device), decoder)

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        """Return the phones of each clip, in order.

        A clip of less than 280 samples (35 ms) is ``too_short``. One that is constant on the int16 scale, or whose
        features do not vary (they cannot be normalised then), is ``silent``.
        """
        if self._parts is None:
            raise SlmEvalError("load Allosaurus before observing: observer.load('cpu')")
        results: list[Observation | Refusal | None] = [_refuse(signal.samples) for signal in signals]
        todo = sorted(
            (index for index, result in enumerate(results) if result is None),
            key=lambda index: -len(signals[index].samples),
        )
        for load in _loads(todo, signals):
            for index, seen in zip(load, self._recognise([signals[index].samples for index in load]), strict=True):
                results[index] = seen
        return [result for result in results if result is not None]

    def _recognise(self, clips: Sequence[np.ndarray]) -> list[Observation | Refusal]:
        from slm_eval.base.precision import exact_float32

        assert self._parts is not None
        front_end, network, decoder = self._parts
        with exact_float32():
            features = front_end([to_int16_scale(clip) for clip in clips])
            sound = [index for index, feature in enumerate(features) if bool(feature.isfinite().all())]
            logits = network([features[index] for index in sound]) if sound else []
        seen = {index: decoder(rows.cpu().numpy()) for index, rows in zip(sound, logits, strict=True)}
        alike = Refusal("silent", "all frames are alike: a feature does not vary, and cannot be normalised")
        return [seen.get(index, alike) for index in range(len(clips))]

    def _at_hand(self) -> Path | None:
        """Return the model directory, if it needs no download and is whole."""
        if self.model is not None:
            return self.model
        if missing("allosaurus") is not None:
            return None
        return at_hand("allosaurus")

    def _folder(self) -> Path:
        return self.model if self.model is not None else locate("allosaurus")

    def _model_digest(self) -> str:
        if self._digest is None:
            if self.model is None:
                self._digest = digest("allosaurus")
            else:
                self._digest = digest_at("allosaurus", self.model)
        return self._digest


class Decoder:
    """Turns logits into phones: inventory, emit factor, the most likely symbol of each row, collapse.

    Args:
        names: phones by index; index 0 is the blank.
        allowed: indices of the inventory; None: all.
        emit: the blank's logit is divided by it.
        timestamps: also say when each phone begins.
    """

    def __init__(self, names: Sequence[str], allowed: Sequence[int] | None, emit: float, timestamps: bool) -> None:
        self._names = names
        self._emit = np.float32(emit)
        self._timestamps = timestamps
        self._masked = np.zeros(len(names), dtype=bool)
        if allowed is not None:
            self._masked[1:] = True
            self._masked[list(allowed)] = False

    def __call__(self, logits: np.ndarray) -> Observation:
        """Decode the logits of one clip, float32, shape (T, phones); they are changed."""
        logits[:, self._masked] = _MASKED
        logits[:, 0] /= self._emit
        best = logits.argmax(axis=1)  # numpy's: of equal logits the first, as in the package
        rows = collapse(best)
        observation: Observation = {"phones": [self._names[index] for index in best[rows]]}
        if self._timestamps:
            observation["timestamps"] = [[round(_ROW_SECONDS * int(row), 3), _ROW_SPAN] for row in rows]
        return observation


def collapse(best: np.ndarray) -> np.ndarray:
    """Return the rows at which a phone is emitted: those that are not blank and differ from the last phone emitted.

    A blank between two of the same phone does not separate them, unlike in CTC: a phone never follows itself.

    >>> collapse(np.array([5, 5, 0, 0, 5, 0, 7, 0, 7, 7])).tolist()
    [0, 6]
    """
    rows = np.flatnonzero(best)
    return rows[np.diff(best[rows], prepend=0) != 0]


def to_int16_scale(samples: np.ndarray) -> np.ndarray:
    """Return samples in +-1 as the integers of a 16-bit file, in float32: rounded, and clipped at full scale."""
    return np.clip(np.round(samples * np.float32(32768.0)), -32768.0, 32767.0).astype(np.float32)


def _refuse(samples: np.ndarray) -> Refusal | None:
    if len(samples) < _MIN_SAMPLES:
        return Refusal("too_short", f"{len(samples)} samples at 8 kHz; Allosaurus needs {_MIN_SAMPLES} (35 ms)")
    if np.ptp(to_int16_scale(samples)) == 0:
        return Refusal("silent", "the signal is constant at 16 bits")
    return None


def _loads(order: Sequence[int], signals: Sequence[Signal]) -> Iterator[list[int]]:
    """Yield clips in groups that fit into memory together."""
    load: list[int] = []
    seconds = 0.0
    for index in order:
        length = len(signals[index].samples) / _RATE
        if load and seconds + length > _LOAD_SECONDS:
            yield load
            load, seconds = [], 0.0
        load.append(index)
        seconds += length
    if load:
        yield load
