"""How processes of ours are started, so that nothing in the current folder is ever imported by them.

People work beside the speech that they score, and that comes from anywhere. Only ``os`` and ``sys`` are imported here,
which every Python has loaded before its first line: ``python -m slm_eval`` calls this while the current folder is still
on its path.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from typing import Any

_PATIENCE = 10.0  # seconds that the system may need to end a process that crashed, which writes its memory to disk
_START = os.path.join(os.path.dirname(os.path.abspath(__file__)), "start.py")


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that calls ``main()`` of a module in a Python of its own; to be run in ``environment()``."""
    return [sys.executable, *script(module, *arguments)]


def script(module: str, *arguments: str) -> list[str]:
    """Return what ``python`` gives to Python, for a launcher such as torchrun that starts Python itself."""
    return [_START, module, *arguments]


def environment() -> dict[str, str]:
    """Return this process's environment, with a PYTHONPATH by which a child finds what this process finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(import_path())}


def import_path() -> list[str]:
    """Return the folders of ``sys.path`` that a process of ours may import from.

    Left out is the current folder, unless it is there for a better reason than that somebody works in it: the package
    lies in it, the user named it in full in PYTHONPATH, or the program that is running is a file in it.
    """
    folders = [os.path.abspath(entry) for entry in sys.path if entry]
    # A name with the separator in it would be read as two, of which the second may be relative.
    whole = [folder for folder in folders if os.pathsep not in folder]
    return [folder for folder in whole if not _is_current(folder) or folder in _trusted()]


def ended(process: subprocess.Popen[Any]) -> str:
    """Wait for a process that closed its streams, and return how it ended: "by SIGKILL", "with status 3"."""
    import signal
    import subprocess

    try:
        status = process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        return "without an end"
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"


def leave_current_folder() -> None:
    """Take the current folder off the path of this process, as ``import_path`` does for its children."""
    sys.path[:] = import_path()


def _is_current(folder: str) -> bool:
    try:
        return os.path.samefile(folder, os.curdir)
    except OSError:
        return False  # a folder that is not there, such as the archive of the standard library


def _trusted() -> set[str]:
    package = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    named = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(folder)]
    program = sys.modules["__main__"]
    by_path = getattr(program, "__spec__", None) is None and getattr(program, "__file__", None)
    return {package, *map(os.path.abspath, named), *([os.path.dirname(os.path.abspath(by_path))] if by_path else [])}
