"""How long a GPU trains, and what of a model fits on it. Needs no torch but in ``dry_run``.

Memory of one of n GPUs under FSDP2, which shards by block: its share of weights, gradients, moments and averages; the
blocks that are whole on it for the moment; copies of weights that autocast makes; and activations of a micro batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.flops import Tokens, parameter_count, peak_flops
from model_zoo.cdslm.memory import memory_estimate
from slm_eval.base.errors import UsageError, unknown_name

GB = 1e9  # as memory of GPUs is sold; a GiB is 7 % more


class _Sold(NamedTuple):
    device: str  # torch's name
    memory: float  # GB


_SOLD = {
    "H200": _Sold("NVIDIA H200", 141),
    "H100": _Sold("NVIDIA H100 80GB HBM3", 80),
    "A100": _Sold("NVIDIA A100-SXM4-80GB", 80),
    "L40S": _Sold("NVIDIA L40S", 48),
}
# Share of the dense bf16 peak that the trainer has to reach on an H200 at these numbers of layers: this project's own
# targets, not measurements. None is set for one layer; half of that for two is assumed.
MFU_TARGETS = {1: 0.06, 2: 0.12, 4: 0.28, 6: 0.28, 8: 0.40}
RESERVED = 0.05  # [choice] share of the memory for CUDA itself, communication and what the allocator cannot use
_BYTES = {"float32": 4, "bfloat16": 2}
_STATES = 20  # bytes: float32 weight, gradient, two moments of AdamW, average
# Values of a channel of a token that checkpointing keeps for each layer, and once while a block is gone through again
# and back; eager and under autocast to bfloat16. Counted with torch's MemTracker, as those of ``memory``.
_CHECKPOINTED = 1
_RECOMPUTED = 44

Communication = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU.

    Attributes:
        name: H200, H100, A100 or L40S.
        peak: dense bf16 operations a second.
        memory: bytes.
    """

    name: str
    peak: float
    memory: float

    @classmethod
    def by_name(cls, name: str, memory: float | None = None) -> Gpu:
        """Return a GPU by its name.

        Args:
            memory: in GB, where it is another than that of the data sheet.

        Raises:
            UsageError: a name that is not known, or memory that is none.
        """
        if name not in _SOLD:
            raise unknown_name("GPU", name, _SOLD)
        sold = _SOLD[name]
        peak = peak_flops(sold.device)
        assert peak is not None
        if memory is not None and not memory > 0:
            raise UsageError(f"memory of a GPU must be above 0 GB, got {memory}")
        return cls(name, peak, (memory or sold.memory) * GB)

    @property
    def usable(self) -> float:
        """Return the bytes that a trainer can fill."""
        return self.memory * (1 - RESERVED)


def expected_mfu(layers: float) -> float:
    """Share of the peak that is planned with: ``MFU_TARGETS``, on straight lines between them and constant beyond."""
    import numpy as np

    return float(np.interp(layers, list(MFU_TARGETS), list(MFU_TARGETS.values())))


@dataclass(frozen=True)
class Footprint:
    """Bytes on each of ``gpus`` GPUs at the peak of a training step, estimated."""

    gpus: int
    micro_batch: int
    checkpointing: bool
    states: int  # its share of float32 weights, gradients, two moments and averages
    in_flight: int  # whole for the moment: a block at work, one fetched ahead, gradients of one, and those being added
    copies: int  # of weights in bfloat16, by autocast
    activations: int

    @property
    def total(self) -> int:
        """Return the bytes in all."""
        return self.states + self.in_flight + self.copies + self.activations

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**vars(self), "total": self.total}


def footprint(
    config: ModelConfig,
    gpus: int,
    micro_batch: int,
    checkpointing: bool,
    communication: Communication = "float32",
) -> Footprint:
    """Estimate the memory of one GPU that trains in bfloat16 with float32 weights.

    Args:
        micro_batch: samples at once on it.
        communication: type in which weights are gathered; gradients are added in float32. Weights gathered in float32
            are copied to bfloat16 by autocast, and without checkpointing the copies of all blocks live until the way
            back: they are not sharded.

    Raises:
        UsageError: fewer than one GPU or sample.
    """
    if min(gpus, micro_batch) < 1:
        raise UsageError(f"GPUs and samples at once are at least 1, got {gpus} and {micro_batch}")
    count, block = parameter_count(config), _block_parameters(config)
    size = _BYTES[communication]
    copied = count if gpus == 1 or not checkpointing else block
    return Footprint(
        gpus,
        micro_batch,
        checkpointing,
        states=-(-_STATES * count // gpus),
        in_flight=0 if gpus == 1 else block * (3 * size + _BYTES["float32"]),
        copies=0 if gpus > 1 and communication == "bfloat16" else _BYTES["bfloat16"] * copied,
        activations=micro_batch * activations(config, checkpointing),
    )


def activations(config: ModelConfig, checkpointing: bool) -> int:
    """Return the bytes of one sample under autocast to bfloat16, at the lengths of the configuration."""
    tokens = Tokens.from_config(config)
    if not checkpointing:
        return memory_estimate(config, tokens, 1, "bfloat16", training=True).activations
    return tokens.all * config.d * _BYTES["bfloat16"] * (_CHECKPOINTED * config.layers + _RECOMPUTED)


def largest_micro_batch(
    config: ModelConfig, gpu: Gpu, gpus: int, checkpointing: bool, communication: Communication = "float32"
) -> int:
    """Return how many samples at once fit on each GPU; 0 if not even one does."""
    one = footprint(config, gpus, 1, checkpointing, communication)
    return max(0, int((gpu.usable - (one.total - one.activations)) // one.activations))


def fewest_gpus(
    config: ModelConfig,
    gpu: Gpu,
    micro_batch: int,
    checkpointing: bool,
    communication: Communication = "float32",
    most: int = 1024,
) -> int | None:
    """Return the fewest GPUs, up to ``most``, on which so many samples at once fit; None if there is none."""
    for gpus in range(1, most + 1):
        if footprint(config, gpus, micro_batch, checkpointing, communication).total <= gpu.usable:
            return gpus
    return None


@dataclass(frozen=True)
class DryRun:
    """Bytes of a model and of what training keeps beside it, of tensors that were really made, without memory."""

    parameters: int  # a number, not bytes
    weights: int
    gradients: int
    moments: int
    averages: int

    @property
    def per_parameter(self) -> float:
        """Return the bytes per parameter."""
        return (self.weights + self.gradients + self.moments + self.averages) / self.parameters


def dry_run(config: ModelConfig) -> DryRun:
    """Build the network on the meta device, with gradients, AdamW after a step, and averages, and count it.

    Takes about a second at any size, and no memory to speak of.
    """
    import torch

    from model_zoo.cdslm.model import MMDiT
    from model_zoo.cdslm.mup import parameter_groups

    with torch.device("meta"):
        model = MMDiT(config)
        averages = [torch.empty_like(tensor, dtype=torch.float32) for tensor in model.parameters()]
    trained = [tensor for tensor in model.parameters() if tensor.requires_grad]
    for tensor in trained:
        tensor.grad = torch.empty_like(tensor)
    optimizer = torch.optim.AdamW(parameter_groups(model, 1e-3, 0.03, 1e-12))
    optimizer.step()
    moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    return DryRun(
        sum(tensor.numel() for tensor in model.parameters()),
        *(sum(tensor.numel() * tensor.element_size() for tensor in kept) for kept in (model.parameters(), trained)),
        *(sum(tensor.numel() * tensor.element_size() for tensor in kept) for kept in (moments, averages)),
    )


def _block_parameters(config: ModelConfig) -> int:
    """Count the weights of one block of two whole streams: what one more layer of this width adds."""
    from dataclasses import replace

    deeper = replace(config, layers=config.layers + 1, width=config.d)
    return parameter_count(deeper) - parameter_count(replace(config, width=config.d))
