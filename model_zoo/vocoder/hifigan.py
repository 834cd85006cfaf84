"""HiFi-GAN's generator (Kong et al. 2020) in ParallelWaveGAN's form, without weight norm, in pieces of bounded memory.

Sources of structure and names: ParallelWaveGAN ``models/hifigan.py``, ``layers/residual_block.py``. Equal to it within
1e-4 on the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.features import FeatureSpec, Normalizer
from model_zoo.vocoder.vocoder import Vocoder
from slm_eval.base.errors import SlmEvalError
from slm_eval.base.precision import exact_float32

_PIECE_FRAMES = 800  # synthesised at once: 10 s, which fill a GPU; memory beyond mels and audio does not grow
_TILE_VALUES = 1 << 18  # numbers in a tensor of a CPU's tile: 1 MB
_LEAST_TILE = 4096  # positions: what a tile computes of its neighbours stays below 3 %


_MAX_SIZE, _MAX_PARTS = 65_536, 64  # of a dimension, and of stages, blocks and their convolutions


@dataclass(frozen=True)
class GeneratorConfig:
    """What differs between HiFi-GAN recipes of ParallelWaveGAN (``generator_params``). Default: v1 with hop 300."""

    in_channels: int = 80
    channels: int = 512
    kernel_size: int = 7
    upsample_scales: tuple[int, ...] = (5, 5, 4, 3)
    upsample_kernel_sizes: tuple[int, ...] = (10, 10, 8, 6)
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    slope: float = 0.1  # of LeakyReLU before every convolution but the last

    def __post_init__(self) -> None:
        odd = [self.kernel_size, *self.resblock_kernel_sizes]
        counts = (self.upsample_scales, self.resblock_kernel_sizes, *self.resblock_dilations)
        largest = max([self.in_channels, self.channels, *odd, *(size for sizes in counts for size in sizes)])
        if largest > _MAX_SIZE or max(map(len, counts)) > _MAX_PARTS:
            raise SlmEvalError(f"no HiFi-GAN generator is as large: {str(self)[:200]}; use a HiFi-GAN recipe's")
        doubled = tuple(2 * scale for scale in self.upsample_scales)
        if (
            min(
                [
                    self.in_channels,
                    *self.upsample_scales,
                    *odd,
                    *(d for dilations in self.resblock_dilations for d in dilations),
                ]
            )
            < 1
            or any(size % 2 == 0 for size in odd)
            or doubled != tuple(self.upsample_kernel_sizes)
            or len(self.resblock_kernel_sizes) != len(self.resblock_dilations)
            or self.channels < 1
            or self.channels % 2 ** len(self.upsample_scales)
        ):
            raise SlmEvalError(f"no HiFi-GAN generator has these parameters: {self}; use a HiFi-GAN recipe's")

    @property
    def hop(self) -> int:
        """Return the samples that one frame becomes."""
        return prod(self.upsample_scales)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GeneratorConfig:
        """Return the configuration of JSON or YAML values, whose lists become tuples.

        Raises:
            SlmEvalError: values that no generator can be built from.
        """
        try:
            return cls(**{key: _tuples(value) for key, value in values.items()})
        except (TypeError, ValueError) as error:
            raise SlmEvalError(f"no HiFi-GAN generator has these parameters: {dict(values)}") from error


class ResidualBlock(nn.Module):
    """Pairs of a dilated and a plain convolution, each pair added to what it was given; (1, c, 1, n) to the same."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.dilated = nn.ModuleList(_conv(channels, channels, kernel, dilation) for dilation in dilations)
        self.plain = nn.ModuleList(_conv(channels, channels, kernel, 1) for _ in dilations)
        # Positions to either side that it hears.
        self.reach = sum((dilation + 1) * (kernel // 2) for dilation in dilations)

    def forward(self, x: Tensor, active: Tensor) -> Tensor:
        """Return a new tensor; neither ``x`` nor ``active``, its LeakyReLU that a stage's blocks share, is changed."""
        for index, (dilated, plain) in enumerate(zip(self.dilated, self.plain, strict=True)):
            inner = dilated(active if index == 0 else F.leaky_relu(x, self.slope))
            x = plain(F.leaky_relu_(inner, self.slope)).add_(x)
        return x


class Stage(nn.Module):
    """Upsampling by ``scale``, then the mean of residual blocks of several kernel sizes.

    (1, channels, 1, n) -> (1, channels // 2, 1, n * scale). Sequences lie in the last of four dimensions, because only
    tensors with four have a memory format that keeps the channels of a sample together.
    """

    def __init__(self, config: GeneratorConfig, channels: int, scale: int) -> None:
        super().__init__()
        half = channels // 2
        # Even scales pad scale / 2 on either side; odd ones one more, and give it back at the end.
        self.scale, self.padding, self.slope = scale, scale // 2 + scale % 2, config.slope
        self.upsample = nn.ConvTranspose2d(
            channels, half, (1, 2 * scale), (1, scale), (0, self.padding), (0, scale % 2)
        )
        blocks = [
            ResidualBlock(half, kernel, dilations, config.slope)
            for kernel, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilations, strict=True)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.reach = max(block.reach for block in blocks)

    def forward(self, x: Tensor, crop: slice = slice(None)) -> Tensor:
        """Upsample and mix; ``crop`` says which of the upsampled positions the residual blocks are needed on."""
        upsampled = self.upsample(F.leaky_relu(x, self.slope))[..., crop]
        active = F.leaky_relu(upsampled, self.slope)
        first, *others = self.blocks
        total: Tensor = first(upsampled, active)
        for block in others:
            total.add_(block(upsampled, active))
        return total.div_(len(self.blocks))

    def needs(self, begin: int, end: int, length: int) -> tuple[int, int]:
        """Return the input positions that outputs ``begin`` to ``end`` of an input of ``length`` positions need."""
        begin, end = max(0, begin - self.reach), min(length * self.scale, end + self.reach)
        first, last = (begin + self.padding) // self.scale - 1, (end - 1 + self.padding) // self.scale + 1
        return max(0, first), min(length, last)

    def part(self, x: Tensor, origin: int, begin: int, end: int, length: int, tile: int) -> Tensor:
        """Compute outputs ``begin`` to ``end`` of an input of ``length`` positions, in tiles that fit a cache.

        Args:
            x: the input from position ``origin`` on, at least as far as ``needs`` says.
            tile: positions computed at once, beside what they hear of their neighbours.
        """
        tiles = []
        for start in range(begin, end, tile):
            stop = min(start + tile, end)
            first, last = self.needs(start, stop, length)
            inner, outer = max(0, start - self.reach), min(length * self.scale, stop + self.reach)
            crop = slice(inner - first * self.scale, outer - first * self.scale)
            tiles.append(self(x[..., first - origin : last - origin], crop)[..., start - inner : stop - inner])
        return torch.cat(tiles, -1) if len(tiles) > 1 else tiles[0]


class Generator(nn.Module):
    """Normalised mels (1, in_channels, 1, T) to audio (1, 1, 1, T * hop)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.input_conv = _conv(config.in_channels, config.channels, config.kernel_size, 1)
        self.stages = nn.ModuleList(
            Stage(config, config.channels >> i, scale) for i, scale in enumerate(config.upsample_scales)
        )
        self.output_conv = _conv(config.channels >> len(config.upsample_scales), 1, config.kernel_size, 1)

    def forward(self, mels: Tensor) -> Tensor:
        """Compute all at once."""
        return self.piece(mels, 0, mels.shape[-1])

    def piece(self, mels: Tensor, start: int, stop: int, tile_values: int | None = None) -> Tensor:
        """Compute what ``forward`` gives for the frames from ``start`` to ``stop``, without the rest.

        Every stage computes the positions that the next one hears: at an inner edge of a piece the first stage has 16
        frames more to do, the last one not one. Nothing but rounding tells pieces and tiles from the whole.

        Args:
            tile_values: numbers in a tensor that fits a cache; None: stages are computed in one.
        """
        margin = self.config.kernel_size // 2
        begin, end, length = start * self.config.hop, stop * self.config.hop, mels.shape[-1] * self.config.hop
        wanted = [(max(0, begin - margin), min(length, end + margin))]
        for stage in reversed(self.stages):
            assert isinstance(stage, Stage)
            length //= stage.scale
            wanted.append(stage.needs(*wanted[-1], length))
        first, last = wanted.pop()
        outer = max(0, first - margin)
        x = self.input_conv(mels[..., outer : last + margin])[..., first - outer : last - outer]
        for stage in self.stages:
            assert isinstance(stage, Stage)
            channels = x.shape[1] // 2
            tile = x.shape[-1] * stage.scale if tile_values is None else max(_LEAST_TILE, tile_values // channels)
            origin, (first, last) = first, wanted.pop()
            x = stage.part(x, origin, first, last, length, tile)
            length *= stage.scale
        samples = self.output_conv(F.leaky_relu_(x, 0.01)).tanh_()  # ParallelWaveGAN has torch's own slope here
        return samples[..., begin - first : end - first]


class HiFiGAN(Vocoder):
    """The generator with the statistics it was trained with, on a device.

    Args:
        generator: with weights.
        statistics: mean and scale of its training mels.
        digest: of the file that the weights are from.
        bfloat16: convolutions in bfloat16.
    """

    def __init__(
        self,
        generator: Generator,
        statistics: Normalizer,
        spec: FeatureSpec,
        digest: str,
        device: str = "cpu",
        bfloat16: bool = False,
    ) -> None:
        if generator.config.hop != spec.hop or generator.config.in_channels != spec.n_mels:
            given = f"{generator.config.in_channels} bins and {generator.config.hop} samples a frame"
            raise SlmEvalError(f"the generator takes {given}, the features have {spec.n_mels} and {spec.hop}")
        self.spec, self.digest, self.device = spec, digest, torch.device(device)
        self.dtype = torch.bfloat16 if bfloat16 else torch.float32
        # Channels together: oneDNN then reorders nothing between convolutions, and they run at the speed of a product
        # of matrices. On CUDA only the kernels of bfloat16 are made for it.
        together = self.device.type == "cpu" or bfloat16
        self.format = torch.channels_last if together else torch.contiguous_format
        generator = generator.eval().requires_grad_(False).to(self.device, self.dtype)
        self.generator: Generator = generator.to(memory_format=self.format)  # type: ignore[call-overload]
        self.statistics = statistics

    def synthesize(self, log_mel: Tensor) -> Tensor:
        """Make the audio of one clip, (T, n_mels) -> (T * hop,), in pieces: memory does not grow with T."""
        size, frames = _PIECE_FRAMES, len(log_mel)
        tile_values = _TILE_VALUES if self.device.type == "cpu" else None
        with exact_float32():
            mels = self.statistics.normalize(log_mel.to(self.device)).to(self.dtype)
            mels = mels.T[None, :, None].contiguous(memory_format=self.format)
            pieces = [
                self.generator.piece(mels, begin, min(begin + size, frames), tile_values)
                for begin in range(0, frames, size)
            ]
            audio = torch.cat([piece.flatten() for piece in pieces]).float()
        return audio.clone()  # outside: what is made in inference mode stays apart from all gradients


def _conv(inputs: int, outputs: int, kernel: int, dilation: int) -> nn.Conv2d:
    """Make a convolution over the last dimension that keeps its length."""
    return nn.Conv2d(inputs, outputs, (1, kernel), padding=(0, dilation * (kernel // 2)), dilation=(1, dilation))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
