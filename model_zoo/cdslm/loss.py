"""The training objective: what the network is asked for, at which noise levels, and how errors are weighted.

    loss = DiffusionLoss.from_config(config.diffusion, device)
    t = stratified_timesteps(config.diffusion.steps, global_batch, seed, step, first, count).to(device)
    noisy, target = loss.noised(x0, noise, t)
    value, levels = loss(model(contexts, noisy, loss.taus(t)), target, t)

The target is v = alpha eps - sigma x0 (paper 3.2). From it x0 = alpha x_t - sigma v and eps = alpha v + sigma x_t
follow without a division, so nothing breaks where the SNR is 0. Squared errors are related by
|v' - v|^2 = |x0' - x0|^2 / sigma^2 = |eps' - eps|^2 / alpha_bar, with 1 / sigma^2 = SNR + 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model_zoo.cdslm.config import WEIGHTINGS, DiffusionConfig
from model_zoo.cdslm.schedule import Schedule
from slm_eval.base.arrays import Floats
from slm_eval.base.errors import unknown_name

# Natural log-SNR, the same for every schedule, so that levels of different runs can be laid side by side. The first and
# the last of the 10 bins are open.
LEVEL_EDGES = (-8.0, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0)


class LossValue(NamedTuple):
    """What one batch gives."""

    value: Tensor  # (), to be minimised: weighted, mean over bins and frames, then over the batch
    levels: Tensor  # (2, 10), detached: sums of the unweighted mean squared error of v and counts, by LEVEL_EDGES


@dataclass(frozen=True, eq=False)
class DiffusionLoss:
    """Tables over the T steps, float32 (levels int64), all on one device. Indexing them costs no host sync."""

    alpha: Tensor
    sigma: Tensor
    weight: Tensor
    level: Tensor  # bin of LEVEL_EDGES
    tau: Tensor

    @classmethod
    def from_config(cls, config: DiffusionConfig, device: torch.device | str = "cpu") -> DiffusionLoss:
        """Compute the tables of a configuration.

        Raises:
            UsageError: a schedule that cannot be made with so few steps.
        """
        schedule = Schedule.from_config(config)

        def table(values: Floats) -> Tensor:
            return torch.from_numpy(values.astype(np.float32)).to(device)

        return cls(
            alpha=table(schedule.alpha),
            sigma=table(schedule.sigma),
            weight=table(loss_weights(schedule, config)),
            level=torch.from_numpy(np.digitize(schedule.log_snr, LEVEL_EDGES)).to(device),
            tau=torch.from_numpy(schedule.taus(np.arange(schedule.steps))).to(device),
        )

    def noised(self, x0: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the network is given and what it is asked for.

        Args:
            x0: clean, normalised (B, F, 80), any floating type.
            noise: standard normal, float32, the same shape.
            t: int64 (B,), index of the schedule.

        Returns:
            x_t and v, float32 (B, F, 80).
        """
        x0, alpha, sigma = x0.float(), self.alpha[t, None, None], self.sigma[t, None, None]
        return alpha * x0 + sigma * noise, alpha * noise - sigma * x0

    def taus(self, t: Tensor) -> Tensor:
        """Return what the network is told of the steps t: float32 (B,), not to be cast down."""
        return self.tau[t]

    def errors(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the unweighted mean squared error of v in float32, whatever the network computed in: (B,)."""
        return (predicted.float() - target).square().mean(dim=(1, 2))

    def __call__(self, predicted: Tensor, target: Tensor, t: Tensor) -> LossValue:
        """Return the loss of v predicted (B, F, 80) against that of ``noised``, at steps t (B,)."""
        errors = self.errors(predicted, target)
        return LossValue((self.weight[t] * errors).mean(), self._levels(errors.detach(), t))

    def _levels(self, errors: Tensor, t: Tensor) -> Tensor:
        """Sum errors by level, (2, 10), with an indicator matrix: scattering is not deterministic on CUDA."""
        bins = torch.arange(len(LEVEL_EDGES) + 1, device=errors.device)
        member = (self.level[t, None] == bins).float()
        return torch.stack([(member * errors[:, None]).sum(0), member.sum(0)])


def loss_weights(schedule: Schedule, config: DiffusionConfig) -> Floats:
    """Return the weight of the squared error of v at each step, (T,).

    ``paper``: min(SNR, psi), equation 3.2 of the paper. ``min_snr_v``: min(SNR, psi) / (SNR + 1), which is the loss on
    x0 weighted by min(SNR, psi) (arXiv 2303.09556). ``none``: 1. At zero terminal SNR the first two are 0 at the last
    step, from which sampling starts; ``terminal_weight="mean"`` gives it the mean weight of the others instead.
    """
    snr = schedule.snr
    if config.weighting == "none":
        return np.ones_like(snr)
    if config.weighting == "paper":
        weight = np.minimum(snr, config.psi)
    elif config.weighting == "min_snr_v":
        weight = np.minimum(snr, config.psi) / (snr + 1)
    else:
        raise unknown_name("weighting", config.weighting, WEIGHTINGS)
    if snr[-1] == 0 and config.terminal_weight == "mean":
        weight[-1] = weight[:-1].mean()
    return weight
