"""Noise schedules: how much of the signal is left at each of T steps.

x_t = alpha x0 + sigma eps, with alpha = sqrt(alpha_bar) and sigma = sqrt(1 - alpha_bar). Index i = 0 ... T - 1 is the
paper's t = i + 1, from nearly clean to nearly noise. Everything is float64 and made once; nothing here needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from model_zoo.cdslm.config import SCHEDULES, DiffusionConfig
from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError, unknown_name


@dataclass(frozen=True, eq=False)
class Schedule:
    """Levels of signal and noise, each of shape (T,)."""

    alpha_bar: Floats  # strictly falling, from below 1 to 0 (zero terminal SNR) or above

    @classmethod
    def from_config(cls, config: DiffusionConfig) -> Schedule:
        """Return the schedule that the configuration names.

        Raises:
            UsageError: too few steps for a schedule that is defined by its betas.
        """
        alpha_bar = _alpha_bar(config.schedule, config.steps)
        return cls(_zero_terminal(alpha_bar) if config.zero_terminal_snr else alpha_bar)

    @property
    def steps(self) -> int:
        """Return T, the number of steps."""
        return len(self.alpha_bar)

    @cached_property
    def alpha(self) -> Floats:
        """Scale of the signal."""
        return np.sqrt(self.alpha_bar)

    @cached_property
    def sigma(self) -> Floats:
        """Scale of the noise."""
        return np.sqrt(1 - self.alpha_bar)

    @cached_property
    def snr(self) -> Floats:
        """Return alpha_bar / sigma^2."""
        return self.alpha_bar / (1 - self.alpha_bar)

    @cached_property
    def log_snr(self) -> Floats:
        """Return the natural logarithm of the SNR; -inf at zero terminal SNR."""
        with np.errstate(divide="ignore"):
            return np.log(self.alpha_bar) - np.log1p(-self.alpha_bar)

    def taus(self, indices: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return what the network is told: i * 1000 / T, so that one time embedding serves any T.

        float32, and to stay so: bfloat16 maps the integers 0 to 999 onto 507 values.
        """
        return (np.asarray(indices) * (1000 / self.steps)).astype(np.float32)


def _alpha_bar(name: str, steps: int) -> Floats:
    """Return alpha_bar, (T,). The paper names schedules without formulas; docs/zoo/diffusion.md says where from."""
    index = np.arange(steps)
    if name == "linear":
        return _from_beta(np.linspace(1e-4, 0.02, steps), name)
    if name == "exponential_beta":
        return _from_beta(1e-4 * 200 ** (index / (steps - 1)), name)
    if name == "cosine":  # arXiv 2102.09672, equation 17
        level = np.cos(np.pi / 2 * (np.arange(steps + 1) / steps + 0.008) / 1.008) ** 2
        return np.cumprod(1 - np.minimum(1 - level[1:] / level[:-1], 0.999))
    if name == "cosine_logsnr":  # log-SNR from 5 to -5
        end, start = np.arctan(np.exp(2.5)), np.arctan(np.exp(-2.5))
        log_snr = -2 * np.log(np.tan((end - start) * index / (steps - 1) + start))
        return 1 / (1 + np.exp(-log_snr))
    if name == "exponential":
        return np.exp(-12.0 * (index + 1) / steps)
    raise unknown_name("schedule", name, SCHEDULES)


def _from_beta(beta_of_1000: Floats, name: str) -> Floats:
    """Return alpha_bar of betas given for 1000 steps. Unscaled, 100 steps would leave an SNR of 0.57 at the end."""
    steps = len(beta_of_1000)
    beta = beta_of_1000 * (1000 / steps)
    if beta[-1] >= 1:
        raise UsageError(
            f"schedule {name} ends at beta = 20 / steps, which is below 1 for more than 20 steps, not {steps}"
        )
    return np.cumprod(1 - beta, dtype=np.float64)


def _zero_terminal(alpha_bar: Floats) -> Floats:
    """Shift and scale sqrt(alpha_bar) so that the last is 0 and the first stays (arXiv 2305.08891, algorithm 1).

    alpha_bar itself is kept: a way back through beta = 1 - alpha_bar_t / alpha_bar_(t-1) would only lose digits.
    """
    root = np.sqrt(alpha_bar)
    return np.square((root - root[-1]) * (root[0] / (root[0] - root[-1])))
