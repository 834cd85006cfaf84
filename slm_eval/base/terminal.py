"""Text for terminals and pages: what a clip or a folder is called must not steer what shows it."""

from __future__ import annotations

import re
import sys

# Control characters, lone surrogates (which UTF-8 cannot hold) and marks that reorder text: a name with U+202E in it
# could otherwise pretend to be another.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Return a text whose control characters and marks of direction are spelled out."""
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def echo(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print what a command says. JSON stays the same JSON: what is spelled out is an escape of its strings."""
    import click

    click.echo(visible(str(text)), err=err, nl=nl)


def notice(line: str) -> None:
    """Print a line for the user beside what is asked for: on stderr."""
    print(visible(line), file=sys.stderr, flush=True)
