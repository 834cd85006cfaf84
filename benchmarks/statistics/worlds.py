"""Worlds as uneven as real speech, whose true divergence is known by enumeration.

Phones come from a Markov chain of order 1 to 3. After each context one of a few successors follows, as phonotactics
have it, so all n-grams that can occur can be listed, and the true distribution of any n is a sum over paths. Accents
share what can follow and differ in how often it does; a speaker has one accent, and may have topics of their own. A
system that differs from real speech by a shift s takes a share s of each probability from another chain. Clip lengths
are lognormal, speakers have geometrically many clips, and a corpus grows speaker by speaker until it has the phones
asked for. Each clip may be said several times, and phones may be heard wrong.

Letters: K phones, C contexts (the last phones that the next one depends on), D successors of a context, A accents.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """A source of phones; equal worlds are equal sources.

    Attributes:
        order: phones that the next one depends on.
        length, length_cv: mean and coefficient of variation of the phones of a clip (LibriSpeech: 0.31).
        speaker_clips: mean clips of a speaker; 1: every clip has a speaker of its own.
        accents: their shares among speakers.
        accent_strength: share of an accent's probabilities that is its own.
        topics: share of a speaker's probabilities that is theirs alone.
        longwinded: how many times as long the clips of the last accent are.
        repeats: how often every clip is said; its speaker is then the clip's, whoever says it.
        errors: share of phones that are heard as any phone, all K alike.
        phones: K.
        successors: D.
        seed: of the chains.
        mirrored: whether real speech stays the same when the phones of the first half change places with those of the
            second. Then shifts to target 1, the mirror image of target 0, are exactly as far from it, for every n.
        target: which chain a shift moves to: 0, or its mirror image, 1.
    """

    order: int = 2
    length: float = 70.0
    length_cv: float = 0.6
    speaker_clips: float = 1.0
    accents: tuple[float, ...] = (1.0,)
    accent_strength: float = 0.3
    topics: float = 0.0
    longwinded: float = 1.0
    repeats: int = 1
    errors: float = 0.0
    phones: int = 40
    successors: int = 12
    seed: int = 0
    mirrored: bool = False
    target: int = 0

    # ---- drawing ----

    def draw(self, n_phones: int, rng: np.random.Generator, shift: float = 0.0) -> tuple[list[list[int]], list[int]]:
        """Return clips with ``n_phones`` phones in all, the last one cut, and the speaker of each."""
        lengths, speakers, accents = self._sizes(n_phones // self.repeats, rng)
        chain = self._chain(shift)
        probabilities, voices = chain.probabilities, accents
        if self.topics:
            first, voices = np.unique(speakers, return_index=True, return_inverse=True)[1:]
            own = rng.dirichlet(np.full(self.successors, 0.5), (first.size, chain.following.shape[0]))
            probabilities = (1 - self.topics) * probabilities[accents[first]] + self.topics * own
        cumulative = probabilities.cumsum(axis=2)
        starts = self._stationary(shift).cumsum(axis=1)
        draws = rng.random(accents.size)
        contexts = np.array(
            [np.searchsorted(starts[a], u * starts[a, -1]) for a, u in zip(accents, draws, strict=True)]
        )
        contexts = np.minimum(contexts, chain.following.shape[0] - 1)
        spoken = np.empty((lengths.max() + self.order, lengths.size), dtype=np.uint8)
        spoken[: self.order] = chain.contexts[contexts].T
        alive = np.arange(lengths.size)
        for position in range(self.order, spoken.shape[0]):
            alive = alive[lengths[alive] > position]
            if not alive.size:
                break
            at = contexts[alive]
            which = (cumulative[voices[alive], at] < rng.random(alive.size)[:, None]).sum(axis=1)
            which = np.minimum(which, self.successors - 1)
            spoken[position, alive] = chain.successors[at, which]
            contexts[alive] = chain.following[at, which]
        spoken, lengths, speakers = (np.repeat(each, self.repeats, axis=-1) for each in (spoken, lengths, speakers))
        if self.errors:
            wrong = rng.random(spoken.shape) < self.errors
            spoken[wrong] = rng.integers(self.phones, size=np.count_nonzero(wrong))
        clips = [spoken[:length, at].tolist() for at, length in enumerate(lengths.tolist())]
        return clips, speakers.tolist()

    def _sizes(self, n_phones: int, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
        """Length, speaker and accent of each clip."""
        sigma = np.sqrt(np.log1p(self.length_cv**2))
        scales = np.ones(len(self.accents))
        scales[-1] = self.longwinded
        means = self.length * scales / np.dot(self.accents, scales)
        lengths, speakers, accents = [], [], []
        total = speaker = 0
        while total < n_phones:
            accent = int(rng.choice(len(self.accents), p=self.accents))
            for _ in range(int(rng.geometric(1 / self.speaker_clips))):
                length = round(float(means[accent] * np.exp(sigma * rng.normal() - sigma**2 / 2)))
                length = min(max(length, self.order), n_phones - total)
                if length <= 0:
                    break
                total += length
                lengths.append(length)
                speakers.append(speaker)
                accents.append(accent)
            speaker += 1
        return np.array(lengths), np.array(speakers), np.array(accents)

    # ---- the truth ----

    def truth(self, n: int, shift: float, errors: float = 0.0) -> float:
        """Return the true pJSD-n, in nats, between this source and itself with a shift, or heard with errors."""
        keys, p = self._distribution(n, 0.0)
        q = _heard(keys, self._distribution(n, shift)[1], n, self.phones, errors)
        middle = (p + q) / 2
        within = sum((each[each > 0] * np.log(each[each > 0] / middle[each > 0])).sum() for each in (p, q))
        # What is heard in place of what can occur, real speech never has.
        return float(within + (np.log(2) * (1 - q.sum()) if errors else 0.0)) / 2

    def distribution(self, n: int, shift: float = 0.0) -> Floats:
        """Return the probability of each n-gram that can occur, in one order for all shifts."""
        return self._distribution(n, shift)[1]

    def _distribution(self, n: int, shift: float) -> tuple[Ints, Floats]:
        """Return the n-grams that can occur, as numbers of n digits of base K, ascending, and their probabilities."""
        chain = self._chain(shift)
        weights = np.asarray(self.accents).copy()
        weights[-1] *= self.longwinded
        weights /= weights.sum()
        mass = self._stationary(shift)  # (A, C)
        key = chain.contexts.astype(np.int64) @ (self.phones ** np.arange(self.order - 1, -1, -1, dtype=np.int64))
        context = np.arange(key.size)
        for _ in range(n - self.order):
            mass = (mass[:, :, None] * chain.probabilities[:, context]).reshape(len(self.accents), -1)
            key = (key[:, None] * self.phones + chain.successors[context]).ravel()
            context = chain.following[context].ravel()
        if n < self.order:
            key = key // self.phones ** (self.order - n)
        keys, rows = np.unique(key, return_inverse=True)
        return keys, np.bincount(rows, weights=weights @ mass)

    # ---- the chain ----

    def _chain(self, shift: float) -> _Chain:
        """What follows what, and how often in each accent."""
        own, other = self._probabilities
        return _Chain(self._contexts, self._successors, self._following, (1 - shift) * own + shift * other)

    @cached_property
    def _successors_of_phone(self) -> Ints:
        """Phones that can follow each phone: shape (K, D)."""
        rng = np.random.default_rng((self.seed, 0))
        usual = 1 / np.arange(1, self.phones + 1) ** 0.7  # some phones are much more frequent than others
        following = np.array(
            [rng.choice(self.phones, self.successors, False, usual / usual.sum()) for _ in range(self.phones)]
        )
        if self.mirrored:
            half = self.phones // 2
            following[half:] = (following[:half] + half) % self.phones
        return following

    @cached_property
    def _contexts(self) -> Ints:
        """Shape (C, order), the last phone last."""
        contexts = np.arange(self.phones)[:, None]
        for _ in range(self.order - 1):
            following = self._successors_of_phone[contexts[:, -1]]
            contexts = np.concatenate((np.repeat(contexts, self.successors, axis=0), following.reshape(-1, 1)), axis=1)
        return contexts

    @cached_property
    def _successors(self) -> Ints:
        """Shape (C, D)."""
        return self._successors_of_phone[self._contexts[:, -1]]

    @cached_property
    def _following(self) -> Ints:
        """The context that each successor leads to: shape (C, D)."""
        place = self.phones ** np.arange(self.order - 1, -1, -1)
        number = np.full(self.phones**self.order, -1)
        number[self._contexts @ place] = np.arange(self._contexts.shape[0])
        following = (self._contexts @ place)[:, None] * self.phones % self.phones**self.order + self._successors
        return number[following]

    @cached_property
    def _probabilities(self) -> tuple[Floats, Floats]:
        """Of real speech and of what a shift moves to: shape (A, C, D)."""
        shape = self._successors.shape
        # Contexts of a phone stand together, in an order that mirrored phones share: so rows are mirrored by halves.
        half = shape[0] // 2
        streams = ((self.seed, 1), *((self.seed, 3, accent) for accent in range(1, len(self.accents))), (self.seed, 2))
        drawn = [np.random.default_rng(each).dirichlet(np.full(shape[1], 0.5), shape[0]) for each in streams]
        *real, other = drawn
        if self.mirrored:
            real = [np.concatenate((each[:half], each[:half])) for each in real]
        common = real[0]
        accents = [common, *((1 - self.accent_strength) * common + self.accent_strength * own for own in real[1:])]
        if self.target:
            other = np.roll(other, half, axis=0)
        return np.array(accents), np.broadcast_to(other, (len(accents), *shape))

    def _stationary(self, shift: float) -> Floats:
        """How often each context occurs in each accent: shape (A, C)."""
        known = self.__dict__.setdefault("_known_stationary", {})
        if shift not in known:
            chain = self._chain(shift)
            known[shift] = np.array([_stationary(chain.following, each) for each in chain.probabilities])
        return known[shift]


@dataclass(frozen=True, eq=False)
class _Chain:
    contexts: Ints
    successors: Ints
    following: Ints
    probabilities: Floats


def _heard(keys: Ints, said: Floats, n: int, phones: int, errors: float) -> Floats:
    """Return how probable each n-gram is to be heard, where a share of phones is heard as any one.

    A sum over which places are heard right: of the others nothing is known of what was said there.

    Args:
        keys: n-grams that can be said, as numbers of n digits of base ``phones``.
        said: their probabilities.
    """
    if not errors:
        return said
    places = phones ** np.arange(n, dtype=np.int64)
    digits = keys[:, None] // places % phones
    heard = np.zeros(said.size)
    for right in product((0, 1), repeat=n):
        rows = np.unique(digits @ (places * right), return_inverse=True)[1]
        chance = (1 - errors) ** sum(right) * (errors / phones) ** (n - sum(right))
        heard += chance * np.bincount(rows, weights=said)[rows]
    return heard


def _stationary(following: Ints, probabilities: Floats) -> Floats:
    mass = np.full(following.shape[0], 1 / following.shape[0])
    for _ in range(2000):
        moved = np.bincount(following.ravel(), weights=(mass[:, None] * probabilities).ravel(), minlength=mass.size)
        moved = (moved + mass) / 2  # a chain that alternates would never settle
        if np.abs(moved - mass).sum() < 1e-13:
            return moved
        mass = moved
    return mass
