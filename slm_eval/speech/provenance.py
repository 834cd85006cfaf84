"""How a folder of generated speech was made: ``provenance.json`` beside its clips, which a run copies into its summary.

Any program that generates speech may write one: a JSON object, whatever it holds. ``slm-zoo sample`` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.strict_json import read_object

NAME = "provenance.json"
# It describes speech and holds none: what is larger was not meant to be copied into every summary.
_MAX_BYTES = 1 << 20


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """Return what the folder says of its making, or None where it says nothing.

    Raises:
        UsageError: the file is there but holds no JSON object of at most 1 MiB.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        return read_object(path, "fix or remove it", _MAX_BYTES)
    except SlmEvalError as error:
        raise UsageError(str(error)) from error
