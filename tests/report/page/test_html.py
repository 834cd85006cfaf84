"""The page as text: its numbers are those of the run, nothing of a name becomes markup, nothing is asked for."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.report.page.html import page, write_html
from slm_eval.report.page.listen import GROUPS, find_audio, rankings
from slm_eval.run.finished import FinishedRun
from tests.report.made_run import BROKEN, HOSTILE, its_audio, made_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def run(folder: Path) -> FinishedRun:
    return made_run(folder)


@pytest.fixture(scope="module")
def text(run: FinishedRun, folder: Path) -> str:
    return page(run, its_audio(run, folder))


class Parsed(HTMLParser):
    """Elements with their attributes, the texts, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "link"}:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def count(self, element: str) -> int:
        return sum(tag == element for tag, _ in self.elements)


def test_names_are_text_everywhere(text: str) -> None:
    parsed = Parsed(text)
    assert parsed.count("script") == 1
    assert parsed.count("b") == 0
    assert not any("onerror" in attributes for _, attributes in parsed.elements)
    assert "\u202e" not in text
    shown = "".join(parsed.texts)
    for name in (*HOSTILE, BROKEN, "cut & <short>", "a <run>"):
        assert name.replace("\u202e", "\\u202e") in parsed.texts
    assert "its weights <are> not here" in shown


def test_lone_surrogates_of_a_hand_edited_file_can_be_written(run: FinishedRun, tmp_path: Path) -> None:
    clips = {side: [dict(clip, id=clip["id"] + "\ud800") for clip in of_side] for side, of_side in run.clips.items()}
    path = write_html(replace(run, clips=clips), tmp_path)
    assert "\\ud800" in path.read_text(encoding="utf-8")


def test_every_number_of_the_summary_is_there(run: FinishedRun, text: str) -> None:
    """In full precision as the key that sorts, and rounded as the terminal prints it."""
    sorted_by = {float(value) for value in re.findall(r'data-value="(-?[0-9.e-]+)"', text)}
    for key, metric in run.metrics.items():
        digits = 4 if key.startswith("pjsd.") else 3
        for name in ("value", "excess", "corrected", "coverage", "floor", "sd"):
            if name in metric and metric[name] is not None and not (name == "sd" and key.startswith("pjsd.")):
                assert metric[name] in sorted_by, (key, name)
        assert f">{metric['value']:.{digits}f}<" in text
        if metric["ci95"] is not None:
            assert f"[{metric['ci95'][0]:.{digits}f}, {metric['ci95'][1]:.{digits}f}]" in text
    assert run.metrics["loudness.rms"]["real"]["value"] in sorted_by
    assert all(metric["signature"] in text for metric in run.metrics.values())
    assert all(str(version) in text for version in run.summary["environment"].values() if version)


def test_a_page_asks_for_nothing(text: str) -> None:
    for element, attributes in Parsed(text).elements:
        for name in ("src", "href", "action", "poster", "srcset", "xlink:href"):
            if attributes.get(name) is not None:
                assert str(attributes[name]).startswith(("data:", "#")), (element, name)
        assert not any(name == "style" or name.startswith("on") for name in attributes), element
    without_sound = re.sub(r"data:[a-z/]+;base64,[A-Za-z0-9+/=]+", "", text)
    assert "http:" not in without_sound
    assert "https:" not in without_sound
    assert "@import" not in text
    assert "default-src 'none'" in text.replace("&#x27;", "'")


def test_equal_runs_write_equal_pages(run: FinishedRun, folder: Path, text: str) -> None:
    assert page(made_run(folder), its_audio(run, folder)) == text


def test_without_audio_there_are_no_players_and_the_page_says_why(run: FinishedRun, tmp_path: Path) -> None:
    text = write_html(run, tmp_path).read_text(encoding="utf-8")
    parsed = Parsed(text)
    assert parsed.count("audio") == 0
    shown = "".join(parsed.texts)
    assert "<generated> does not exist" in shown
    assert "slm-eval report RUN --generated PATH --real PATH" in shown


def test_a_file_that_changed_has_no_player(run: FinishedRun, folder: Path) -> None:
    clips = {side: [dict(clip, seconds=0.5) for clip in of_side] for side, of_side in run.clips.items()}
    text = page(replace(run, clips=clips), its_audio(run, folder))
    assert "the file changed since the run: it lasts 0.60 s, not 0.50 s" in text
    assert Parsed(text).count("audio") == 0


def test_a_given_path_that_is_not_there_is_an_error(run: FinishedRun) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        find_audio(run, {"generated": "nowhere", "real": None})


def test_a_summary_without_a_field_is_one_line(run: FinishedRun) -> None:
    summary = json.loads(json.dumps(run.summary))
    del summary["metrics"]["pjsd.2"]["floor"]
    with pytest.raises(SlmEvalError, match=r"lacks floor of pjsd\.2"):
        page(replace(run, summary=summary), {"generated": "no", "real": "no"})


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
def test_best_median_and_worst_are_different_clips(run: FinishedRun, n: int) -> None:
    clips = {**run.clips, "generated": [_scored(f"{number}", float(number)) for number in range(n)]}
    [ranking] = [one for one in rankings(replace(run, clips=clips)) if one.key == "loudness.rms"]
    chosen = [clip for group in GROUPS for clip in ranking.groups[group]]
    assert len(set(chosen)) == len(chosen) == {1: 1, 2: 2, 3: 3, 5: 3, 8: 6}[n]
    assert ranking.groups["best"][0] == str(n - 1)
    assert n == 1 or ranking.groups["worst"][-1] == "0"
    assert n < 6 or ranking.groups["median"] == (str(n // 2), str(n // 2 - 1))


def test_all_scores_equal_and_a_side_without_any(run: FinishedRun) -> None:
    clips = {"generated": [_scored(f"{number}", 1.0) for number in range(4)], "real": []}
    page(replace(run, clips=clips), {"generated": "no", "real": "no"})


def test_withheld_intervals_and_floors_are_said(run: FinishedRun) -> None:
    summary = json.loads(json.dumps(run.summary))
    for key in ("pjsd.1", "pjsd.2", "pjsd.3"):
        summary["metrics"][key].update(ci95=None, floor=None, floor_sd=None, p=None, excess=None, corrected=None)
    text = page(replace(run, summary=summary), {"generated": "no", "real": "no"})
    assert "do not tell generated from real speech" in text


def _scored(name: str, score: float) -> dict[str, Any]:
    return {
        "id": name,
        "side": "generated",
        "seconds": 1.0,
        "status": "ok",
        "error": None,
        "scores": {"loudness.rms": score},
        "phones": None,
    }


@pytest.mark.parametrize("low", [0.0, 3.0, -250.0, 1e-6])
def test_ends_that_differ_by_rounding_have_an_axis(low: float) -> None:
    """Clips of one length and one rate: their means differ in the last bit."""
    from slm_eval.report.page.elements import padded_axis

    axis = padded_axis(low, float(np.nextafter(low, np.inf)))
    assert axis.low < low < axis.high
