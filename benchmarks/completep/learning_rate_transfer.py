"""Does the learning rate that is best for a small network stay best for larger ones?

    python benchmarks/completep/learning_rate_transfer.py --output benchmarks/results

Networks of 1, 2, 4 and 6 layers, as wide as they are deep, learn the same sequences at learning rates a factor of 2
apart, under CompleteP and under the standard parametrisation, which are one at 4 layers, the base. What counts is the
loss on sequences not seen, at the end of a decay to 0. The best rate is where a parabola through the lowest point and
its neighbours has its minimum. About 10 minutes of one core of a CPU.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from coloured_mels import coloured_mels
from torch import Tensor
from tqdm import tqdm

from model_zoo.cdslm.config import DiffusionConfig, ModelConfig
from model_zoo.cdslm.loss import DiffusionLoss
from model_zoo.cdslm.model import MMDiT
from model_zoo.cdslm.mup import parameter_groups
from model_zoo.noise import stratified_timesteps, training_noise

sys.path.append(str(Path(__file__).parents[1]))
from machine import stamp

KINDS = {"completep": "CompleteP", "standard": "standard"}
RATES = tuple(2.5e-4 * 2**i for i in range(7))
UNSEEN = 10_000  # added to the seed


@dataclass(frozen=True)
class Task:
    """What is learnt, by which network, for how long."""

    unit: int = 32  # width per layer
    head_dim: int = 16
    base_layers: int = 4
    patch: int = 4
    context: int = 32  # frames
    target: int = 32
    steps: int = 60
    samples: int = 16
    warm_up: float = 0.1  # share of the steps
    weight_decay: float = 0.03
    epsilon: float = 1e-12
    validation: int = 512  # samples

    def network(self, layers: int, kind: str) -> ModelConfig:
        """The network of so many layers; under ``standard`` it is its own base."""
        base = self.base_layers if kind == "completep" else layers
        return ModelConfig(
            layers=layers,
            width=layers * self.unit,
            patch=self.patch,
            head_dim=self.head_dim,
            base_layers=base,
            base_width=base * self.unit,
        )


def final_loss(task: Task, layers: int, kind: str, rate: float, seed: int) -> float:
    """Train at this learning rate of the base size; the loss on sequences not seen."""
    model = MMDiT(task.network(layers, kind), seed=seed)
    groups = parameter_groups(model, rate, task.weight_decay, task.epsilon)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    warm_up = max(1, round(task.warm_up * task.steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, (task.steps - step) / (task.steps - warm_up))
    )
    loss = DiffusionLoss.from_config(DiffusionConfig())
    for step in range(task.steps):
        optimizer.zero_grad()
        _loss(model, loss, task, task.samples, seed, step).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return _loss(model, loss, task, task.validation, seed + UNSEEN, 0).item()


def _loss(model: MMDiT, loss: DiffusionLoss, task: Task, samples: int, seed: int, step: int) -> Tensor:
    mels = coloured_mels(samples, task.context + task.target, seed, step)
    context, target = mels[:, : task.context], mels[:, task.context :].contiguous()
    t = stratified_timesteps(len(loss.tau), samples, seed, step)
    noisy, velocity = loss.noised(target, training_noise(torch.empty_like(target), seed, step), t)
    return loss(model(context, noisy, loss.taus(t)), velocity, t).value


def best_rate(rates: tuple[float, ...], losses: np.ndarray) -> float | None:
    """Where the loss (rates,) is lowest, between the points of the grid; None if that is at an edge of it."""
    at = int(np.argmin(losses))
    if not 0 < at < len(rates) - 1:
        return None
    left, low, right = losses[at - 1 : at + 2]
    shift = 0.5 * (left - right) / (left - 2 * low + right)
    return float(rates[at] * (rates[1] / rates[0]) ** shift)


@click.command()
@click.option("--layers", default="1,2,4,6", show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--processes", default=2, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder.")
def main(layers: str, seeds: int, processes: int, output: Path) -> None:
    """Train, write learning-rate-transfer.json and draw it."""
    task = Task()
    depths = [int(each) for each in layers.split(",")]
    # At the base the parametrisations are the same. The largest networks first, so that processes end together.
    runs = [
        (task, depth, kind, rate, seed)
        for depth in sorted(depths, reverse=True)
        for kind in (KINDS if depth != task.base_layers else ["completep"])
        for rate in RATES
        for seed in range(seeds)
    ]
    spawn = get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        finished = pool.map(final_loss, *zip(*runs, strict=True))
        losses = dict(zip(runs, tqdm(finished, total=len(runs), unit="run"), strict=True))
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        for depth in depths:
            same = "completep" if depth == task.base_layers else kind
            each = np.array([[losses[task, depth, same, rate, seed] for rate in RATES] for seed in range(seeds)])
            rows.append(
                {
                    "parametrisation": kind,
                    "layers": depth,
                    "width": depth * task.unit,
                    "losses": each.mean(0).tolist(),
                    "best": best_rate(RATES, each.mean(0)),
                    "best_by_seed": [best_rate(RATES, of_seed) for of_seed in each],
                    "losses_by_seed": each.tolist(),
                }
            )
            click.echo(f"{kind:<10} L={depth}  best {rows[-1]['best']}  {np.round(each.mean(0), 4)}")
    result = {"task": asdict(task), "rates": RATES, "seeds": seeds, "rows": rows, **stamp()}
    output.mkdir(parents=True, exist_ok=True)
    (output / "learning-rate-transfer.json").write_text(json.dumps(result, indent=1) + "\n")
    draw(result, output / "learning-rate-transfer.png")


def draw(result: dict[str, Any], path: Path) -> None:
    """A panel for each parametrisation, a line for each size, a dot where it is best."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    colours = ("#56b4e9", "#0072b2", "#009e73", "#d55e00", "#cc79a7")
    lowest = min(min(row["losses"]) for row in result["rows"])
    for panel, (kind, title) in zip(panels, KINDS.items(), strict=True):
        rows = [row for row in result["rows"] if row["parametrisation"] == kind]
        for row, colour in zip(rows, colours, strict=False):
            name = f"L={row['layers']}, d={row['width']}"
            panel.plot(result["rates"], row["losses"], color=colour, marker=".", lw=1.2, label=name)
            if row["best"] is not None:
                panel.axvline(row["best"], color=colour, lw=0.8, ls=":")
                panel.plot([row["best"]], [min(row["losses"])], color=colour, marker="o", ms=7, mfc="none")
        panel.set_xscale("log", base=2)
        panel.set_xticks(result["rates"], [f"{rate:.2g}" for rate in result["rates"]], fontsize=8)
        panel.set_xlabel("learning rate at the base size")
        panel.set_title(title, loc="left", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(lowest - 0.003, lowest + 0.06)
    panels[0].set_ylabel("loss on sequences not seen")
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=160)


if __name__ == "__main__":
    main()
