"""What is said: conversations of a small probabilistic grammar, the same for the same seed and number."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

_PLACE = re.compile(r"<([^<>]+)>")
_WEIGHTED = re.compile(r"(\d+) \* (.*)", re.DOTALL)
_STAYS = 0.75  # chance that the next question is about the topic of the last one


@dataclass(frozen=True)
class Turn:
    """What one speaker says at once. ``speaker`` counts from 0 in the order of first words."""

    speaker: int
    text: str


@dataclass(frozen=True)
class _Grammar:
    topics: tuple[str, ...]
    rules: dict[str, tuple[tuple[str, ...], tuple[int, ...]]]  # name -> phrases and their weights


def conversation(seed: int, number: int, speakers: int = 2) -> Iterator[Turn]:
    """Yield turns without end: greetings, then questions, answers and remarks by topic, now and then a goodbye.

    Args:
        seed, number: which conversation; equal ones are equal.
        speakers: at least 1; one turn of each in order, as far as the grammar allows.
    """
    # Seeded by a text: the same on every machine and Python, whatever the hash seed.
    rng = random.Random(f"{seed}|{number}")
    grammar = _grammar()
    turns = 0
    while True:
        topic = rng.choice(grammar.topics)
        plan = ["opening", "reply"]
        for _ in range(rng.randint(3, 8)):
            plan += ["question", "answer", *["remark"] * rng.choice((0, 1, 1, 2))]
        for kind in [*plan, "closing"]:
            if kind == "question" and rng.random() > _STAYS:
                topic = rng.choice(grammar.topics)
            yield Turn(turns % speakers, _expand(f"<{kind}>", topic, rng, grammar))
            turns += 1


def _expand(phrase: str, topic: str, rng: random.Random, grammar: _Grammar) -> str:
    """Replace every <name> by one of its phrases, from left to right, until none is left."""
    while (place := _PLACE.search(phrase)) is not None:
        choices, weights = grammar.rules[place[1].replace("{topic}", topic)]
        chosen = rng.choices(choices, weights)[0]
        phrase = phrase[: place.start()] + chosen + phrase[place.end() :]
    return phrase[0].upper() + phrase[1:]


@lru_cache(maxsize=1)
def _grammar() -> _Grammar:
    import yaml

    table = yaml.safe_load(files(__package__).joinpath("grammar.yaml").read_text(encoding="utf-8"))
    rules = {name: _weighted(phrases) for name, phrases in {**table["turns"], **table["phrases"]}.items()}
    return _Grammar(tuple(table["topics"]), rules)


def _weighted(phrases: list[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    pairs = [(match[2], int(match[1])) if (match := _WEIGHTED.fullmatch(phrase)) else (phrase, 1) for phrase in phrases]
    return tuple(text for text, _ in pairs), tuple(weight for _, weight in pairs)
