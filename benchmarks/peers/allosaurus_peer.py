"""The official package allosaurus over a list of files: phones and seconds, as JSON on stdout.

    PYTHON benchmarks/peers/allosaurus_peer.py --model FOLDER/uni2005 --files LIST.txt [--lang eng] [--emit 1.0]

PYTHON is one that has the package; this script needs nothing else. It calls the package as its users do:
``read_recognizer`` once, then ``recognize(path)`` file after file, on 16-bit WAV files. Output:

    {"package": "allosaurus 1.0.2", "load_seconds": s, "recognise_seconds": s, "total_seconds": s,
     "files": [{"path": ..., "phones": [...] | null, "error": null | "..."}]}

The package looks for models in its own folder unless it is given another; and it tries to download one at every start
as long as its own folder has none. It is told here that it has the one at hand, and nothing is written anywhere.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import allosaurus.app


def read_recognizer(model: Path) -> Any:
    """The package's recogniser over a model directory outside of its own folder, offline."""
    allosaurus.app.get_all_models = lambda alt_model_path=None: [model]
    return allosaurus.app.read_recognizer(model.name, model.parent)


def recognise(recognizer: Any, path: Path, lang: str, emit: float) -> dict[str, Any]:
    """One file; the package raises whatever its parts raise, and that is the observation here."""
    try:
        return {"path": str(path), "phones": recognizer.recognize(path, lang, emit=emit).split(), "error": None}
    except Exception as error:  # noqa: BLE001 - see above
        return {"path": str(path), "phones": None, "error": f"{type(error).__name__}: {error}"}


def run(model: Path, paths: list[Path], lang: str = "ipa", emit: float = 1.0) -> dict[str, Any]:
    """Phones of every file, and how long loading and recognising took."""
    start = time.perf_counter()
    recognizer = read_recognizer(model)
    loaded = time.perf_counter()
    files = [recognise(recognizer, path, lang, emit) for path in paths]
    end = time.perf_counter()
    return {
        "package": f"allosaurus {version('allosaurus')}",
        "load_seconds": loaded - start,
        "recognise_seconds": end - loaded,
        "total_seconds": end - start,
        "files": files,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a model directory; its folder's name is free")
    parser.add_argument("--files", type=Path, required=True, help="a text file with a path per line")
    parser.add_argument("--lang", default="ipa")
    parser.add_argument("--emit", type=float, default=1.0)
    options = parser.parse_args()
    paths = [Path(line) for line in options.files.read_text(encoding="utf-8").splitlines() if line]
    json.dump(run(options.model.resolve(), paths, options.lang, options.emit), sys.stdout, ensure_ascii=False)


if __name__ == "__main__":
    main()
