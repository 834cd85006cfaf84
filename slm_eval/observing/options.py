"""How a run is carried out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slm_eval.base.device import resolve_device
from slm_eval.base.files import cache_folder
from slm_eval.observing.store import Store


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out. None of these changes a number."""

    device: str = "auto"  # "auto", "cpu", "cuda:0"
    batch_seconds: float = 120.0  # seconds of audio that a model is given at once
    workers: int | None = None  # decoding processes; None: one per core; 0: decode in the main process
    on_error: str = "report"  # "report": a bad clip is accounted for; "raise": it stops the run
    max_failures: int | None = None  # stop when more clips than this cannot be scored
    fresh: bool = False  # observe again what the cache knows
    cache: Path | None = None  # the observation cache; None: in $SLM_EVAL_CACHE
    progress: bool = False  # bars on stderr

    def open_store(self) -> Store:
        """Open the observation cache.

        Raises:
            SlmEvalError: it cannot be used.
        """
        return Store(self.cache or cache_folder() / "observations.sqlite")

    def require_usable(self) -> None:
        """Find out at once what would otherwise show after minutes: whether device and cache can be used.

        Raises:
            UsageError: there is no such device.
            SlmEvalError: the cache cannot be used.
        """
        if self.device not in {"auto", "cpu"}:  # which are always there; asking for others loads torch
            resolve_device(self.device)
        with self.open_store():
            pass
