"""Speed and certainty of the fits of scaling laws, beside basin hopping, on the same points in one run.

    python benchmarks/speed/scaling_fit.py [--seeds 20] [--hops 2000] [--resamples 1000]

Points: the published surface, the paper's ten budgets, 15 sizes within 1.2 decades of the optimum, 1 % noise by seed.
The fused law is fitted to a metric on that surface (low 0.15, high 0.60, L0 0.0075, k 900), 1 % noise, budgets up to
3e20. Times are medians of three for the fast fits, of one for basin hopping; numpy on one thread. Where other
work shares the machine, read seconds of the processor; ``speedup`` is their ratio.

- loss: the fast fit, and basin hopping with 2,000 iterations of L-BFGS-B, derivatives given. ``excess`` is the fast
  objective over the other, less 1: negative where the fast one is lower.
- naive: basin hopping as it is called without further thought, once: finite differences, temperature 1, the plain sum.
- fused: the fast fit with and without limits; the same starts in plain coordinates (low, high, c, ln A, ln B, alpha,
  beta, gamma) and without projection; and basin hopping.
- bootstrap: resamples of points, budgets and seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.optimize import basinhopping
from scipy.special import expit

sys.path.append(str(Path(__file__).parents[1]))
from machine import stamp

from slm_eval.base.arrays import Floats
from slm_eval.scaling import (
    PUBLISHED,
    MetricLaw,
    bootstrap_loss_law,
    bootstrap_metric_law,
    fit_loss_law,
    fit_metric_law,
)
from slm_eval.scaling.fitting.fit import DELTA
from slm_eval.scaling.fitting.levenberg import huber, minimise
from slm_eval.scaling.fitting.metric_law import DELTA as METRIC_DELTA
from slm_eval.scaling.fitting.metric_law import STARTS
from slm_eval.scaling.fitting.metric_surface import MetricSurface
from slm_eval.scaling.runs.points import gather

RESULTS = Path(__file__).parents[1] / "results" / "scaling-fit.json"
BUDGETS = np.array([1e18, 3e18, 6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21])
METRIC = MetricLaw.from_sigmoid(PUBLISHED, low=0.15, high=0.60, L0=0.0075, k=900)
PJSD = (0.0, math.log(2))
METRIC_HOPS = 200
FUSED = ("seconds", "cpu_seconds", "converged", "agreement", "test_mre", "gamma", "limit")

T = TypeVar("T")


def grid() -> tuple[Floats, Floats, Floats]:
    N = (PUBLISHED.optimal(BUDGETS).N[:, None] * 10 ** np.linspace(-1.2, 1.2, 15)).ravel()
    C = np.repeat(BUDGETS, 15)
    return N, C / (6 * N), C


def noisy(values: Floats, seed: int) -> Floats:
    return values * np.exp(0.01 * np.random.default_rng(seed).standard_normal(values.size))


def timed(function: Callable[[], T], repeats: int = 3) -> tuple[T, dict[str, float]]:
    """Return the result, and medians of the seconds by the clock and of the processor."""
    times = []
    for _ in range(repeats):
        begin, cpu = time.perf_counter(), time.process_time()
        result = function()
        times.append((time.perf_counter() - begin, time.process_time() - cpu))
    wall, cpu = np.median(times, axis=0)
    return result, {"seconds": float(wall), "cpu_seconds": float(cpu)}


# ---- the loss ----


def time_loss_law(seed: int, hops: int) -> dict[str, Any]:
    N, D, _ = grid()
    loss = noisy(PUBLISHED(N, D), seed)
    fast, seconds = timed(lambda: fit_loss_law(N, D, loss))
    paper, paper_seconds = timed(lambda: fit_loss_law(N, D, loss, method="paper", iterations=hops), repeats=1)
    return {
        "seed": seed,
        **seconds,
        "agreement": fast.agreement,
        "converged": fast.converged,
        "objective": fast.objective,
        "r(1e21)": float(fast.optimal(1e21).r),
        "paper": {**paper_seconds, "objective": paper.objective, "agreement": paper.agreement},
        "excess": fast.objective / paper.objective - 1,
        "speedup": paper_seconds["cpu_seconds"] / seconds["cpu_seconds"],
    }


def naive(hops: int) -> dict[str, Any]:
    """Fit as section 4.2 says, taken literally, on seed 0."""
    N, D, _ = grid()
    loss = noisy(PUBLISHED(N, D), 0)
    n, d = np.log(N) - np.log(N).mean(), np.log(D) - np.log(D).mean()

    def objective(theta: Floats) -> float:
        e, a, b, alpha, beta, gamma = theta
        fitted = np.logaddexp(e, gamma * np.logaddexp(a - alpha * n, b - beta * d))
        return float(huber(fitted - np.log(loss), DELTA).sum())

    start = [np.log(loss.min()) - 0.1, -6.0, -6.0, 0.5, 0.5, 1.0]
    keywords = {"method": "L-BFGS-B", "bounds": [(None, None)] * 3 + [(0.01, 2.0)] * 2 + [(0.05, 5.0)]}
    minimum, seconds = timed(
        lambda: basinhopping(objective, start, niter=hops, minimizer_kwargs=keywords, rng=np.random.default_rng(0)), 1
    )
    return {**seconds, "objective": float(minimum.fun)}


# ---- the fused law ----


def plain_coordinates(metric: Floats, N: Floats, D: Floats) -> Callable[[Floats, Any], tuple[Floats, Floats]]:
    n, d = np.log(N) - np.log(N).mean(), np.log(D) - np.log(D).mean()

    def residuals(theta: Floats, _which: Any) -> tuple[Floats, Floats]:
        low, high, c, a, b, alpha, beta, gamma = (theta[:, i, None] for i in range(8))
        v = np.logaddexp(a - alpha * n, b - beta * d)
        share = np.exp(a - alpha * n - v)
        inner = np.exp(gamma * v)
        s = expit(c + inner)
        slope = (high - low) * s * (1 - s) / metric
        by_v = slope * inner * gamma
        jacobian = np.stack(
            np.broadcast_arrays(
                (1 - s) / metric, s / metric, slope, by_v * share, by_v * (1 - share), -by_v * share * n,
                -by_v * (1 - share) * d, slope * inner * v,
            ),
            axis=1,
        )  # fmt: skip
        return (low + (high - low) * s) / metric - 1, jacobian

    return residuals


def shares(objectives: Floats, best: float) -> dict[str, float]:
    return {f"{share:g}": float(np.mean(objectives <= best * (1 + share))) for share in (1e-6, 1e-4, 1e-2)}


def time_metric_law(seed: int) -> dict[str, Any]:
    N, D, C = grid()
    train = C < 4e20
    n, d = N[train], D[train]
    metric = noisy(METRIC(N, D), 1000 + seed)
    loss_fit = fit_loss_law(n, d, noisy(PUBLISHED(N, D), seed)[train])
    row: dict[str, Any] = {"seed": seed}
    for name, limits in (("free", (0.0, math.inf)), ("limits", PJSD)):
        fit, seconds = timed(lambda limits=limits: fit_metric_law(n, d, metric[train], loss_fit, limits=limits))
        row[name] = {
            **seconds, "objective": fit.objective, "converged": fit.converged, "agreement": fit.agreement,
            "alpha": fit.alpha, "beta": fit.beta, "gamma": fit.gamma, "limit": fit.limit,
            "test_mre": float(np.mean(np.abs(fit(N[~train], D[~train]) / metric[~train] - 1))),
        }  # fmt: skip
    paper, seconds = timed(
        lambda: fit_metric_law(n, d, metric[train], loss_fit, method="paper", iterations=METRIC_HOPS), repeats=1
    )
    row["paper"] = {**seconds, "objective": paper.objective}
    row["excess"] = row["free"]["objective"] / paper.objective - 1
    row["plain"] = in_plain_coordinates(n, d, metric[train], loss_fit, row["free"]["objective"])
    return row


def in_plain_coordinates(n: Floats, d: Floats, metric: Floats, loss_fit: Any, best: float) -> dict[str, Any]:
    """Fit from the same starts, with the same bounds of exponents and optimiser."""
    points = gather(n, d, metric)
    surface = MetricSurface(points, (0.0, math.inf), METRIC_DELTA)
    sets = surface.level_sets(loss_fit.A, loss_fit.B, loss_fit.alpha, loss_fit.beta)
    starts = []
    for theta in surface.starts(np.ones((1, points.n)), STARTS, sets)[0]:
        law = surface.law(theta)
        a = math.log(law.A) - law.alpha * surface.middle[0]
        b = math.log(law.B) - law.beta * surface.middle[1]
        starts.append([law.low, law.high, law.c, a, b, law.alpha, law.beta, law.gamma])
    free, limits = [-np.inf, np.inf], [0.0, np.inf]
    lower, upper = np.array([limits, limits, free, free, free, [0.01, 2], [0.01, 2], [0.05, 5]]).T
    minimum, seconds = timed(
        lambda: minimise(
            plain_coordinates(metric, n, d), np.array(starts), lower, upper, np.ones((STARTS, points.n)), METRIC_DELTA
        )
    )
    return {**seconds, "within": shares(minimum.objective, best), "converged": float(minimum.converged.mean())}


# ---- the bootstrap ----


def time_bootstrap(resamples: int) -> dict[str, Any]:
    N, D, C = grid()
    loss = noisy(PUBLISHED(N, D), 0)
    triple = [np.tile(sizes, 3) for sizes in (N, D)]
    of_seeds = noisy(PUBLISHED(*triple), 0)
    rows: dict[str, Any] = {}
    for unit, runs in (("point", (N, D, loss)), ("budget", (N, D, loss)), ("seed", (*triple, of_seeds))):
        boot, seconds = timed(lambda runs=runs, unit=unit: bootstrap_loss_law(*runs, n=resamples, unit=unit))
        rows[unit] = {
            **seconds, "converged": boot.converged, "alpha": boot.interval("alpha"),
            "gamma": boot.interval("gamma"), "N exponent": boot.interval(lambda law: law.exponents.N),
            "r(1e21)": boot.interval(lambda law: law.optimal(1e21).r),
        }  # fmt: skip
    train = C < 4e20
    metric = noisy(METRIC(N, D), 1000)[train]
    boot, seconds = timed(lambda: bootstrap_metric_law(N[train], D[train], metric, n=resamples, limits=PJSD), 1)
    rows["metric"] = {
        **seconds, "converged": boot.converged, "alpha": boot.interval("alpha"),
        "gamma": boot.interval("gamma"), "limit": boot.interval("limit"),
    }  # fmt: skip
    return rows


def summary(loss: list[dict[str, Any]], metric: list[dict[str, Any]]) -> dict[str, Any]:
    def over(rows: list[dict[str, Any]], *keys: str) -> list[float]:
        values = []
        for row in rows:
            for key in keys:
                row = row[key]
            values.append(row)
        return [float(np.min(values)), float(np.median(values)), float(np.max(values))]

    return {
        "order": "smallest, median, largest over seeds",
        "loss": {key: over(loss, key) for key in ("seconds", "cpu_seconds", "agreement", "excess", "speedup")},
        "loss by basin hopping": {key: over(loss, "paper", key) for key in ("seconds", "cpu_seconds", "agreement")},
        "metric": {key: over(metric, "free", key) for key in FUSED},
        "metric, limits": {key: over(metric, "limits", key) for key in FUSED},
        "metric, basin hopping": {
            "cpu_seconds": over(metric, "paper", "cpu_seconds"),
            "excess": over(metric, "excess"),
        },
        "metric, plain coordinates": {
            "cpu_seconds": over(metric, "plain", "cpu_seconds"),
            "within 1e-6": over(metric, "plain", "within", "1e-06"),
            "within 1e-4": over(metric, "plain", "within", "0.0001"),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--hops", type=int, default=2_000)
    parser.add_argument("--resamples", type=int, default=1_000)
    options = parser.parse_args()
    result: dict[str, Any] = {**stamp(), "options": vars(options)}
    result["bootstrap"] = time_bootstrap(options.resamples)
    print(json.dumps(result["bootstrap"]), flush=True)
    metric = []
    for seed in range(options.seeds):
        metric.append(time_metric_law(seed))
        print(json.dumps(metric[-1]), flush=True)
    result["naive"] = naive(options.hops)
    loss = []
    for seed in range(options.seeds):
        loss.append(time_loss_law(seed, options.hops))
        print(json.dumps(loss[-1]), flush=True)
    result |= {"summary": summary(loss, metric), "loss": loss, "metric": metric}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["summary"], indent=1))


if __name__ == "__main__":
    main()
