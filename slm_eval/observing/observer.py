"""Observers: the expensive half of a metric. Audio in, an observation out.

An observation depends on the clip and on the observer's fingerprint, and on nothing else: not on the batch it
travelled in, the worker, the shard, or the order. That is what makes caching, resuming and merging exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from slm_eval.base.device import resolve_device
from slm_eval.base.signature import Signature
from slm_eval.base.threads import spin_briefly

# What an observer saw in one clip. JSON values only, since it travels through SQLite and between processes:
#   {"scores": {"dnsmos.sig": 3.2, ...}, "details": {...}}  from a quality predictor
#   {"phones": ["h", "ə", ...]}                             from a phone recogniser
# Metrics get it with the "speaker" and the "prompt" of the clip, where the corpus names them.
Observation = dict[str, Any]


class Signal(NamedTuple):
    """One clip, ready for an observer: mono float32 samples, shape (n,), at ``sample_rate`` Hz."""

    samples: np.ndarray
    sample_rate: int


@dataclass(frozen=True)
class Refusal:
    """Why a clip cannot be observed: a reason code of ``audio.REASONS`` and one line for the user."""

    code: str
    message: str


class Observer(ABC):
    """Turns clips into observations.

    A subclass sets ``name`` and ``sample_rate``, and implements ``fingerprint``, ``observe`` and, where it has weights,
    ``load``. Constructing it must be cheap. What ``load`` makes is kept in attributes that begin with an underscore:
    those stay behind when the observer travels to another process, where it is loaded again.
    """

    name: ClassVar[str]
    sample_rate: int | None  # Hz that observe() wants; None: the native rate of each clip
    # True for single-threaded CPU code that takes one clip at a time: it then runs in the decoding processes,
    # several clips at once. False for models that take batches: those run in the main process, on ``device``.
    in_worker: ClassVar[bool] = False
    # True for phone recognisers: ready-made phones can stand for what they observe.
    observes_phones: ClassVar[bool] = False
    _ready_on: str | None = None

    @property
    @abstractmethod
    def fingerprint(self) -> Signature:
        """Return all that can change an observation. Must not load the model: a cached run only reads this."""

    def missing(self) -> str | None:
        """Return None when this observer can run here, or what it lacks can be fetched; else one line: what to do.

        Must not touch the network.
        """
        return None

    def fetch(self) -> None:  # noqa: B027 - an observer that comes with its package has nothing to fetch
        """Get weights that are not here yet.

        Raises:
            SlmEvalError: they are not to be had; one line that says what to do.
        """

    def ready(self, device: str) -> None:
        """Load once; ``device`` may be "auto".

        Raises:
            UsageError: there is no such device.
        """
        if self._ready_on is None:
            spin_briefly()
            where = "cpu" if self.in_worker else resolve_device(device)
            self.load(where)
            self._ready_on = where

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def load(self, device: str) -> None:  # noqa: B027 - an observer without weights has nothing to load
        """Read the weights onto ``device`` ("cpu", "cuda:0"). Called once, before the first ``observe``."""

    @abstractmethod
    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        """Observe a batch of clips of similar length; one result per signal, in order.

        Signals are finite, not constant, and at ``sample_rate``. A clip that this observer cannot score yields a
        ``Refusal``, and the others are not affected.
        """
