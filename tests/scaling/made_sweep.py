"""Sweeps whose law is known: isoFLOP grids on the paper's surface, with noise and metrics by a fused law."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from slm_eval.scaling import PUBLISHED, LossLaw

BUDGETS = (1e18, 3e18, 6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21)  # of the paper
HEADER = ["N", "D", "C", "seed", "loss"]


def sweep(
    budgets: tuple[float, ...] = BUDGETS,
    sizes: int = 5,
    seeds: int = 1,
    noise: float = 0.0,
    law: LossLaw = PUBLISHED,
    span: float = 1.0,
    seed: int = 0,
) -> list[dict[str, object]]:
    """Runs of each budget around the optimal size, ``span`` decades to either side."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for compute in budgets:
        for step in np.linspace(-span, span, sizes):
            n = float(law.optimal(compute).N) * 10**step
            d = compute / (6 * n)
            for number in range(seeds):
                loss = float(law(n, d)) * (1 + noise * rng.normal())
                rows.append({"N": n, "D": d, "C": compute, "seed": number, "loss": loss})
    return rows


def add_metrics(rows: list[dict[str, object]], noise: float = 0.0, seed: int = 1) -> list[dict[str, object]]:
    """pJSD-5 and usefulness, sigmoids of the true loss; and a quality that stays what it is."""
    rng = np.random.default_rng(seed)

    def sigmoid(loss: float, low: float, high: float, middle: float, sharpness: float) -> float:
        return low + (high - low) / (1 + np.exp(-sharpness * (loss - middle)))

    for row in rows:
        loss = float(PUBLISHED(row["N"], row["D"]))  # type: ignore[arg-type]
        shake = 1 + noise * rng.normal(size=5)
        row["pjsd.1@2"] = sigmoid(loss, 0.02, 0.12, 0.0078, 700) * shake[0]
        row["pjsd.5@2"] = sigmoid(loss, 0.15, 0.60, 0.0075, 900) * shake[1]
        row["audiobox.CU@2"] = sigmoid(loss, 5.6, 3.2, 0.0072, 800) * shake[2]
        row["dnsmos.p808@2"] = 3.55 + 0.03 * (shake[3] - 1) / max(noise, 1e-12)
        row["pjsd.5@4"] = sigmoid(loss, 0.14, 0.58, 0.0074, 900) * shake[4]
    return rows


def write(rows: list[dict[str, object]], path: Path) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
