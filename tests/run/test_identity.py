"""A run writes over itself and over nothing else, and its speech is found from wherever it is asked for."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slm_eval.cli.main import main
from tests.conftest import noise


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models whose generated speech is called alike, as phones: nothing has to be heard."""
    for name, phones in (("a/gen", "abcab"), ("b/gen", "cbacc"), ("real", "abcbc")):
        path = tmp_path / "project" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "".join(json.dumps({"id": f"{index}", "phones": list(phones * index)}) + "\n" for index in range(1, 5))
        )
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def run(generated: str, *more: object, real: str = "real.jsonl") -> Result:
    return invoke("run", "--generated", generated, "--real", real, "--metrics", "pjsd", "--ngrams", "1,2", *more)


def value(folder: str) -> float:
    return json.loads(Path(folder, "summary.json").read_text())["metrics"]["pjsd.1"]["value"]


def test_another_run_is_not_written_over(project: Path) -> None:
    assert run("a/gen.jsonl").exit_code == 0
    before = {path: path.read_bytes() for path in (project / "runs").rglob("*") if path.is_file()}
    refused = run("b/gen.jsonl")
    assert refused.exit_code == 2
    assert f"runs/gen holds another run: generated was '{project}/a/gen.jsonl' there" in refused.output
    assert "choose another --name or --output, or replace it with --force" in refused.output
    others = [
        ("real was", run("a/gen.jsonl", real="a/gen.jsonl")),
        ("metrics.pjsd.n was [1, 2] there and is [1] here", run("a/gen.jsonl", "--ngrams", "1")),
        ("metrics.pjsd.seed was 0 there and is 4 here", run("a/gen.jsonl", "--seed", "4")),
        ("metrics was ['pjsd'] there and is ['dnsmos', 'pjsd'] here", run("a/gen.jsonl", "--metrics", "pjsd,dnsmos")),
        ("recognizer was 'auto' there and is 'pocketsphinx' here", run("a/gen.jsonl", "--recognizer", "pocketsphinx")),
        ("limit was None there and is 2 here", run("a/gen.jsonl", "--limit", "2")),
    ]
    for words, result in others:
        assert (result.exit_code, words in result.output) == (2, True), result.output
    assert {path: path.read_bytes() for path in (project / "runs").rglob("*") if path.is_file()} == before


def test_the_same_run_a_forced_one_and_one_of_another_name_are_written(project: Path) -> None:
    assert run("a/gen.jsonl").exit_code == 0
    a = value("runs/gen")
    assert run("./a/../a/gen.jsonl", "--workers", "1", real=f"{project}/real.jsonl").exit_code == 0
    named = run("b/gen.jsonl", "--name", "model-b")
    assert named.exit_code == 0
    assert "written to runs/model-b" in named.output
    assert "<bdi>model-b</bdi>" in (project / "runs/model-b/report.html").read_text()
    b = value("runs/model-b")
    assert run("b/gen.jsonl", "--force").exit_code == 0
    assert (value("runs/gen"), a) == (b, pytest.approx(a))
    assert a != b


def test_a_run_from_before_this_was_noted_is_known_by_its_paths(project: Path) -> None:
    assert run("a/gen.jsonl").exit_code == 0
    summary = json.loads(Path("runs/gen/summary.json").read_text())
    del summary["environment"]["run"]
    Path("runs/gen/summary.json").write_text(json.dumps(summary))
    assert run("b/gen.jsonl").exit_code == 2
    assert run("a/gen.jsonl", "--seed", "4").exit_code == 0


def test_a_damaged_summary_is_no_run_to_be_kept(project: Path) -> None:
    assert run("a/gen.jsonl").exit_code == 0
    Path("runs/gen/summary.json").write_text('{"corpora": [')
    assert run("b/gen.jsonl").exit_code == 0


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b"])
def test_a_name_is_that_of_a_folder(project: Path, name: str) -> None:
    result = run("a/gen.jsonl", "--name", name)
    assert result.exit_code == 2
    assert f"--name {name!r}: expected the name of a folder below runs/" in result.output


def test_an_output_may_have_a_name_too(project: Path) -> None:
    assert run("a/gen.jsonl", "-o", "out", "--name", "A/B test".replace("/", " ")).exit_code == 0
    result = invoke("report", "out")
    assert result.exit_code == 0
    assert "# A B test" in Path("out/report.md").read_text()


def test_shards_likewise(project: Path) -> None:
    for index in (1, 2):
        assert run("a/gen.jsonl", "--shard", f"{index}/2").exit_code == 0
    shards = [f"runs/gen.shard-{index}-of-2" for index in (1, 2)]
    refused = run("b/gen.jsonl", "--shard", "1/2")
    assert refused.exit_code == 2
    assert f"{shards[0]} holds another run: generated was" in refused.output
    assert "shard was '1/2' there and is '2/2' here" in run("a/gen.jsonl", "--shard", "2/2", "-o", shards[0]).output
    assert run("a/gen.jsonl", "--shard", "1/2").exit_code == 0
    assert run("a/gen.jsonl", "-o", shards[0], "--force").exit_code == 2  # a folder is never both
    # What is merged is the run, also in what it says of itself, and is written over no other.
    assert run("a/gen.jsonl").exit_code == 0
    assert invoke("merge", *shards, "-o", "runs/merged").exit_code == 0
    for name in ("summary.json", "clips.jsonl", "report.html"):
        merged = Path("runs/merged", name).read_text().replace("<bdi>merged<", "<bdi>gen<")
        assert merged.replace("<title>merged", "<title>gen") == Path("runs/gen", name).read_text(), name
    assert invoke("merge", *shards, "-o", "runs/gen").exit_code == 0
    assert run("b/gen.jsonl", "--name", "b").exit_code == 0
    assert "holds another run: generated was" in invoke("merge", *shards, "-o", "runs/b").output
    assert invoke("merge", *shards, "-o", "runs/b", "--force").exit_code == 0


# ---- where the speech of a run is ----


def test_compare_knows_what_a_run_was_against_from_another_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("a/gen.jsonl").exit_code == 0
    assert run("b/gen.jsonl", "--name", "b").exit_code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    both = [project / "runs" / name for name in ("gen", "b")]
    right = invoke("compare", *both, "--real", project / "real.jsonl", "--permutations", "99")
    assert "is a finished run against" not in right.output
    wrong = invoke("compare", *both, "--real", project / "a" / "gen.jsonl")
    assert (wrong.exit_code, f"is a finished run against {project}/real.jsonl" in wrong.output) == (2, True)


@pytest.fixture
def spoken(tmp_path: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a run of speech, of paths that are relative to it."""
    project = tmp_path / "project"
    for side in ("generated", "real"):
        for index in range(4):
            write_wav(project / "data" / side / f"{index}.wav", noise(1.0, seed=index + 10 * (side == "real")))
    monkeypatch.chdir(project)
    done = run("data/generated", "--recognizer", "pocketsphinx", "--workers", "0", real="data/real")
    assert done.exit_code == 0, done.output
    assert players(project) > 3
    return project


def players(project: Path, folder: str = "runs/generated") -> int:
    return (project / folder / "report.html").read_text().count("<audio ")


def test_a_report_from_another_folder_finds_the_speech(
    spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (spoken / "runs/generated/report.html").read_bytes()
    assert json.loads((spoken / "runs/generated/summary.json").read_text())["corpora"]["real"]["path"] == "data/real"
    (tmp_path / "elsewhere").mkdir()
    for folder in (tmp_path / "elsewhere", spoken / "runs" / "generated"):
        monkeypatch.chdir(folder)
        result = invoke("report", os.path.relpath(spoken / "runs" / "generated"))
        assert result.exit_code == 0, result.output
        assert (spoken / "runs/generated/report.html").read_bytes() == page
    moved = spoken.rename(tmp_path / "moved")  # all of it together
    assert invoke("report", moved / "runs" / "generated").exit_code == 0
    assert (moved / "runs/generated/report.html").read_bytes() == page


def test_a_page_is_not_replaced_by_a_poorer_one(spoken: Path) -> None:
    page = (spoken / "runs/generated/report.html").read_bytes()
    count = players(spoken)
    shutil.move(spoken / "data", spoken / "speech")
    result = invoke("report", "runs/generated")
    assert result.exit_code == 1
    assert f"report.html has {count} clips to listen to, a new page would have 0 (" in result.output
    assert (
        "say where the audio is by --generated and --real, or where to write another page by --output" in result.output
    )
    assert (spoken / "runs/generated/report.html").read_bytes() == page
    assert invoke("report", "runs/generated", "-o", "poor").exit_code == 0
    where = ("--generated", "speech/generated", "--real", "speech/real")
    assert invoke("report", "runs/generated", *where).exit_code == 0
    assert (spoken / "runs/generated/report.html").read_bytes() == page


def test_merging_says_when_a_page_gets_poorer(spoken: Path) -> None:
    options = ("--recognizer", "pocketsphinx", "--workers", "0", "--shard", "1/1", "-o", "shard")
    assert run("data/generated", *options, real="data/real").exit_code == 0
    assert invoke("merge", "shard", "-o", "runs/generated").exit_code == 0
    count = players(spoken)
    shutil.move(spoken / "data", spoken / "speech")
    result = invoke("merge", "shard", "-o", "runs/generated")
    assert result.exit_code == 0
    assert f"runs/generated/report.html had {count} clips to listen to, and has 0 now (" in result.output
