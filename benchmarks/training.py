"""How fast training is, step by step with what each decision brings, and what bounds it.

    python benchmarks/training.py speed --device cuda:0 --layers 8 --layers 4 --output $OUT/training.json
    python benchmarks/training.py profile --device cuda:0 --layers 8 --output $OUT/training-profile.txt

``speed``: the configurations of the ladder, 10 s of context and 30 s of target, on random log-mels or on --shards.

    ladder     eager float32, then one after the other bfloat16, compiled blocks, cuDNN attention, fused AdamW, no
               garbage collection, feed ahead, which is the trainer as it is; a batch is half a micro batch, as float32
               takes twice the memory
    attention  each kernel alone; the profiler says which one ran
    memory     activation checkpointing, and several micro batches
    trained    the trainer as it is, at the batch of its configuration

Those of a part are all alive, and take turns in every round in another order; a ratio is the median of the rounds'
ratios. Warm-up and compiling are not in the times; the device is waited for before and after each turn. MFU counts true
operations (3 F of the reference, recomputation not) over the dense bf16 peak. Targets on one H200: 40 % at 8 layers,
28 % at 4, 12 % at 2. What --minutes leaves no time for is listed; the file is written after every part.

``profile``: the kernels of one step, how long the host and the device wait for each other and for the feed, and which
calls make the host wait. Any key=value of the configuration may follow.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from data_reading import made_shards
from machine import stamp
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiler
from training_variants import Times, Trial, Variant, attention_kernels, ladder, memory_savers

from model_zoo.cdslm.flops import training_flops, utilization
from model_zoo.planning.gpus import MFU_TARGETS
from model_zoo.training.config import TrainConfig, load_config

CONFIGS = Path(__file__).parent.parent / "model_zoo" / "configs" / "ladder"
PARTS = ("trained", "ladder", "attention", "memory")
RECOMPILATIONS = 64  # of one block: every way is a graph of its own
_FOREVER = "steps=1000000"  # so that the learning rate is never 0

_COMMON = [
    click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]..."),
    click.option("--layers", multiple=True, type=int, default=(8, 4, 2, 1), show_default=True),
    click.option("--shards", type=click.Path(path_type=Path), help="Of slm-zoo prepare; random log-mels if not given."),
    click.option("--hours", default=2.0, show_default=True, help="Of random log-mels."),
    click.option("--device", default="cpu", show_default=True),
    click.option("--output", type=click.Path(path_type=Path)),
]


def _common(command: Any) -> Any:
    for option in reversed(_COMMON):
        command = option(command)
    return command


@click.group()
def main() -> None:
    """See the module."""
    torch._dynamo.config.recompile_limit = RECOMPILATIONS


@main.command()
@_common
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), default=PARTS, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=1.0, show_default=True, help="Of each turn, at least; and 2 steps.")
@click.option("--minutes", default=9.0, show_default=True, help="In all; what is left then is left out.")
def speed(
    overrides: tuple[str, ...],
    layers: tuple[int, ...],
    shards: Path | None,
    hours: float,
    device: str,
    output: Path | None,
    parts: tuple[str, ...],
    rounds: int,
    seconds: float,
    minutes: float,
) -> None:
    """Samples a second and MFU by way of training."""
    deadline = time.monotonic() + 60 * minutes
    result = {"data": str(shards.name) if shards else f"{hours} h of random log-mels", **stamp(device), "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        data = shards or made_shards(Path(folder, "shards"), hours).path
        for part in parts:
            for count in layers:
                config = configured(count, data, overrides)
                for turn in _turns(part, config):
                    clock = Clock(rounds, seconds, deadline)
                    rows = measure(turn, config, torch.device(device), Path(folder, f"{part}-{count}"), clock)
                    for row in rows:
                        result["rows"].append({"layers": count, "part": part, **row})
                        click.echo(told(result["rows"][-1]))
                    _write(json.dumps(result, indent=1), output)


def configured(layers: int, shards: Path, overrides: tuple[str, ...] = ()) -> TrainConfig:
    """The ladder's configuration of a size, on these shards."""
    return load_config(CONFIGS / f"L{layers}.yaml", [f"data.shards={shards}", _FOREVER, *overrides])


def _turns(part: str, config: TrainConfig) -> list[list[Variant]]:
    """What takes turns with each other. Batches of other sizes each go alone, not to share the memory."""
    at_once = config.micro_batch or config.batch
    if part == "trained":
        return [[Variant("as trained")]]
    if part == "memory":
        sizes = sorted({max(1, at_once * factor // 4) for factor in (1, 2, 4, 8)})
        return [[_alone(each, at_once)] for each in memory_savers(sizes)]
    if part == "ladder":
        return [[_alone(each, max(1, at_once // 2)) for each in ladder()]]
    return [[_alone(each, at_once) for each in attention_kernels()]]


def _alone(variant: Variant, size: int) -> Variant:
    """A step is one part of so many samples, unless the variant says of how many."""
    return replace(variant, config={"batch": size, "micro_batch": size, **variant.config})


class Clock:
    """How long is measured."""

    def __init__(self, rounds: int, seconds: float, deadline: float) -> None:
        self.rounds, self.seconds, self.deadline = rounds, seconds, deadline

    @property
    def over(self) -> bool:
        """Whether there is no time left."""
        return time.monotonic() > self.deadline


def measure(
    variants: list[Variant], config: TrainConfig, device: torch.device, folder: Path, clock: Clock
) -> list[dict[str, Any]]:
    """A row for each, from rounds in which each has its turn; one that cannot be done says why."""
    rows: dict[str, dict[str, Any]] = {each.name: {"name": each.name} for each in variants}
    trials: list[Trial] = []
    for number, variant in enumerate(variants):
        if clock.over:
            rows[variant.name]["left_out"] = "no time was left"
            continue
        try:
            trials.append(Trial(variant, config, folder / f"{variant.name}-{number}", device))
        except RuntimeError as error:  # memory, or a kernel or compiler that refuses: the others are measured
            rows[variant.name]["failed"] = _line(error)
    times: dict[str, list[Times]] = {each.variant.name: [] for each in trials}
    count = {each.variant.name: max(2, math.ceil(clock.seconds / each.pace)) for each in trials}
    for turn in range(clock.rounds):
        if turn and clock.over:
            break
        for trial in random.Random(turn).sample(trials, len(trials)):
            try:
                trial.steps(2)  # the feed filled up while others had their turn
                times[trial.variant.name].append(trial.steps(count[trial.variant.name]))
            except RuntimeError as error:  # memory, as others have come to life since
                rows[trial.variant.name]["failed"] = _line(error)
                trials.remove(trial)
                trial.close()
    before: str | None = None
    for trial in trials:
        name = trial.variant.name
        rows[name] |= _row(trial, times[name], count[name])
        for key, other in (("times_before", before), ("times_first", trials[0].variant.name)):
            if other not in (None, name):
                rows[name][key] = _ratio(times[other], count[other], times[name], count[name])
        before = name
        trial.close()
    torch._dynamo.reset()  # guards of graphs that are not needed any more would be asked at every call
    return list(rows.values())


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _ratio(theirs: list[Times], their_steps: int, ours: list[Times], our_steps: int) -> float:
    """How many times as fast, in samples: batches are equal where there are ratios."""
    pairs = zip(theirs, ours, strict=True)
    return statistics.median((a.all / their_steps) / (b.all / our_steps) for a, b in pairs)


def _row(trial: Trial, times: list[Times], steps: int) -> dict[str, Any]:
    config, tokens, spec = trial.run.config, trial.run.tokens, trial.run.shards.spec
    took = statistics.median(each.all for each in times) / steps
    samples = config.batch / took
    frames = config.model.context_frames + config.model.target_frames
    cuda = trial.device.type == "cuda"
    true = samples * training_flops(config.model, tokens, spec.n_mels)
    used = utilization(true, torch.cuda.get_device_name(trial.device) if cuda else "cpu")
    return {
        "batch": config.batch,
        "micro_batch": config.micro_batch or config.batch,
        "tokens_per_sample": tokens.all,
        "rounds": len(times),
        "steps_per_round": steps,
        "seconds_per_step": took,
        "fastest": min(each.all for each in times) / steps,
        "slowest": max(each.all for each in times) / steps,
        "samples_per_second": samples,
        "tokens_per_second": samples * tokens.all,
        "times_real_time": samples * frames / spec.frame_rate,
        "flops_per_second": true,
        "mfu": used.value,
        "mfu_unknown": used.unknown,
        "mfu_accepted": MFU_TARGETS.get(config.model.layers) if config.model.layers > 1 else None,
        "host_share": statistics.median(each.issued / each.all for each in times),
        "feed_share": statistics.median(each.waited / each.all for each in times),
        "peak_gib": trial.peak / 2**30 if cuda else None,
        "attention": trial.attention,
        "first_step_seconds": trial.compiling,
    }


def told(row: dict[str, Any]) -> str:
    """A row as a line."""
    start = f"L={row['layers']:<2} {row['part']:<9} {row['name']:<24}"
    if "samples_per_second" not in row:
        return f"{start} {row.get('failed', row.get('left_out'))}"
    parts = [f"{row['samples_per_second']:9.2f} samples/s {row['times_real_time']:9.0f}x real time"]
    if row["mfu"] is not None:
        wanted = row["mfu_accepted"]
        parts.append(f"MFU {row['mfu']:6.1%}" + (f" (accepted: {wanted:.0%})" if wanted else ""))
        parts.append(f"{row['peak_gib']:.1f} GiB")
    parts += [f"{row[key]:.3f}x {said}" for key, said in _RATIOS.items() if key in row]
    return f"{start} {'  '.join(parts)}  host {row['host_share']:.0%}, feed {row['feed_share']:.0%}"


_RATIOS = {"times_before": "the one before", "times_first": "the first"}


@main.command()
@_common
@click.option("--steps", default=10, show_default=True, help="That are timed without the profiler.")
@click.option("--rows", default=40, show_default=True, help="Kernels that are listed.")
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
    """Where the time of a step goes."""
    texts = []
    with tempfile.TemporaryDirectory() as folder:
        data = shards or made_shards(Path(folder, "shards"), hours).path
        for count in layers:
            config = configured(count, data, overrides)
            one_part = _alone(Variant("as trained"), config.micro_batch or config.batch)
            trial = Trial(one_part, config, Path(folder, str(count)), torch.device(device))
            texts.append(f"{json.dumps(stamp(device))}\n\n{count} layers, {anatomy(trial, steps, rows)}")
            trial.close()
            _write("\n\n".join(texts), output)
            click.echo(texts[-1])


def anatomy(trial: Trial, steps: int, rows: int) -> str:
    """What one step is made of, as a text."""
    cuda = trial.device.type == "cuda"
    times = trial.steps(steps)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if cuda:
            torch.cuda.set_sync_debug_mode("warn")
        trial.steps(1)
        if cuda:
            torch.cuda.set_sync_debug_mode("default")
    waits = sorted({f"{each.filename}:{each.lineno}" for each in said if "synchroniz" in str(each.message)})
    with profiler(
        activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])], acc_events=True
    ) as seen:
        trial.steps(1)
    averages = seen.key_averages()
    order = "self_cuda_time_total" if cuda else "self_cpu_time_total"
    kernels = [each for each in averages if each.device_type.name != "CPU" and not each.is_user_annotation]
    busy = sum(each.self_device_time_total for each in kernels) / 1e6
    config = trial.run.config
    lines = [
        f"a batch of {config.batch} in parts of {config.micro_batch or config.batch}, attention {trial.attention}",
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
