"""Mean and variance per bin that parts can be joined of: each recording is counted where it is heard, in any process.

Chan, Golub & LeVeque (1979). Sums of squares would cancel; joining is exact up to float64 and always done in one order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from model_zoo.features import Normalizer
from slm_eval.base.errors import SlmEvalError

_BLOCK = 16_384  # frames turned into float64 at once


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and sum of squared distances from the mean; float64, (bins,) each."""

    count: int
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def none(cls, bins: int) -> Moments:
        """Return the moments of no frames."""
        return cls(0, np.zeros(bins), np.zeros(bins))

    @classmethod
    def from_frames(cls, frames: np.ndarray) -> Moments:
        """Compute the moments of frames (n, bins), of any floating type."""
        total = cls.none(frames.shape[1])
        for start in range(0, len(frames), _BLOCK):
            block = frames[start : start + _BLOCK].astype(np.float64)
            mean = block.mean(axis=0)
            total += cls(len(block), mean, np.square(block - mean).sum(axis=0))
        return total

    def __add__(self, other: Moments) -> Moments:
        total = self.count + other.count
        if not total:
            return self
        distance = other.mean - self.mean
        return Moments(
            total,
            self.mean + distance * (other.count / total),
            self.squares + other.squares + np.square(distance) * (self.count * other.count / total),
        )

    def normalizer(self) -> Normalizer:
        """Return mean and population standard deviation, float32.

        Raises:
            SlmEvalError: there are no frames, or a bin never changes.
        """
        constant = np.flatnonzero(self.squares == 0)
        if constant.size:
            raise SlmEvalError(f"bins {constant[:5].tolist()} never change over {self.count} frames; give speech")
        scale = np.sqrt(self.squares / self.count)
        return Normalizer(torch.from_numpy(self.mean).float(), torch.from_numpy(scale).float())

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, to the last bit."""
        return {"count": self.count, "mean": self.mean.tolist(), "squares": self.squares.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Moments:
        """Read back what ``to_dict`` wrote."""
        return cls(values["count"], np.array(values["mean"]), np.array(values["squares"]))
