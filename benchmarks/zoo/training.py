"""How fast training is, beside other ways to carry a step out, and what bounds it.

    python benchmarks/zoo/training.py speed --device cuda:0 --layers 8 --way compile=false --way attention=flash
    python benchmarks/zoo/training.py profile --device cuda:0 --layers 8 --output $OUT/training-profile.txt

``speed``: the configurations of the ladder, 10 s of context and 30 s of target, on random log-mels or on --shards. A
step is one micro-batch. Each --way is the trainer with other values of its configuration, several by commas, and
``attention=KERNEL`` for the one kernel it may take; the profiler says which one ran. All are alive, and take turns in
every round in another order; a ratio is the median of the rounds' ratios, in samples. Warm-up and compiling are not in
the times; the device is waited for before and after each turn. MFU counts true operations (3 F of the reference,
recomputation not) over the dense bf16 peak. Targets on one H200: 40 % at 8 layers, 28 % at 4, 12 % at 2. What --minutes
leaves no time for is listed; the file is written after every size.

``profile``: the kernels of one step, how long the host and the device wait for each other and for the feed, and which
calls make the host wait. Any key=value of the configuration may follow.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch
from data_reading import made_shards
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiler
from training_trial import KERNELS, Times, Trial, Way

from model_zoo.cdslm.flops import Tokens, training_flops, utilization
from model_zoo.planning.gpus import MFU_TARGETS
from model_zoo.training.config import load_config

sys.path.append(str(Path(__file__).parents[1]))
from machine import stamp

CONFIGS = Path(__file__).parents[2] / "model_zoo" / "configs" / "ladder"
AS_TRAINED = "as trained"
RECOMPILATIONS = 64  # of one block: every way is a graph of its own
_FOREVER = "steps=1000000"  # so that the learning rate is never 0

_COMMON = [
    click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]..."),
    click.option("--layers", multiple=True, type=int, default=(8, 4, 2, 1), show_default=True),
    click.option("--shards", type=click.Path(path_type=Path), help="Prepared speech; else random log-mels."),
    click.option("--hours", default=2.0, show_default=True, help="Hours of random log-mels."),
    click.option("--device", default="cpu", show_default=True),
    click.option("--output", type=click.Path(path_type=Path)),
]


def _common(command: Any) -> Any:
    for option in reversed(_COMMON):
        command = option(command)
    return command


@click.group()
def main() -> None:
    """Measure the trainer, see the module."""
    torch._dynamo.config.recompile_limit = RECOMPILATIONS


@main.command()
@_common
@click.option("--way", "ways", multiple=True, metavar="KEY=VALUE[,KEY=VALUE]...", help="Measure this beside it, too.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=1.0, show_default=True, help="Length of each turn, at least; and 2 steps.")
@click.option("--minutes", default=9.0, show_default=True, help="Time in all; what is left then is left out.")
def speed(
    overrides: tuple[str, ...],
    layers: tuple[int, ...],
    shards: Path | None,
    hours: float,
    device: str,
    output: Path | None,
    ways: tuple[str, ...],
    rounds: int,
    seconds: float,
    minutes: float,
) -> None:
    """Measure samples a second and MFU."""
    clock = Clock(rounds, seconds, time.monotonic() + 60 * minutes)
    result = {"data": str(shards.name) if shards else f"{hours} h of random log-mels", **stamp(device), "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        data = shards or made_shards(Path(folder, "shards"), hours).path
        for count in layers:
            named = {name: configured(count, data, overrides, name) for name in (AS_TRAINED, *ways)}
            for row in measure(named, torch.device(device), Path(folder, str(count)), clock):
                result["rows"].append({"layers": count, **row})
                click.echo(line(result["rows"][-1]))
            _write(json.dumps(result, indent=1), output)


def configured(layers: int, shards: Path, overrides: tuple[str, ...] = (), way: str = AS_TRAINED) -> Way:
    """Return the ladder's configuration of a size with the values of a way; its batch is one micro-batch."""
    values = [] if way == AS_TRAINED else way.split(",")
    kernel = next((value.partition("=")[2] for value in values if value.startswith("attention=")), None)
    if kernel not in (None, *KERNELS):
        raise click.UsageError(f"attention must be one of {', '.join(KERNELS)}, got {kernel!r}")
    values = [value for value in values if not value.startswith("attention=")]
    settings = [f"data.shards={shards}", _FOREVER, *overrides, *values]
    config = load_config(CONFIGS / f"L{layers}.yaml", settings)
    size = config.micro_batch or config.batch
    return Way(load_config(CONFIGS / f"L{layers}.yaml", [*settings, f"batch={size}", f"micro_batch={size}"]), kernel)


class Clock(NamedTuple):
    """How long is measured."""

    rounds: int
    seconds: float
    deadline: float

    @property
    def over(self) -> bool:
        """Tell whether there is no time left."""
        return time.monotonic() > self.deadline


def measure(ways: dict[str, Way], device: torch.device, folder: Path, clock: Clock) -> list[dict[str, Any]]:
    """Return a row for each way, from rounds in which each has its turn; one that cannot be done says why."""
    rows: dict[str, dict[str, Any]] = {name: {"name": name} for name in ways}
    trials: dict[str, Trial] = {}
    for number, (name, way) in enumerate(ways.items()):
        if clock.over:
            rows[name]["left_out"] = "no time was left"
            continue
        try:
            trials[name] = Trial(way, folder / str(number), device)
        except RuntimeError as error:  # memory, or a kernel or compiler that refuses: the others are measured
            rows[name]["failed"] = _one_line(error)
    times: dict[str, list[Times]] = {name: [] for name in trials}
    steps = {name: max(2, math.ceil(clock.seconds / trial.pace)) for name, trial in trials.items()}
    for turn in range(clock.rounds):
        if turn and clock.over:
            break
        for name in random.Random(turn).sample(list(trials), len(trials)):
            try:
                trials[name].steps(2)  # the feed filled up while others had their turn
                times[name].append(trials[name].steps(steps[name]))
            except RuntimeError as error:  # memory, as others have come to life since
                rows[name]["failed"] = _one_line(error)
                trials.pop(name).close()
    paces = {name: [steps[name] * trials[name].config.batch / turn.all for turn in times[name]] for name in trials}
    for name, trial in trials.items():
        rows[name] |= _row(trial, times[name], steps[name])
        if name != AS_TRAINED and AS_TRAINED in paces:
            pairs = zip(paces[name], paces[AS_TRAINED], strict=True)
            rows[name]["times_as_trained"] = statistics.median(pace / trained for pace, trained in pairs)
        trial.close()
    torch._dynamo.reset()  # guards of graphs that are not needed any more would be asked at every call
    return list(rows.values())


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _row(trial: Trial, times: list[Times], steps: int) -> dict[str, Any]:
    config, spec = trial.config, trial.run.shards.spec
    tokens = Tokens.from_config(config.model)
    took = statistics.median(turn.all for turn in times) / steps
    samples = config.batch / took
    frames = config.model.context_frames + config.model.target_frames
    cuda = trial.device.type == "cuda"
    true = samples * training_flops(config.model, tokens, spec.n_mels)
    used = utilization(true, torch.cuda.get_device_name(trial.device) if cuda else "cpu")
    return {
        "batch": config.batch,
        "tokens_per_sample": tokens.all,
        "rounds": len(times),
        "steps_per_round": steps,
        "seconds_per_step": took,
        "fastest": min(turn.all for turn in times) / steps,
        "slowest": max(turn.all for turn in times) / steps,
        "samples_per_second": samples,
        "tokens_per_second": samples * tokens.all,
        "times_real_time": samples * frames / spec.frame_rate,
        "flops_per_second": true,
        "mfu": used.value,
        "mfu_unknown": used.unknown,
        "mfu_accepted": MFU_TARGETS.get(config.model.layers) if config.model.layers > 1 else None,
        "host_share": statistics.median(turn.issued / turn.all for turn in times),
        "feed_share": statistics.median(turn.waited / turn.all for turn in times),
        "peak_gib": trial.peak / 2**30 if cuda else None,
        "attention": trial.attention,
        "first_step_seconds": trial.compiling,
    }


def line(row: dict[str, Any]) -> str:
    """Return a row as a line."""
    start = f"L={row['layers']:<2} {row['name']:<32}"
    if "samples_per_second" not in row:
        return f"{start} {row.get('failed', row.get('left_out'))}"
    parts = [f"{row['samples_per_second']:9.2f} samples/s {row['times_real_time']:9.0f}x real time"]
    if row["mfu"] is not None:
        wanted = row["mfu_accepted"]
        parts.append(f"MFU {row['mfu']:6.1%}" + (f" (accepted: {wanted:.0%})" if wanted else ""))
        parts.append(f"{row['peak_gib']:.1f} GiB")
    if "times_as_trained" in row:
        parts.append(f"{row['times_as_trained']:.3f}x as trained")
    return f"{start} {'  '.join(parts)}  host {row['host_share']:.0%}, feed {row['feed_share']:.0%}"


@main.command()
@_common
@click.option("--steps", default=10, show_default=True, help="Steps that are timed without the profiler.")
@click.option("--rows", default=40, show_default=True, help="Kernels to list.")
def profile(
    overrides: tuple[str, ...],
    layers: tuple[int, ...],
    shards: Path | None,
    hours: float,
    device: str,
    output: Path | None,
    steps: int,
    rows: int,
) -> None:
    """Show where the time of a step goes."""
    texts = []
    with tempfile.TemporaryDirectory() as folder:
        data = shards or made_shards(Path(folder, "shards"), hours).path
        for count in layers:
            trial = Trial(configured(count, data, overrides), Path(folder, str(count)), torch.device(device))
            texts.append(f"{json.dumps(stamp(device))}\n\n{count} layers, {anatomy(trial, steps, rows)}")
            trial.close()
            _write("\n\n".join(texts), output)
            click.echo(texts[-1])


def anatomy(trial: Trial, steps: int, rows: int) -> str:
    """Return what one step is made of, as a text."""
    cuda = trial.device.type == "cuda"
    times = trial.steps(steps)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if cuda:
            torch.cuda.set_sync_debug_mode("warn")
        trial.steps(1)
        if cuda:
            torch.cuda.set_sync_debug_mode("default")
    waits = sorted({f"{call.filename}:{call.lineno}" for call in said if "synchroniz" in str(call.message)})
    with profiler(
        activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])], acc_events=True
    ) as seen:
        trial.steps(1)
    averages = seen.key_averages()
    order = "self_cuda_time_total" if cuda else "self_cpu_time_total"
    kernels = [event for event in averages if event.device_type.name != "CPU" and not event.is_user_annotation]
    busy = sum(kernel.self_device_time_total for kernel in kernels) / 1e6
    config = trial.config
    lines = [
        f"a batch of {config.batch}, attention {trial.attention}",
        f"{times.all / steps:.4f} s a step without the profiler (mean of {steps})",
        f"{times.issued / times.all:.1%} of it until the host had asked for everything; near 100 %: it is the limit",
        f"{times.waited / times.all:.1%} of it the host waited for the feed",
    ]
    if cuda:
        lines.append(f"{busy / (times.all / steps):.1%} of it kernels ran (with the profiler, over without)")
        lines.append(f"calls of a step that make the host wait: {', '.join(waits) or 'none'}")
    return "\n".join([*lines, "", averages.table(sort_by=order, row_limit=rows, max_name_column_width=90)])


def _write(text: str, output: Path | None) -> None:
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text + "\n")


if __name__ == "__main__":
    main()
