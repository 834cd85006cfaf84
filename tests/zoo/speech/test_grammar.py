"""Conversations of the grammar: functions of seed and number."""

from __future__ import annotations

import hashlib
import itertools
import re

import yaml

from model_zoo.speech.grammar import conversation
from tests.conftest import ROOT

GRAMMAR = ROOT / "model_zoo" / "speech" / "grammar.yaml"


def texts(seed: int, number: int, turns: int = 400) -> list[str]:
    return [turn.text for turn in itertools.islice(conversation(seed, number), turns)]


def test_every_name_of_the_grammar_has_phrases_and_is_used() -> None:
    table = yaml.safe_load(GRAMMAR.read_text())
    rules = {**table["turns"], **table["phrases"]}
    named = {
        name.replace("{topic}", topic)
        for phrases in rules.values()
        for phrase in phrases
        for name in re.findall(r"<([^<>]+)>", phrase)
        for topic in table["topics"]
    }
    assert named <= rules.keys()
    assert table["phrases"].keys() <= named


def test_conversations_are_functions_of_seed_and_number() -> None:
    assert texts(0, 1) == texts(0, 1)
    assert len({tuple(texts(seed, number, 20)) for seed, number in itertools.product(range(3), range(3))}) == 9
    assert not any(set("<>{}*") & set(text) for text in texts(5, 5))
    # Frozen: what was made with an earlier version must still be the same speech.
    digest = hashlib.sha256("\n".join(texts(0, 0)).encode()).hexdigest()
    assert digest[:16] == "8dd2be8e6b0d9ce8"


def test_weights_are_obeyed() -> None:
    # "2 * wonderful" among ten: 2/10 of all qualities; binomial, 5 sd wide.
    said = " ".join(" ".join(texts(1, number, 300)) for number in range(20))
    qualities = "wonderful|rather expensive|very quiet|too long|quite strange|better than before|worse than I thought"
    found = re.findall(f"{qualities}|the best of all|a bit difficult", said)
    share, sd = found.count("wonderful") / len(found), (0.16 / len(found)) ** 0.5
    # Weights of the grammar file: wonderful 2, better than before 2, seven others 1.
    assert abs(share - 2 / 11) < 5 * sd
