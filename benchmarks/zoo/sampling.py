"""Sampling of the reference model: how fast on a device, and how good by number of evaluations.

    python benchmarks/zoo/sampling.py speed --device cuda:0 --layers 8 --compile --output $OUT/speed.json
    python benchmarks/zoo/sampling.py quality CHECKPOINT CONTEXTS REAL --device cuda:0 --output $OUT/quality

``speed``: random weights, 10 s of context and 30 s of continuation, 100 steps with guidance 2, 8 clips at once, in
bfloat16 on CUDA, without the vocoder; the median of some rounds after one that warms up. Targets on one H200 at L=8:
real-time factor of a clip 0.03, goal 0.016.

``quality``: continues the contexts with 100, 50, 25 and 12 evaluations by either solver, vocodes, and scores against
the speech that really followed, beside real speech that went through the vocoder alone: quality.json, quality.png.
Continuations that are there already are not made again.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import click
import torch

from model_zoo.cdslm.config import DiffusionConfig, ModelConfig
from model_zoo.cdslm.flops import Tokens, sampling_flops, utilization
from model_zoo.cdslm.model import MMDiT
from model_zoo.cdslm.schedule import Schedule
from model_zoo.sampling.generate import GenerateOptions, generate
from model_zoo.sampling.sampler import SamplerOptions, evaluations, sample
from model_zoo.vocoder.vocode import VocodeOptions, vocode
from slm_eval import DNSMOS, evaluate, pJSD

sys.path.append(str(Path(__file__).parents[1]))
from machine import stamp

EVALUATIONS = (100, 50, 25, 12)
SOLVERS = ("ddim", "dpmpp_2m")


@click.group()
def main() -> None:
    """See the module."""


@main.command()
@click.option("--layers", default=8, show_default=True)
@click.option("--patch", default=1, show_default=True)
@click.option("--seconds", default=30.0, show_default=True, help="Seconds of each continuation.")
@click.option("--context", default=10.0, show_default=True, help="Seconds.")
@click.option("--steps", default=100, show_default=True)
@click.option("--guidance", default=2.0, show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--compile", is_flag=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--output", type=click.Path(path_type=Path))
def speed(
    layers: int,
    patch: int,
    seconds: float,
    context: float,
    steps: int,
    guidance: float,
    batch: int,
    rounds: int,
    compile: bool,
    device: str,
    output: Path | None,
) -> None:
    """Real-time factor and FLOPs of sampling log-mels."""
    config = ModelConfig(layers=layers, patch=patch, context_seconds=context, target_seconds=seconds)
    cuda = device.startswith("cuda")
    with torch.device(device):
        model = MMDiT(config).eval()
        contexts, null = torch.randn(batch, config.context_frames, 80), torch.randn(config.context_frames, 80)
    model = model.bfloat16() if cuda else model
    if compile:
        model.compile_blocks()
    options = SamplerOptions(steps=steps, guidance=guidance, compile=compile)
    schedule = Schedule.from_config(DiffusionConfig())
    ids = [str(at) for at in range(batch)]
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for _ in range(rounds + 1):  # the first one warms up
        start = time.perf_counter()
        sample(model, contexts, null, schedule, ids, options, config.target_frames)
        if cuda:
            torch.cuda.synchronize(device)
        times.append((time.perf_counter() - start) / batch)
    took = statistics.median(times[1:])
    conditional, unconditional = evaluations(schedule, options)
    flops = sampling_flops(config, Tokens.from_config(config), conditional, unconditional)
    used = utilization(flops / took, torch.cuda.get_device_name(device) if cuda else "cpu")
    result = {
        "layers": layers, "d": config.d, "patch": patch, "context_seconds": context, "seconds": seconds,
        "steps": steps, "guidance": guidance, "batch": batch, "compile": compile,
        "precision": "bfloat16" if cuda else "float32",
        "seconds_per_clip": took, "fastest": min(times[1:]), "slowest": max(times[1:]), "warm_up": times[0] * batch,
        "real_time_factor": took / seconds, "flops_per_clip": flops, "flops_per_second": flops / took,
        "utilization": used.value, "utilization_unknown": used.unknown,
        "peak_gib": torch.cuda.max_memory_allocated(device) / 2**30 if cuda else None,
        **stamp(device),
    }  # fmt: skip
    click.echo(json.dumps(result, indent=1))
    _write(result, output)


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("contexts", type=click.Path(path_type=Path))
@click.argument("real", type=click.Path(path_type=Path))
@click.option("--guidance", default=2.0, show_default=True)
@click.option("--vocoder", default="griffin-lim", show_default=True)
@click.option("--limit", type=int, help="The first N contexts.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder.")
def quality(
    checkpoint: Path,
    contexts: Path,
    real: Path,
    guidance: float,
    vocoder: str,
    limit: int | None,
    device: str,
    output: Path,
) -> None:
    """pJSD and DNSMOS by number of evaluations and solver."""
    rows: list[dict[str, Any]] = []
    vocode(real, output / "vocoded", VocodeOptions(vocoder, device, limit=limit, progress=True))
    rows.append({"solver": None, "evaluations": None, **_scores(output / "vocoded", real)})
    for solver in SOLVERS:
        for steps in EVALUATIONS:
            folder = output / f"{solver}-{steps}"
            sampler = SamplerOptions(steps=steps, solver=solver, guidance=guidance)  # type: ignore[arg-type]
            options = GenerateOptions(sampler, vocoder=vocoder, device=device, limit=limit, progress=True)
            generate(checkpoint, contexts, folder, options)
            rows.append({"solver": solver, "evaluations": steps, **_scores(folder, real)})
            click.echo(f"{solver:<9}{steps:>4}  pJSD-2 {rows[-1]['pjsd.2']:.4f}  P.808 {rows[-1]['dnsmos.p808']:.3f}")
    result = {"guidance": guidance, "vocoder": Path(vocoder).name, "rows": rows, **stamp(device)}
    _write(result, output / "quality.json")
    draw(rows, output / "quality.png")


def _scores(generated: Path, real: Path) -> dict[str, Any]:
    """Values with their intervals; the floor of pJSD-2 and the same scores of real speech beside them."""
    found = evaluate(generated, real, [pJSD(n=(1, 2), recognizer="pocketsphinx"), DNSMOS()]).summaries
    scores: dict[str, Any] = {"n": found["dnsmos.p808"].n}  # type: ignore[attr-defined]
    for key, summary in found.items():
        scores |= {key: summary.value, f"{key}.ci95": summary.ci95}
    floor, real_mos = found["pjsd.2"].floor, found["dnsmos.p808"].real.value  # type: ignore[attr-defined]
    return {**scores, "pjsd.2.floor": floor, "dnsmos.p808.real": real_mos}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Two panels, one line a solver; what the vocoder alone costs is the best that any model could reach."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    bound = rows[0]
    for panel, key, title, name_of_real, real in (
        (panels[0], "pjsd.2", "pJSD-2 in nats, lower is better", "real vs real", bound["pjsd.2.floor"]),
        (panels[1], "dnsmos.p808", "DNSMOS P.808 in MOS, higher is better", "real speech", bound["dnsmos.p808.real"]),
    ):
        for solver, colour, name in (("ddim", "#0072b2", "DDIM"), ("dpmpp_2m", "#d55e00", "DPM-Solver++(2M)")):
            mine = [row for row in rows if row["solver"] == solver]
            at, values = [row["evaluations"] for row in mine], [row[key] for row in mine]
            bars = [[abs(end - row[key]) for end in row[f"{key}.ci95"] or (row[key],) * 2] for row in mine]
            panel.errorbar(
                at, values, list(zip(*bars, strict=True)), marker="o", ms=4, color=colour, label=name, capsize=2
            )
        for value, text in ((bound[key], "vocoder alone"), (real, name_of_real)):
            if value is not None:
                panel.axhline(value, color="0.5", lw=0.8, ls="--")
                panel.annotate(text, (1, value), xycoords=("axes fraction", "data"), xytext=(-3, 3),
                               textcoords="offset points", ha="right", fontsize=8, color="0.35")  # fmt: skip
        panel.set_xscale("log")
        panel.set_xticks(EVALUATIONS, [str(each) for each in EVALUATIONS])
        panel.minorticks_off()
        panel.set_xlabel("evaluations of the network, guidance not counted")
        panel.set_title(title, loc="left", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=160)


def _write(result: dict[str, Any], output: Path | None) -> None:
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
