"""The official DNSMOS (package speechmos) over a list of files: scores and seconds, as JSON on stdout.

    PYTHON benchmarks/peers/speechmos_peer.py --files files.txt

PYTHON is one that has the package with librosa and onnxruntime; nothing of slm_eval is imported. It calls
``speechmos.dnsmos.run(path, sr=16000)`` file after file, as its users do.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import time
from pathlib import Path
from typing import Any

PACKAGES = ("speechmos", "onnxruntime", "librosa", "numpy")
KEYS = {"p808_mos": "dnsmos.p808", "sig_mos": "dnsmos.sig", "bak_mos": "dnsmos.bak", "ovrl_mos": "dnsmos.ovrl"}


def run(files: list[Path]) -> dict[str, Any]:
    """Score files in the order given. The package reads its networks at the first call, which is counted as loading."""
    begun = time.perf_counter()
    from speechmos import dnsmos

    dnsmos.run(str(files[0]), sr=16_000)
    loaded = time.perf_counter()
    rows = [dnsmos.run(str(file), sr=16_000) for file in files]
    ended = time.perf_counter()
    return {
        "tool": "speechmos.dnsmos.run",
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "scores": {
            str(file): {key: float(row[name]) for name, key in KEYS.items()}
            for file, row in zip(files, rows, strict=True)
        },
        "seconds": ended - loaded,
        "seconds_with_loading": ended - begun,
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, required=True, help="text file with one path a line")
    arguments = parser.parse_args()
    json.dump(run([Path(line) for line in arguments.files.read_text().splitlines() if line]), sys.stdout)


if __name__ == "__main__":
    main()
