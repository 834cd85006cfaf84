"""A leaderboard as a page: a name stays a name."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from slm_eval.compare.leaderboard import Leaderboard
from slm_eval.report.page.leaderboard import page
from tests.compare.leaderboard.hostile_names import HOSTILE, hostile_boards


class Reader(HTMLParser):
    """What a browser would make of a page: elements, attributes, and the text of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def boards() -> list[Leaderboard]:
    return hostile_boards()


def test_html_holds_names_as_text(boards: list[Leaderboard]) -> None:
    text = page(boards)
    reader = Reader()
    reader.feed(text)
    assert reader.elements.count("script") == 1
    assert not {attribute for attribute in reader.attributes if attribute.startswith("on")}
    for name in HOSTILE:
        assert name.replace("\u202e", "\\u202e") in reader.texts
    assert "\u202e" not in text
    assert not re.search(r"(src|href)=\"?(https?:)?//", text)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src &#x27;none&#x27;" in policy[1] or "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
