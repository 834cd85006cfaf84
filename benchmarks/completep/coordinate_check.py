"""Does what a network computes, and what training changes in it, keep its size while the network grows?

    python benchmarks/completep/coordinate_check.py --output benchmarks/results

Widths 128 to 1024 at 4 layers and depths 1 to 16 at width 256, under CompleteP and under the standard parametrisation
(a network that is its own base). Each is trained for some steps on sequences that are drawn, and asked after each step
about one and the same batch. The mean absolute value of what it computes, and of what the steps so far have changed in
that, may differ between sizes by a factor of 2 at most, from step 3 on: before that gates are 0 and answers trivial.
The method is that of Tensor Programs V (arXiv 2203.03466, appendix D).

Beside it, what decides about Adam's epsilon: how the root of the second moment grows with width and depth, for each row
of the table, how far it stays above epsilon, and what the deepest network does with other epsilons. One thread of a
CPU: about 10 minutes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from coloured_mels import coloured_mels
from torch import Tensor

from model_zoo.cdslm.config import DiffusionConfig, ModelConfig
from model_zoo.cdslm.loss import DiffusionLoss
from model_zoo.cdslm.model import MMDiT
from model_zoo.cdslm.mup import GROUPS, group_of, parameter_groups
from model_zoo.noise import stratified_timesteps, training_noise

sys.path.append(str(Path(__file__).parents[1]))
from machine import stamp

LADDERS = {
    "width": [ModelConfig(layers=4, width=width) for width in (128, 256, 512, 1024)],
    "depth": [ModelConfig(layers=layers, width=256) for layers in (1, 2, 4, 8, 16)],
}
QUANTITIES = ("time condition", "AdaLN", "qkv", "fc1", "context", "generation", "velocity")
KINDS = {"completep": "CompleteP", "standard": "standard"}
FIELDS = ("activation", "change")
NAMES = {"activation": "mean |x|", "change": "mean |change of x|"}
FROM = 3  # the first step that counts
QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
BETAS = (0.9, 0.95)
EPSILONS = (1e-16, 1e-12, 1e-10, 1e-8)  # of the base size; the last is torch's


@dataclass(frozen=True)
class Training:
    """How each network is trained; its learning rate, weight decay and epsilon are those of the base size."""

    steps: int = 10
    samples: int = 8
    context: int = 16  # frames
    target: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.03
    epsilon: float = 1e-12


@dataclass(frozen=True, eq=False)
class Course:
    """What one network did: of each of ``QUANTITIES``, means over its values, after step 1, 2, ..."""

    activation: dict[str, list[float]]  # mean |x|
    change: dict[str, list[float]]  # mean |x - x before the first step|
    moments: dict[str, list[float]]  # quantiles of sqrt(v_hat) after the last step, by row of the table


def own_base(config: ModelConfig) -> ModelConfig:
    """The same network without multipliers: the standard parametrisation."""
    return replace(config, base_layers=config.layers, base_width=config.d)


class Watch:
    """Keeps what a network computes, by name; of what every block has, one tensor a block and stream."""

    def __init__(self, model: MMDiT) -> None:
        self._seen: dict[str, list[Tensor]] = {}
        model.register_forward_hook(lambda _, __, velocity: self._see("velocity", velocity))
        model.final_adaln.register_forward_pre_hook(lambda _, inputs: self._see("time condition", inputs[0]))
        *before, last = model.blocks
        last.register_forward_hook(lambda _, __, streams: self._see("generation", streams[1]))
        for block in before[-1:]:  # the last one leaves the context as it is, so with one layer nothing changes it
            block.register_forward_hook(lambda _, __, streams: self._see("context", streams[0]))
        for name, module in model.blocks.named_modules():
            kind = {"adaln": "AdaLN", "qkv": "qkv", "fc1": "fc1"}.get(name.rpartition(".")[2])
            if kind:
                module.register_forward_hook(lambda _, __, output, kind=kind: self._see(kind, output))

    def _see(self, name: str, value: Tensor) -> None:
        self._seen.setdefault(name, []).append(value.detach())

    def taken(self) -> dict[str, list[Tensor]]:
        """All since this was last asked."""
        seen, self._seen = self._seen, {}
        return seen


def follow(config: ModelConfig, training: Training, seed: int) -> Course:
    """Train one network and watch it."""
    model = MMDiT(config, seed=seed)
    groups = parameter_groups(model, training.learning_rate, training.weight_decay, training.epsilon)
    optimizer = torch.optim.AdamW(groups, betas=BETAS, fused=True)
    loss = DiffusionLoss.from_config(DiffusionConfig())
    watch = Watch(model)
    probe = _batch(loss, training, seed, step=-1)

    def answers() -> dict[str, list[Tensor]]:
        with torch.no_grad():
            watch.taken()
            model(probe[0], probe[1], loss.taus(probe[3]))
            return watch.taken()

    before = answers()
    course = Course({name: [] for name in before}, {name: [] for name in before}, {})
    for step in range(training.steps):
        context, noisy, velocity, t = _batch(loss, training, seed, step)
        optimizer.zero_grad()
        loss(model(context, noisy, loss.taus(t)), velocity, t).value.backward()
        optimizer.step()
        for name, now in answers().items():
            course.activation[name].append(_mean([x.abs() for x in now]))
            course.change[name].append(_mean([(x - y).abs() for x, y in zip(now, before[name], strict=True)]))
    course.moments.update(_moments(model, optimizer))
    return course


def _batch(loss: DiffusionLoss, training: Training, seed: int, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Context, noisy target, its velocity, and steps of the schedule."""
    mels = coloured_mels(training.samples, training.context + training.target, seed, step)
    context, target = mels[:, : training.context], mels[:, training.context :].contiguous()
    t = stratified_timesteps(len(loss.tau), training.samples, seed, step)
    noisy, velocity = loss.noised(target, training_noise(torch.empty_like(target), seed, step), t)
    return context, noisy, velocity, t


def _mean(values: Sequence[Tensor]) -> float:
    return float(np.mean([value.mean().item() for value in values]))


def _moments(model: MMDiT, optimizer: torch.optim.Optimizer) -> dict[str, list[float]]:
    """``QUANTILES`` of sqrt(v_hat) of each row of the table, without what never had a gradient.

    The last bias apart: among its row it alone is not behind the multiplier 1 / m_N.
    """
    rows: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter in optimizer.state:
            state = optimizer.state[parameter]
            root = (state["exp_avg_sq"] / (1 - BETAS[1] ** state["step"].item())).sqrt().flatten()
            row = name if name == "final.bias" else group_of(name).name
            rows.setdefault(row, []).append(root[root > 0])
    return {row: np.quantile(torch.cat(each).numpy(), QUANTILES).tolist() for row, each in rows.items()}


def averaged(courses: Sequence[Course]) -> Course:
    """Means over seeds."""

    def over_seeds(field: str) -> dict[str, list[float]]:
        each = [getattr(course, field) for course in courses]
        return {name: np.mean([one[name] for one in each], axis=0).tolist() for name in each[0]}

    return Course(over_seeds("activation"), over_seeds("change"), over_seeds("moments"))


def spread(courses: Sequence[Course], field: str, name: str) -> float:
    """Largest over smallest among the sizes that have this quantity, at the worst step that counts."""
    values = np.array([of[name][FROM - 1 :] for of in (getattr(course, field) for course in courses) if name in of])
    return float((values.max(0) / values.min(0)).max())


def power(sizes: Sequence[int], courses: Sequence[Course], row: str) -> float:
    """p of "the median of sqrt(v_hat) goes by size^p", by least squares."""
    medians = [course.moments[row][QUANTILES.index(0.5)] for course in courses]
    return float(np.polyfit(np.log(sizes), np.log(medians), 1)[0])


def by_epsilon(training: Training, seeds: int) -> list[dict[str, Any]]:
    """What the deepest network changed in the last step's answers, with each epsilon."""
    deepest = LADDERS["depth"][-1]
    rows = []
    for epsilon in EPSILONS:
        course = averaged([follow(deepest, replace(training, epsilon=epsilon), seed) for seed in range(seeds)])
        rows.append({"epsilon": epsilon, "change": {name: each[-1] for name, each in course.change.items()}})
    return rows


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder.")
def main(seeds: int, output: Path) -> None:
    """Train, write coordinate-check.json and draw it."""
    torch.set_num_threads(1)
    training = Training()
    rows: list[dict[str, Any]] = []
    summary: list[dict[str, Any]] = []
    for kind in KINDS:
        for axis, ladder in LADDERS.items():
            courses = []
            for config in ladder if kind == "completep" else map(own_base, ladder):
                courses.append(averaged([follow(config, training, seed) for seed in range(seeds)]))
                rows.append({"parametrisation": kind, "axis": axis, "layers": config.layers, "width": config.d})
                rows[-1] |= asdict(courses[-1])
                eps = {each.name: each.options(config, 1.0, 0.0, training.epsilon)[2] for each in GROUPS}
                eps["final.bias"] = eps["biases outside blocks"]
                rows[-1]["epsilon"] = eps
            sizes = [config.layers if axis == "depth" else config.d for config in ladder]
            found = {
                "parametrisation": kind,
                "axis": axis,
                **{field: {name: spread(courses, field, name) for name in QUANTITIES} for field in FIELDS},
                "power": {row: power(sizes, courses, row) for row in courses[0].moments},
            }
            summary.append(found)
            click.echo(json.dumps(_rounded(found)))
    result = {
        "training": asdict(training), "seeds": seeds, "from_step": FROM, "quantiles": QUANTILES,
        "spread_and_power": summary, "rows": rows, "by_epsilon": by_epsilon(training, seeds), **stamp(),
    }  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    (output / "coordinate-check.json").write_text(json.dumps(_rounded(result), indent=1) + "\n")
    draw(rows, output / "coordinate-check.png")


def _rounded(value: Any) -> Any:
    """Four digits of every number that is no integer."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """A column for each quantity; a line for each step that counts, relative to its mean over sizes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    colours = {"standard": "#d55e00", "completep": "#0072b2"}
    figure, grid = pyplot.subplots(4, len(QUANTITIES), figsize=(14, 8), sharex="row", sharey=True, layout="constrained")
    lines = [(axis, field) for field in FIELDS[::-1] for axis in LADDERS]
    for panels, (axis, field) in zip(grid, lines, strict=True):
        size = "width" if axis == "width" else "layers"
        for panel, name in zip(panels, QUANTITIES, strict=True):
            panel.axhspan(2**-0.5, 2**0.5, color="0.92", lw=0)
            for kind, colour in colours.items():
                mine = [r for r in rows if (r["parametrisation"], r["axis"]) == (kind, axis) and name in r[field]]
                values = np.array([row[field][name][FROM - 1 :] for row in mine])
                values /= np.exp(np.log(values).mean(0))
                for step, opacity in zip(values.T, np.linspace(0.35, 1, values.shape[1]), strict=True):
                    panel.plot([row[size] for row in mine], step, color=colour, alpha=opacity, lw=0.9, marker=".", ms=3)
            panel.set_xscale("log", base=2)
            panel.set_yscale("log", base=2)
            ticks = [getattr(config, "d" if axis == "width" else "layers") for config in LADDERS[axis]]
            panel.set_xticks(ticks, [str(each) for each in ticks], fontsize=8)
            panel.set_xlabel({"width": "width", "depth": "layers"}[axis], fontsize=8)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_yticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"], fontsize=8)
        panels[0].set_ylabel(f"{NAMES[field]}\nrelative to the mean over sizes", fontsize=8)
    for panel, name in zip(grid[0], QUANTITIES, strict=True):
        panel.set_title(name, loc="left", fontsize=10)
    handles = [Line2D([], [], color=colours[kind], label=title) for kind, title in KINDS.items()]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
