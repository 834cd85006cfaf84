"""Corpora cut at random into parts of equal size, whole clusters at a time: what curves against size are made from.

Letters: S splits, P parts, U utterances of a corpus.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.divergence.floor import cut_segments, draw_splits
from slm_eval.divergence.incidence import Incidence
from slm_eval.divergence.ngrams import Counts, Encoded, Ids, encode, window_keys
from slm_eval.divergence.resampling import Undefined

Corpus = Iterable[Sequence[Hashable]]
Labels = Sequence[Any] | None

# Parts of the smallest size: with halves and quarters, four sizes through which a curve goes.
PIECES = 8
# Two clusters per eighth.
MIN_CLUSTERS = 2 * PIECES
# Between the phones of a pair, where one text stands for both.
_BETWEEN = "\x1d"


@dataclass(frozen=True, eq=False)
class CutCorpora:
    """Several corpora over one inventory, utterances of each in a random order that their content fixes.

    Attributes:
        encoded: all of them, one after the other.
        ranges: utterances of each corpus.
        clusters: of each corpus, shape (U,), cluster of each utterance from 0.
        seed: of the splits.
        paired: whether the first two have their utterances in one order, and are cut alike.
    """

    encoded: Encoded
    ranges: list[slice]
    clusters: list[npt.NDArray[np.intp]]
    seed: int
    paired: bool

    @classmethod
    def from_corpora(
        cls, corpora: Sequence[Corpus], labels: Sequence[Labels], seed: int, *, paired: bool = False
    ) -> CutCorpora:
        """Encode the phones of each utterance, with a sortable label of each, or None where each stands for itself.

        Raises:
            ValueError: labels that do not match the utterances in number, or pairs that do not.
        """
        listed = [list(corpus) for corpus in corpora]
        for corpus, names in zip(listed, labels, strict=True):
            if names is not None and len(names) != len(corpus):
                raise ValueError(f"expected a cluster label for each of {len(corpus)} utterances; got {len(names)}")
        if paired and len(listed[0]) != len(listed[1]):
            raise ValueError(
                f"paired corpora must be equally long; got {len(listed[0])} and {len(listed[1])} utterances"
            )
        orders = [random_order(corpus, seed, names) for corpus, names in zip(listed, labels, strict=True)]
        if paired:
            both = [(*one, _BETWEEN, *partner) for one, partner in zip(listed[0], listed[1], strict=True)]
            orders[0] = orders[1] = random_order(both, seed, labels[0])
        encoded = encode(corpus[index] for corpus, order in zip(listed, orders, strict=True) for index in order)
        ends = np.cumsum([0, *map(len, listed)]).tolist()
        ranges = [slice(start, end) for start, end in pairwise(ends)]
        clusters = [_numbered(order, names) for order, names in zip(orders, labels, strict=True)]
        return cls(encoded, ranges, clusters, seed, paired)

    def windows(self, orders: Iterable[int]) -> Iterator[tuple[int, Ids]]:
        """Yield n and its window keys."""
        return window_keys(self.encoded, orders)

    def incidence(self, n: int, windows: Ids) -> Incidence:
        """Return the incidence of all utterances."""
        return Incidence.build(windows, self.encoded.n_windows(n))

    def phones_per_ngram(self, incidence: Incidence) -> list[float]:
        """Return it for each corpus: a little more than 1, since an utterance has n - 1 more phones than n-grams."""
        return [float(self.encoded.lengths[side].sum() / incidence.n_windows[side].sum()) for side in self.ranges]

    def equal_cuts(self, incidence: Incidence, splits: int) -> list[npt.NDArray[np.intp]] | Undefined:
        """Return a ``cut`` of every corpus into eighths of as many n-grams as the smallest corpus has."""
        whole = [incidence.n_windows[side] for side in self.ranges]
        smallest = min(int(sizes.sum()) for sizes in whole)
        cuts: list[npt.NDArray[np.intp]] = []
        for side, sizes in enumerate(whole):
            kept = np.where(fitting(sizes, range(sizes.size), smallest), sizes, 0)
            # The same random order for both: pairs fall into the same part, but for some at its edges.
            cut = self.cut(0 if self.paired and side == 1 else side, kept, PIECES, splits)
            if isinstance(cut, Undefined):
                return cut
            cuts.append(cut)
        return cuts

    def cut(self, side: int, sizes: Counts, pieces: int, splits: int) -> npt.NDArray[np.intp] | Undefined:
        """Split a corpus at random into equal parts, clusters kept whole: shape (S, U), P where left out."""
        clusters = self.clusters[side]
        of_cluster = np.bincount(clusters, weights=sizes).astype(np.int64)
        usable = int(np.count_nonzero(of_cluster))
        if usable < MIN_CLUSTERS:
            return Undefined(f"at least {MIN_CLUSTERS} clips (or clusters) of a side are needed; there are {usable}")
        orders = draw_splits(clusters, splits, np.random.default_rng((self.seed, side)))
        parts = cut_segments(of_cluster, orders, shares=(0.5, 0.5), pieces=pieces // 2)
        return np.where(sizes > 0, parts[:, clusters], pieces)


def _numbered(order: Sequence[int], names: Labels) -> npt.NDArray[np.intp]:
    """Number the clusters of utterances in this order by first appearance; each is by itself without names."""
    number: dict[Any, int] = {}
    labels = order if names is None else [names[index] for index in order]
    return np.array([number.setdefault(label, len(number)) for label in labels], dtype=np.intp)


def random_order(utterances: Sequence[Sequence[Hashable]], seed: int, labels: Labels = None) -> list[int]:
    """Return positions in an order that depends on content, label and seed alone; copies are spread over it."""
    contents = ["\x1f".join(map(str, phones)) for phones in utterances]
    copies: Counter[str] = Counter()
    keys: dict[int, bytes] = {}
    # Copies are numbered in the order of their labels: their digests differ, and do not depend on the order given.
    for index in sorted(range(len(contents)), key=lambda i: (contents[i], None if labels is None else labels[i])):
        text = f"{seed}\x1e{copies[contents[index]]}\x1e{contents[index]}"
        copies[contents[index]] += 1
        keys[index] = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return sorted(keys, key=keys.__getitem__)


def fitting(sizes: Counts, order: Iterable[int], total: int) -> npt.NDArray[np.bool_]:
    """Return those that fit into the total, tried in this order."""
    taken = np.zeros(sizes.size, dtype=bool)
    as_list = sizes.tolist()
    for index in order:
        if as_list[index] <= total:
            taken[index] = True
            total -= as_list[index]
    return taken


def filling(
    utterances: Sequence[Sequence[Hashable]], n: int, total: int, seed: int
) -> tuple[npt.NDArray[np.intp], list[Any]]:
    """Return positions, ascending, and phones of random utterances of ``total`` n-grams, the last one in part."""
    taken: dict[int, Sequence[Hashable]] = {}
    for index in random_order(utterances, seed):
        if total <= 0:
            break
        phones = utterances[index]
        n_grams = len(phones) - n + 1
        if n_grams > 0:
            taken[index] = phones if n_grams <= total else phones[: total + n - 1]
            total -= n_grams
    positions = sorted(taken)
    return np.array(positions, dtype=np.intp), [taken[index] for index in positions]
