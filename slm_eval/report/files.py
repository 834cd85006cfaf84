"""Text files: written whole, or not at all, as summary.json and clips.jsonl are."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from slm_eval.errors import SlmEvalError
from slm_eval.evaluation import Evaluation


def write_run(evaluation: Evaluation, folder: Path) -> None:
    """Write clips.jsonl, then summary.json: a folder with a summary is a finished run.

    Raises:
        SlmEvalError: the folder cannot be written; files of an earlier run stay as they were.
    """
    lines = (clip.to_dict() for side in evaluation.clips.values() for clip in side)
    write_jsonl(folder / "clips.jsonl", lines)
    write_whole(folder / "summary.json", [dump(evaluation.to_dict(), indent=2), "\n"])


def write_jsonl(path: Path, objects: Iterable[dict]) -> None:
    """One JSON object a line.

    Raises:
        SlmEvalError: the file cannot be written.
    """
    write_whole(path, (dump(each) + "\n" for each in objects))


def dump(value: object, indent: int | None = None) -> str:
    """JSON that every parser reads: NaN is refused, since it is not a number that means anything."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)


def write_whole(path: Path, parts: Iterable[str]) -> None:
    """Write a text file so that nobody ever sees half of it, in a folder that is made where needed.

    Raises:
        SlmEvalError: it cannot be written; what was there before is still there.
    """
    partial: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with open(descriptor, "w", encoding="utf-8") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, new_file_mode())
        os.replace(partial, path)
        partial = None
    except OSError as error:
        raise SlmEvalError(f"cannot write {path}: {error.strerror}; choose another place with --output") from error
    finally:
        if partial is not None:
            Path(partial).unlink(missing_ok=True)  # gone where Ctrl-C came just after the file got its name


def new_file_mode() -> int:
    """The permissions that the user wants new files to have; temporary files are private."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
