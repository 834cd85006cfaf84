"""Could generated and real speech be two samples of one source? A permutation test.

Speakers (or prompts, or single clips) of both sides are mixed and dealt out again, to sides of the phones that the real
ones have, and the divergence of the sides that chance makes is set beside the observed one. No floor, no curve and no
normal distribution is assumed. Speakers are dealt out whole, since clips of one are alike.

Letters: U utterances, C clusters, B labellings.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.divergence.bitsums import Bits, Group
from slm_eval.divergence.incidence import Draws, Incidence, add_up, from_overlap, n_ngrams, overlaps
from slm_eval.divergence.ngrams import Counts

# Largest ratio of the phones of a cluster, and of a side, that are both too uneven to exchange clusters. Single clips
# against speakers of six to fifteen, more speech on the side of the clips: 10 to 41 % false alarms at 5 % where it was
# 1.4 or 3 times as much; at equal sizes 4 to 10 %, the other way round fewer than 5 %.
MAX_CLUSTER_RATIO, MAX_SIDE_RATIO = 3.0, 1.1

# With fewer labellings than this no p could be below 5 %, however much the sides differ.
MIN_LABELLINGS = 20

# Scores of equal labellings differ by rounding; so far apart they still count as equal.
_TOLERANCE = 1e-12


def why_not(clusters: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]], lengths: Counts) -> str | None:
    """Return why clusters of the two sides cannot be exchanged, or None; arguments as for ``deal_out``."""
    counts = [int(side.max()) + 1 for side in clusters]
    # Sides of as many clusters may change places, which leaves what is between them as it is.
    labellings = math.comb(sum(counts), counts[0]) // (2 if counts[0] == counts[1] else 1)
    if labellings < MIN_LABELLINGS:
        return "so few clips (or speakers) could not show a difference, however large"
    phones = [float(side.sum()) for side in np.split(lengths, [clusters[0].size])]
    means = [total / count for total, count in zip(phones, counts, strict=True)]
    larger = int(phones[1] > phones[0])
    if phones[larger] > MAX_SIDE_RATIO * phones[1 - larger] and means[1 - larger] > MAX_CLUSTER_RATIO * means[larger]:
        return (
            "the side with less speech is drawn by speakers (or prompts), the other by single clips or small ones; "
            "name those of both sides, or take equal amounts of speech"
        )
    return None


def deal_out(
    clusters: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
    lengths: Counts,
    labellings: int,
    rng: np.random.Generator,
) -> Draws:
    """Return random labellings of the utterances of two sides, the observed one first.

    Clusters come in random order and go to the first side until it has as many phones as it really has, but for half a
    cluster: sides of as many clusters would differ in size from the real ones where clips of one side are longer.

    Args:
        clusters: of either side, shape (U,), cluster of each utterance from 0.
        lengths: shape (U,) of both sides together, phones.
        labellings: B, the observed one among them.
        rng: source of randomness.

    Returns:
        shape (U, B), 1 where an utterance is labelled as of the first side.
    """
    n_first = clusters[0].size
    both = np.concatenate((clusters[0], clusters[1] + clusters[0].max() + 1))
    sizes = np.bincount(both, weights=lengths)
    wanted = float(lengths[:n_first].sum())
    members = np.zeros((sizes.size, labellings), dtype=np.uint8)
    members[: int(clusters[0].max()) + 1, 0] = 1
    for labelling in range(1, labellings):
        order = rng.permutation(sizes.size)
        middles = np.cumsum(sizes[order]) - sizes[order] / 2
        members[order[middles < wanted], labelling] = 1
    return members[both]


def p_value(incidence: Incidence, members: Draws) -> float | None:
    """Return the share of labellings whose sides differ at least as much as the observed ones, itself among them.

    Scores fall as sides grow, so what the sizes of the dealt sides do to them is regressed out: over all labellings,
    the observed one included, so that none is treated otherwise than the others.

    Args:
        incidence: of all utterances.
        members: shape (U, B), ``deal_out``.

    Returns:
        None where a side of some labelling has no n-grams.
    """
    scores, sizes = divergences_of_labels(incidence, members)
    if np.isnan(scores).any():
        return None
    logarithms = np.log(1 / sizes[0] + 1 / sizes[1])
    logarithms -= logarithms.mean()
    spread = float(np.square(logarithms).sum())
    if spread > 0:
        scores = scores - logarithms * float(logarithms @ (scores - scores.mean())) / spread
    return float(np.mean(scores >= scores[0] - _TOLERANCE))


def divergences_of_labels(incidence: Incidence, members: Draws) -> tuple[Floats, tuple[Counts, Counts]]:
    """Return J between the utterances that have a label and those that do not, and the n-grams of both.

    Args:
        incidence: of all utterances.
        members: shape (U, B).

    Returns:
        three of shape (B,): nats, NaN where a side has no n-grams; n-grams of the labelled ones; of the others.
    """
    everything = slice(0, incidence.n_windows.size)
    # Types of a single utterance are never on both sides.
    groups = incidence.groups(np.diff(incidence.starts) > 1, (everything,))
    bits = Bits.from_draws(members)
    n_first = n_ngrams(incidence.n_windows, members)
    n_second = incidence.n_windows.sum() - n_first

    def overlap(types: Group) -> Floats:
        counts = types.counts(0, bits)
        whole = types.sides[0].totals[:, None].astype(counts.dtype)
        return overlaps(counts, whole - counts, n_first, n_second)

    overlap_of_all = add_up(overlap, groups, bits.words.shape[1], n_first.size)
    return from_overlap(overlap_of_all, n_first, n_second), (n_first, n_second)
