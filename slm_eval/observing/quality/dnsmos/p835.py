"""The P.835 network of DNSMOS over overlapping windows: every layer runs once per clip, not once per window.

A DNSMOS window is 900 frames of 10 ms and the next one starts 100 frames later. Separate windows compute each frame up
to nine times; the network is convolutional, so almost all of that is the same. Only the columns within reach of a
window's zero padding differ: 0.6 % of a window. So, over a *run* of overlapping windows:

1. conv0-conv5 run once, over *tiles* of a few hops, so that memory does not grow with the clip;
2. per window, the edge columns alone are computed again, from the zero padding and from the cached neighbours inside;
3. conv6 and the last pooling run on two grids, since a hop is 12.5 columns there: even windows start on one, odd ones
   on the other;
4. a window's global maximum is that of its interior columns and of its own edges.

Source of the architecture: the graph of ``sig_bak_ovr.onnx`` (Reddy et al., DNSMOS P.835, arXiv:2110.01763); the column
arithmetic is spelled out where it is used. Layouts: T time, F frequency, C channels, W windows, K hops of a tile; every
activation is kept as (..., T, F, C), which PyTorch calls channels_last and which oneDNN convolves fastest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slm_eval.observing.quality.dnsmos.layers import (
    HOP_FRAMES,
    WINDOW_HOPS,
    Layer,
    convolution,
    convolve,
    dense_stack,
    pool,
    split_runs,
)

FRAME_LENGTH, FRAME_HOP = 320, 160  # samples
_LOG10 = 2.3025851  # as the graph has it, in float32
# Frames before and after a tile whose values its inner columns depend on. The padding of a tile spoils one more column
# per convolution: 4 after conv3, 2 after the pooling, 3 after conv4, 2, 3 after conv5; these are 12 frames.
_HALO = 12
# conv6 of a tile needs the conv5 columns just before it: pooled columns p-1..p+1 of either grid.
_CARRY = 6
# Hops per tile. CPU: the largest activation, conv0's 82 kB per frame, stays below the 32 MB beyond which glibc maps
# fresh pages for every allocation (measured: 300-frame tiles are 15 % faster per frame than 1000-frame ones).
# CUDA: large enough that the launches of kernels do not show (3000 frames: 0.25 GB).
_TILE_HOPS = {"cpu": 3, "cuda": 30}
# Of the 112 columns of a window at conv6, those that no zero padding reaches: first, and last + 1.
_INTERIOR = (3, 110)
_FEATURES = 64  # channels of conv6


class P835(nn.Module):
    """Raw SIG, BAK and OVRL of the windows of a clip.

    Args:
        spectrum: the two trained 161×320 matrices that stand for a Fourier transform, stacked: (322, 320).
        convolutions: conv0 to conv6.
        dense: the three dense layers.
    """

    def __init__(self, spectrum: Tensor, convolutions: Sequence[Layer], dense: Sequence[Layer]) -> None:
        super().__init__()
        self.spectrum = nn.Parameter(spectrum, requires_grad=False)
        self.convolutions = nn.ModuleList(convolution(layer) for layer in convolutions)
        self.dense = dense_stack(dense)

    def forward(self, samples: Tensor, windows: Sequence[int], tile_hops: int | None = None) -> Tensor:
        """Score windows.

        Args:
            samples: of the whole clip, 16 kHz, shape (n,), float32.
            windows: which windows to score, ascending; window w starts at w seconds and spans 144160 samples.
            tile_hops: seconds of audio per tile; default: fit for the device.

        Returns:
            Shape (W, 3): raw SIG, BAK, OVRL.
        """
        tile_hops = tile_hops or _TILE_HOPS["cpu" if samples.device.type == "cpu" else "cuda"]
        features_WC = torch.cat([self._run(samples, run, tile_hops) for run in split_runs(windows)])
        return self.dense(features_WC)

    def _run(self, samples: Tensor, windows: Sequence[int], tile_hops: int) -> Tensor:
        """Return features (W, 64) of overlapping windows: the maximum over time and frequency of conv6."""
        first, last = windows[0], windows[-1]
        hops = last - first + WINDOW_HOPS
        frames = samples[first * HOP_FRAMES * FRAME_HOP :].unfold(0, FRAME_LENGTH, FRAME_HOP)[: hops * HOP_FRAMES]
        interior = _Interior(hops, samples.device)
        left, right = [], []
        for start, stop in even_tiles(hops, tile_hops):
            tile = self._tile(frames, start, stop)
            interior.add(self.convolutions[6], tile.conv5)
            # Window w of this run begins in hop w and ends with hop w + 8.
            left.append(self._left_edges(tile, slice(0, max(0, hops - WINDOW_HOPS + 1 - start))))
            right.append(self._right_edges(tile, slice(max(0, WINDOW_HOPS - 1 - start), stop - start)))
        every_WC = torch.stack([interior.maxima(), torch.cat(left), torch.cat(right)]).amax(0)
        scored = torch.tensor([window - first for window in windows], device=samples.device)
        return every_WC[scored].relu_()

    def _tile(self, frames: Tensor, start: int, stop: int) -> _Tile:
        """Apply conv0-conv5 to hops ``start`` to ``stop`` of a run, of which ``frames`` (T, 320) are all."""
        low = max(0, start * HOP_FRAMES - _HALO)
        high = min(len(frames), stop * HOP_FRAMES + _HALO)
        skip, columns = start * HOP_FRAMES - low, (stop - start) * HOP_FRAMES
        power = self._log_power(frames[low:high])
        full = [power]
        for index in range(3):
            full.append(self._convolve(index, full[-1]).relu_())
        pool1 = pool(self._convolve(3, full[-1])).relu_()
        conv4 = self._convolve(4, pool1).relu_()
        pool2 = pool(conv4)
        conv5 = self._convolve(5, pool2).relu_()

        def hops(activation: Tensor, rate: int) -> Tensor:
            """Return the columns of the tile proper, by hop: (1, T, F, C) to (K, T/K, F, C)."""
            inner = activation[0, skip // rate : (skip + columns) // rate]
            return inner.unflatten(0, (stop - start, HOP_FRAMES // rate))

        return _Tile(
            full=[hops(activation, 1) for activation in full],
            pool1=hops(pool1, 2),
            conv4=hops(conv4, 2),
            pool2=hops(pool2, 4),
            conv5=hops(conv5, 4),
        )

    def _log_power(self, frames: Tensor) -> Tensor:
        """Return log power (1, T, 161, 1) of frames (T, 320). The graph's root and square in between cancel."""
        real, imaginary = (frames @ self.spectrum.T).chunk(2, dim=1)
        power = real.square().add_(imaginary.square())
        return power.clamp_(min=1e-12).log_().div_(_LOG10)[None, :, :, None]

    def _convolve(self, index: int, x_NTFC: Tensor) -> Tensor:
        return convolve(self.convolutions[index], x_NTFC)

    def _left_edges(self, tile: _Tile, which: slice) -> Tensor:
        """Return maxima (K, 64) over conv6's columns 0-2 of the windows that begin with the tile's hops ``which``."""
        zero, one, two, three = (activation[which] for activation in tile.full)
        if not len(zero):
            return zero.new_empty(0, _FEATURES)
        x = self._grow_left(0, zero[:, :2])
        x = self._grow_left(1, x, one[:, 1:3])
        x = self._grow_left(2, x, two[:, 2:4])
        x = pool(self._grow_left(3, x, three[:, 3:5]))  # columns 0-3 of conv3, 0-1 once pooled
        x = self._grow_left(4, x, tile.pool1[which, 2:4])
        x = pool(torch.cat([x, tile.conv4[which, 3:4]], 1))
        x = self._grow_left(5, x, tile.pool2[which, 2:4])
        x = pool(torch.cat([x, tile.conv5[which, 3:8]], 1))  # columns 0-3: those of the edge and two inside
        return self._convolve(6, x)[:, :-1].amax((1, 2))

    def _right_edges(self, tile: _Tile, which: slice) -> Tensor:
        """Return maxima (K, 64) over conv6's columns 110-111 of the windows that end with the tile's hops ``which``."""
        zero, one, two, three = (activation[which] for activation in tile.full)
        if not len(zero):
            return zero.new_empty(0, _FEATURES)
        x = self._grow_right(0, zero[:, -2:])
        x = self._grow_right(1, x, one[:, -3:-1])
        x = self._grow_right(2, x, two[:, -4:-2])
        x = pool(self._grow_right(3, x, three[:, -5:-3]))  # columns 896-899 of conv3, 448-449 once pooled
        x = self._grow_right(4, x, tile.pool1[which, -4:-2])
        x = pool(torch.cat([tile.conv4[which, -4:-3], x], 1))
        x = self._grow_right(5, x, tile.pool2[which, -4:-2])
        # The last pooling drops column 224; 218-223 become 109-111.
        x = pool(torch.cat([tile.conv5[which, -7:-3], x[:, :-1]], 1))
        return self._convolve(6, x)[:, 1:].amax((1, 2))

    def _grow_left(self, index: int, *columns: Tensor) -> Tensor:
        """Return the columns at a window's left end that see its padding: one more than before, ``columns[0]``.

        The last two columns given are the cached neighbours inside. Only the padding on the window's own side is
        real: the column at the other end is dropped.
        """
        return self._convolve(index, torch.cat(columns, 1))[:, :-1].relu_()

    def _grow_right(self, index: int, *columns: Tensor) -> Tensor:
        """Return the same at the right end: the cached neighbours are left of the edge."""
        return self._convolve(index, torch.cat(columns[::-1], 1))[:, 1:].relu_()


@dataclass(frozen=True)
class _Tile:
    """What the windows' edges need of a tile, by hop: each (K, T/K, F, C)."""

    full: list[Tensor]  # log power, conv0, conv1, conv2: 100 columns per hop
    pool1: Tensor  # conv3 pooled: 50
    conv4: Tensor  # 50
    pool2: Tensor  # conv4 pooled: 25
    conv5: Tensor  # 25


class _Interior:
    """conv6 of a run on both grids, reduced over frequency: 64 numbers per 80 ms, all that outlives a tile."""

    def __init__(self, hops: int, device: torch.device) -> None:
        self.columns = torch.zeros(2, _FEATURES, hops * HOP_FRAMES // 8 + 1, device=device)
        self.windows = hops - WINDOW_HOPS + 1
        self._carry: Tensor | None = None
        self._seen = 0  # conv5 columns

    def add(self, conv6: nn.Module, conv5_KTFC: Tensor) -> None:
        """Add the next tile's conv5 columns."""
        x = conv5_KTFC.flatten(0, 1)
        self._seen += len(x)
        if self._carry is not None:
            x = torch.cat([self._carry, x])
        start = self._seen - len(x)
        self._carry = x[-_CARRY:]
        for grid in (0, 1):
            offset = (grid - start) % 2
            values = convolve(conv6, pool(x[None, offset:]))[0].amax(1)  # (columns, 64)
            first = (start + offset) // 2
            # The outermost columns saw the padding of this piece; neighbouring pieces, or a window's edges, have them.
            self.columns[grid, :, first + 1 : first + len(values) - 1] = values[1:-1].T

    def maxima(self) -> Tensor:
        """Return maxima (W, 64) over the interior columns of each window of the run.

        Window w starts at conv5 column 25 w, which is column floor(25 w / 2) of grid w % 2, and two windows on are 25
        columns on.
        """
        low, high = _INTERIOR
        maxima = self.columns.new_empty(self.windows, _FEATURES)
        for grid in (0, 1):
            count = len(range(grid, self.windows, 2))
            if count:
                begin = 25 * grid // 2 + low
                span = self.columns[grid, :, begin : begin + 25 * (count - 1) + high - low]
                maxima[grid::2] = F.max_pool1d(span[None], high - low, 25)[0].T
        return maxima


def even_tiles(hops: int, most: int) -> list[tuple[int, int]]:
    """Cut ``hops`` into the fewest tiles of at most ``most`` hops, as even as can be: (start, stop) each.

    >>> even_tiles(10, 4)
    [(0, 3), (3, 6), (6, 10)]
    """
    count = -(-hops // most)
    bounds = [hops * index // count for index in range(count + 1)]
    return list(pairwise(bounds))
