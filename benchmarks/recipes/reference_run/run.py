"""A 36 M model from nothing to its score in one command, in minutes on one GPU.

    python benchmarks/recipes/reference_run/run.py -o runs/reference --results benchmarks/results/reference-run \\
        --hours 20 --minutes 12 --device cuda:0 --limit-minutes 9

Speech is made (and --speech adds real recordings), prepared, and cut into contexts that the model never heard. A step
is timed, so that the learning rate reaches 0 after --minutes. The model continues the contexts at guidance 2 and 4, and
slm-eval compares with what was really said, beside real speech that went through the vocoder alone. Every stage is a
command that may be typed by hand: they are printed. --limit-minutes ends the command early, training after a
checkpoint; the same command goes on. The results are small: loss.json, loss.png, scores.md, scores.json, and a page to
listen to for each guidance.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

HERE = Path(__file__).parent
BENCHMARKS = HERE.parents[1]
sys.path += [str(BENCHMARKS), str(BENCHMARKS / "zoo")]
from machine import stamp  # noqa: E402 - beside the folder of recipes

from slm_eval.base import launching  # noqa: E402

PROGRAMS = {"slm_eval": "slm_eval.cli.main", "model_zoo": "model_zoo.cli.main"}  # package -> the module of its main
GUIDANCE = (2.0, 4.0)
_LOGGED, _VALIDATED, _SAVED = 200, 10, 5  # times in a run
_TIMED = 20  # steps, after those that warm up
_TO_STOP = 180  # seconds that a command has to save what it reached


class OutOfTime(Exception):
    """--limit-minutes have passed."""


class Stages:
    """Commands that were done are not done again.

    Args:
        work: where they are noted down.
        deadline: of ``time.monotonic``.
    """

    def __init__(self, work: Path, deadline: float) -> None:
        self.work, self.deadline = work, deadline

    def do(self, name: str, *command: object) -> None:
        """Run a command of ours, the name of its package first.

        Raises:
            OutOfTime: it was ended, and goes on when it is called again.
            subprocess.CalledProcessError: it failed; it said why.
        """
        if self.done(name):
            return
        if time.monotonic() > self.deadline:
            raise OutOfTime(name)
        package, *arguments = map(str, command)
        words = launching.python(PROGRAMS[package], *arguments)
        click.echo(f"\n{name}: {shlex.join([package, *arguments])}", err=True)
        start = time.monotonic()
        process = subprocess.Popen(words, env=launching.environment())
        try:
            process.wait(self.deadline - start)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
            raise OutOfTime(name) from None
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, words)
        self.note(name, {"seconds": round(time.monotonic() - start, 1)})

    def done(self, name: str) -> dict[str, Any] | None:
        """What was noted down when it was."""
        path = self.work / "stages" / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def note(self, name: str, values: dict[str, Any]) -> None:
        """It is done."""
        path = self.work / "stages" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values, indent=1) + "\n")


@click.command()
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-o", "--output", "work", required=True, type=click.Path(path_type=Path), help="Folder for all of it.")
@click.option("--results", required=True, type=click.Path(path_type=Path), help="Folder for what is kept.")
@click.option("--config", default=HERE / "L4.yaml", show_default=True, type=click.Path(path_type=Path))
@click.option("--hours", default=20.0, show_default=True, help="Hours of made speech.")
@click.option("--speech", multiple=True, type=click.Path(path_type=Path), help="Real recordings to learn from too.")
@click.option("--validation", default=0.05, show_default=True, help="Share of the recordings that is never learnt.")
@click.option("--minutes", default=12.0, show_default=True, help="Minutes of training.")
@click.option("--clips", default=64, show_default=True, help="Clips that are continued and scored.")
@click.option("--sampler-steps", default=100, show_default=True)
@click.option("--vocoder", default="griffin-lim", show_default=True, help="Or a file of slm-zoo convert-vocoder.")
@click.option("--metrics", default="pjsd,dnsmos", show_default=True)
@click.option("--recognizer", default="pocketsphinx", show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--limit-minutes", default=60.0, show_default=True, help="Then the command ends, to be given again.")
def main(work: Path, results: Path, limit_minutes: float, **options: Any) -> None:
    """Make speech, train, sample, vocode and score."""
    stages = Stages(work, time.monotonic() + 60 * limit_minutes)
    try:
        run(stages, results, **options)
    except OutOfTime as name:
        click.echo(f"the time is over in {name}; the same command goes on", err=True)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)  # the command said why


def run(
    stages: Stages,
    results: Path,
    overrides: tuple[str, ...],
    config: Path,
    hours: float,
    speech: tuple[Path, ...],
    validation: float,
    minutes: float,
    clips: int,
    sampler_steps: int,
    vocoder: str,
    metrics: str,
    recognizer: str,
    device: str,
) -> None:
    """All stages, each after the one before."""
    work, where = stages.work, ("--device", device)
    changes = [f"data.shards={work / 'shards'}", *overrides]
    model = _model(config, changes)
    stages.do("speech", "model_zoo", "make-speech", "-o", work / "speech", "--hours", hours)
    split = ("--validation", validation)
    stages.do("prepare", "model_zoo", "prepare", work / "speech", *speech, "-o", work / "shards", *split)
    lengths = ("--context-seconds", model.context_seconds, "--seconds", model.target_seconds, "--clips", clips)
    held_out = ("--held-out", work / "shards")
    stages.do("cut", "model_zoo", "cut", work / "speech", "-o", work / "cut", *lengths, *held_out)
    if not stages.done("pace"):
        stages.note("pace", paced(config, changes, 60 * minutes, device))
    steps = stages.done("pace")["steps"]
    often = [f"{key}={max(1, steps // times)}" for key, times in _HOW_OFTEN.items()]
    told = [*changes, f"steps={steps}", f"optimizer.warmup_steps={min(500, steps // 10)}", *often]
    stages.do("train", "model_zoo", "train", config, "-o", work / "run", *where, *told)
    trained, real = work / "run" / "model.safetensors", work / "cut" / "real"
    for guidance in GUIDANCE:
        below = work / f"guidance-{guidance:g}"
        how = ("--guidance", guidance, "--steps", sampler_steps, "--vocoder", vocoder, *where)
        contexts = ("model_zoo", "sample", trained, work / "cut" / "contexts")
        stages.do(f"sample-{guidance:g}", *contexts, "-o", below / "speech", *how)
    stages.do("vocode", "model_zoo", "vocode", real, "-o", work / "vocoded" / "speech", "--vocoder", vocoder, *where)
    what = ("--real", real, "--metrics", metrics, "--recognizer", recognizer, *where)
    for name in _names():
        said = work / name / "speech"
        stages.do(f"score-{name}", "slm_eval", "run", "--generated", said, *what, "--output", work / name / "run")
    summarise(stages, results, device)


_HOW_OFTEN = {"log_every": _LOGGED, "validate_every": _VALIDATED, "checkpoint_every": _SAVED}


def _names() -> list[str]:
    return [*(f"guidance-{each:g}" for each in GUIDANCE), "vocoded"]


def _model(config: Path, changes: list[str]) -> Any:
    from model_zoo.training.config import load_config

    return load_config(config, changes).model


def paced(config: Path, changes: list[str], seconds: float, device: str) -> dict[str, Any]:
    """How long a step takes, and how many fit. The model that is timed is thrown away."""
    import torch
    from training_trial import Trial, Way

    from model_zoo.training.config import load_config
    from slm_eval.base.device import resolve_device

    with tempfile.TemporaryDirectory() as folder:
        asked = load_config(config, changes)
        trial = Trial(Way(asked), Path(folder), torch.device(resolve_device(device)))
        took = trial.steps(_TIMED).all / _TIMED
        trial.close()
    steps = max(_VALIDATED, round(seconds / took))
    click.echo(f"a step takes {took:.3f} s: {steps} steps", err=True)
    return {"seconds_per_step": took, "steps": steps, "first_step_seconds": trial.compiling}


def summarise(stages: Stages, results: Path, device: str) -> None:
    """What is kept of it."""
    from slm_eval.base.device import resolve_device

    work = stages.work
    results.mkdir(parents=True, exist_ok=True)
    log = [json.loads(line) for line in (work / "run" / "log.jsonl").read_text().splitlines()]
    done = json.loads((work / "run" / "result.json").read_text())
    took = {path.stem: json.loads(path.read_text()) for path in sorted((work / "stages").glob("*.json"))}
    facts = {"result": done, "stages": took, **stamp(resolve_device(device))}
    curve = {kind: _columns([line for line in log if line["kind"] == kind]) for kind in ("train", "validation")}
    (results / "loss.json").write_text(json.dumps(facts | curve) + "\n")
    draw(curve, done, facts["machine"], results / "loss.png")
    scores = {}
    for name in _names():
        scores[name] = json.loads((work / name / "run" / "summary.json").read_text())["metrics"]
        shutil.copyfile(work / name / "run" / "report.html", results / f"{name}.html")
    (results / "vocoded.html").unlink()  # the bound is in the table; nobody made it
    (results / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    (results / "scores.md").write_text(table(scores, done))
    click.echo((results / "scores.md").read_text())


_KEPT = ("step", "seconds", "loss", "ema_loss", "v_mse", "ema_v_mse", "gradient_norm", "learning_rate", "mfu",
         "samples_per_second", "peak_memory_gib", "hours_seen")  # fmt: skip


def _columns(lines: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [line.get(key) for line in lines] for key in _KEPT if any(key in line for line in lines)}


def table(scores: dict[str, Any], done: dict[str, Any]) -> str:
    """Markdown: a metric a line, with 95 % intervals."""
    lines = [
        f"{done['parameters']:,} parameters, {done['steps']} steps, {done['hours_seen']:,.0f} h heard in "
        f"{done['seconds'] / 60:.1f} minutes; validation loss {done['loss']:.4f}.\n",
        f"| | {' | '.join(scores)} | real |",
        f"|---|{'---|' * (len(scores) + 1)}",
    ]
    for key, first in next(iter(scores.values())).items():
        bound = first["real"]["value"] if "real" in first else first.get("floor")
        cells = [_cell(each[key]) if key in each else "-" for each in scores.values()]
        lines.append(f"| {key} | {' | '.join(cells)} | {'-' if bound is None else f'{bound:.3f}'} |")
    lines.append("\n`real` is the score of real speech, for pJSD of real speech against real speech.\n")
    return "\n".join(lines)


def _cell(metric: dict[str, Any]) -> str:
    low_high = metric.get("ci95")
    return f"{metric['value']:.3f}" + (f" [{low_high[0]:.3f}, {low_high[1]:.3f}]" if low_high else "")


def draw(curve: dict[str, Any], done: dict[str, Any], machine: dict[str, Any], path: Path) -> None:
    """Weighted loss and error of v over the steps: of every batch, and on held-out speech."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for panel, key, title in (
        (panels[0], "loss", "loss (min(SNR, 5) weighting)"),
        (panels[1], "v_mse", "mean squared error of v"),
    ):
        train, held_out = curve["train"], curve["validation"]
        panel.plot(train["step"], train[key], color="0.65", lw=0.8, label="training batches")
        panel.plot(held_out["step"], held_out[f"ema_{key}"], "o-", ms=3, color="#0072b2", label="held out, averaged")
        panel.set_yscale("log")
        panel.set_xlabel("steps")
        panel.set_title(title, loc="left", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    where = machine.get("gpu", machine["processor"])
    figure.suptitle(
        f"{done['parameters'] / 1e6:.1f} M parameters, {done['seconds'] / 60:.1f} minutes on {where}", fontsize=10
    )
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
