"""Scaling laws from a table of runs: section 4 of arXiv 2604.24416.

    from slm_eval.scaling import PUBLISHED, bootstrap_loss_law, fit_loss_law
    PUBLISHED.optimal(1e21).r  # 245.27
    fit_loss_law(N, D, loss).optimal(1e21).N
    bootstrap_loss_law(N, D, loss).interval(lambda law: law.optimal(1e21).N)

``law`` has the closed forms, ``fit`` and ``metric_law`` the laws from runs. Only numpy and scipy are needed.
"""

from slm_eval.scaling.fitting.bootstrap import Bootstrap, bootstrap_loss_law, bootstrap_metric_law
from slm_eval.scaling.fitting.fit import LossFit, fit_loss_law
from slm_eval.scaling.fitting.holdout import HoldOut, hold_out
from slm_eval.scaling.fitting.isoflop import IsoflopMinimum, isoflop_minima
from slm_eval.scaling.fitting.metric_law import MetricFit, fit_metric_law
from slm_eval.scaling.law import PUBLISHED, LossLaw, MetricLaw, Sigmoid

__all__ = [
    "PUBLISHED",
    "Bootstrap",
    "HoldOut",
    "IsoflopMinimum",
    "LossFit",
    "LossLaw",
    "MetricFit",
    "MetricLaw",
    "Sigmoid",
    "bootstrap_loss_law",
    "bootstrap_metric_law",
    "fit_loss_law",
    "fit_metric_law",
    "hold_out",
    "isoflop_minima",
]
