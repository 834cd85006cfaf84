"""Input of the analyses of the loss and of the metrics: the runs, how to analyse them, and the fit of the loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.scaling.fitting.fit import LossFit
from slm_eval.scaling.fitting.resampling import AUTO
from slm_eval.scaling.runs.real import Real
from slm_eval.scaling.runs.table import Means, Runs

SCHEMA = 1  # of fit.json


@dataclass(frozen=True)
class Options:
    """Settings of an analysis.

    Attributes:
        gamma: fixes the outer exponent; None fits it.
        method: of the loss law: "fast", or "paper" for basin hopping. Metrics are always fitted fast.
        hold_out: how many of the largest budgets are kept from the fit, to test it.
        bootstrap: fits behind the intervals; 0 for none.
        unit: what is drawn: "point", "budget" or "seed"; "auto" follows from how residuals cluster.
        tie: fit each metric jointly with the loss.
        epsilon: tolerated loss above the optimum; ``relative_epsilon`` as a share of L* - E.
        ratio: frames per parameter whose compute is asked for; 400 are 20 text tokens.
        frames_per_text_token: 20 in the paper, section 3.2.
        frame_rate: frames per second of D.
        seed: of the bootstrap and of basin hopping.
    """

    gamma: float | None = None
    method: str = "fast"
    hold_out: int = 0
    bootstrap: int = 1000
    unit: str = AUTO
    tie: bool = False
    epsilon: float = 1e-3
    relative_epsilon: float = 0.1
    ratio: float = 400.0
    frames_per_text_token: float = 20.0
    frame_rate: float = 80.0
    seed: int = 0


@dataclass(frozen=True)
class Context:
    """Input that all analyses share.

    Attributes:
        train: which budgets are fitted.
        grid: budgets along which curves are drawn.
        real: what real speech scores, by key or column.
    """

    runs: Runs
    means: Means
    train: npt.NDArray[np.bool_]
    loss_fit: LossFit
    grid: Floats
    options: Options
    real: dict[str, Real]
