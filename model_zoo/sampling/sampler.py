"""From noise to log-mels: deterministic solvers of the probability-flow equation, with guidance.

    mels = sample(model, contexts, null_context, schedule, ids, SamplerOptions(guidance=4.0), frames=2400)
    mels = continue_to(9600, model, contexts, null_context, schedule, ids, SamplerOptions(), segment_frames=2400)

A sample is a function of its seed, its id and its context. Noise and arithmetic of the sampler are the same to the last
bit in any batch; what the network's matrix products round may depend on the size of a batch, not on who is in it.
Nothing is clipped, nothing is divided by alpha, and no step waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from model_zoo.cdslm.schedule import Schedule
from model_zoo.noise import sampling_noise
from model_zoo.sampling.solvers import SOLVERS, coefficients, trailing_indices
from slm_eval.base.errors import UsageError, unknown_name


@dataclass(frozen=True)
class SamplerOptions:
    """How a continuation is drawn; all of it but ``compile`` changes what is drawn.

    Raises:
        UsageError: an unknown solver, or a value out of range.
    """

    steps: int = 100  # [paper] 100 evaluations
    solver: Literal["ddim", "dpmpp_2m"] = "ddim"  # [choice] the paper names none
    guidance: float = 2.0  # w [paper] 2 (weak) and 4 (strong); 1 is the conditional model alone
    guidance_rescale: float = 0.0  # [choice] 0 to 1, how much of the spread of the conditional velocity is restored
    guidance_interval: tuple[float, float] = (0.0, 1.0)  # [choice] guide where low < t / T <= high; all by default
    seed: int = 0
    compile: bool = False  # fuse guidance and solver step by torch.compile

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise unknown_name("solver", self.solver, SOLVERS)
        if self.steps < 1:
            raise UsageError(f"steps must be at least 1, got {self.steps}")
        if not 0 <= self.guidance_rescale <= 1:
            raise UsageError(f"guidance_rescale must be 0 to 1, got {self.guidance_rescale}")
        low, high = self.guidance_interval
        if not 0 <= low < high <= 1:
            raise UsageError(f"guidance_interval is two rising shares of the schedule, 0 to 1, got {low} and {high}")


class Denoiser(Protocol):
    """What the sampler asks of a network."""

    def prepare(self, contexts: Tensor, taus: Tensor) -> Callable[[Tensor, int], Tensor]:
        """Compute once what depends on the contexts alone or on the steps alone.

        Args:
            contexts: normalised log-mels (B, Fc, 80).
            taus: float32 (S,), i * 1000 / T of the steps to come, falling.

        Returns:
            velocity(x (B, Fg, 80), step j in 0 ... S - 1) -> v (B, Fg, 80).
        """
        ...


class Evaluations(NamedTuple):
    """How often the network is evaluated for one segment of one clip."""

    conditional: int
    unconditional: int  # by guidance, on top


def sample(
    denoiser: Denoiser,
    contexts: Tensor,
    null_context: Tensor,
    schedule: Schedule,
    ids: Sequence[str],
    options: SamplerOptions,
    frames: int,
    segment: int = 0,
) -> Tensor:
    """Continue each context by ``frames`` frames.

    Args:
        contexts: normalised log-mels (B, Fc, 80); sampling happens on their device.
        null_context: what the unconditional branch hears, normalised (Fc, 80): silence in the paper.
        schedule: the one that the network was trained with.
        ids: of the B clips; they choose the noise.
        frames: Fg.
        segment: 0, and 1, 2, ... for what follows; see ``continue_to``.

    Returns:
        normalised log-mels, float32 (B, Fg, 80).

    Raises:
        UsageError: more steps than the schedule has, or shapes that do not belong together.
    """
    if len(ids) != len(contexts):
        raise UsageError(f"one id for each context is needed, got {len(ids)} ids and {len(contexts)} contexts")
    noise = sampling_noise(ids, (frames, contexts.shape[2]), options.seed, segment).to(contexts.device)
    return denoise(denoiser, noise, contexts, null_context, schedule, options)


def continue_to(
    frames: int,
    denoiser: Denoiser,
    contexts: Tensor,
    null_context: Tensor,
    schedule: Schedule,
    ids: Sequence[str],
    options: SamplerOptions,
    segment_frames: int,
) -> Tensor:
    """Continue each context by ``frames`` frames, however many: segment after segment, each heard by the next one.

    Args:
        frames: wanted; the last segment is sampled whole and cut.
        segment_frames: what the network was trained to sample at once. The rest as in ``sample``.

    Returns:
        normalised log-mels, float32 (B, frames, 80), which begin with those of any smaller ``frames``.

    Raises:
        UsageError: as ``sample``, and for less than one frame.
    """
    if frames < 1:
        raise UsageError(f"a continuation must have at least 1 frame, got {frames}")
    parts = []
    for segment in range(-(-frames // segment_frames)):
        parts.append(sample(denoiser, contexts, null_context, schedule, ids, options, segment_frames, segment))
        contexts = torch.cat([contexts, parts[-1]], dim=1)[:, -contexts.shape[1] :]
    return torch.cat(parts, dim=1)[:, :frames]


@torch.no_grad()
def denoise(
    denoiser: Denoiser,
    x: Tensor,
    contexts: Tensor,
    null_context: Tensor,
    schedule: Schedule,
    options: SamplerOptions,
) -> Tensor:
    """Solve from given noise x (B, Fg, 80), in the precision of x; everything else as in ``sample``."""
    if contexts.shape[1:] != null_context.shape:
        raise UsageError(
            f"contexts {tuple(contexts.shape)} and null context {tuple(null_context.shape)} differ in frames or bins"
        )
    indices = trailing_indices(schedule.steps, options.steps)
    table = torch.from_numpy(coefficients(schedule, indices, options.solver)).to(x)
    taus = torch.from_numpy(schedule.taus(indices)).to(x.device)
    update = _compiled() if options.compile else _update
    clean = torch.zeros_like(x)  # the first row gives it no weight
    for guided, run in groupby(range(len(indices)), key=_guided(schedule, indices, options).__getitem__):
        steps = list(run)
        heard = torch.cat([contexts, null_context.expand_as(contexts)]) if guided else contexts
        velocity = denoiser.prepare(heard, taus[steps])
        for j, row in enumerate(table[steps]):
            v = velocity(torch.cat([x, x]) if guided else x, j)
            x, clean = update(x, clean, v, row, options.guidance, options.guidance_rescale)
    return x


def evaluations(schedule: Schedule, options: SamplerOptions) -> Evaluations:
    """Count what one segment of one clip costs. Both branches run in one batch, but are two evaluations."""
    indices = trailing_indices(schedule.steps, options.steps)
    return Evaluations(len(indices), sum(_guided(schedule, indices, options)))


def _guided(schedule: Schedule, indices: Sequence[int], options: SamplerOptions) -> list[bool]:
    """Tell which of the steps need the unconditional branch."""
    low, high = options.guidance_interval
    return [options.guidance != 1 and low < (index + 1) / schedule.steps <= high for index in indices]


def _update(x: Tensor, clean: Tensor, v: Tensor, row: Tensor, guidance: float, rescale: float) -> tuple[Tensor, Tensor]:
    """Take one step: the next x and the present estimate of x0, (B, Fg, 80) each.

    Args:
        clean: estimate of x0 of the step before.
        v: velocity (B, Fg, 80), or (2B, Fg, 80), conditional half first, to be guided.
        row: (5,) of ``coefficients``.
    """
    v = v.to(x.dtype)
    if len(v) != len(x):
        conditional, null = v.chunk(2)
        v = _guide(conditional, null, guidance, rescale)
    alpha, sigma, cos, sin, second = row.unbind()
    now = alpha * x - sigma * v
    return cos * x - sin * v + second * (now - clean), now


def _guide(conditional: Tensor, null: Tensor, guidance: float, rescale: float) -> Tensor:
    """Guide without a classifier; optionally with the spread of the conditional velocity (arXiv 2305.08891, 3.4)."""
    v = null + guidance * (conditional - null)
    if rescale:
        spread = conditional.std(dim=(1, 2), keepdim=True) / v.std(dim=(1, 2), keepdim=True)
        v = v * (rescale * spread + 1 - rescale)
    return v


@cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(_update, fullgraph=True)
