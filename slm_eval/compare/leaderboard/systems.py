"""What is ranked: finished runs under names that differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slm_eval.base.errors import UsageError
from slm_eval.run.finished import FinishedRun, read_run, require_fields

# Nothing that would end the link in Markdown.
_LINK = re.compile(r"https?://[^\s<>\\]+")


@dataclass(frozen=True)
class System:
    """A run and how it is called.

    Attributes:
        name: no other system of a leaderboard has it.
        run: what was found out about it.
        link: to a paper or a repository, http or https.
        notes: a line for people.

    Raises:
        UsageError: a link of another kind.
    """

    name: str
    run: FinishedRun
    link: str | None = None
    notes: str | None = None

    def __post_init__(self) -> None:
        if self.link is not None and not _LINK.fullmatch(self.link):
            raise UsageError(f"the link of {self.name} must be an address of http or https, got {self.link!r}")


def read_systems(named: Sequence[str]) -> list[System]:
    """Read finished runs, each named by its folder, or as ``NAME=RUN`` says.

    Raises:
        UsageError: a folder that is no finished run, or the same folder or name twice.
        SlmEvalError: files that are damaged.
    """
    systems = [_read(text) for text in named]
    folders = [system.run.folder.resolve() for system in systems if system.run.folder is not None]
    for index, text in enumerate(named):
        if folders[index] in folders[:index]:
            raise UsageError(f"{text} is a run that is already in the list; give each run once")
    require_names(systems)
    return systems


def require_names(systems: Sequence[System]) -> None:
    """Refuse two systems of one name.

    Raises:
        UsageError: two systems of one name.
    """
    name, count = Counter(system.name for system in systems).most_common(1)[0]
    if count > 1:
        raise UsageError(f"{count} systems are called {name!r}; name them apart, as NAME=RUN")


def _read(text: str) -> System:
    """Split NAME=RUN; a folder may have an equals sign in its own name."""
    name, equals, folder = text.partition("=")
    if not equals or not name or Path(text).exists():
        name, folder = "", text
    run = read_run(Path(folder))
    require_fields(run)
    return System(name or run.name, run)
