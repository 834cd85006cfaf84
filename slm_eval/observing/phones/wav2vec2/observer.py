"""Phones by a wav2vec2 model with a CTC head over phones (Xu et al. 2021), through the package transformers.

The published default hears some 390 espeak phones of many languages. Any model in its format will do. Neither
phonemizer nor espeak is needed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.signature import Signature
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.observing.phones.wav2vec2 import model as model_files
from slm_eval.speech.audio import RESAMPLER

if TYPE_CHECKING:
    from torch import Tensor, nn

_RATE = 16_000  # Hz
_MAX_SECONDS = 120  # attention grows with the square of the length, and nobody trains on more than 30 s
_EPSILON = 1e-7  # added to the variance, as transformers' feature extractor does
# On a GPU clips are computed so many at once, always as many, and filled up to a multiple of so many samples: shapes,
# and with them the order of every sum, then depend on the clip alone. On a CPU batches would gain nothing.
_GPU_ROWS = 8
_GPU_SAMPLES = 2 * _RATE


class Wav2Vec2(Observer):
    """wav2vec2 with a CTC head over phones; an observation is ``{"phones": [...]}``.

    Args:
        lang: None: the model hears the phones of all its languages and cannot be told which one is spoken.
        model: a folder in the format of Hugging Face, or a repository id; None: the weight set ``wav2vec2``, that is
            facebook/wav2vec2-lv-60-espeak-cv-ft.

    Raises:
        UsageError: a language.
    """

    name = "wav2vec2"
    sample_rate = _RATE
    in_worker = False
    observes_phones = True
    _network: nn.Module | None = None
    _settings: model_files.Settings | None = None
    _digest: str | None = None
    _rows = 1
    _device = "cpu"

    def __init__(self, lang: str | None = None, *, model: str | Path | None = None) -> None:
        if lang is not None:
            raise UsageError(
                f"wav2vec2 hears the phones of all its languages and cannot be told {lang!r}; leave out --lang, "
                "or use --recognizer allosaurus"
            )
        self.model = None if model is None else str(model)

    @property
    def fingerprint(self) -> Signature:
        """Return the signature of the model and the digest of its files.

        Raises:
            SlmEvalError: they are not to be had.
        """
        if self._digest is None:
            self._digest = model_files.digest(self.model)
        model = model_files.DEFAULT if self.model is None else self.model
        return Signature(
            self.name,
            rev=1,
            model="local" if Path(model).is_dir() else model,
            weights=self._digest[:8],
            rate=_RATE,
            resampler=RESAMPLER,
        )

    def missing(self) -> str | None:
        """Return None, or what is missing: transformers, or the model."""
        if importlib.util.find_spec("transformers") is None:
            return "the package transformers is not installed; pip install 'slm-eval[transformers]'"
        return model_files.problem(self.model)

    def fetch(self) -> None:
        """Get the model if it is not here yet.

        Raises:
            SlmEvalError: it is not to be had.
        """
        model_files.locate(self.model)

    def load(self, device: str) -> None:
        """Read the model onto ``device``.

        Raises:
            SlmEvalError: transformers or the model is missing, or the model is damaged.
        """
        reason = self.missing()
        if reason is not None:
            raise SlmEvalError(reason)
        folder = model_files.locate(self.model)
        self._settings = model_files.settings(folder, _RATE)
        self._network = model_files.network(folder, device)
        self._device = device
        self._rows = _GPU_ROWS if self._settings.masked and device != "cpu" else 1

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        """Return the phones of each clip, in order: the most likely symbol per 20 ms, collapsed by the rule of CTC.

        A clip shorter than a frame (25 ms) is ``too_short``, one above 120 s ``too_long``.
        """
        if self._network is None or self._settings is None:
            raise SlmEvalError("load wav2vec2 before observing: observer.load('cpu')")
        results = [_refuse(signal.samples, self._settings) for signal in signals]
        todo = [index for index, refusal in enumerate(results) if refusal is None]
        symbols = self._symbols([signals[index].samples for index in todo])
        seen = {index: {"phones": phones(best, self._settings)} for index, best in zip(todo, symbols, strict=True)}
        return [seen[index] if refusal is None else refusal for index, refusal in enumerate(results)]

    def _symbols(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the most likely symbol of each frame of each clip."""
        from slm_eval.base.precision import exact_float32

        assert self._settings is not None
        inputs = [normalise(clip) if self._settings.normalise else clip for clip in clips]
        symbols: dict[int, np.ndarray] = {}
        with exact_float32():
            for batch in _batches(inputs, self._rows):
                logits = self._logits([inputs[index] for index in batch])
                for row, index in enumerate(batch):
                    frames = self._settings.frames(len(inputs[index]))
                    symbols[index] = logits[row, :frames].argmax(dim=-1).cpu().numpy()
        return [symbols[index] for index in range(len(clips))]

    def _logits(self, clips: Sequence[np.ndarray]) -> Tensor:
        """Return logits, (rows, frames, symbols), of clips of one padded length; rows and length are fixed on a GPU."""
        import torch

        assert self._network is not None
        if self._rows == 1:
            samples = torch.from_numpy(clips[0])[None].to(self._device)
            alone: Tensor = self._network(samples).logits
            return alone
        padded = np.zeros((self._rows, _padded_length(len(clips[0]))), dtype=np.float32)
        mask = np.zeros(padded.shape, dtype=np.int64)
        mask[len(clips) :] = 1  # rows that only fill the batch: a row without any audio has no attention to give
        for row, clip in enumerate(clips):
            padded[row, : len(clip)], mask[row, : len(clip)] = clip, 1
        samples, heard = torch.from_numpy(padded).to(self._device), torch.from_numpy(mask).to(self._device)
        together: Tensor = self._network(samples, attention_mask=heard).logits
        return together


def phones(symbols: np.ndarray, settings: model_files.Settings) -> list[str]:
    """Collapse symbols by CTC's rule: equal ones in a row are one, then blanks and what is no phone are dropped."""
    runs = [int(symbol) for symbol, _ in groupby(symbols.tolist())]
    heard = [settings.phones[symbol] for symbol in runs if symbol != settings.blank]
    return [phone for phone in heard if phone is not None]


def normalise(samples: np.ndarray) -> np.ndarray:
    """Bring a clip to mean 0 and variance 1, in float32: (x - mean) / sqrt(variance + 1e-7)."""
    return np.asarray((samples - samples.mean()) / np.sqrt(samples.var() + _EPSILON), dtype=np.float32)


def _refuse(samples: np.ndarray, settings: model_files.Settings) -> Refusal | None:
    if len(samples) < settings.min_samples:
        return Refusal("too_short", f"{len(samples)} samples at 16 kHz; wav2vec2 needs {settings.min_samples}")
    if len(samples) > _MAX_SECONDS * _RATE:
        return Refusal(
            "too_long", f"{len(samples) / _RATE:.1f} s; wav2vec2 hears a clip whole, at most {_MAX_SECONDS} s"
        )
    return None


def _padded_length(samples: int) -> int:
    return -(-samples // _GPU_SAMPLES) * _GPU_SAMPLES


def _batches(clips: Sequence[np.ndarray], rows: int) -> Iterator[list[int]]:
    """Yield groups of at most ``rows`` clips of one padded length."""
    order = sorted(range(len(clips)), key=lambda index: -len(clips[index]))
    for _, alike in groupby(order, key=lambda index: _padded_length(len(clips[index]))):
        group = list(alike)
        for first in range(0, len(group), rows):
            yield group[first : first + rows]
