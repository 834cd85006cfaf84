"""How a folder of generated speech was made: ``provenance.json`` beside its clips, which a run copies into its summary.

Any program that generates speech may write one: a JSON object, whatever it holds. ``slm-zoo sample`` does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slm_eval.errors import UsageError

NAME = "provenance.json"
# It describes speech and holds none: what is larger was not meant to be copied into every summary.
_MAX_BYTES = 1_000_000


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """What the folder says of its making, or None where it says nothing.

    Raises:
        UsageError: the file is there but is no JSON object of at most 1 MB.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{path} is larger than 1 MB; it should say how the speech was made, not hold it")
        made = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read as JSON ({error}); mend or remove it") from error
    if not isinstance(made, dict):
        raise UsageError(f"{path} holds no JSON object; mend or remove it")
    return made


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number")
