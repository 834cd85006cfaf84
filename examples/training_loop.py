"""pJSD inside a training loop: a tiny spoken language model learns from the example clips, and pJSD listens to it.

    pip install . torchmetrics                          # from a clone of the repository
    python examples/training_loop.py                    # less than a minute on two cores
    torchrun --nproc-per-node 2 examples/training_loop.py

The model is a toy of its kind, without text: speech is cut into chunks of 50 ms, alike chunks are one unit, a GRU
learns which unit follows which, and a sampled sequence is spoken by recorded chunks. It learns half of the clips and is
compared with the other half. All that is about evaluation stands in ``Evaluator``, and ``train`` calls it.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import adaptive_avg_pool1d, cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.rnn import pad_sequence
from torchmetrics.text import Perplexity

from slm_eval import pJSD
from slm_eval.base.errors import SlmEvalError

RATE = 16_000  # Hz, of the example clips
CHUNK = 800  # samples: 50 ms, about half a phone
START = 0  # the unit before the first one; no chunk belongs to it
SECONDS = 4  # of a clip that the model speaks
REAL = Path(__file__).parent / "data" / "real"


class Evaluator:
    """A metric of torchmetrics and one of slm-eval under one protocol: update, compute, reset, state_dict.

    Args:
        real: what pJSD compares with: a folder, or a list of files. It is recognised once, and then cached.
        logger: has TensorBoard's ``add_scalar(name, value, step)``.
        clips: how many the model speaks each time. pJSD depends on it: keep it, and read the value beside its floor.
    """

    def __init__(self, real: Path, logger: Any, clips: int, rank: int, world: int) -> None:
        self.perplexity = Perplexity(ignore_index=START)
        self.pjsd = pJSD(n=(1, 2), recognizer="pocketsphinx", real=real)
        self.logger, self.clips, self.rank, self.world = logger, clips, rank, world
        self.best = (float("inf"), self.pjsd.state_dict())

    @torch.inference_mode()
    def __call__(self, step: int, model: UnitModel, units: torch.Tensor, voice: Voice) -> dict[str, float]:
        """Every rank speaks and hears its part of the clips, and gets the numbers of all of them."""
        self.perplexity.update(model(units[:, :-1]), units[:, 1:])
        # A clip is a function of its number, so that the number of ranks changes nothing.
        for number in range(self.rank, self.clips, self.world):
            self._hear(voice.say(model.sample(number), number), step)
        values = {"perplexity": float(self.perplexity.compute())}
        summaries: Any = self.pjsd.compute()  # on all ranks: it gathers what each of them heard
        for key, summary in summaries.items():
            values[key] = summary.value
            if summary.floor is not None:  # too little speech has none
                values[f"{key}.floor"] = summary.floor
        if values["pjsd.2"] < self.best[0]:
            self.best = (values["pjsd.2"], self.pjsd.state_dict())  # the phones that this rank heard
        self.perplexity.reset()
        self.pjsd.reset()  # forgets the generated speech, keeps the recogniser and the real speech
        for name, value in values.items():
            if self.rank == 0:
                self.logger.add_scalar(name, value, step)
        return values

    def _hear(self, waveform: np.ndarray, step: int) -> None:
        """A model at its beginning may be silent or emit NaN; training goes on."""
        try:
            self.pjsd.update([waveform], sample_rate=RATE)
        except SlmEvalError as problem:
            print(f"step {step}: a clip was left out: {problem}")

    def best_again(self) -> str:
        """From the state that was kept: nothing is spoken or heard again. A checkpoint may keep it as well."""
        self.pjsd.load_state_dict(self.best[1])
        summaries: Any = self.pjsd.compute()
        self.pjsd.reset()
        return "\n".join(
            f"best {key} {found.value:.3f}, 95 % interval {found.ci95}" for key, found in summaries.items()
        )


def train(asked: argparse.Namespace, logger: Any, rank: int, world: int) -> None:
    """Learn the order of units in half of the example clips; evaluate every so many steps."""
    files, output = sorted(REAL.rglob("*.ogg"))[: asked.files], asked.output
    held_out = output / "held_out.txt"
    held_out.write_text("".join(f"{file.resolve()}\n" for file in files[1::2]), encoding="utf-8")
    voice = Voice(files[::2])
    # (B, T): the first 6 s of each clip, after START.
    learnt, unseen = (
        pad_sequence([voice.hear(file)[:120] for file in half], batch_first=True) for half in (files[::2], files[1::2])
    )
    torch.manual_seed(0)  # the same model on every rank
    model = UnitModel(voice.n_units)
    parallel = DistributedDataParallel(model) if world > 1 else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    evaluate = Evaluator(held_out, logger, asked.clips, rank, world)
    for step in range(asked.steps + 1):
        if step % asked.every == 0:
            values = evaluate(step, model, unseen[rank::world], voice)
            if rank == 0:
                print(
                    f"step {step:4}", *(f"{name} {value:.3f}" for name, value in values.items()), sep="  ", flush=True
                )
            # Of each rank: what it heard is a part of the whole.
            state = {"model": model.state_dict(), "best": evaluate.best}
            torch.save(state, output / f"checkpoint.{rank}.pt")
        batch = learnt[rank::world]
        loss = cross_entropy(parallel(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten(), ignore_index=START)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    best = evaluate.best_again()
    if rank == 0:
        print(best)


class UnitModel(nn.Module):
    """The next unit from those before it."""

    def __init__(self, n_units: int, width: int = 128) -> None:
        super().__init__()
        self.embed = nn.Embedding(n_units, width)
        self.recur = nn.GRU(width, width, batch_first=True)
        self.out = nn.Linear(width, n_units)

    def forward(self, units: torch.Tensor) -> torch.Tensor:
        """(B, T) -> logits (B, T, n_units)."""
        return self.out(self.recur(self.embed(units))[0])

    def sample(self, seed: int) -> list[int]:
        """Units for SECONDS of speech, drawn from the model."""
        generator = torch.Generator().manual_seed(seed)
        unit, state, units = torch.tensor([[START]]), None, []
        for _ in range(SECONDS * RATE // CHUNK):
            hidden, state = self.recur(self.embed(unit), state)
            logits = self.out(hidden[:, -1])
            logits[:, START] = -torch.inf
            unit = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            units.append(int(unit))
        return units


class Voice:
    """Recorded chunks by unit: what units sound like, and which units speech consists of."""

    def __init__(self, files: list[Path], n_units: int = 300) -> None:
        self.chunks = torch.cat([_chunks(file) for file in files])
        points = _bands(self.chunks)
        # Every so many chunks one stands for a unit; the others belong to the nearest of those.
        anchors = points[torch.linspace(0, len(points) - 1, n_units).long()]
        used = torch.unique(torch.cdist(points, anchors).argmin(1))
        self.anchors, self.n_units = anchors[used], len(used) + 1
        self.unit_of = self._nearest(points)

    def hear(self, file: Path) -> torch.Tensor:
        """Units of a clip, START before them; shape (T,)."""
        return torch.cat([torch.tensor([START]), self._nearest(_bands(_chunks(file)))])

    def say(self, units: list[int], seed: int) -> np.ndarray:
        """Samples at RATE. For each unit the chunk that followed the last one, where it is of that unit, else any."""
        generator = torch.Generator().manual_seed(seed)
        edge = torch.linspace(0, 1, 80)  # 5 ms
        fade = torch.cat([edge, torch.ones(CHUNK - 160), edge.flip(0)])
        spoken, at = [], -1
        for unit in units:
            at += 1
            if at == len(self.unit_of) or self.unit_of[at] != unit:
                of_unit = torch.nonzero(self.unit_of == unit).flatten()
                at = int(of_unit[torch.randint(len(of_unit), (1,), generator=generator)])
            spoken.append(self.chunks[at] * fade)
        return torch.cat(spoken).numpy()

    def _nearest(self, points: torch.Tensor) -> torch.Tensor:
        return torch.cdist(points, self.anchors).argmin(1) + 1


def _chunks(file: Path) -> torch.Tensor:
    """Samples of a clip, shape (T, CHUNK)."""
    samples = torch.from_numpy(soundfile.read(file, dtype="float32")[0])
    return samples[: len(samples) // CHUNK * CHUNK].view(-1, CHUNK)


def _bands(chunks: torch.Tensor) -> torch.Tensor:
    """Log power in 24 bands of both halves of each chunk, shape (T, 48)."""
    power = torch.fft.rfft(chunks.view(len(chunks), 2, -1)).abs().square()
    return (adaptive_avg_pool1d(power, 24) + 1e-5).log().flatten(1)


class JsonLines:
    """The one method of TensorBoard's writer that is used here, into a text file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.jsonl"

    def add_scalar(self, name: str, value: float, step: int) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "name": name, "value": value}) + "\n")


def main() -> None:
    """Parse, set up the process group where torchrun started several, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs", "training_loop"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=50, help="evaluate every so many steps")
    parser.add_argument("--clips", type=int, default=24, help=f"clips of {SECONDS} s that are spoken for an evaluation")
    parser.add_argument("--files", type=int, default=40, help="how many of the example clips to use")
    parser.add_argument("--tensorboard", action="store_true", help="log for TensorBoard, not into log.jsonl")
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    if asked.tensorboard:
        from torch.utils.tensorboard import SummaryWriter

        logger: Any = SummaryWriter(asked.output)
    else:
        logger = JsonLines(asked.output)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        dist.init_process_group("gloo")
    train(asked, logger, int(os.environ.get("RANK", "0")), world)
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
