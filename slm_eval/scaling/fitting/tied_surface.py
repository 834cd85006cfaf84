"""Loss and metric of the same runs under one law: the ten parameters of equation 4.3, all determined.

theta is that of the loss (ln E, a, b, alpha, beta, gamma) followed by (low, high, centre, ln slope) of the metric. Both
surfaces are centred on the same middle, so the share of the N term there is the same: omega = a - b. Residuals
of the metric are scaled so that the delta of the loss is right for both.
"""

from __future__ import annotations

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.scaling.fitting.levenberg import Which
from slm_eval.scaling.fitting.metric_surface import MetricSurface
from slm_eval.scaling.fitting.surface import LOSS, LossSurface
from slm_eval.scaling.law import LossLaw, MetricLaw
from slm_eval.scaling.runs.points import Points


class TiedSurface:
    """Residuals of the loss, then those of the metric times loss_delta / metric_delta."""

    def __init__(
        self, loss: Points, metric: Points, limits: tuple[float, float], loss_delta: float, metric_delta: float
    ) -> None:
        self.loss = LossSurface(loss)
        self.metric = MetricSurface(metric, limits, metric_delta, middle=self.loss.middle)
        self.names: tuple[str, ...] = (*self.loss.names, *self.metric.names[:4])
        self.lower = np.concatenate([self.loss.lower, self.metric.lower[:4]])
        self.upper = np.concatenate([self.loss.upper, self.metric.upper[:4]])
        self.weights = np.concatenate([loss.weights, metric.weights])
        self._n_loss = loss.n
        self._scale = loss_delta / metric_delta

    def of_loss(self, theta: Floats) -> Floats:
        """Return the loss's theta (B, 6)."""
        return theta[:, :LOSS]

    def of_metric(self, theta: Floats) -> Floats:
        """Return the metric's theta (B, 8)."""
        omega = theta[:, 1] - theta[:, 2]
        return np.concatenate([theta[:, LOSS:], omega[:, None], theta[:, 3:LOSS]], axis=1)

    def residuals(self, theta: Floats, which: Which) -> tuple[Floats, Floats]:
        """Return residuals (B, n of both) and derivatives (B, 10, n of both), of parameters (B, 10)."""
        loss, by_loss = self.loss.residuals(self.of_loss(theta), which)
        metric, by_metric = self.metric.residuals(self.of_metric(theta), which)
        jacobian = np.zeros((len(theta), theta.shape[1], loss.shape[1] + metric.shape[1]))
        jacobian[:, :LOSS, : self._n_loss] = by_loss
        of_metric = jacobian[:, :, self._n_loss :]
        of_metric[:, LOSS:] = by_metric[:, :4]
        of_metric[:, 1], of_metric[:, 2] = by_metric[:, 4], -by_metric[:, 4]
        of_metric[:, 3:LOSS] = by_metric[:, 5:]
        of_metric *= self._scale
        return np.concatenate([loss, self._scale * metric], axis=1), jacobian

    def project(self, theta: Floats, which: Which, weights: Floats) -> Floats:
        """Return theta (B, 10) with the low and high that fit best."""
        best = self.metric.project(self.of_metric(theta), which, weights[:, self._n_loss :])
        return np.concatenate([theta[:, :LOSS], best[:, :2], theta[:, LOSS + 2 :]], axis=1)

    def starts(self, law: LossLaw, count: int) -> Floats:
        """Return theta (count, 10): the loss law as it is, with the sigmoids that fit best on its level sets."""
        sets = self.metric.level_sets(law.A, law.B, law.alpha, law.beta)
        shapes = self.metric.starts(self.weights[None, self._n_loss :], count, sets, law.gamma)[0]
        return np.concatenate([np.tile(self.loss.theta(law), (count, 1)), shapes[:, :4]], axis=1)

    def theta(self, loss: LossLaw, metric: MetricLaw) -> Floats:
        """Return the parameters (10,) of two laws with one alpha, beta and gamma."""
        return np.concatenate([self.loss.theta(loss), self.metric.theta(metric)[:4]])

    def law(self, theta: Floats) -> MetricLaw:
        """Return the metric's law of one theta (10,)."""
        return self.metric.law(self.of_metric(theta[None])[0])
