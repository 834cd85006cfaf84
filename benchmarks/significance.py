"""Do the tests of `slm-eval compare` hold their level, and what do they tell apart?

    python benchmarks/significance.py [--data ../shared/data/librispeech] [--splits 20] [--replicates 300]
    python benchmarks/significance.py --table    # what was measured, as Markdown

What was measured before, as often, is kept; `--fresh` measures it again.

Real speech: 251 clips, phones by pocketsphinx. Each split shuffles them.

- real vs real, one test: one half against the other (``against_real``).
- real vs real, two systems: two thirds against the last one, without pairs (``compare``).
- 10 % reversed, one test: one half, with a tenth of its clips played backwards, against the other half.
- 10 % reversed, two systems: one half as it is and the same with a tenth of its clips played backwards, in pairs,
  against the other half.

Simulated speech: chains of ``interval_coverage.py``, 60 clips a system and 60 of real speech, 40 to 199 phones each.
The share w of the second chain is 0.1 in real speech and in both systems, or larger in the second one. "speakers":
clips of one speaker share w and are relabelled together. Pairs are clips of one speaker.

A result is the number of tests with p at most 5 %, per n, and of comparisons in which any n has, after Holm.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from interval_coverage import utterances
from machine import stamp

from slm_eval.compare import LEVEL, against_real, compare
from slm_eval.corpus import load_corpus
from slm_eval.finished import FinishedRun
from slm_eval.phones import recognise
from slm_eval.registry import make_recognizer
from slm_eval.runner import RunOptions

RESULTS = Path(__file__).parent / "results" / "significance.json"
ORDERS = (1, 2, 3, 4, 5)
REVERSED = 0.1
PERMUTATIONS = 999
CLIPS, PHONES_PER_CLIP = 60, 120
# Share of the second chain in the second system; 0.1 is that of real speech.
SHARES = (0.1, 0.15, 0.2)
ON_REAL_SPEECH = (
    "real vs real, one test",
    "real vs real, two systems",
    "10 % reversed, one test",
    "10 % reversed, two systems",
)
DESIGNS = ("unpaired", "unpaired speakers", "paired")

Phones = Sequence[Any]
Row = list[float]  # p per n, then the smallest one after Holm, where two systems are compared


# ---- real speech ----


def hear(folder: Path) -> dict[str, list[str]]:
    """Phones of every clip of a folder, by the name of the clip."""
    lines, failures = recognise(load_corpus(folder), make_recognizer("pocketsphinx", None), RunOptions(progress=True))
    assert not failures, failures
    return {Path(line["id"]).stem: line["phones"] for line in lines}


def reverse(folder: Path, output: Path) -> None:
    """Every clip backwards, as 16-bit WAV."""
    for path in folder.glob("*.flac"):
        samples, rate = soundfile.read(path, dtype="int16")
        soundfile.write(output / f"{path.stem}.wav", samples[::-1], rate)


def split_rows(forward: dict[str, list[str]], backward: dict[str, list[str]], split: int) -> dict[str, Row]:
    """The four experiments on one split."""
    names = np.random.default_rng(split).permutation(sorted(forward)).tolist()
    half, third = len(names) // 2, len(names) // 3
    tested, real = names[:half], [forward[name] for name in names[half:]]
    worse = set(tested[: round(REVERSED * half)])
    spoken = {name: forward[name] for name in tested}
    mixed = {name: backward[name] if name in worse else forward[name] for name in tested}
    thirds = [{name: forward[name] for name in names[at : at + third]} for at in (0, third, 2 * third)]
    rows = (
        _one(spoken, real, split),
        _two(thirds[0], thirds[1], list(thirds[2].values()), split),
        _one(mixed, real, split),
        _two(spoken, mixed, real, split),
    )
    return dict(zip(ON_REAL_SPEECH, rows, strict=True))


def _one(generated: dict[str, list[str]], real: Sequence[Phones], seed: int) -> Row:
    found = against_real(list(generated.values()), real, ORDERS, permutations=PERMUTATIONS, seed=seed)
    return [p for p in found.values() if isinstance(p, float)]


def _two(
    a: dict[str, Any], b: dict[str, Any], real: Sequence[Phones], seed: int, by: dict[str, str] | None = None
) -> Row:
    named = {f"real{at}": spoken for at, spoken in enumerate(real)}
    first, second = (finished_run(name, phones, named, by, ORDERS) for name, phones in (("a", a), ("b", b)))
    found = compare(first, second, permutations=PERMUTATIONS, seed=seed).differences.values()
    return [*(each.p for each in found), min(each.p_adjusted for each in found)]


def finished_run(
    name: str, phones: dict[str, Any], real: dict[str, Any], by: dict[str, str] | None, orders: Sequence[int]
) -> FinishedRun:
    """Return phones as a finished run has them, but for values that comparing does not read.

    Args:
        phones, real: by clip.
        by: the speaker of each clip.
    """
    clips = {
        side: [
            {
                "id": each,
                "side": side,
                "scores": {},
                "phones": spoken,
                **({} if by is None else {"speaker": by.get(each)}),
            }
            for each, spoken in of_side.items()
        ]
        for side, of_side in (("generated", phones), ("real", real))
    }
    metrics = {
        f"pjsd.{n}": {"value": 0.0, "unit": "nats", "higher_is_better": False, "signature": f"pjsd|n:{n}"}
        for n in orders
    }
    return FinishedRun(name, {"metrics": metrics}, clips)


# ---- simulated speech ----


def replicate(design: str, share: float, seed: int) -> Row:
    """p-values of two fresh systems against fresh real speech."""
    rng = np.random.default_rng((DESIGNS.index(design), round(1000 * share), seed))
    size = CLIPS * PHONES_PER_CLIP
    real = [spoken for _, spoken in _clips("heterogeneous", 0.1, size, rng)]
    if design == "paired" and share == 0.1:
        # Four clips of each speaker: two pairs, whose clips share what the speaker does to them.
        both = _clips("speakers", 0.1, 2 * size, rng)
        a, b = both[0::2], both[1::2]
    else:
        source = "speakers" if design == "unpaired speakers" else "heterogeneous"
        a, b = _clips(source, 0.1, size, rng), _clips(source, share, size, rng)
    if design == "paired":
        return _two(*({str(at): spoken for at, (_, spoken) in enumerate(each)} for each in (a, b)), real, seed)
    named = [{f"{name}{at}": spoken for at, (_, spoken) in enumerate(each)} for name, each in (("a", a), ("b", b))]
    if design == "unpaired":
        return _two(*named, real, seed)
    by = {f"{name}{at}": f"{name}{who}" for name, each in (("a", a), ("b", b)) for at, (who, _) in enumerate(each)}
    return _two(*named, real, seed, by)


def _clips(source: str, w: float, n_phones: int, rng: np.random.Generator) -> list[tuple[int, list[str]]]:
    """Speaker and phones of each clip."""
    flat, lengths, speakers = utterances(source, w, n_phones, rng)
    parts = np.split(flat, np.cumsum(lengths)[:-1])
    return [(int(who), [str(phone) for phone in part]) for who, part in zip(speakers, parts, strict=True)]


# ---- both ----


def alarms(rows: Sequence[Row]) -> dict[str, Any]:
    """Tests that say "different" at 5 %, per n, and the sd of that number where nothing differs."""
    significant = (np.array(rows) <= LEVEL).sum(axis=0).tolist()
    return {
        "experiments": len(rows),
        "significant": dict(zip(map(str, ORDERS), significant, strict=False)),
        **({"any_after_holm": significant[len(ORDERS)]} if len(significant) > len(ORDERS) else {}),
        "expected_if_same": LEVEL * len(rows),
        "sd_if_same": round(math.sqrt(LEVEL * (1 - LEVEL) * len(rows)), 2),
    }


def table(results: dict[str, Any]) -> str:
    """Markdown: how many of the tests were significant."""
    lines = [f"| experiment | tests | {' | '.join(f'n={n}' for n in ORDERS)} | any, Holm |", "|" + "---|" * 8]
    for name, found in results.items():
        any_of = found.get("any_after_holm", "")
        lines.append(
            f"| {name} | {found['experiments']} | {' | '.join(map(str, found['significant'].values()))} | {any_of} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and write results/significance.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/librispeech"))
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--replicates", type=int, default=300, help="of each simulated case")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    parser.add_argument("--table", action="store_true", help="print what was measured before, and measure nothing")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if options.table:
        print(table(results))
        return

    def wanted(name: str, experiments: int) -> bool:
        return experiments > 0 and (options.fresh or results.get(name, {}).get("experiments") != experiments)

    with ProcessPoolExecutor(options.workers) as pool:
        if any(wanted(name, options.splits) for name in ON_REAL_SPEECH):
            with tempfile.TemporaryDirectory() as folder:
                reverse(options.data, Path(folder))
                forward, backward = hear(options.data), hear(Path(folder))
            splits = list(pool.map(partial(split_rows, forward, backward), range(options.splits)))
            for name in splits[0]:
                results[name] = {**alarms([rows[name] for rows in splits]), **stamp()}
        for design, share in itertools.product(DESIGNS, SHARES):
            name = f"simulated, {design}, w = {share}"
            if wanted(name, options.replicates):
                rows = list(pool.map(partial(replicate, design, share), range(options.replicates), chunksize=10))
                results[name] = {**alarms(rows), **stamp()}
                RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
