"""Do runs of one budget miss the law alike? Then they are not as many independent runs as they look.

A schedule, a data order or a machine that all runs of a budget share moves them together. A bootstrap of points takes
them for independent, and its intervals are too narrow; see ``scaling_coverage.py`` of the studies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats

# Draws of noise that the residuals are compared with.
DRAWS = 999
# Below this p budgets are drawn. In the study ``scaling_coverage.py`` points wrongly drawn lower the coverage of 95 %
# intervals to 0.5, budgets wrongly drawn to 0.87. Noise by budget as large as that by point is then found in 63 % of
# sweeps of four budgets, in 92 % of six, and in all of twelve; where there is none, 20 to 35 % of sweeps draw budgets.
LIKELY = 0.2
# Below this p it is a finding.
SURE = 0.05
# Of two budgets every second draw would hold one of them twice, and a law needs two.
FEWEST_BUDGETS = 3


@dataclass(frozen=True)
class Clustering:
    """Likeness of residuals within groups.

    Attributes:
        groups: those with two points or more.
        correlation: intraclass correlation of the residuals' normal scores: 1 where all points of a group miss alike, 0
            where they have nothing in common, below 0 by chance.
        p: share of draws of independent noise, taken through the same fit, that cluster at least as much.
    """

    groups: int
    correlation: float
    p: float

    def __str__(self) -> str:
        return f"intraclass correlation {self.correlation:.2g} in {self.groups} groups, p = {self.p:.3g}"


@dataclass(frozen=True)
class Choice:
    """The unit that a bootstrap draws.

    Attributes:
        unit: "point" or "budget".
        why: a clause.
        clustering: None where it could not be looked for.
    """

    unit: str
    why: str
    clustering: Clustering | None


def choose_unit(clusters: Clustering | None, n_budgets: int) -> Choice:
    """Return budgets where residuals cluster by them, else points."""
    if clusters is None:
        return Choice("point", "too few runs share a budget to see whether they miss the law alike", clusters)
    if clusters.p >= LIKELY:
        return Choice("point", f"residuals do not cluster by budget ({clusters})", clusters)
    if n_budgets < FEWEST_BUDGETS:
        why = f"residuals cluster by budget ({clusters}), but {n_budgets} budgets cannot be drawn"
        return Choice("point", why, clusters)
    return Choice("budget", f"residuals cluster by budget ({clusters})", clusters)


def warn_of_points(choice: Choice) -> list[str]:
    """Return a sentence where points are drawn though residuals cluster."""
    if choice.unit != "point" or choice.clustering is None or choice.clustering.p >= SURE:
        return []
    return [f"residuals cluster by budget ({choice.clustering}), and points were drawn: intervals are too narrow"]


def clustering(residuals: Floats, jacobian: Floats, group: npt.NDArray[np.intp], seed: int = 0) -> Clustering | None:
    """Return how residuals cluster by group; None with fewer than two groups of two points, or an exact fit.

    A law that was fitted has already taken up part of what the points of a group share: its residuals cluster less than
    noise does. So the noise is taken through the fit too, to first order.

    Args:
        residuals: ln fitted - ln measured, shape (n,).
        jacobian: their derivatives by the parameters, shape (P, n).
        group: shape (n,).
    """
    _, label, size = np.unique(group, return_inverse=True, return_counts=True)
    used = size[label] > 1
    groups = int((size > 1).sum())
    if groups < 2 or used.sum() <= len(jacobian) or not residuals.any():
        return None
    _, label = np.unique(label[used], return_inverse=True)
    taken_up, _, _ = np.linalg.svd(jacobian.T, full_matrices=False)
    noise = np.random.default_rng(seed).standard_normal((DRAWS, residuals.size))
    noise -= noise @ taken_up @ taken_up.T
    measured, *drawn = _correlations(_normal_scores(np.vstack([residuals, noise])[:, used]), label)
    return Clustering(groups, float(measured), float((1 + (np.array(drawn) >= measured).sum()) / (1 + DRAWS)))


def _normal_scores(values: Floats) -> Floats:
    """Return the normal quantiles of ranks along the last axis: a diverged run counts as one that is merely worst."""
    from scipy.special import ndtri

    ranks = values.argsort(axis=-1).argsort(axis=-1)
    return ndtri((ranks + 0.5) / values.shape[-1])


def _correlations(scores: Floats, label: npt.NDArray[np.intp]) -> Floats:
    """Return the intraclass correlation of each row by analysis of variance; groups may differ in size."""
    n, size = label.size, np.bincount(label)
    member = label[:, None] == np.arange(size.size)
    means = scores @ member / size
    centre = scores.mean(axis=1, keepdims=True)
    between = (size * (means - centre) ** 2).sum(axis=1) / (size.size - 1)
    within = ((scores - means[:, label]) ** 2).sum(axis=1) / (n - size.size)
    typical = (n - (size**2).sum() / n) / (size.size - 1)
    return (between - within) / (between + (typical - 1) * within)
