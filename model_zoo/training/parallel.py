"""The network on one device or sharded over many: torch's FSDP2, block by block, and nothing where there is one rank.

Weights, gradients, AdamW's moments and averages are each held by one rank; a block is gathered when its turn comes.
Initial weights need no communication: the network is made on the meta device and every rank draws its own part.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from model_zoo.cdslm.init import initialize
from model_zoo.cdslm.model import MMDiT
from model_zoo.training.config import TrainConfig
from model_zoo.training.ranks import Ranks


def build(config: TrainConfig, mels: int, ranks: Ranks) -> MMDiT:
    """Build the network with its initial weights, in training mode; those do not depend on the number of ranks.

    In this order: checkpointing, compilation, sharding. Under FSDP weights travel in float32 unless
    ``communication=bfloat16``, which halves the traffic, but then validation is not float32 either.
    """
    with torch.device("meta"):
        model = MMDiT(config.model, mels)
    model.activation_checkpointing = config.activation_checkpointing
    if config.compile:
        model.compile_blocks()
    if ranks.world > 1:
        kind = torch.bfloat16 if config.communication == "bfloat16" else None
        # Inputs stay as they are: angles and noise levels are float32, autocast does the rest.
        policy = MixedPrecisionPolicy(param_dtype=kind, reduce_dtype=torch.float32, cast_forward_inputs=False)
        for block in model.blocks:
            fully_shard(block, mp_policy=policy)
        ends = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
        # Sharded again after each forward pass, as blocks are: validation is followed by no backward pass to do it.
        fully_shard(model, mp_policy=ends, reshard_after_forward=True)
    model.to_empty(device=ranks.device)
    initialize(model, config.seed)
    return model.train()


def whole(tensors: Mapping[str, Tensor], ranks: Ranks) -> dict[str, Tensor]:
    """Gather all of every tensor on the CPU of the first rank; the others take part and get nothing."""
    gathered = {}
    for name, tensor in tensors.items():
        full = tensor.detach()
        full = full.full_tensor() if isinstance(full, DTensor) else full
        if ranks.first:
            gathered[name] = full.to("cpu", torch.float32, copy=True)
    return gathered
