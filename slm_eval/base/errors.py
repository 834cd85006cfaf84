"""Errors that the user can put right, and how they are said."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SlmEvalError(Exception):
    """A problem the user can put right. Its message is one line: what came, what was expected, what to do.

    The command line prints the message without a traceback and exits with status 1.
    """


class UsageError(SlmEvalError):
    """The request itself is wrong: an unknown name, a path that does not exist. Exit status 2."""


class AudioError(Exception):
    """Audio that cannot be scored: a code of ``REASONS`` and one line for the user."""

    def __init__(self, code: str, message: str) -> None:
        # It is written to clips.jsonl, and names of files need not be UTF-8.
        message = message.encode("utf-8", "backslashreplace").decode()
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str]]:
        return (AudioError, (self.code, self.message))


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for an unknown name, with near ones: ``unknown metric 'pjds'; did you mean 'pjsd'?``."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are: {', '.join(known[:20])}"
    return UsageError(f"unknown {kind} {name!r}; {hint}")
