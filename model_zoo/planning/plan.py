"""What to train with so much compute, how long it takes, and on what it fits: ``slm-zoo plan``.

    for row in plan_budgets([1e18, 1e21], Gpu.by_name("H200")): ...     # sizes around each compute-optimal one
    for row in plan_memory([27, 30], Gpu.by_name("H200"), gpus=4): ...  # a dry run, and memory per GPU

Compute-optimal sizes are those of the published law (arXiv 2604.24416, section 4.2), which counts D in tokens of both
streams and C as 6ND. Times are of true operations, which are others: see ``cdslm.flops``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from model_zoo.cdslm.config import FRAME_RATE, ModelConfig
from model_zoo.cdslm.flops import Tokens, flops_6nd, parameter_count, training_flops
from model_zoo.planning.gpus import (
    GB,
    Communication,
    Gpu,
    dry_run,
    expected_mfu,
    fewest_gpus,
    footprint,
    largest_micro_batch,
)
from model_zoo.planning.ladder import LAYERS, duration
from slm_eval.base.errors import UsageError

BUDGETS = (1e18, 3e18, 6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21)  # FLOPs [paper]
SPREAD = 0.6  # [choice] decades of parameters on either side of the optimum that an isoFLOP covers


def plan_budgets(
    budgets: Sequence[float],
    gpu: Gpu,
    gpus: int = 1,
    mfu: float | None = None,
    batch: int = 256,
    sizes: int = 5,
    data_hours: float | None = None,
) -> list[dict[str, Any]]:
    """Plan the compute-optimal run of each budget, and an isoFLOP of ladder sizes around it.

    Args:
        budgets: FLOPs, as 6ND.
        gpus: that share the work; the share of the peak that they reach is taken to be that of one.
        mfu: that share; None: ``expected_mfu`` of each size.
        batch: samples a step.
        sizes: rungs of the ladder in an isoFLOP.
        data_hours: of speech that there is; runs that hear more are marked ``repeats``.

    Returns:
        for each budget its ``optimum`` and its ``sizes``, in the order of layers; ``nearest`` marks one.

    Raises:
        UsageError: a number out of range.
    """
    _check(budgets, gpus, mfu, batch, sizes, data_hours)
    plans = []
    for budget in budgets:
        optimum = _optimum(budget)
        layers = iso_flop_layers(budget, sizes)
        nearest = min(layers, key=lambda count: _distance(count, optimum["parameters"]))
        rows = [_run(budget, count, gpu, gpus, mfu, batch) for count in layers]
        for row in rows:
            row["over_optimum"] = row["parameters"] / optimum["parameters"]
            row["nearest"] = row["layers"] == nearest
            row["repeats"] = None if data_hours is None else row["hours"] > data_hours
        plans.append({"budget": budget, "optimum": optimum, "sizes": rows})
    return plans


def iso_flop_layers(budget: float, sizes: int, spread: float = SPREAD) -> list[int]:
    """Return rungs evenly spread, in the logarithm of N, around the compute-optimal size of a budget.

    The ladder is coarse below 4 layers: where two places fall on one rung, the nearest free one is taken too.
    """
    best = _optimum(budget)["parameters"]
    chosen: set[int] = set()
    for place in range(sizes):
        offset = spread * (2 * place / (sizes - 1) - 1) if sizes > 1 else 0.0
        wanted = best * 10**offset
        free = [count for count in LAYERS if count not in chosen]
        nearest = min(LAYERS, key=lambda count: _distance(count, wanted))
        chosen.add(nearest if nearest in free else min(free, key=lambda count: _distance(count, best)))
    return sorted(chosen)


def plan_memory(
    layers: Sequence[int],
    gpu: Gpu,
    gpus: int = 1,
    micro_batch: int = 1,
    communication: Communication = "float32",
) -> list[dict[str, Any]]:
    """Run each size dry on the meta device, and say what of it each GPU holds, with and without checkpointing.

    Returns:
        for each size its ``dry_run`` in bytes; under ``plain`` and ``checkpointing`` the footprint of one GPU, whether
        it ``fits``, the ``largest_micro_batch`` there, and the ``fewest_gpus`` on which the micro batch fits.

    Raises:
        UsageError: a number out of range.
    """
    rows = []
    for count in layers:
        config = ModelConfig(layers=count)
        row: dict[str, Any] = {"layers": count, "width": config.d, "dry_run": vars(dry_run(config))}
        for name, checkpointing in (("plain", False), ("checkpointing", True)):
            held = footprint(config, gpus, micro_batch, checkpointing, communication)
            row[name] = {
                **held.to_dict(),
                "fits": held.total <= gpu.usable,
                "largest_micro_batch": largest_micro_batch(config, gpu, gpus, checkpointing, communication),
                "fewest_gpus": fewest_gpus(config, gpu, micro_batch, checkpointing, communication),
            }
        rows.append(row)
    return rows


def budget_table(plans: Sequence[dict[str, Any]], gpu: Gpu, gpus: int = 1) -> str:
    """Lay ``plan_budgets`` out as a text."""
    lines = []
    for plan in plans:
        best = plan["optimum"]
        lines += [
            f"C = {plan['budget']:.0e}: best {_count(best['parameters'])} ({best['layers']:.1f} layers), "
            f"{best['tokens']:.2e} frames, {best['hours']:,.0f} h, D/N {best['ratio']:.0f}",
            "    L  parameters   N/N*     frames          hours      steps  true FLOPs  true/6ND  MFU"
            f"   {gpus} x {gpu.name}",
        ]
        for row in plan["sizes"]:
            nearest, repeats = "*" if row["nearest"] else " ", "!" if row["repeats"] else " "
            lines.append(
                f"  {nearest}{row['layers']:2d}  {_count(row['parameters']):>10} {row['over_optimum']:6.2f}  "
                f"{row['tokens']:9.2e}  {row['hours']:12,.0f}{repeats} {row['steps']:10,d} {row['flops_hw']:11.2e} "
                f"{row['hw_over_6nd']:9.2f} {row['mfu']:4.0%}  {_time(row['seconds']):>8}"
            )
    if any(row["repeats"] for plan in plans for row in plan["sizes"]):
        lines.append("! hears more hours than there are: data would be repeated")
    return "\n".join(lines)


def memory_table(rows: Sequence[dict[str, Any]], gpu: Gpu) -> str:
    """Lay ``plan_memory`` out as a text, in GB (1e9 bytes)."""
    lines = []
    for row in rows:
        dry = row["dry_run"]
        kept = ", ".join(f"{dry[name] / GB:.1f} {name}" for name in ("weights", "gradients", "moments", "averages"))
        lines += [
            f"{row['layers']} layers, width {row['width']}: {dry['parameters']:,} parameters; in all, GB: {kept}",
            "  activations   GPUs  batch  states  in flight  copies  activations  total   of     fits  most"
            "  GPUs needed",
        ]
        for name in ("plain", "checkpointing"):
            held = row[name]
            parts = [held[part] / GB for part in ("states", "in_flight", "copies", "activations", "total")]
            lines.append(
                f"  {'kept' if name == 'plain' else 'checkpointed':12s} {held['gpus']:5d} {held['micro_batch']:6d} "
                f"{parts[0]:7.1f} {parts[1]:10.1f} {parts[2]:7.1f} {parts[3]:12.1f} {parts[4]:6.1f} "
                f"{gpu.usable / GB:6.1f} {'yes' if held['fits'] else 'no':>6} {held['largest_micro_batch']:5d}  "
                f"{held['fewest_gpus'] or 'none':>11}"
            )
    lines.append(
        "GB on each GPU at the peak of a step, estimated. batch: samples at once on each; most: that would fit; "
        "GPUs needed: for this batch."
    )
    return "\n".join(lines)


def _optimum(budget: float) -> dict[str, float]:
    from slm_eval.scaling.law import PUBLISHED

    best = PUBLISHED.optimal(budget)
    return {
        "parameters": float(best.N),
        "layers": (float(best.N) / (36 * 128**2)) ** (1 / 3),  # of N = 36 L d² at d = 128 L
        "tokens": float(best.D),
        "ratio": float(best.r),
        "hours": float(best.D) / FRAME_RATE / 3600,
    }


def _run(budget: float, layers: int, gpu: Gpu, gpus: int, mfu: float | None, batch: int) -> dict[str, Any]:
    """Plan a rung of the ladder trained with a budget."""
    model = ModelConfig(layers=layers)
    tokens, count = Tokens.from_config(model), parameter_count(model)
    long = duration(model, budget / (6 * count), batch)
    samples, share = long.tokens // tokens.all, mfu or expected_mfu(layers)
    true = samples * training_flops(model, tokens)
    return {
        "layers": layers,
        "parameters": count,
        **long._asdict(),
        "flops_6nd": samples * flops_6nd(model, tokens),
        "flops_hw": true,
        "hw_over_6nd": training_flops(model, tokens) / flops_6nd(model, tokens),
        "mfu": share,
        "seconds": true / (gpu.peak * share * gpus),
    }


def _distance(layers: int, parameters: float) -> float:
    return abs(math.log(parameter_count(ModelConfig(layers=layers)) / parameters))


def _check(
    budgets: Sequence[float], gpus: int, mfu: float | None, batch: int, sizes: int, data_hours: float | None
) -> None:
    if not all(0 < budget < math.inf for budget in budgets):
        raise UsageError(f"budgets must be FLOPs above 0, such as 1e18, got {', '.join(map(str, budgets))}")
    if min(gpus, batch) < 1 or not 1 <= sizes <= len(LAYERS):
        raise UsageError(
            f"GPUs and batch must be at least 1, sizes 1 to {len(LAYERS)}; got {gpus}, {batch} and {sizes}"
        )
    if mfu is not None and not 0 < mfu <= 1:
        raise UsageError(f"mfu must be a share of the peak, above 0 and at most 1, got {mfu}")
    if data_hours is not None and not data_hours > 0:
        raise UsageError(f"hours of data must be above 0, got {data_hours}")


def _count(parameters: float) -> str:
    return f"{parameters / 1e9:.2f} B" if parameters >= 1e9 else f"{parameters / 1e6:.1f} M"


def _time(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
