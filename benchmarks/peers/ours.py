"""Our observer over the same list of files, for ``compare.py``: what it saw and seconds, as JSON on stdout.

    python benchmarks/peers/ours.py --observer nisqa --files files.txt [--model FOLDER_OR_FILE] [--lang eng]

It goes the way of ``slm-eval run``: decoding processes, batches, a fresh cache.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def run(name: str, files: Path, model: str | None, lang: str | None) -> dict[str, Any]:
    """Observe every file of the list; ``seconds`` leaves out imports and loading the weights."""
    begun = time.perf_counter()
    from slm_eval.metrics.registry import metric_class
    from slm_eval.observing.observe import observe
    from slm_eval.observing.options import RunOptions
    from slm_eval.observing.registry import RECOGNIZERS, make_recognizer
    from slm_eval.speech.corpus import load_corpus

    if name in RECOGNIZERS:
        observer = make_recognizer(name, lang) if model is None else _recognizer(name, lang, model)
    else:
        observer = (metric_class(name)() if model is None else metric_class(name)(checkpoint=model)).observer
    observer.ready("auto")
    loaded = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(cache=Path(folder, "cache.sqlite"), on_error="raise")
        clips = observe({"files": load_corpus(files)}, [observer], options)["files"]
    ended = time.perf_counter()
    seen = {str(clip.clip.path): clip.sound.observations[str(observer.fingerprint)] for clip in clips}
    return {
        "tool": str(observer.fingerprint),
        "seen": seen,
        "seconds": ended - loaded,
        "seconds_with_loading": ended - begun,
    }


def _recognizer(name: str, lang: str | None, model: str) -> Any:
    from slm_eval.observing.registry import recognizer_class

    return recognizer_class(name)(lang=lang, model=model)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observer", required=True)
    parser.add_argument("--files", type=Path, required=True, help="text file with one absolute path a line")
    parser.add_argument("--model", help="weights in place of those of the cache")
    parser.add_argument("--lang")
    arguments = parser.parse_args()
    json.dump(run(arguments.observer, arguments.files, arguments.model, arguments.lang), sys.stdout)


if __name__ == "__main__":
    main()
