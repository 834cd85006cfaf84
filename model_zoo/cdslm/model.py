"""The network: a diffusion transformer of two streams, clean context and noisy continuation (MM-DiT).

    model = MMDiT(config, seed=0)                     # initialised; on the meta device where that is the default
    v = model(contexts, noisy, taus)                  # training: one noise level per sample
    velocity = model.prepare(contexts, taus)          # sampling: everything that no step changes is computed once
    v = velocity(x, step)

Each stream has weights of its own throughout and both meet in attention alone (paper 3.3; SD3, arXiv 2403.03206). The
figure, and what may be chosen, is in ``docs/zoo/model.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model_zoo.cdslm.attention import attention
from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.init import initialize
from model_zoo.cdslm.layers import (
    TIME_FREQUENCIES,
    Stream,
    cropped,
    from_patches,
    modulated,
    time_condition,
    to_patches,
)
from model_zoo.cdslm.rope import Rotation, positions, rotation
from slm_eval.base.errors import UsageError

Rotations = tuple[Rotation | None, Rotation | None]  # of context and generation; None without positions


class JointBlock(nn.Module):
    """One layer: both streams attend to both, then each has its own MLP.

    Args:
        last: nobody reads the context after it, so the context is only attended to.
    """

    def __init__(self, config: ModelConfig, last: bool) -> None:
        super().__init__()
        form = config.last_context_block
        chunks = 2 if last and form == "sd3" else 6
        self.context = Stream(config, reads=not last, keep_unread=form == "full", chunks=chunks)
        self.generation = Stream(config)
        self.last = last

    def modulation(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Shift, scale and gate, twice, of context and generation at conditions (batch, d): (batch, 6 d or 2 d)."""
        return self.context.adaln(condition), self.generation.adaln(condition)

    def forward(
        self,
        context: Tensor,
        generation: Tensor,
        rotations: Rotations,
        condition: Tensor | None = None,
        baked: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return both streams, (batch, tokens, d), after this layer.

        Args:
            condition: of the noise level of each sample (batch, d), in training.
            baked: in sampling, instead of it: ``modulation`` of the one noise level of all samples, (1, 6 d or 2 d).
        """
        if baked is None:
            assert condition is not None
            baked = self.modulation(condition)
        of_context, of_generation = (weight[:, None].split(context.shape[-1], dim=-1) for weight in baked)
        heard = self.context.project(context, of_context, rotations[0])
        made = self.generation.project(generation, of_generation, rotations[1])
        keys, values = torch.cat([heard.keys, made.keys], 1), torch.cat([heard.values, made.values], 1)
        if self.last:
            read = attention(made.queries, keys, values)
            return context, self.generation.take(generation, read, of_generation)
        read = attention(torch.cat([heard.queries, made.queries], 1), keys, values)
        read_context, read_generation = read.split([context.shape[1], generation.shape[1]], dim=1)
        context = self.context.take(context, read_context, of_context)
        return context, self.generation.take(generation, read_generation, of_generation)


class MMDiT(nn.Module):
    """Velocity of the diffusion, from a context, a noisy continuation and its noise level.

    Computes in the type of its weights, or under autocast; noise levels, normalisations and angles are float32 always.

    Args:
        config: sizes and choices.
        mels: bins of a frame.
        seed: of the initial weights, see ``init``. After ``to_empty``, call ``initialize`` again.

    Attributes:
        activation_checkpointing: keep only what comes into each block for the backward pass, which computes the rest
            anew: memory of one block instead of all, for about a third more operations.
    """

    def __init__(self, config: ModelConfig, mels: int = 80, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.activation_checkpointing = False
        device = torch.get_default_device()
        d, token = config.d, mels * config.patch
        with torch.device("meta"):  # torch's own initial values would only cost time
            self.ctx_in = nn.Linear(token, d)
            self.gen_in = nn.Linear(token, d)
            self.t_mlp = nn.Sequential(nn.Linear(2 * TIME_FREQUENCIES, d), nn.SiLU(), nn.Linear(d, d))
            self.blocks = nn.ModuleList(JointBlock(config, i == config.layers - 1) for i in range(config.layers))
            self.final_adaln = nn.Linear(d, 2 * d)
            self.final = nn.Linear(d, token)
        self.to_empty(device=device)
        initialize(self, seed)

    def forward(self, context: Tensor, noisy: Tensor, tau: Tensor) -> Tensor:
        """Return the velocity that leads from noise to speech.

        Args:
            context: normalised log-mels (B, Fc, mels), of any number of frames; with patches the oldest few may be
                left out.
            noisy: x_t (B, Fg, mels).
            tau: noise levels i * 1000 / T, float32 (B,).

        Returns:
            v, float32 (B, Fg, mels).

        Raises:
            UsageError: tau is not float32, in which alone it is exact, or the patch does not divide Fg.
        """
        condition = self._condition(tau)
        hidden, generation = self._embedded(self.ctx_in, cropped(context, self.config.patch)), self._noisy(noisy)
        rotations = self._rotations(hidden.shape[1], generation.shape[1], noisy.device)
        for block in self.blocks:
            if self.activation_checkpointing and torch.is_grad_enabled():
                hidden, generation = checkpoint(
                    block, hidden, generation, rotations, condition=condition,
                    use_reentrant=False, preserve_rng_state=False,  # nothing in a block is random
                )  # fmt: skip
            else:
                hidden, generation = block(hidden, generation, rotations, condition=condition)
        return self._velocity(generation, self.final_adaln(condition))

    @torch.no_grad()
    def prepare(self, contexts: Tensor, taus: Tensor) -> Callable[[Tensor, int], Tensor]:
        """Prepare sampling: compute once what no step changes, the context's embedding, or no sample, AdaLN at each
        step.

        What the context becomes in the layers cannot be kept: it reads x from the first layer on. Nor can its first
        queries, keys and values, as AdaLN scales the channels before them by the noise level.

        Args:
            contexts: as in ``forward``.
            taus: noise levels of the steps to come, float32 (S,).

        Returns:
            velocity(x (B, Fg, mels), step in 0 ... S - 1) -> what ``forward`` gives at that noise level. A step waits
            for nothing on the device.
        """
        condition = self._condition(taus)
        # [layer][stream] (S, 6 d): all steps of a layer in one product, as weights that a step would read 100 times.
        baked = [block.modulation(condition) for block in self.blocks]  # type: ignore[operator]
        final = self.final_adaln(condition)
        embedded = self._embedded(self.ctx_in, cropped(contexts, self.config.patch))
        rotations = cache(lambda tokens: self._rotations(embedded.shape[1], tokens, contexts.device))

        @torch.no_grad()
        def velocity(x: Tensor, step: int) -> Tensor:
            hidden, generation = embedded, self._noisy(x)
            now = slice(step, step + 1)
            for block, (of_context, of_generation) in zip(self.blocks, baked, strict=True):
                modulation = (of_context[now], of_generation[now])
                hidden, generation = block(hidden, generation, rotations(generation.shape[1]), baked=modulation)
            return self._velocity(generation, final[now])

        return velocity

    def compile_blocks(self, **options: Any) -> MMDiT:
        """Compile the forward pass of each block; all but the last share one graph. Names of weights stay as they are.

        After activation checkpointing and before FSDP, where those are used.

        Args:
            options: of ``torch.compile``.
        """
        for block in self.blocks:
            block.compile(fullgraph=True, dynamic=False, **options)
        return self

    def _condition(self, tau: Tensor) -> Tensor:
        if tau.dtype != torch.float32:
            raise UsageError(f"noise levels are float32, got {tau.dtype}, which would merge many of them; do not cast")
        return time_condition(self.t_mlp, tau).to(self.gen_in.weight.dtype)

    def _embedded(self, layer: nn.Linear, frames: Tensor) -> Tensor:
        return layer(to_patches(frames, self.config.patch).to(layer.weight.dtype))

    def _noisy(self, noisy: Tensor) -> Tensor:
        return self._embedded(self.gen_in, noisy)

    def _rotations(self, context: int, generation: int, device: torch.device) -> Rotations:
        """Compute the rotations, anew in each pass: a few small kernels, and nothing to keep in step with devices."""
        kind = self.config.positions
        if kind == "none":
            return None, None
        where = positions(kind, context, generation, self.config.patch, device)
        return rotation(where[0], self.config.head_dim), rotation(where[1], self.config.head_dim)

    def _velocity(self, generation: Tensor, modulation: Tensor) -> Tensor:
        shift, scale = modulation[:, None].chunk(2, dim=-1)
        tokens = self.final(modulated(generation, shift, scale) * (1 / self.config.width_multiplier))
        return from_patches(tokens.float(), self.config.patch)
