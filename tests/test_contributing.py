"""What CONTRIBUTING.md shows works as it stands there: a package of one's own, through every command."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy.spatial.distance import jensenshannon

from slm_eval.cli.main import main
from tests.conftest import ROOT, noise

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MODULES = dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
ENTRY_POINTS = "[slm_eval.metrics]\nmymos = mymos:MyMOS\nlengths = lengths:Lengths\nattack = attack:Attack\n"
# Values and claims that nobody should give, and a key that is an element of HTML.
ATTACK = """
from dataclasses import dataclass

from lengths import Length
from slm_eval import Metric, Summary

CLAIMS = {
    "attack.nan": {"value": float("nan")},
    "attack.negative": {"value": -0.25},
    "<img/src=x>": {},
    "attack.score": {"kind": "score"},
    "attack.divergence": {"kind": "divergence"},
    "attack.below": {"digits": -1},
    "attack.above": {"digits": 400},
    "attack.reversed": {"ci95": (2.0, 0.5)},
    "attack.elsewhere": {"ci95": (90.0, 91.0)},
    "attack.unsigned": {"signature": ""},
    "attack.beyond": {"value": 7.0, "ci95": (-1.0, 9.0), "axis": (0.0, 0.5)},
}


@dataclass(frozen=True)
class Mean(Summary):
    sd: float
    n: int
    real: dict


def summary(key, value=1.0, ci95=None, signature="attack|rev:1", **claims):
    return Summary(key, value, ci95, "<u>", None, signature, ("<b>",), **claims)


class Attack(Metric):
    name = "attack"
    keys = (*CLAIMS, "attack.mean", "attack.silent")

    def __init__(self):
        super().__init__(Length())

    def summarise(self, generated, real):
        if len(generated) == 3:
            raise ZeroDivisionError("a bug")
        real = {"value": 1.0, "ci95": None}
        mean = Mean("attack.mean", 1.0, None, "<u>", None, "attack|rev:1", (), sd=1.0, n=3, real=real, kind="score")
        return {"attack.mean": mean} | {key: summary(key, **claims) for key, claims in CLAIMS.items()}
"""
# Lengths in samples, of clips of the same names in both systems.
REAL = [4_000 + 900 * at for at in range(16)]
NEAR, FAR = [4_200 + 1_800 * at for at in range(8)], [22_000 + 1_500 * at for at in range(8)]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def done(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What pip would leave in site-packages."""
    site = tmp_path / "site"
    info = site / "theirs-1.dist-info"
    info.mkdir(parents=True)
    for name, code in {**MODULES, "attack": ATTACK}.items():
        (site / f"{name}.py").write_text(code)
        monkeypatch.delitem("sys.modules", name, raising=False)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    return site


@pytest.fixture
def folder(tmp_path: Path, package: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three corpora, in the current folder."""
    for name, lengths in {"real": REAL, "near": NEAR, "far": FAR}.items():
        for at, length in enumerate(lengths):
            write_wav(tmp_path / name / f"{at}.wav", noise(length / 16_000, seed=at + length))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(name: str, metrics: str, *more: object) -> Result:
    return invoke("run", "--generated", name, "--real", "real", "--metrics", metrics, "--workers", 0, *more)


def jsd(generated: list[int], real: list[int] = REAL) -> float:
    """Return the divergence of lengths in bins of 0.5 s, as scipy has it."""
    edges = np.arange(0, 48_001, 8_000)
    p, q = (np.histogram(lengths, edges)[0] / len(lengths) for lengths in (generated, real))
    return float(jensenshannon(p, q, base=2) ** 2)


def test_its_example_of_a_predictor_runs(folder: Path) -> None:
    assert set(MODULES) == {"mymos", "lengths"}
    for name in ("near", "far"):
        result = run(name, "mymos")
        assert result.exit_code == 0, result.output
        assert "mymos.mos" in result.output
    assert "mymos.mos" in done("compare", "runs/near", "runs/far")
    assert re.search(
        r"^near +[\d.]+ ± [\d.]+", done("leaderboard", "runs/near", "runs/far", "-o", "board"), re.MULTILINE
    )
    summary = json.loads((folder / "runs" / "near" / "summary.json").read_text())["metrics"]["mymos.mos"]
    assert (summary["kind"], summary["scale"], summary["n"]) == ("score", [1.0, 5.0], 8)
    assert "mymos.mos cannot be told from real speech" in (folder / "runs" / "near" / "report.html").read_text()


def test_its_example_of_a_metric_of_corpora_passes_through_every_command(folder: Path) -> None:
    printed = {name: run(name, "lengths").output for name in ("near", "far")}
    for name, lengths in (("near", NEAR), ("far", FAR)):
        assert re.search(rf"lengths\.jsd +{jsd(lengths):.3f} +- +- +bits +lower", printed[name]), printed[name]
        told = json.loads((folder / "runs" / name / "summary.json").read_text())["metrics"]["lengths.jsd"]
        assert told["value"] == pytest.approx(jsd(lengths), abs=1e-12)
        assert (told["kind"], told["digits"], told["axis"]) == ("corpus", 3, [0.0, 1.0])
        assert told["made_by"] == {"metric": "lengths", "options": {}}

    for at in (1, 2):
        assert run("far", "lengths", "--shard", f"{at}/2", "-o", f"shard{at}").exit_code == 0
    done("merge", "shard2", "shard1", "-o", "runs/merged")
    assert (folder / "runs/merged/summary.json").read_bytes() == (folder / "runs/far/summary.json").read_bytes()

    done("report", "runs/near", "-o", "report")
    for file in ("report.md", "report.tex", "report.html"):
        assert f"{jsd(NEAR):.3f}" in (folder / "report" / file).read_text(), file
    glance = (folder / "report" / "report.html").read_text().partition('id="metrics"')[0]
    assert "bits, lower is better" in glance

    board = done("leaderboard", "runs/near", "runs/far", "-o", "board")
    assert f"{jsd(FAR):.3f}" in board
    assert "lengths.jsd: no rank of far, near: its run gives no interval" in board


def difference(*arguments: str) -> dict[str, Any]:
    printed = done("compare", *arguments, "--metrics", "lengths", "--json")
    return json.loads(printed[printed.index("{\n") :])["differences"]["lengths.jsd"]  # progress comes before


def swapped_p() -> float:
    """Return the share of all 256 ways of swapping pairs whose difference is as large, by brute force."""
    sizes = []
    for swaps in product((False, True), repeat=8):
        a = [far if swap else near for near, far, swap in zip(NEAR, FAR, swaps, strict=True)]
        b = [near if swap else far for near, far, swap in zip(NEAR, FAR, swaps, strict=True)]
        sizes.append(abs(jsd(a) - jsd(b)))
    return sum(size >= sizes[0] - 1e-12 for size in sizes) / len(sizes)


def test_compare_tests_it_by_permutation(folder: Path) -> None:
    for name in ("near", "far"):
        assert run(name, "lengths").exit_code == 0
    found = difference("runs/near", "runs/far")
    assert (found["a"], found["b"]) == pytest.approx((jsd(NEAR), jsd(FAR)), abs=1e-12)
    assert found["p"] == swapped_p() < 0.05
    assert (found["better"], found["claim"]) == ("A", "A has the lower value against this real sample")
    text = done("compare", "runs/near", "runs/far")
    assert re.search(r"lengths\.jsd .* \(A\)$", text, re.MULTILINE), text
    assert "of 256 labellings, each computed again" in text

    unpaired = difference("runs/near", "runs/far", "--unpaired")
    assert "p is of 200 labellings, each computed again" in unpaired["notes"]
    assert unpaired["p"] < 0.05
    assert difference("near", "runs/near", "--real", "real")["p"] == 1.0  # the one is scored now


def test_a_package_that_is_gone_leaves_values_and_no_test(folder: Path, package: Path) -> None:
    for name in ("near", "far"):
        assert run(name, "lengths,mymos").exit_code == 0
    with_package = done("leaderboard", "runs/near", "runs/far", "-o", "board")
    page = (folder / "runs" / "near" / "report.html").read_text()
    (package / "theirs-1.dist-info" / "entry_points.txt").unlink()
    assert invoke("run", "--generated", "near", "--real", "real", "--metrics", "lengths", "-o", "x").exit_code == 2
    text = done("compare", "runs/near", "runs/far")
    assert re.search(rf"lengths\.jsd +{jsd(NEAR):.3f} +{jsd(FAR):.3f} ", text), text
    reason = "the metric 'lengths' is of a package that is not installed here"
    assert f"lengths.jsd: no test is possible, these are the values of the runs: {reason}" in text
    assert re.search(r"mymos\.mos .* 0\.\d{4} ", text), text  # a mean over clips needs no package
    assert done("leaderboard", "runs/near", "runs/far", "-o", "board") == with_package
    done("report", "runs/near")
    assert (folder / "runs" / "near" / "report.html").read_text() == page


def test_a_value_that_does_not_come_out_again_is_not_tested(folder: Path) -> None:
    for name in ("near", "far"):
        assert run(name, "lengths").exit_code == 0
    path = folder / "runs" / "far" / "summary.json"
    summary = json.loads(path.read_text())
    summary["metrics"]["lengths.jsd"]["value"] = 0.125
    path.write_text(json.dumps(summary))
    found = difference("runs/near", "runs/far")
    assert (found["b"], found["p"], found["better"]) == (0.125, None, None)
    assert f"it comes out as {jsd(FAR):.6g}, and the run says 0.125" in found["notes"][0]


def test_a_run_cannot_have_metrics_of_ours_made_with_options_of_its_own(folder: Path) -> None:
    for name in ("near", "far"):
        assert run(name, "lengths").exit_code == 0
        path = folder / "runs" / name / "summary.json"
        summary = json.loads(path.read_text())
        summary["metrics"]["lengths.jsd"]["made_by"] = {"metric": "audiobox", "options": {"checkpoint": "else/where"}}
        path.write_text(json.dumps(summary))
    notes = difference("runs/near", "runs/far")["notes"]
    assert "the run says that 'audiobox' made it, which gives no such number" in notes[0]


def test_what_a_metric_should_not_give(folder: Path, write_wav: Callable[..., Path]) -> None:
    for name in ("near", "far"):
        result = run(name, "attack")
        assert result.exit_code == 1  # attack.nan was asked for by name
        assert "not computed: attack.nan: its value is nan; expected a finite number of Python" in result.output
        for reason in (
            "attack.score: kind 'score' needs sd, n; use ScoreMetric or kind='corpus'",
            "attack.mean: kind 'score' needs n of real; use ScoreMetric or kind='corpus'",
            "attack.divergence: kind 'divergence' needs floor, ",
            "attack.reversed: its ci95 is (2.0, 0.5); expected the value, 1.0, between its ends",
            "attack.elsewhere: its ci95 is (90.0, 91.0); expected the value, 1.0, between its ends",
            "attack.unsigned: not a signature: ''",
            "attack.silent: summarise() gave nothing under this key",
            "attack.below: its digits is -1; expected a number of decimal places, at most 12",
            "attack.above: its digits is 400; expected a number of decimal places, at most 12",
        ):
            assert f"not computed: {reason}" in result.output
        assert re.search(r"attack\.negative +-0\.2500 +- +- +<u> +neither", result.output), result.output
        assert re.search(r"attack\.beyond +7\.0000 +\[-1\.0000, 9\.0000\] +- +<u>", result.output), result.output
        # Drawn at the ends of the axis that it asked for, which are 2 % and 98 % of the width.
        drawn = (folder / "runs" / name / "report.html").read_text().partition("attack.beyond: 7.0000")[2]
        drawn = drawn.partition("</svg>")[0]
        assert re.search(r'x1="2\.00%" x2="98\.00%"[^>]*whisker', drawn), drawn
        assert 'cx="98.00%"' in drawn
    text = done("compare", "runs/near", "runs/far")
    assert re.search(
        r"attack\.negative +-0\.2500 +-0\.2500 +\+0\.0000 .* 1\.0000 +1\.0000 +- +-$", text, re.MULTILINE
    ), text
    board = done("leaderboard", "runs/near", "runs/far", "-o", "board")
    assert "neither higher nor lower is better" in board
    done("report", "runs/near")
    for page in ("runs/near/report.html", "board/leaderboard.html"):
        html = (folder / page).read_text()
        assert "&lt;img/src=x&gt;" in html
        assert "<img/src" not in html
        assert "<u>" not in html
    for at in range(3):
        write_wav(folder / "three" / f"{at}.wav", noise(0.5, seed=at))
    broken = run("three", "attack")
    assert broken.exit_code == 1
    assert re.search(r"^Error: the metric 'attack' of another package .* ZeroDivisionError: a bug", broken.output, re.M)
