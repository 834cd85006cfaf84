"""Audiobox Aesthetics: how listeners rate a sound, without a reference, on four axes of 1 to 10. Tjandra et al. 2025.

CE content enjoyment, CU content usefulness, PC production complexity, PQ production quality. A clip is cut into
windows of 10 s, the last one padded with zeros; a score is the mean over windows, weighted by their length. Equal to
the package audiobox-aesthetics within 1e-4 with the same checkpoint. Of that package only the weights are needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slm_eval.base.errors import SlmEvalError, unknown_name
from slm_eval.base.signature import Signature
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.observing.quality.audiobox import checkpoint as checkpoints
from slm_eval.observing.quality.audiobox.shapes import AXES
from slm_eval.speech import audio

if TYPE_CHECKING:
    from slm_eval.observing.quality.audiobox.network import AudioboxNetwork

RATE = 16_000  # Hz
WINDOW_SAMPLES = 10 * RATE
# WavLM learned to say what is hidden in spans of 10 frames (mask_time_length of its configuration): 9 steps of 20 ms
# and 25 ms. A shorter clip would have been hidden as a whole. The package scores from one sample up.
MIN_SAMPLES = 3_280
KEYS = tuple(f"audiobox.{axis}" for axis in AXES)
PRECISIONS = ("float32", "bf16")
# Windows computed at once on a GPU, always as many, and of lengths rounded up to so many frames: shapes, and with them
# the order of every sum, then depend on the window alone and not on what it is computed with.
GPU_BATCH, GPU_FRAMES = 8, 100


class AudioboxObserver(Observer):
    """Observes the four scores of a clip.

    On a CPU windows are computed each alone, at its own length and by one thread; on a GPU in batches of a fixed size.
    """

    name = "audiobox"
    sample_rate = RATE
    in_worker = False
    _digest: str | None = None
    _network: AudioboxNetwork | None = None
    _scale: np.ndarray | None = None  # (2, 4): mean and standard deviation per axis

    def __init__(self, checkpoint: str | Path | None = None, precision: str = "float32") -> None:
        if precision not in PRECISIONS:
            raise unknown_name("precision", str(precision), PRECISIONS)
        self.checkpoint = None if checkpoint is None else str(checkpoint)
        self.precision = precision

    @property
    def fingerprint(self) -> Signature:
        """Return the signature of the checkpoint's digest and the options.

        Raises:
            SlmEvalError: the checkpoint is missing.
        """
        if self._digest is None:
            self._digest = checkpoints.digest(self.checkpoint)
        return Signature(
            "audiobox",
            rev=1,
            min=MIN_SAMPLES,
            checkpoint=self._digest[:8],
            precision=self.precision,
            window="10s",
            rate=RATE,
            resampler=audio.RESAMPLER,
        )

    def missing(self) -> str | None:
        """Return None, or what is missing and how to get it. Never uses the network."""
        return checkpoints.problem(self.checkpoint)

    def fetch(self) -> None:
        """Get the checkpoint if it is not here yet.

        Raises:
            SlmEvalError: it is not to be had.
        """
        checkpoints.locate(self.checkpoint)

    def load(self, device: str) -> None:
        """Read the checkpoint onto ``device``.

        Raises:
            SlmEvalError: it is missing, damaged, holds code, or is no Audiobox Aesthetics checkpoint.
        """
        import torch

        from slm_eval.observing.quality.audiobox.network import AudioboxNetwork

        checkpoint = checkpoints.read(checkpoints.locate(self.checkpoint))
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self._network = AudioboxNetwork(checkpoint.tensors, checkpoint.normalise_pooled, device, dtype)
        self._scale = np.array([checkpoint.scale[axis] for axis in AXES]).T

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        """Score clips of 0.205 s and more.

        Returns:
            Per clip ``{"scores": {key: score}, "details": {"windows": number of windows}}``. A clip so loud that the
            network overflows is refused, and a shorter one.
        """
        long_enough = [signal for signal in signals if len(signal.samples) >= MIN_SAMPLES]
        windows = [split(signal.samples) for signal in long_enough]
        scores = self._score([window for of_clip in windows for window in of_clip])
        ends = np.cumsum([len(of_clip) for of_clip in windows])
        parts = iter(zip(windows, np.split(scores, ends[:-1]) if windows else [], strict=True))
        return [
            _too_short(signal) if len(signal.samples) < MIN_SAMPLES else _summary(signal, *next(parts))
            for signal in signals
        ]

    def _score(self, windows: Sequence[np.ndarray]) -> np.ndarray:
        """Return the scores of windows, shape (W, 4), float64."""
        if self._network is None or self._scale is None:
            raise SlmEvalError("load the Audiobox observer before observing: observer.load('cpu')")
        from slm_eval.base.precision import exact_float32
        from slm_eval.observing.quality.audiobox.network import frames_of

        on_cpu = self._network.device.type == "cpu"
        batches = plan([frames_of(len(window)) for window in windows], one_by_one=on_cpu)
        scores = np.empty((len(windows), len(KEYS)))
        with exact_float32(), single_threads() if on_cpu else nullcontext(map) as run:
            predicted = run(lambda batch: self._predict([windows[index] for index in batch[0]], *batch[1:]), batches)
            for (chosen, _, _), rows in zip(batches, predicted, strict=True):
                scores[chosen] = rows
        mean, deviation = self._scale
        return scores * deviation + mean

    def _predict(self, windows: Sequence[np.ndarray], width: int, size: int) -> np.ndarray:
        """Return the unscaled predictions of one batch of ``plan``, (W, 4), float32. Called from any thread."""
        import torch

        from slm_eval.observing.quality.audiobox.network import frames_of

        assert self._network is not None
        device = self._network.device
        batch = np.zeros((size, WINDOW_SAMPLES), np.float32)
        for row, window in enumerate(windows):
            batch[row, : len(window)] = window
        frames = [frames_of(len(window)) for window in windows] + [width] * (size - len(windows))
        # Both modes belong to a thread.
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            predicted = self._network(torch.from_numpy(batch).to(device), frames, width)
            rows: np.ndarray = predicted[: len(windows)].cpu().numpy()
        return rows


@contextmanager
def single_threads() -> Iterator[Callable[..., Iterable[Any]]]:
    """Yield a ``map`` over as many threads as torch may use, each with a torch that uses one.

    Windows side by side are faster than many threads on one window, which wait for each other after every operation
    (by far, where the machine is shared), and a score does not depend on the number of threads.
    """
    import torch

    allowed = torch.get_num_threads()
    pool = ThreadPoolExecutor(allowed, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)
        # Threads made later take over what any thread set last.
        torch.set_num_threads(allowed)


def split(samples: np.ndarray) -> list[np.ndarray]:
    """Cut a clip into windows of 10 s, one after the other; the last one holds what is left, and is not empty.

    >>> [len(window) for window in split(np.zeros(160_001, np.float32))]
    [160000, 1]
    """
    return [samples[start : start + WINDOW_SAMPLES] for start in range(0, len(samples), WINDOW_SAMPLES)]


def plan(frames: Sequence[int], one_by_one: bool) -> list[tuple[list[int], int, int]]:
    """Plan what is computed together.

    Args:
        frames: that hold sound, of each window.
        one_by_one: every window alone and at its own length, else batches of ``GPU_BATCH``.

    Returns:
        Per batch: the windows in it, how many frames are computed, and the size of the batch, which may exceed the
        number of windows. The latter two do not depend on the other windows.

    >>> plan([499, 30, 20], one_by_one=False)
    [([1, 2], 100, 8), ([0], 499, 8)]
    """
    if one_by_one:
        return [([index], count, 1) for index, count in enumerate(frames)]
    groups: dict[int, list[int]] = {}
    for index, count in enumerate(frames):
        # 499 frames are a full window.
        groups.setdefault(min(math.ceil(count / GPU_FRAMES) * GPU_FRAMES, 499), []).append(index)
    return [
        (group[start : start + GPU_BATCH], width, GPU_BATCH)
        for width, group in sorted(groups.items())
        for start in range(0, len(group), GPU_BATCH)
    ]


def _too_short(signal: Signal) -> Refusal:
    seconds = len(signal.samples) / RATE
    return Refusal("too_short", f"{seconds:.3f} s; Audiobox Aesthetics needs {MIN_SAMPLES / RATE} s")


def _summary(signal: Signal, windows: Sequence[np.ndarray], scores: np.ndarray) -> Observation | Refusal:
    """Return the mean over a clip's windows, weighted by their length, or why there is none."""
    means = np.average(scores, axis=0, weights=[len(window) for window in windows])
    if not np.isfinite(means).all():
        peak = float(np.abs(signal.samples).max())
        return Refusal("not_finite", f"the scores are not finite: samples reach {peak:g}, expected within about ±1")
    return {"scores": dict(zip(KEYS, means.tolist(), strict=True)), "details": {"windows": len(windows)}}
