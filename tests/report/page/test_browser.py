"""The page in a headless Chromium: it renders, sorts, switches, plays and copies, in both schemes and on a phone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from slm_eval.compare.leaderboard import System, leaderboards
from slm_eval.report.page import leaderboard as leaderboard_page
from slm_eval.report.page.html import page
from tests.report.made_run import its_audio, made_run

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Error, Page, Request

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: chromium)")

OPTIONS = [
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
    # The sandbox needs rights that containers, and root, do not have. The page is our own.
    "--no-sandbox",
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run = made_run(folder)
    path = folder / "report.html"
    path.write_text(page(run, its_audio(run, folder)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def window() -> Iterator[Page]:
    """A page of one browser, for all tests."""
    with playwright.sync_playwright() as browsers:
        chromium = browsers.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield chromium.new_page()
        chromium.close()


@pytest.fixture
def wrong(window: Page) -> Iterator[list[str]]:
    """What a page complains of in its console or asks for, itself and what lies inside it excepted."""
    found: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            found.append(message.text)

    def on_request(request: Request) -> None:
        if not request.is_navigation_request() and not request.url.startswith("data:"):
            found.append(request.url)

    def on_error(error: Error) -> None:
        found.append(str(error))

    listeners = {"console": on_console, "request": on_request, "pageerror": on_error}
    for event, listener in listeners.items():
        window.on(event, listener)
    yield found
    for event, listener in listeners.items():
        window.remove_listener(event, listener)


@pytest.fixture
def browser(window: Page, wrong: list[str], report: Path) -> Iterator[Page]:
    """The page, freshly opened at desktop size; whatever the test does, nothing complains and nothing is fetched."""
    look(window, 1240)
    window.goto(report.as_uri())
    yield window
    window.wait_for_timeout(50)  # messages are on their way
    assert wrong == []


def look(page: Page, width: int, *, dark: bool = False, media: Literal["screen", "print"] = "screen") -> None:
    """Show a window of this size and scheme."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(media=media, color_scheme="dark" if dark else "light")


def column(browser: Page) -> list[str]:
    return browser.evaluate(
        "[...document.querySelectorAll('#metrics tbody tr')].slice(0, 3).map((r) => r.cells[0].textContent)"
    )


def test_it_renders(browser: Page) -> None:
    assert browser.evaluate("document.querySelector('h1').textContent") == "a <run>"
    assert browser.evaluate("document.querySelectorAll('main > section > h2').length") == 10
    flat = "[...document.querySelectorAll('svg.chart')].filter((e) => !e.getBoundingClientRect().height)"
    assert browser.evaluate(f"{flat}.every((e) => e.closest('[hidden]'))")
    links = "[...document.querySelectorAll('nav a')].map((a) => a.getAttribute('href'))"
    assert browser.evaluate(f"{links}.every((href) => document.querySelector(href))")
    ids = browser.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(set(ids)) == len(ids)


def test_columns_sort_by_click_and_by_key(browser: Page) -> None:
    assert column(browser) == ["pjsd.1", "pjsd.2", "pjsd.3"]
    values = browser.evaluate(
        "[...document.querySelectorAll('#metrics tbody tr')].slice(0, 3).map((r) => Number(r.cells[1].dataset.value))"
    )
    assert values == sorted(values)  # so that a column of rising numbers turns round below
    heading = "document.querySelectorAll('#metrics th')[1]"
    browser.evaluate(f"{heading}.querySelector('button').click()")
    assert (column(browser)[0], browser.evaluate(f"{heading}.ariaSort")) == ("pjsd.1", "ascending")
    browser.evaluate(f"{heading}.querySelector('button').focus()")
    browser.keyboard.press("Enter")
    assert (column(browser), browser.evaluate(f"{heading}.ariaSort")) == (["pjsd.3", "pjsd.2", "pjsd.1"], "descending")
    assert browser.evaluate("document.getElementById('status').textContent") == "sorted by pJSD, descending"


def test_tabs_of_ngrams_by_click_and_by_arrow(browser: Page) -> None:
    shown = "[...document.querySelectorAll('[role=tabpanel]')].filter((e) => !e.hidden).map((e) => e.id)"
    browser.evaluate("document.getElementById('tab-ngrams-1').click()")
    assert browser.evaluate(shown) == ["ngrams-1"]
    browser.evaluate("document.getElementById('tab-ngrams-1').focus()")
    browser.keyboard.press("ArrowRight")
    assert browser.evaluate(shown) == ["ngrams-2"]
    assert browser.evaluate("document.activeElement.id") == "tab-ngrams-2"


def test_another_ranking_shows_other_clips(browser: Page) -> None:
    names = "[...document.querySelectorAll('[data-group=best] h4')].map((e) => e.textContent)"
    before = browser.evaluate(names)
    assert before[0] == "</script><script>alert(1)</script>.wav"
    browser.evaluate("document.querySelector('[data-ranking=\"1\"]').click()")
    assert browser.evaluate(names) != before
    assert browser.evaluate("document.querySelector('[data-ranking=\"1\"]').ariaPressed") == "true"
    browser.evaluate("document.querySelector('[data-ranking=\"0\"]').click()")
    assert browser.evaluate(names) == before


def test_clips_play_one_at_a_time(browser: Page) -> None:
    playing = """(async () => {
        const [first, second] = document.querySelectorAll('audio');
        first.muted = second.muted = true;
        await first.play();
        await new Promise((done) => first.addEventListener('timeupdate', () => first.currentTime > 0.1 && done()));
        await second.play();
        await new Promise((done) => second.addEventListener('timeupdate', () => second.currentTime > 0.05 && done()));
        return [first.currentTime, first.paused, Math.abs(first.duration - 0.6) < 0.1,
                parseFloat(second.parentElement.querySelector('.playhead').getAttribute('x1'))];
    })()"""
    time, paused, lasts, head = browser.evaluate(playing)
    assert time > 0.1
    assert paused
    assert lasts
    assert head > 0


def test_signatures_are_copied(browser: Page) -> None:
    copied = """(async () => {
        let copied = null;
        document.addEventListener('copy', () => { copied = getSelection().toString(); });
        Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { copied = text; }}});
        document.querySelector('[data-copy=signatures]').click();
        await new Promise((done) => setTimeout(done, 20));
        return copied;
    })()"""
    assert "pjsd.2  pjsd|n:2|base:e" in browser.evaluate(copied)


@pytest.mark.parametrize("dark", [False, True])
def test_contrast_in_light_and_dark(browser: Page, report: Path, dark: bool) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text; 1.4.11: 3 to 1 for marks of charts."""
    look(browser, 1240, dark=dark)
    browser.goto(report.as_uri())
    paper = luminance(browser, "body", "backgroundColor")
    assert (paper < 0.1) == dark
    texts = ["p.reading", ".note", "h2", "nav a", ".generated.name", ".real.name", ".caption", "td", "dt", ".counts"]
    for selector in texts:
        assert contrast(luminance(browser, selector, "color"), paper) >= 4.5, selector
    assert contrast(luminance(browser, ".chart text", "fill"), paper) >= 4.5
    for selector in (".generated.dot", ".generated.area", ".real.area"):
        assert contrast(luminance(browser, selector, "fill"), paper) >= 3, selector


def test_the_button_turns_the_scheme_round(browser: Page) -> None:
    before = luminance(browser, "body", "backgroundColor")
    browser.evaluate("document.getElementById('theme').click()")
    after = luminance(browser, "body", "backgroundColor")
    assert before > 0.9 > 0.1 > after
    assert browser.evaluate("document.getElementById('theme').textContent") == "Light"


@pytest.mark.parametrize("width", [320, 375, 768])
def test_nothing_is_wider_than_the_window(browser: Page, report: Path, width: int) -> None:
    look(browser, width)
    browser.goto(report.as_uri())
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_tab_begins_with_the_way_past_the_navigation(browser: Page) -> None:
    browser.keyboard.press("Tab")
    assert browser.evaluate("document.activeElement.textContent") == "Skip to the numbers"
    assert browser.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    browser.keyboard.press("Enter")
    assert browser.evaluate("document.activeElement.id") == "main"


def test_paper_is_light_and_shows_all_ngrams(browser: Page, report: Path) -> None:
    look(browser, 800, dark=True, media="print")
    browser.goto(report.as_uri())
    assert luminance(browser, "body", "backgroundColor") > 0.9
    assert browser.evaluate(
        "[...document.querySelectorAll('[role=tabpanel]')].every((e) => e.getBoundingClientRect().height > 0)"
    )
    assert browser.evaluate("getComputedStyle(document.querySelector('audio')).display") == "none"


def luminance(browser: Page, selector: str, attribute: str) -> float:
    """Relative luminance of a computed colour, as WCAG defines it."""
    found = browser.evaluate(f"getComputedStyle(document.querySelector({selector!r})).{attribute}")
    channels = [int(each) / 255 for each in re.findall(r"\d+", found)[:3]]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: float, other: float) -> float:
    """From 1 to 21."""
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def test_a_leaderboard_renders_and_sorts_and_fits_a_phone(window: Page, wrong: list[str], tmp_path: Path) -> None:
    run = made_run(tmp_path)
    boards = leaderboards([System(name, run, "https://example.org", "what it is") for name in ("b", "a", "<i>c")])
    path = tmp_path / "leaderboard.html"
    path.write_text(leaderboard_page.page(boards), encoding="utf-8")
    names = "[...document.querySelectorAll('#ranking tbody tr')].map((r) => r.querySelector('bdi').textContent)"
    for dark in (False, True):
        look(window, 390, dark=dark)
        window.goto(path.as_uri())
        assert window.evaluate("document.documentElement.scrollWidth") == 390
        assert window.evaluate(names) == ["<i>c", "a", "b"]
        heading = "document.querySelector('#ranking th button')"
        window.evaluate(f"{heading}.click(), {heading}.click()")
        assert window.evaluate(names) == ["b", "a", "<i>c"]
        flat = "[...document.querySelectorAll('#ranking svg.chart')].filter((e) => !e.getBoundingClientRect().height)"
        assert window.evaluate(f"{flat}.length") == 0
        window.wait_for_timeout(50)
        assert wrong == []
