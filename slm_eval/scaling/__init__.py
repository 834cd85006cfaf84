"""Scaling laws from a table of runs: section 4 of arXiv 2604.24416.

    from slm_eval.scaling import PUBLISHED, LossLaw
    PUBLISHED.optimal(1e21).r  # 245.27

``law`` has the closed forms. Only numpy and scipy are needed.
"""

from slm_eval.scaling.law import PUBLISHED, LossLaw, MetricLaw

__all__ = ["PUBLISHED", "LossLaw", "MetricLaw"]
