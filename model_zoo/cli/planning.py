"""What models cost, which are worth training, and many of them trained and scored."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from slm_eval.base.terminal import echo


@click.command()
@click.option(
    "--layers", multiple=True, default=(4,), show_default=True, help="Layers of 128 channels each; may be repeated."
)
@click.option("--ladder", is_flag=True, help="All sizes of the ladder, 1 to 30 layers.")
@click.option("--patch", default=1, show_default=True, help="Frames per token, 1 to 6.")
@click.option("--context-frames", type=int, help="Frames that are heard; by default 800, 10 s.")
@click.option("--frames", type=int, help="Frames that are continued; by default 2400, 30 s.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def flops(
    layers: tuple[int, ...], ladder: bool, patch: int, context_frames: int | None, frames: int | None, as_json: bool
) -> None:
    """Print what models cost: parameters, true operations and the paper's 6ND side by side, for one sample.

    Sampling is 100 steps, with and without the context. D counts the tokens of both streams.
    """
    import json

    from model_zoo.cdslm.config import ModelConfig
    from model_zoo.cdslm.flops import LADDER, Tokens, costs, table

    models = [ModelConfig(layers=count, patch=patch) for count in (LADDER if ladder else layers)]
    rows = [costs(model, Tokens.from_config(model, context_frames, frames)) for model in models]
    echo(json.dumps(rows, indent=2) if as_json else table(rows))


@click.command()
@click.option(
    "--budget", "budgets", multiple=True, type=float, help="FLOPs (6ND); again for more. Default: the paper's."
)
@click.option(
    "--sizes", default=5, show_default=True, help="Number of sizes of the ladder around each compute-optimal one."
)
@click.option("--batch", default=256, show_default=True, help="Samples a step.")
@click.option("--data-hours", type=float, help="Hours of speech that there is; runs that hear more are marked.")
@click.option("--mfu", type=float, help="Share of the GPU's peak; by default what is aimed at for each size.")
@click.option(
    "--layers",
    multiple=True,
    type=click.IntRange(min=1),
    help="Show the memory of such a model instead; again for more.",
)
@click.option("--micro-batch", default=1, show_default=True, help="With --layers: samples at once on each GPU.")
@click.option(
    "--communication",
    default="float32",
    type=click.Choice(["float32", "bfloat16"]),
    help="Type in which weights travel.",
)
@click.option("--gpu", default="H200", show_default=True, help="H200, H100, A100 or L40S.")
@click.option("--gpu-memory", type=float, metavar="GB", help="Memory of the GPU; by default that of the data sheet.")
@click.option(
    "--gpus", default=1, show_default=True, type=click.IntRange(min=1), help="Number of GPUs that share the work."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def plan(
    budgets: tuple[float, ...],
    layers: tuple[int, ...],
    gpu: str,
    gpu_memory: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Print what to train with so much compute, how long it takes, and on how many GPUs it fits.

    Sizes and durations are compute-optimal under the published law; times are of true operations. With --layers: a dry
    run of that size without memory, and what each GPU would hold under FSDP2.
    """
    import json

    from model_zoo.planning.gpus import Gpu
    from model_zoo.planning.plan import BUDGETS, budget_table, memory_table, plan_budgets, plan_memory

    sold = Gpu.by_name(gpu, gpu_memory)
    names = ("gpus", "micro_batch", "communication") if layers else ("gpus", "mfu", "batch", "sizes", "data_hours")
    chosen = {name: options[name] for name in names}
    rows = plan_memory(layers, sold, **chosen) if layers else plan_budgets(budgets or BUDGETS, sold, **chosen)
    table = memory_table(rows, sold) if layers else budget_table(rows, sold, chosen["gpus"])
    echo(json.dumps(rows, indent=2) if as_json else table)


@click.command()
@click.argument("plan", metavar="SWEEP.yaml", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the table and the runs."
)
@click.option(
    "--speech", type=click.Path(path_type=Path), help="Folder that `slm-zoo cut` wrote; wins over the file's."
)
@click.option("--dry-run", is_flag=True, help="Only print what would be done, and how long it takes.")
@click.option(
    "--hours", type=click.FloatRange(min=0, min_open=True), help="Take only the budgets that fit into this time."
)
@click.option("--nproc", default=1, show_default=True, type=click.IntRange(min=1), help="GPUs that share a training.")
@click.option("--device", default="auto", show_default=True, help="Run on auto, cpu or cuda:0.")
@click.option(
    "--gpu", default="H200", show_default=True, help="GPU whose times are expected, until runs were measured."
)
@click.option("--flops-per-second", type=float, help="True operations to expect instead, such as 3e10 on a laptop.")
def sweep(
    plan: Path,
    overrides: tuple[str, ...],
    output: Path,
    speech: Path | None,
    dry_run: bool,
    hours: float | None,
    nproc: int,
    device: str,
    gpu: str,
    flops_per_second: float | None,
) -> None:
    """Train and score many models, and put each as a row into a table for slm-eval scaling.

    SWEEP.yaml is an isoFLOP grid or an ablation; KEY=VALUE are of the training of all runs, as in slm-zoo train. The
    same command continues what was stopped.
    """
    from model_zoo.planning.gpus import Gpu
    from model_zoo.sweeping.overview import overview
    from model_zoo.sweeping.spec import read_sweep
    from model_zoo.sweeping.sweep import by_command
    from model_zoo.sweeping.sweep import sweep as run
    from model_zoo.sweeping.table import RunTable
    from model_zoo.sweeping.times import Throughput, affordable

    wanted = read_sweep(plan, overrides, speech)
    rows = RunTable(output / wanted.table, wanted.varied).rows
    throughput = Throughput.from_runs(wanted, rows, Gpu.by_name(gpu), nproc, flops_per_second)
    if hours is not None:
        wanted = affordable(wanted, throughput, 3600 * hours, rows)
    echo(overview(wanted, output, throughput))
    if dry_run:
        return
    done = run(wanted, output, by_command(nproc, device), device)
    echo(f"{output / wanted.table}: {len(done.made)} runs added, {len(done.kept)} were there already")
    for name, why in done.failed.items():
        echo(f"{name} failed: {why}", err=True)
    if done.failed:
        sys.exit(1)
