"""The table of a sweep: a CSV with a row for each finished run, which ``slm-eval scaling`` reads.

    N,D,C,seed,loss,pjsd.5@2,pjsd.5@4,...,hours,seconds,scoring_seconds,run,commit

An ablation has what it varies before all others. A row is added by writing the file anew and putting it in its place,
so that nobody ever sees half of it; rows and columns that are there stay.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.files import write_whole

RUN = "run"  # the column that tells rows apart
_BEFORE = ("N", "D", "C", "seed", "loss")
_AFTER = ("hours", "seconds", "scoring_seconds", RUN, "commit")
COLUMNS = frozenset(_BEFORE + _AFTER)  # that are there whatever was measured


class RunTable:
    """Rows by the name of their run.

    Args:
        varied: the first column, in an ablation.

    Raises:
        SlmEvalError: the file is there but is no such table.
    """

    def __init__(self, path: Path, varied: str | None = None) -> None:
        self.path = path
        self._first = (*((varied,) if varied else ()), *_BEFORE)
        self.rows: dict[str, dict[str, str]] = {}
        if path.is_file():
            self.rows = {row[RUN]: row for row in self._read()}

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; metrics are those keys that are no column of their own.

        Raises:
            SlmEvalError: the file cannot be written; what was there still is.
        """
        rows = self.rows | {row[RUN]: {key: _text(value) for key, value in row.items()}}
        named = [*self._first, *_AFTER]
        metrics = dict.fromkeys(key for row in rows.values() for key in row if key not in named)
        text = io.StringIO()
        writer = csv.DictWriter(text, [*self._first, *metrics, *_AFTER], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
        write_whole(self.path, [text.getvalue()])
        self.rows = rows

    def _read(self) -> Sequence[dict[str, str]]:
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                rows = list(reader)
                lacking = [name for name in (*self._first, *_AFTER) if name not in (reader.fieldnames or [])]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise SlmEvalError(f"{self.path} cannot be read ({error}); take another output folder") from error
        if lacking:
            raise SlmEvalError(
                f"{self.path} must have a column {lacking[0]!r} to be the table of this sweep; move it away"
            )
        if any(None in row or None in row.values() for row in rows):
            raise SlmEvalError(f"{self.path} has a row of another length than its header; fix it or move it away")
        return rows


def _text(value: Any) -> str:
    """Write as few digits as give a float back exactly."""
    return repr(value) if isinstance(value, float) else str(value)
