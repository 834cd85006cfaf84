"""What every page is: one self-contained file with its style and script inside.

A page asks the network for nothing, and its Content-Security-Policy lets it ask for nothing: style and script are its
own, allowed by their digests, pictures and sound are data inside it.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from slm_eval.report.page.markup import Markup, Node, tag


def whole_page(title: str, header: Markup, sections: Node, version: str) -> str:
    """Return a document.

    Args:
        title: of the window.
        header: begins with ``top_bar``.
        sections: all below it.
        version: of slm-eval that made what the page shows.
    """
    style, script = (
        files("slm_eval.report.page").joinpath(name).read_text("utf-8") for name in ("page.css", "page.js")
    )
    policy = "; ".join(
        [
            "default-src 'none'",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "img-src data:",
            "media-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content=f"slm-eval {version}"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    body = tag(
        "body",
        tag("a", "Skip to the numbers", href="#main", class_="skip"),
        header,
        tag("main", sections, id="main", tabindex=-1),
        tag("footer", f"Written by slm-eval {version}."),
        tag("div", role="status", aria_live="polite", id="status", class_="unseen"),
        tag("script", Markup(script)),
    )
    return "<!doctype html>\n" + tag("html", head, "\n", body, lang="en") + "\n"


def top_bar(name: str) -> Markup:
    """Say what a page is, beside the switch of light and dark."""
    theme = tag("button", "Light or dark", type="button", id="theme", hidden=True)
    return tag("div", tag("p", name, class_="eyebrow"), theme, class_="bar")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
