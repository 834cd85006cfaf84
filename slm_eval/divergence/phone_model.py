"""How predictable phones are to real speech: an n-gram model of real phones, and what it makes of every clip.

The model is an interpolated n-gram model with Witten-Bell smoothing (Witten and Bell 1991; the recursion as in Chen and
Goodman 1999). With c the counts of real speech, h the n - 1 phones before w, h' all of them but the first, and T(h)
the number of distinct phones that were seen after h:

    p(w | h) = (c(h w) + T(h) p(w | h')) / (c(h) + T(h));   the last h' is empty, below it p(w) = 1 / V

V counts the phones of real speech and one more that stands for every phone that real speech does not have. Windows of
n phones are scored, by -log p of their last phone, as pJSD counts them: none crosses clips, and the first n - 1 phones
of a clip are context alone. So neither how clips begin and end, nor how long they are, is part of the number.

Real clips are scored too, each by a model that has not seen it: real speech is divided into folds, clips of one cluster
in the same, and a fold is scored by the model of the others. Generated clips are scored by the same models, averaged by
the share of windows of each fold, so that both are scored by models of as much speech. All is in nats.

Letters: P phones of both sides in all, K phones in the inventory of real speech, T distinct n-grams, U clips, F folds.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats

Ints = npt.NDArray[np.int64]
Phones = Sequence[Hashable]

Numbers = npt.NDArray[np.int32]

# Below this many possible keys a table ranks them, in a tenth of the time of sorting.
_TABLE_BOUND = 2**22
# Windows that are counted at a time.
_AT_A_TIME = 2**20
# More folds leave more speech to each model, and cost as much more time.
FOLDS = 10


@dataclass(frozen=True, eq=False)
class Surprisals:
    """What models of real speech make of the clips of a side.

    Attributes:
        total: shape (U,), sum of -log p over the windows of each clip, in nats.
        windows: shape (U,), windows of n phones in each.
    """

    total: Floats
    windows: Ints

    @property
    def mean(self) -> Floats:
        """Return the mean per window, of clips that have at least one."""
        return self.total / self.windows


@dataclass(frozen=True, eq=False)
class PhoneModels:
    """Models of real speech without each of its folds, and the windows of generated and of real clips.

    Attributes:
        grams: k-grams of all clips, generated first.
        n_generated: generated clips.
        folds: shape (real clips,), from 0 to F - 1.
    """

    grams: _Grams
    n_generated: int
    folds: Ints

    @classmethod
    def from_clips(cls, generated: Sequence[Phones], real: Sequence[Phones], folds: Ints, n: int) -> PhoneModels:
        """Number the k-grams of all clips.

        Args:
            generated, real: one sequence of phones per clip; phones are hashable, those of real clips sortable.
            folds: of the real clips, as ``divide`` makes them: at least two, each with a clip of n phones.
            n: phones per window, at least 1.
        """
        # Generated clips are the last part.
        n_parts = int(folds.max()) + 2
        parts = np.concatenate((np.full(len(generated), n_parts - 1), folds)).astype(np.int8)
        return cls(_Grams.from_clips([*generated, *real], real, n, parts, n_parts), len(generated), folds)

    def surprisals(self) -> tuple[Surprisals, Surprisals]:
        """Return those of generated and of real clips; a generated clip's do not depend on other generated clips."""
        types, clip = self.grams.types, self.grams.clip
        n_windows = np.bincount(clip, minlength=self.n_generated + self.folds.size)
        of_generated = slice(0, int(n_windows[: self.n_generated].sum()))
        of_real = slice(of_generated.stop, None)
        fold = self.folds.astype(np.int8)[clip[of_real] - self.n_generated]
        total, average = np.zeros(n_windows.size), np.zeros(self.grams.levels[-1].context.size)
        # A fold at a time: the score of every window at once would be the largest array of all.
        for left_out, share in enumerate(self._shares):
            surprisal = self._surprisal_without(left_out)
            average += share * surprisal
            held = fold == left_out
            total += np.bincount(clip[of_real][held], surprisal[types[of_real][held]], total.size)
        total += np.bincount(clip[of_generated], average[types[of_generated]], total.size)
        sides = slice(0, self.n_generated), slice(self.n_generated, None)
        first, second = (Surprisals(total[side], n_windows[side]) for side in sides)
        return first, second

    def coupling(self) -> float:
        """Return what real clips add to the variance of (generated - real) by being in each other's models.

        A real clip moves the difference twice: by its own score (d), and by making clips that are like it less
        surprising where it is in the model (e). Where both sides are of one source, e cancels on average between
        generated and real clips, and what is left of it comes from pairs of real clips. Of such a pair both clips
        find each other in their models: with k(i, j) what j does to the score of i, the difference has the variance of
        the sum of k(i, j) + k(j, i) over pairs, which is d^2 + d e summed over clips. The variance of the scores, as if
        the models were given, has d^2 alone and is up to half too small; the jackknife, (d + e)^2, is too large.

        Returns:
            sum of d e over folds, in nats^2 of the difference; at least 0.
        """
        n_folds, shares = len(self._shares), self._shares
        of_generated = self._counts[-1][-1]
        alone = [self._surprisal_without(fold) for fold in range(n_folds)]
        real = np.array([self._of_fold(fold, surprisal) for fold, surprisal in enumerate(alone)])
        apart = np.array([_mean(of_generated, surprisal) for surprisal in alone]) - real
        rise = np.zeros(n_folds)  # of the difference where a fold is in no model
        for one in range(n_folds):
            for other in range(one):
                surprisal = self._surprisal_without(one, other)
                generated = _mean(of_generated, surprisal)
                for held, gone in ((one, other), (other, one)):
                    rise[gone] += shares[held] * (generated - self._of_fold(held, surprisal) - apart[held])
        direct = shares * (np.dot(shares, real) - real)
        effect = rise.mean() - rise
        return max(float(np.dot(direct, effect)) * n_folds / (n_folds - 1), 0.0)

    @cached_property
    def _counts(self) -> list[list[Ints]]:
        """Count the k-grams of each fold, k = 1 to n; those of the generated clips last."""
        return [list(counts) for counts in zip(*(level.counts for level in self.grams.levels), strict=True)]

    @cached_property
    def _shares(self) -> Floats:
        """Return the shares of the windows of real speech, by fold."""
        sizes = np.array([counts[-1].sum() for counts in self._counts[:-1]])
        return sizes / sizes.sum()

    def _surprisal_without(self, *folds: int) -> Floats:
        """Return -log p of each n-gram by the model of the other folds."""
        others = [counts for fold, counts in enumerate(self._counts[:-1]) if fold not in folds]
        return -np.log(self.grams.probabilities([np.sum(counts, axis=0) for counts in zip(*others, strict=True)]))

    def _of_fold(self, fold: int, surprisal: Floats) -> float:
        """Return the mean over the windows of a fold."""
        return _mean(self._counts[fold][-1], surprisal)


def divide(clips: Sequence[Phones], clusters: npt.NDArray[np.integer]) -> Ints:
    """Return folds of clips: clusters in a random but fixed order, each into the fold with the fewest phones yet.

    The order is that of digests of what the clusters say, so that neither the order of the clips nor their names
    matter, and there is nothing to draw.

    Args:
        clips: real clips.
        clusters: shape (clips,), cluster of each, from 0.

    Returns:
        shape (clips,), ``FOLDS`` folds, or one for each cluster where these are fewer.
    """
    contents: dict[int, list[str]] = {}
    for phones, cluster in zip(clips, clusters.tolist(), strict=True):
        contents.setdefault(cluster, []).append("\x1f".join(map(str, phones)))
    digests = {cluster: _digest("\x1e".join(sorted(said))) for cluster, said in contents.items()}
    sizes = np.bincount(clusters, weights=[len(phones) for phones in clips])
    filled = [(0, fold) for fold in range(min(FOLDS, len(contents)))]
    fold_of = np.zeros(len(sizes), dtype=np.int64)
    for cluster in sorted(contents, key=lambda number: (digests[number], number)):
        size, fold = heapq.heappop(filled)
        fold_of[cluster] = fold
        heapq.heappush(filled, (size + int(sizes[cluster]), fold))
    return fold_of[clusters]


@dataclass(frozen=True, eq=False)
class _Level:
    """The k-grams of one k.

    Attributes:
        counts: shape (parts, T), how often each occurs in each part of the clips.
        context: shape (T,), number of the (k-1)-gram without the last phone.
        suffix: shape (T,), number of the (k-1)-gram without the first phone.
    """

    counts: Ints
    context: Ints
    suffix: Ints


@dataclass(frozen=True, eq=False)
class _Grams:
    """The k-grams of all clips for k = 1 to n, and how they extend each other.

    Attributes:
        levels: k-grams of each k, from 1.
        types: shape (windows,), int32, number of the n-gram that each window is.
        clip: shape (windows,), int32, the clip of each window; ascending.
        vocabulary: V, what the probabilities after a context sum to one over.
    """

    levels: list[_Level]
    types: Numbers
    clip: Numbers
    vocabulary: int

    @classmethod
    def from_clips(
        cls, clips: Sequence[Phones], real: Sequence[Phones], n: int, parts: npt.NDArray[np.int8], n_parts: int
    ) -> _Grams:
        """Number the k-grams of clips.

        Args:
            clips: of both sides.
            real: clips that say which phones are known.
            n: the largest k.
            parts: shape (clips,), part of each clip, from 0.
            n_parts: that are counted apart.
        """
        inventory = sorted(set(chain.from_iterable(real)))  # type: ignore[type-var]
        id_of = {phone: index for index, phone in enumerate(inventory)}
        unknown, vocabulary = len(inventory), len(inventory) + 1
        id_of |= dict.fromkeys(set(chain.from_iterable(clips)) - id_of.keys(), unknown)
        # 32 bits, and no list of positions: at the size of a corpus these arrays are what takes memory.
        ids = np.fromiter(map(id_of.__getitem__, chain.from_iterable(clips)), dtype=np.int32)
        lengths = np.array([len(phones) for phones in clips], dtype=np.int64)
        clip, ends = np.repeat(np.arange(lengths.size, dtype=np.int32), lengths), np.cumsum(lengths)
        single = np.zeros(vocabulary, dtype=np.int64)
        levels = [_Level(_counts_by_part(ids, vocabulary, parts[clip], n_parts), single, single)]
        inside = np.ones(ids.size, dtype=bool)  # of a clip, with the whole k-gram that begins at a position
        number, types = ids, ids  # of the k-gram at each position, 0 where it crosses an end; of those inside
        for k in range(2, n + 1):
            inside = inside[:-1]
            inside[ends[(ends >= k - 1) & (ends - (k - 1) < inside.size)] - (k - 1)] = False
            bound = levels[-1].context.size * vocabulary
            keys = number[:-1][inside].astype(np.int32 if bound < 2**31 else np.int64, copy=False)
            keys *= vocabulary
            keys += ids[k - 1 :][inside]
            distinct, types = _ranked(keys, bound)
            suffix = np.zeros(distinct.size, dtype=np.int64)
            suffix[types] = number[1:][inside]
            counts = _counts_by_part(types, distinct.size, parts[clip[: inside.size][inside]], n_parts)
            levels.append(_Level(counts, distinct // vocabulary, suffix))
            number = np.zeros(inside.size, dtype=np.int32)
            number[inside] = types
        return cls(levels, types, clip[: inside.size][inside], vocabulary)

    def probabilities(self, counts: Sequence[Ints]) -> Floats:
        """Return p(last phone | the others) of every n-gram, by the model of these counts of k-grams, k = 1 to n."""
        p = np.full(1, 1 / self.vocabulary)
        for level, count in zip(self.levels, counts, strict=True):
            after = np.bincount(level.context, weights=count)
            distinct = np.bincount(level.context, weights=count > 0)
            seen = after + distinct
            shorter = p[level.suffix]
            known = (seen > 0)[level.context]
            of_context = np.where(seen > 0, seen, 1)[level.context]
            p = np.where(known, (count + distinct[level.context] * shorter) / of_context, shorter)
        return p


def _ranked(keys: Numbers | Ints, bound: int) -> tuple[Ints, Numbers]:
    """Return the distinct keys, ascending, and the rank of each key among them; keys are below ``bound``."""
    if bound > _TABLE_BOUND:
        distinct, ranks = np.unique(keys, return_inverse=True)
        return distinct.astype(np.int64), ranks.astype(np.int32)
    occurs = np.zeros(bound, dtype=bool)
    occurs[keys] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs, dtype=np.int32) - 1)[keys]


def _counts_by_part(types: Numbers, n_types: int, parts: npt.NDArray[np.int8], n_parts: int) -> Ints:
    """Return how often each type occurs in each part: shape (parts, types)."""
    n_cells = n_parts * n_types
    counts = np.zeros(n_cells, dtype=np.int64)
    # Some at a time: the cells of all windows at once would take more memory than anything else.
    step = max(_AT_A_TIME, n_cells)
    for start in range(0, types.size, step):
        cells = parts[start : start + step].astype(np.int64)
        cells *= n_types
        cells += types[start : start + step]
        counts += np.bincount(cells, minlength=n_cells)
    return counts.reshape(n_parts, n_types)


def _mean(counts: Ints, values: Floats) -> float:
    return float(np.sum(counts * values) / counts.sum())


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
