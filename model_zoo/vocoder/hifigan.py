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
from model_zoo.vocoder import Vocoder
from slm_eval.errors import SlmEvalError
from slm_eval.precision import exact_float32

# Frames synthesised at once. On a CPU what a piece computes stays in its cache; on a GPU a piece has to fill it.
_PIECE_FRAMES = {"cpu": 200}
_PIECE_FRAMES_ELSEWHERE = 4000


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
        doubled = tuple(2 * scale for scale in self.upsample_scales)
        if (
            min([self.in_channels, *self.upsample_scales, *odd, *(d for each in self.resblock_dilations for d in each)])
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
        """Samples that one frame becomes."""
        return prod(self.upsample_scales)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GeneratorConfig:
        """From JSON or YAML values, whose lists become tuples.

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
        """``active``: LeakyReLU of ``x``, which the blocks of a stage share. A new tensor; neither is changed."""
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

    def forward(self, x: Tensor, crop: slice) -> Tensor:
        """``crop``: which of the upsampled positions the residual blocks are needed on."""
        upsampled = self.upsample(F.leaky_relu(x, self.slope))[..., crop]
        active = F.leaky_relu(upsampled, self.slope)
        first, *others = self.blocks
        total: Tensor = first(upsampled, active)
        for block in others:
            total.add_(block(upsampled, active))
        return total.div_(len(self.blocks))

    def needs(self, start: int, stop: int) -> tuple[int, int]:
        """The input positions that outputs ``start`` to ``stop`` of the upsampling depend on."""
        return (start + self.padding) // self.scale - 1, (stop - 1 + self.padding) // self.scale + 1


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
        """All at once."""
        return self.piece(mels, 0, mels.shape[-1])

    def piece(self, mels: Tensor, start: int, stop: int) -> Tensor:
        """What ``forward`` gives for the frames from ``start`` to ``stop``, without computing the rest.

        Every stage computes the positions that the next one hears, so that at an inner edge of a piece the first stage
        has 16 frames more to do, the last one not one; nothing but rounding tells pieces from the whole.
        """
        wanted = self._wanted(start, stop, mels.shape[-1])
        first, last = wanted[0]
        reach = self.config.kernel_size // 2
        outer = max(0, first - reach)
        x = self.input_conv(mels[..., outer : last + reach])[..., first - outer : last - outer]
        for stage, (begin, end) in zip(self.stages, wanted[1:], strict=True):
            origin = first * stage.scale  # type: ignore[operator]
            x = stage(x, slice(begin - origin, end - origin))
            first = begin
        samples = self.output_conv(F.leaky_relu_(x, 0.01)).tanh_()  # ParallelWaveGAN has torch's own slope here
        offset = start * self.config.hop - first
        return samples[..., offset : offset + (stop - start) * self.config.hop]

    def _wanted(self, start: int, stop: int, frames: int) -> list[tuple[int, int]]:
        """The positions [begin, end) that each stage's input, then its blocks, are computed on, from first to last."""
        length = frames * self.config.hop
        begin, end = start * self.config.hop, stop * self.config.hop
        margin = self.config.kernel_size // 2
        wanted: list[tuple[int, int]] = []
        for stage in reversed(self.stages):
            assert isinstance(stage, Stage)
            begin, end = max(0, begin - margin - stage.reach), min(length, end + margin + stage.reach)
            wanted.insert(0, (begin, end))
            length, margin = length // stage.scale, 0
            begin, end = stage.needs(begin, end)
        return [(max(0, begin), min(length, end)), *wanted]


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
        """One clip, (T, n_mels) -> (T * hop,), in pieces: memory beside mels and audio does not grow with T."""
        size = _PIECE_FRAMES.get(self.device.type, _PIECE_FRAMES_ELSEWHERE)
        frames = len(log_mel)
        with exact_float32():
            mels = self.statistics.normalize(log_mel.to(self.device)).to(self.dtype)
            mels = mels.T[None, :, None].contiguous(memory_format=self.format)
            pieces = [self.generator.piece(mels, at, min(at + size, frames)) for at in range(0, frames, size)]
            audio = torch.cat([piece.flatten() for piece in pieces]).float()
        return audio.clone()  # outside: what is made in inference mode stays apart from all gradients


def _conv(inputs: int, outputs: int, kernel: int, dilation: int) -> nn.Conv2d:
    """A convolution over the last dimension that keeps its length."""
    return nn.Conv2d(inputs, outputs, (1, kernel), padding=(0, dilation * (kernel // 2)), dilation=(1, dilation))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
