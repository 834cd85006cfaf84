"""How predictable generated phones are to real speech, beside real phones that the model has not seen.

The one entry point is ``cross_entropy``; the model is in ``phone_model.py``. Both numbers are means over windows of
phones, ratios of sums over clips, judged as ``means.py`` does.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from slm_eval.divergence.phone_model import PhoneModels, Phones, divide
from slm_eval.divergence.resampling import MIN_CLIPS, MIN_CLUSTERS, Undefined
from slm_eval.metrics.means import Estimate, Sample, Withheld, difference, mean

# Level of the test that generated and real phones are equally predictable.
LEVEL = 0.05
TOO_PREDICTABLE = "too_predictable"  # the code of the warning
MORE_PREDICTABLE = (
    "generated phones are more predictable than real ones: recited, repeated or monotonous speech is; here lower is "
    "not better"
)


@dataclass(frozen=True)
class CrossEntropy:
    """Of generated and of held-out real phones under models of real speech.

    Attributes:
        generated, real: in nats per phone; intervals are for other clips under the same models.
        difference: generated - real; its interval is for other clips of both. Where nothing differs it allows for other
            models as well; what other models would make of a large difference is not in it.
        n_windows, n_clips: that were scored, of the generated and of the real side.
        n_unknown: generated windows that end in a phone which real speech does not have.
        folds: how real speech was divided, as a signature tells it.
        too_predictable: generated phones are, by a test; a warning says so.
        warnings: one line each.
    """

    generated: Estimate
    real: Estimate
    difference: Estimate
    n_windows: tuple[int, int]
    n_clips: tuple[int, int]
    n_unknown: int
    folds: str
    too_predictable: bool
    warnings: tuple[str, ...]


def cross_entropy(
    generated: Sequence[Phones],
    real: Sequence[Phones],
    n: int,
    *,
    generated_clusters: npt.NDArray[np.intp] | None = None,
    real_clusters: npt.NDArray[np.intp] | None = None,
) -> CrossEntropy | Undefined:
    """Estimate the cross-entropy of both sides under an n-gram model of the real one, whatever the order of clips.

    Args:
        generated, real: one sequence of phones per clip.
        n: phones per window.
        generated_clusters, real_clusters: shape (clips,), number of the cluster of each; clips of one cluster are drawn
            together. None: each clip by itself.

    Returns:
        a reason where a side has no window, or real speech cannot be divided.

    Raises:
        ValueError: n below 1.

    >>> found = cross_entropy(["abab"] * 4, ["abab", "baba"] * 4, n=2)
    >>> round(found.generated.value, 4), found.n_windows
    (0.0456, (12, 24))
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, since an n-gram has at least one phone; got n={n}")
    # 1. Clips with at least one window, in the order of their contents.
    sides = [
        _Side.from_clips(clips, clusters, n)
        for clips, clusters in ((generated, generated_clusters), (real, real_clusters))
    ]
    if not sides[0].clips:
        return Undefined(f"the generated side has no clip of {n} phones")
    without_models = sides[1].why_no_models()
    if without_models is not None:
        return Undefined(without_models)
    # 2. Models of real speech without each of its folds, and what they make of every clip.
    folds = divide(sides[1].clips, sides[1].clusters)
    models = PhoneModels.from_clips(sides[0].clips, sides[1].clips, folds, n)
    scores = models.surprisals()
    # 3. Means and their difference, with clips of one cluster drawn together.
    # Numbers of clusters that no two sides have in common: they are independent.
    numbers = sides[0].clusters, sides[1].clusters + len(sides[0].clips)
    samples = [
        Sample.from_scores(side.mean, number, side.windows) for side, number in zip(scores, numbers, strict=True)
    ]
    reason = next((reason for side in sides if (reason := side.too_few()) is not None), None)
    estimates = [mean(side.mean, number, side.windows) for side, number in zip(scores, numbers, strict=True)]
    apart = _difference(samples[0], samples[1], 0.0 if reason else models.coupling())
    if reason is not None:
        apart, *estimates = (replace(estimate, withheld=Withheld(reason)) for estimate in (apart, *estimates))
    warnings = [f"there is no interval and no test: {apart.withheld.reason}"] if apart.withheld else []
    too_predictable = apart.value < 0 and apart.p_value() < LEVEL
    if too_predictable:
        warnings.append(MORE_PREDICTABLE)
    known = set().union(*sides[1].clips)
    return CrossEntropy(
        generated=estimates[0],
        real=estimates[1],
        difference=apart,
        n_windows=(int(scores[0].windows.sum()), int(scores[1].windows.sum())),
        n_clips=(len(sides[0].clips), len(sides[1].clips)),
        n_unknown=sum(phone not in known for clip in sides[0].clips for phone in clip[n - 1 :]),
        folds=f"{int(folds.max()) + 1}-{_digest(sides[1].clips, folds)}",
        too_predictable=too_predictable,
        warnings=tuple(warnings),
    )


def held_out_models(
    generated: Sequence[Phones], real: Sequence[Phones], real_clusters: npt.NDArray[np.intp], n: int
) -> PhoneModels | str:
    """Make the models of ``cross_entropy`` and number the windows of generated clips; or say why there are none.

    Args:
        generated, real: one sequence of phones per clip.
        real_clusters: shape (clips,), number of the cluster of each.
        n: phones per window.
    """
    side = _Side.from_clips(real, real_clusters, n)
    reason = side.why_no_models()
    return (
        PhoneModels.from_clips(generated, side.clips, divide(side.clips, side.clusters), n)
        if reason is None
        else reason
    )


@dataclass(frozen=True, eq=False)
class _Side:
    """Clips of at least n phones, in the order of their contents, and the cluster of each, numbered from 0."""

    clips: list[Phones]
    clusters: npt.NDArray[np.int64]
    n: int

    @classmethod
    def from_clips(cls, clips: Sequence[Phones], clusters: npt.NDArray[np.intp] | None, n: int) -> _Side:
        labels = range(len(clips)) if clusters is None else clusters.tolist()
        kept = [
            (_texts(clip), label, index)
            for index, (clip, label) in enumerate(zip(clips, labels, strict=True))
            if len(clip) >= n
        ]
        # By content, so that sums do not depend on the order in which clips were given, not even in their last digit.
        kept.sort()
        number: dict[int, int] = {}
        return cls(
            [clips[index] for _, _, index in kept],
            np.array([number.setdefault(label, len(number)) for _, label, _ in kept], dtype=np.int64),
            n,
        )

    def why_no_models(self) -> str | None:
        """Say why this side cannot be divided, or None."""
        if not self.clips:
            return f"the real side has no clip of {self.n} phones"
        if not self.clusters.any():
            return (
                "real speech is one clip (or of one speaker or prompt): there is none for the model and none held out"
            )
        return None

    def too_few(self) -> str | None:
        """Say why there is no interval, or None."""
        n_clusters = int(self.clusters.max()) + 1
        if len(self.clips) < MIN_CLIPS:
            return f"a side has fewer than {MIN_CLIPS} clips"
        if n_clusters < min(len(self.clips), MIN_CLUSTERS):
            return f"a side has clips of fewer than {MIN_CLUSTERS} speakers (or prompts)"
        return None


def _texts(clip: Phones) -> list[str]:
    """Return the phones as text; those of a run are that, and a copy of each clip would take a second and 0.1 GB."""
    return clip if isinstance(clip, list) and set(map(type, clip)) == {str} else list(map(str, clip))


def _difference(generated: Sample, real: Sample, coupling: float) -> Estimate:
    """Return it of two samples, each with a variance of its own, and what ``PhoneModels.coupling`` adds to it."""
    apart = difference(generated, real)
    return replace(apart, error=math.sqrt(apart.error**2 + coupling))


def _digest(clips: Sequence[Phones], folds: npt.NDArray[np.int64]) -> str:
    """Digest what real speech was divided into: other speakers give other folds, and other values."""
    lines = sorted(
        f"{fold}\x1f" + "\x1f".join(map(str, clip)) for clip, fold in zip(clips, folds.tolist(), strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()[:8]
