"""The network of Allosaurus: bidirectional LSTM layers and a linear layer, over clips of any lengths at once.

Clips are one packed list of rows, T of all clips together. A layer walks over it in pieces: some steps of a group of
clips, the longest first, with states carried from piece to piece. Each direction reads a clip from its own end, so
there is no padding to mask, and a long clip needs no more than its own activations (5 kB a row, 33 rows a second).

PyTorch's packed sequences would do the same but run without oneDNN: 1.1 to 1.6 times slower on one CPU thread. One
thread per group and direction is faster than several threads in each product, and does not suffer when other
processes want the cores too.

With oneDNN a clip's logits are bit for bit the same whatever the number of clips, of steps and of threads (tests
check that). Elsewhere, as on CUDA, pieces are filled up to one fixed shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

_MAX_ROWS = 32  # clips side by side: the fastest of 8, 16, 32, 64 and 128 on a CPU
_MIN_ROWS = 8  # fewer only to give every thread a group
# Steps times clips of a piece: larger ones are a third slower (their gates leave the cache), smaller ones 10 % (the
# library arranges the weights anew for each).
_PIECE = 2048
# A product of fewer than 16 rows takes another path in the CPU's library, whose sums differ in the last digit.
_OUTPUT_ROWS = 256


class BLSTM:
    """Computes the raw logits of a batch of clips.

    Args:
        state: tensors with the names of the published model: ``blstm_layer.weight_ih_l0``, ``phone_layer.weight`` ...
        layers: number of bidirectional layers.
        device: "cpu" or "cuda:0".
    """

    def __init__(self, state: dict[str, Tensor], layers: int, device: str) -> None:
        self._device = torch.device(device)
        self._fixed_shape = self._device.type != "cpu" or not torch.backends.mkldnn.is_available()
        self._layers = [[_direction(state, layer, end, device) for end in ("", "_reverse")] for layer in range(layers)]
        self._weight = state["phone_layer.weight"].float().to(device)
        self._bias = state["phone_layer.bias"].float().to(device)

    def __call__(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """Return the logits of each clip, in order: (T, inputs) float32 -> (T, phones), T >= 1."""
        order = sorted(range(len(clips)), key=lambda index: -len(clips[index]))
        lengths = [len(clips[index]) for index in order]
        logits = self._run(torch.cat([clips[index] for index in order]), lengths).split(lengths)
        return [own for _, own in sorted(zip(order, logits, strict=True), key=lambda pair: pair[0])]

    def _run(self, x_TD: Tensor, lengths: Sequence[int]) -> Tensor:
        """Run packed clips, the longest first, through all layers: (T, inputs) -> (T, phones)."""
        threads = torch.get_num_threads() if self._device.type == "cpu" else 1
        walks = [
            list(self._walk(lengths, group, backwards))
            for group in _groups(len(lengths), threads)
            for backwards in (False, True)
        ]
        hidden = self._layers[0][0].hidden_size
        # Two buffers for all layers: fresh memory costs a sixth of the time.
        outputs_T2H = [x_TD.new_empty(len(x_TD), 2 * hidden) for _ in range(2)]
        with _single_threads(min(threads, len(walks))) as run_all:
            for layer in self._layers:
                halves = outputs_T2H[0].chunk(2, dim=1)
                run_all([_sweep(layer[index % 2], x_TD, halves[index % 2], walk) for index, walk in enumerate(walks)])
                x_TD = outputs_T2H[0]
                outputs_T2H.reverse()
        return self._output(x_TD)

    def _walk(self, lengths: Sequence[int], group: range, backwards: bool) -> Iterator[_Piece]:
        """Yield how one direction walks over a group: pieces of so many steps of the clips that last so long."""
        length = _PIECE // (_MAX_ROWS if self._fixed_shape else len(group))
        counts = torch.tensor(lengths)
        begins = (counts.cumsum(0) - counts)[group.start : group.stop]
        counts = counts[group.start : group.stop]
        for first in range(0, int(counts[0]), length):
            rows = int((counts > first).sum())
            last = min(first + length, int(counts[0]))
            if self._fixed_shape:
                rows, last = _MAX_ROWS, first + length
            spare = max(0, rows - len(counts))
            count, begin = (nn.functional.pad(part[:rows], (0, spare)) for part in (counts, begins))
            step = torch.arange(first, last)[:, None]
            real = step < count
            source = torch.where(real, begin + (count - 1 - step if backwards else step), 0)
            indices = (source.flatten(), source[real], real.flatten().nonzero()[:, 0])
            read, write, taken = (part.to(self._device) for part in indices)
            yield _Piece(last - first, rows, read, write, taken)

    def _output(self, x_TH: Tensor) -> Tensor:
        """Apply the linear layer, in products of one size: (T, 2 hidden) -> (T, phones)."""
        logits = x_TH.new_empty(len(x_TH), len(self._weight))
        for first in range(0, len(x_TH), _OUTPUT_ROWS):
            block = x_TH[first : first + _OUTPUT_ROWS]
            filled = nn.functional.pad(block, (0, 0, 0, _OUTPUT_ROWS - len(block)))
            logits[first : first + len(block)] = nn.functional.linear(filled, self._weight, self._bias)[: len(block)]
        return logits


_RunAll = Callable[[Sequence[Callable[[], None]]], None]


class _Piece(NamedTuple):
    """Some steps of some clips: which rows of the packed list it reads, and where what it computes goes."""

    steps: int
    rows: int
    read: Tensor  # (steps * rows,) rows of the packed list; 0 where a clip has ended
    write: Tensor  # (n,) rows of the packed list that this piece computes
    taken: Tensor  # (n,) where in the piece they are


def _groups(clips: int, threads: int) -> Iterator[range]:
    """Group clips side by side: as many as are fast, and no more than leaves a group for each two threads."""
    fair = -(-clips // max(1, threads // 2))
    size = min(_MAX_ROWS, max(_MIN_ROWS, fair))
    return (range(first, min(first + size, clips)) for first in range(0, clips, size))


def _sweep(lstm: nn.LSTM, x_TD: Tensor, y_TH: Tensor, walk: Sequence[_Piece]) -> Callable[[], None]:
    """Return the task of one direction of one layer over one group: it reads ``x_TD`` and writes ``y_TH``."""

    def run() -> None:
        state: tuple[Tensor, Tensor] | None = None
        with torch.inference_mode():  # a property of the thread
            for piece in walk:
                inputs = x_TD.index_select(0, piece.read).view(piece.steps, piece.rows, -1)
                outputs, state = lstm(inputs, _first_rows(state, piece.rows))
                y_TH.index_copy_(0, piece.write, outputs.flatten(0, 1).index_select(0, piece.taken))

    return run


def _first_rows(state: tuple[Tensor, Tensor] | None, rows: int) -> tuple[Tensor, Tensor] | None:
    """Return the states of the clips that go on: the first ``rows``, since the longest come first."""
    if state is None or state[0].shape[1] == rows:
        return state
    return state[0][:, :rows].contiguous(), state[1][:, :rows].contiguous()


@contextmanager
def _single_threads(workers: int) -> Iterator[_RunAll]:
    """Yield what runs tasks side by side, each on one thread; give the caller its number of threads back."""
    if workers < 2:
        yield _one_by_one
        return
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:

            def run_all(tasks: Sequence[Callable[[], None]]) -> None:
                for future in [pool.submit(task) for task in tasks]:
                    future.result()

            yield run_all
    finally:
        torch.set_num_threads(threads)  # what the workers set is in part a setting of the process


def _one_by_one(tasks: Sequence[Callable[[], None]]) -> None:
    for task in tasks:
        task()


def _direction(state: dict[str, Tensor], layer: int, end: str, device: str) -> nn.LSTM:
    """Return one direction of a layer, as an LSTM that reads forwards."""
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = {f"{kind}_l0": state[f"blstm_layer.{kind}_l{layer}{end}"].float() for kind in kinds}
    lstm = nn.LSTM(weights["weight_ih_l0"].shape[1], weights["weight_hh_l0"].shape[1]).requires_grad_(False).eval()
    lstm.load_state_dict(weights)
    return lstm.to(device)
