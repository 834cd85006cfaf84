"""Every choice of a CD-SLM in two frozen tables, which travel in its checkpoint.

Marked [paper] where arXiv 2604.24416 decides, [choice] where it is silent and this project does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar

from slm_eval.base.errors import UsageError, unknown_name

SCHEDULES = ("linear", "cosine", "cosine_logsnr", "exponential", "exponential_beta")
WEIGHTINGS = ("paper", "min_snr_v", "none")
POSITIONS = ("time_axis", "shared", "per_stream", "none")
FRAME_RATE = 80  # log-mel frames a second: 12.5 ms hop [paper]


# Far above any model, and low enough that a file that says more costs nothing.
_MAX_SIZE, _MAX_LAYERS, _MAX_SECONDS = 10**6, 1000, 86_400


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Raises:
        UsageError: a value that no model can be built from.
    """

    layers: int = 4  # L [paper]
    width: int | None = None  # d; None: 128 per layer [paper]. Others are for experiments on one axis alone
    patch: int = 1  # frames per token, 1 to 6 [paper]
    head_dim: int = 64  # [choice] frozen over a ladder; 128 halves the heads
    positions: Literal["time_axis", "shared", "per_stream", "none"] = "time_axis"  # [choice] of rotary positions
    qk_norm: bool = True  # [choice] RMSNorm of queries and keys, per head, before the rotation
    last_context_block: Literal["ours", "sd3", "full"] = "ours"  # [choice] the form that fits the paper's three sizes
    context_seconds: float = 10.0  # [paper]
    target_seconds: float = 30.0  # [paper]
    base_layers: int = 4  # the size that hyperparameters were tuned at [paper]; multipliers are relative to it
    base_width: int = 512

    def __post_init__(self) -> None:
        sizes = (self.layers, self.base_layers, self.base_width, self.patch, self.head_dim, self.d)
        if not all(isinstance(size, int) and size <= _MAX_SIZE for size in sizes) or self.layers > _MAX_LAYERS:
            raise UsageError(f"sizes are whole numbers up to {_MAX_SIZE}, and layers up to {_MAX_LAYERS}, got {self}")
        if not all(0 < seconds <= _MAX_SECONDS for seconds in (self.context_seconds, self.target_seconds)):
            raise UsageError(f"context_seconds and target_seconds must be above 0 and up to {_MAX_SECONDS}, got {self}")
        if min(self.layers, self.base_layers, self.base_width) < 1:
            raise UsageError(f"layers, base_layers and base_width are at least 1, got {self}")
        if not 1 <= self.patch <= 6:
            raise UsageError(f"patch is 1 to 6 frames, got {self.patch}")
        if self.head_dim < 2 or self.head_dim % 2 or self.d < 1 or self.d % self.head_dim:
            raise UsageError(f"head_dim is even and divides the width {self.d}, got {self.head_dim}")
        _one_of("positions", self.positions, POSITIONS)
        _one_of("last_context_block", self.last_context_block, ("ours", "sd3", "full"))

    @property
    def d(self) -> int:
        """Return the width."""
        return 128 * self.layers if self.width is None else self.width

    @property
    def heads(self) -> int:
        """Return the number of heads, d / head_dim."""
        return self.d // self.head_dim

    @property
    def context_frames(self) -> int:
        """Return the frames that are heard: 800 by default."""
        return round(self.context_seconds * FRAME_RATE)

    @property
    def target_frames(self) -> int:
        """Return the frames that are continued at once: 2400 by default."""
        return round(self.target_seconds * FRAME_RATE)

    @property
    def width_multiplier(self) -> float:
        """Return m_N, the width over that of the base model (CompleteP)."""
        return self.d / self.base_width

    @property
    def depth_multiplier(self) -> float:
        """Return m_L, the depth over that of the base model (CompleteP)."""
        return self.layers / self.base_layers


@dataclass(frozen=True)
class DiffusionConfig:
    """Noise schedule and loss.

    Raises:
        UsageError: an unknown name, or a value out of range.
    """

    schedule: Literal["linear", "cosine", "cosine_logsnr", "exponential", "exponential_beta"] = "linear"  # [paper]
    zero_terminal_snr: bool = True  # [paper] with and without; [choice] with
    steps: int = 1000  # T: 100, 500, 1000, 2000 or 4000 in the paper; [choice] 1000
    weighting: Literal["paper", "min_snr_v", "none"] = "paper"  # [paper] equation 3.2
    psi: float = 5.0  # [choice] where the weight is cut
    terminal_weight: Literal["mean", "literal"] = "mean"  # [choice] of the step without signal, whose SNR is 0

    def __post_init__(self) -> None:
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("weighting", self.weighting, WEIGHTINGS)
        _one_of("terminal_weight", self.terminal_weight, ("mean", "literal"))
        if self.steps < 2:
            raise UsageError(f"a schedule must have at least 2 steps, got {self.steps}")
        if not self.psi > 0:
            raise UsageError(f"psi is positive, got {self.psi}")


Config = TypeVar("Config", ModelConfig, DiffusionConfig)


def to_dict(config: ModelConfig | DiffusionConfig) -> dict[str, Any]:
    """Return JSON values."""
    return asdict(config)


def from_dict(kind: type[Config], values: dict[str, Any]) -> Config:
    """Read back what ``to_dict`` wrote.

    Raises:
        UsageError: a key that does not exist (with near ones), or a value that is not possible.
    """
    known = [declared.name for declared in fields(kind)]
    for key in values:
        if key not in known:
            raise unknown_name(f"key of {kind.__name__}", key, known)
    try:
        return kind(**values)
    except TypeError as error:
        raise UsageError(f"values of {kind.__name__} have other types ({error}), got {values}") from error


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise unknown_name(name, value, known)
