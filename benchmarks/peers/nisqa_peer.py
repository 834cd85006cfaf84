"""The official NISQA on a list of files, for parity and speed. Runs with the python of the package's own environment.

    ENV/bin/python benchmarks/peers/nisqa_peer.py --weights nisqa.tar --files files.txt --output peer.json [--bs 1]

The package nisqa (2.0.post2) pins old versions of torch, numpy, scipy and librosa exactly, and is therefore not beside
ours: it is installed without its pins in an environment that has torch, librosa, pandas, matplotlib and pyyaml. This
script is what its ``run_predict.py --mode predict_csv`` does, with the same defaults: one file at a time (``--bs 1``),
no workers, files loaded by librosa. It imports nothing of slm_eval.

The JSON: ``{"tool", "versions", "settings", "scores": {file: {"nisqa.mos": ...}}, "seconds": ...,
"seconds_with_loading": ...}``. ``seconds`` is ``predict()``: reading the files, mel, network. ``seconds_with_loading``
adds the imports, building the model and reading its weights, as every call of its command line pays them.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.metadata
import json
import os
import sys
import tempfile
import time
from pathlib import Path

# Columns of the package's table: of nisqa.tar five, of nisqa_tts.tar the first.
COLUMNS = {
    "mos_pred": "nisqa.mos",
    "noi_pred": "nisqa.noi",
    "dis_pred": "nisqa.dis",
    "col_pred": "nisqa.col",
    "loud_pred": "nisqa.loud",
}
PACKAGES = ("nisqa", "torch", "librosa", "numpy", "scipy")


def run(files: list[Path], weights: Path, batch_size: int = 1) -> dict[str, object]:
    """Score files in the order given; what the package prints goes to stderr.

    Args:
        files: audio that librosa reads; the package raises on the first one that it cannot score.
        weights: nisqa.tar or nisqa_tts.tar.
        batch_size: the package's --bs.
    """
    begun = time.perf_counter()
    from nisqa.NISQA_model import nisqaModel

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        table = Path(folder, "files.csv")
        with table.open("w", newline="") as out:
            csv.writer(out).writerows([["deg"], *([str(file.resolve())] for file in files)])
        settings = {
            "mode": "predict_csv",
            "pretrained_model": str(weights.resolve()),
            "data_dir": "",
            "csv_file": str(table),
            "csv_deg": "deg",
            "output_dir": None,
            "tr_bs_val": batch_size,
            "tr_num_workers": 0,
            "ms_channel": None,
        }
        model = nisqaModel(settings)
        loaded = time.perf_counter()
        rows = model.predict().to_dict("records")
        ended = time.perf_counter()
    names = {"mos_pred": "nisqa_tts.mos"} if model.args["model"] == "NISQA" else COLUMNS
    return {
        "tool": "nisqa",
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "settings": {"weights": weights.name, "bs": batch_size, "threads": _threads()},
        "scores": {
            str(file): {key: float(row[column]) for column, key in names.items()}
            for file, row in zip(files, rows, strict=True)
        },
        "seconds": ended - loaded,
        "seconds_with_loading": ended - begun,
    }


def _threads() -> dict[str, int | None]:
    import torch

    return {"torch": torch.get_num_threads(), "cpus": os.cpu_count()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--weights", type=Path, required=True, help="nisqa.tar or nisqa_tts.tar")
    parser.add_argument("--files", type=Path, required=True, help="text file, one audio file per line")
    parser.add_argument("--output", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--bs", type=int, default=1, help="the package's batch size (its default: 1)")
    options = parser.parse_args()
    files = [Path(line) for line in options.files.read_text().splitlines() if line]
    result = run(files, options.weights, options.bs)
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
