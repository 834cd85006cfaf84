"""Shards: whatever the split, merging gives the bytes of the run without shards, or one line that says why not."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.signature import Signature
from slm_eval.cli.main import main
from slm_eval.metrics import registry
from slm_eval.metrics.metric import Metric, NotComputed, Summary
from slm_eval.metrics.pjsd import pJSD
from slm_eval.metrics.scores import ScoreMetric
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.observing.options import RunOptions
from slm_eval.run.evaluate import evaluate
from slm_eval.run.files import write_run
from slm_eval.run.merging import merge
from slm_eval.run.shards import Shard, _digest, observe_share, read_shard, write_shard
from slm_eval.run.share import Share, parse_share
from slm_eval.speech.corpus import Clip, load_corpus
from tests.conftest import EXAMPLES, ROOT, noise
from tests.fakes import LoudnessObserver, SpellingObserver

Write = Callable[..., Path]
COMMAND = [sys.executable, "-c", "from slm_eval.cli.main import main; main()"]


class EmbeddingObserver(Observer):
    """An observation that no built-in metric knows; weights that are not here once they have been used."""

    name = "embedding"
    sample_rate = 8_000

    @property
    def fingerprint(self) -> Signature:
        if os.environ.get("NO_WEIGHTS"):
            raise SlmEvalError("the weights are not here")
        return Signature(self.name, rate=self.sample_rate)

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        return [{"vector": [float(np.mean(s.samples)), float(np.std(s.samples))]} for s in signals]


class Drift(Metric):
    """A metric over corpora with an option of its own: the distance of the mean embeddings, times a factor."""

    name = "drift"
    keys = ("drift.l2",)

    def __init__(self, factor: str = "1") -> None:
        super().__init__(EmbeddingObserver(), device="cpu")
        self.factor = float(factor)

    @property
    def options(self) -> dict[str, Any]:
        return {"factor": str(self.factor)}

    def summarise(
        self, generated: Sequence[Observation], real: Sequence[Observation]
    ) -> dict[str, Summary | NotComputed]:
        centres = [np.mean([seen["vector"] for seen in side], axis=0) for side in (generated, real)]
        value = self.factor * float(np.linalg.norm(centres[0] - centres[1]))
        return {"drift.l2": Summary("drift.l2", value, None, "", False, f"drift|factor:{self.factor}", ())}


class Loud(ScoreMetric):
    """Loudness, which refuses short clips."""

    name = "loud"
    keys = ("loudness.rms",)

    def __init__(self) -> None:
        super().__init__(LoudnessObserver(), device="cpu")


class Spelled(pJSD):
    """pJSD of what the fake recogniser hears, by a name, so that shards find it again."""

    name = "spelled"

    def __init__(self, n: int | list[int] = (1, 2), log_base: Any = "e", seed: int = 0) -> None:  # type: ignore[assignment]
        super().__init__(n, SpellingObserver(), log_base=log_base, seed=seed)


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (Drift, Loud, Spelled):
        monkeypatch.setitem(registry.METRICS, each.name, f"{__name__}:{each.__name__}")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Clips of several lengths; silent, refused and broken ones; the same bytes twice on a side and on both sides."""
    import soundfile

    root = tmp_path_factory.mktemp("corpora")
    for side, seed, count in (("gen", 0, 5), ("real", 100, 4)):
        (root / side).mkdir()
        for at in range(count):
            soundfile.write(root / side / f"{at}é.wav", noise(0.2 + 0.11 * at, seed=seed + at), 16_000)
    soundfile.write(root / "gen" / "silent.wav", np.zeros(8_000), 16_000)
    soundfile.write(root / "gen" / "short.wav", noise(0.01), 16_000)
    for name in ("gen/broken a.wav", "gen/z broken.wav", "real/broken.wav"):
        (root / name).write_text("no audio")  # its message names one file, and has to name the same one when merged
    for name in ("gen/a copy.wav", "real/copy.wav"):
        shutil.copy(root / "gen" / "3é.wav", root / name)
    return root / "gen", root / "real"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("observed") / "observations.sqlite"


def metrics() -> list[Metric]:
    return [Loud(), Drift("0.1"), Spelled(seed=3)]


def make(corpora: tuple[Path, Path], share: Share, cache: Path, folder: Path, *asked: Metric) -> Path:
    """A shard's folder."""
    shard = observe_share(*corpora, share, asked or metrics(), RunOptions("cpu", workers=0, cache=cache), named=True)
    write_shard(shard, folder)
    return folder


def written(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "summary.json").read_bytes(), (folder / "clips.jsonl").read_bytes()


def whole(corpora: tuple[Path, Path], cache: Path, folder: Path) -> tuple[bytes, bytes]:
    write_run(evaluate(*corpora, metrics=metrics(), options=RunOptions("cpu", workers=0, cache=cache)), folder)
    return written(folder)


@st.composite
def partitions(draw: st.DrawFn) -> list[Share]:
    """Shares that make up all clips, in any order; some of them are split in two once more."""
    count = draw(st.integers(1, 14))
    shares = []
    for index in range(1, count + 1):
        halves = [Share(index=index, count=2 * count), Share(index=index + count, count=2 * count)]
        shares += halves if draw(st.booleans()) else [Share(index=index, count=count)]
    return draw(st.permutations(shares))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shares=partitions())
def test_any_partition_in_any_order_gives_the_bytes_of_the_run(
    shares: list[Share], corpora: tuple[Path, Path], cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("partition")
    expected = whole(corpora, cache, folder / "whole")
    shards = [make(corpora, share, cache, folder / str(at)) for at, share in enumerate(shares)]
    write_run(merge([read_shard(each) for each in shards]), folder / "merged")
    assert written(folder / "merged") == expected


def test_what_the_run_says_of_shared_and_broken_clips_is_there(
    corpora: tuple[Path, Path], cache: Path, tmp_path: Path
) -> None:
    """The property above compares; this says that there is something to compare."""
    shards = [make(corpora, Share(index=at, count=3), cache, tmp_path / str(at)) for at in (1, 2, 3)]
    evaluation = merge([read_shard(each) for each in shards])
    assert list(evaluation.summaries) == ["loudness.rms", "drift.l2", "spelled.1", "spelled.2"]
    assert evaluation["spelled.1"].warnings[-1] == "4 of 10 generated clips hold the same audio as real ones"
    lines = {clip.clip.id: clip.to_dict() for clip in evaluation.clips["generated"]}
    assert {line["status"] for line in lines.values()} == {"ok", "silent", "decode_error"}
    assert lines["z broken.wav"]["error"].startswith("cannot decode broken a.wav")
    assert lines["short.wav"]["refused"]["loudness"]["code"] == "too_short"


def test_a_shard_takes_every_nth_clip(corpora: tuple[Path, Path]) -> None:
    corpus = load_corpus(corpora[0])
    parts = [[clip.id for clip in Share(index=at, count=3).select(corpus).clips] for at in (1, 2, 3)]
    assert [each for at in range(4) for part in parts for each in part[at : at + 1]] == [c.id for c in corpus.clips]
    assert Share(index=30, count=30).select(corpus).clips == ()


def test_labels_of_clips_travel(tmp_path: Path, cache: Path) -> None:
    """Every field of a clip but its place comes back, also those that are added later."""
    path = tmp_path / "phones.jsonl"
    entry = {"id": "a", "phones": ["x", "y"], "seconds": 1.25, "recognizer": "r|rev:1", "speaker": "s", "prompt": "p"}
    path.write_text("".join(json.dumps({**entry, "id": each}) + "\n" for each in "ab"))
    read = read_shard(make((path, path), Share(index=1, count=1), cache, tmp_path / "s", pJSD(n=1)))
    for mine, theirs in zip(load_corpus(path).clips, read.seen.clips["real"], strict=True):
        assert dataclasses.replace(mine, phones=None) == theirs.clip
    assert {each.name for each in dataclasses.fields(Clip)} > {"id", "seconds", "recognizer"}
    assert merge([read])["pjsd.1"].value == 0.0


def test_every_argument_of_pjsd_is_about_hearing_or_among_its_options() -> None:
    about_hearing = {"recognizer", "real", "lang", "device"}
    assert set(pJSD(n=2, recognizer="pocketsphinx").options) == set(inspect.signature(pJSD).parameters) - about_hearing


# ---- what does not fit together ----


@pytest.fixture
def two(corpora: tuple[Path, Path], cache: Path, tmp_path: Path) -> list[Path]:
    return [make(corpora, Share(index=at, count=2), cache, tmp_path / f"half{at}") for at in (1, 2)]


def refused(shards: Sequence[Path]) -> str:
    """The one line that merging says."""
    with pytest.raises(SlmEvalError) as caught:
        merge([read_shard(each) for each in shards])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_shards_that_overlap(two: list[Path], corpora: tuple[Path, Path], cache: Path, tmp_path: Path) -> None:
    quarter = make(corpora, Share(index=3, count=4), cache, tmp_path / "quarter")
    assert f"{two[0]} (1/2) and {quarter} (3/4) overlap: both have '2é.wav', 'broken a.wav'" in refused([quarter, *two])
    assert f"{two[0]} (1/2) and {two[0]} (1/2) overlap" in refused([two[0], two[1], two[0]])


def test_missing_shards(corpora: tuple[Path, Path], cache: Path, tmp_path: Path) -> None:
    shards = [make(corpora, Share(index=at, count=20), cache, tmp_path / str(at)) for at in range(1, 21)]
    assert refused(shards[:5] + shards[6:]) == (
        "missing of the 20 shards: 6; 1 of 10 generated clips and 1 of 6 real clips are in none of those given"
    )
    assert refused(shards[8:]).startswith("missing of the 20 shards: 1, 2, 3, ...; 8 of 10 generated clips")
    assert merge([read_shard(each) for each in shards[:10]]).summaries  # the others are empty
    odd = make(corpora, Share(index=1, count=2), cache, tmp_path / "odd")
    assert refused([odd, shards[1]]) == "4 of 10 generated clips and 2 of 6 real clips are in none of those given"
    with pytest.raises(UsageError, match="no shard to merge"):
        merge([])


def test_shards_of_different_runs(
    two: list[Path], corpora: tuple[Path, Path], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(*asked: Metric, real: Path | None = None) -> Path:
        where = (corpora[0], real or corpora[1])
        return make(where, Share(index=2, count=2), cache, tmp_path / f"other{time.monotonic_ns()}", *asked)

    assert "metrics.2.options.seed is 3 against 4" in refused([two[0], other(Loud(), Drift("0.1"), Spelled(seed=4))])
    assert "metrics.1.options.factor is '0.1' against '2.0'" in refused([two[0], other(Loud(), Drift("2"), Spelled())])
    assert "different runs: metrics is" in refused([two[0], other(Loud())])
    monkeypatch.setattr(LoudnessObserver, "fingerprint", Signature("loudness", rate=8_000))
    message = refused([two[0], other()])
    assert "metrics.0.fingerprint is 'loudness|rate:16000' against 'loudness|rate:8000'" in message
    monkeypatch.undo()
    moved = tmp_path / "moved"
    shutil.copytree(corpora[1], moved)
    assert "corpora.real.path is" in refused([two[0], other(real=moved)])
    (tmp_path / "corpora").mkdir()
    monkeypatch.chdir(tmp_path / "corpora")
    shutil.copytree(corpora[1], "real")
    before = make((corpora[0], Path("real")), Share(index=1, count=2), cache, tmp_path / "before")
    Path("real/copy.wav").rename("real/cop.wav")
    assert "corpora.real.ids is" in refused([before, other(real=Path("real"))])


def test_files_that_are_no_shard(two: list[Path], corpora: tuple[Path, Path], cache: Path, tmp_path: Path) -> None:
    whole(corpora, cache, tmp_path / "whole")
    assert "is a finished run, no shard" in refused([two[0], tmp_path / "whole"])
    assert "has no shard.json; `slm-eval run --shard 3/16` writes one" in refused([tmp_path])
    with pytest.raises(UsageError, match="holds a finished run"):
        make(corpora, Share(index=1, count=2), cache, tmp_path / "whole")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-100], "cannot be read"),
        (lambda text: "", "cannot be read"),
        (lambda text: "[]", "cannot be read"),
        (lambda text: "{}", "cannot be read"),
        (lambda text: "[" * 100_000, "cannot be read"),
        (lambda text: text.replace("0.", "0.1", 1), "was changed after it was written"),
        (lambda text: text.replace('"vector": [', '"vector": [NaN, '), "cannot be read"),
        (lambda text: text.replace("é", "\udce9", 1), "cannot be read"),
    ],
)
def test_damaged_files(two: list[Path], damage: Callable[[str], str], message: str) -> None:
    path = two[1] / "shard.json"
    path.write_bytes(damage(path.read_text("utf-8")).encode("utf-8", "surrogateescape"))
    assert message in refused(two)
    assert str(path) in refused(two)


def test_another_version(two: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slm_eval.run.shards.__version__", "9.9")
    assert "is of slm-eval 0" in refused(two)
    assert "this is 9.9" in refused(two)


def test_another_version_of_a_metric(two: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Drift, "keys", ("drift.l1",))
    assert "drift gives drift.l1 here, and drift.l2 where the shards were made" in refused(two)
    monkeypatch.delitem(registry.METRICS, "drift")
    assert "unknown metric 'drift'" in refused(two)


def test_machines_that_differ_are_both_named(two: list[Path]) -> None:
    shards = [read_shard(each) for each in two]
    same = merge(shards).environment

    def on_another(shard: Shard, **facts: str | None) -> Shard:
        seen = dataclasses.replace(shard.seen, environment=shard.seen.environment | facts)
        return dataclasses.replace(shard, seen=seen)

    merged = merge([shards[0], on_another(shards[1], numpy="0.1", torch=None)]).environment
    assert merged == same | {"numpy": f"0.1; {np.__version__}", "torch": f"{same['torch']}; None"}


# ---- --shard ----


def slurm(at: int, first: int, last: int, count: int, step: int) -> dict[str, str]:
    values = {"ID": at, "MIN": first, "MAX": last, "COUNT": count, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{part}": str(value) for part, value in values.items()}


@pytest.mark.parametrize(
    ("variables", "share"),
    [
        (slurm(1, 1, 16, 16, 1), "1/16"),
        (slurm(16, 1, 16, 16, 1), "16/16"),
        (slurm(0, 0, 15, 16, 1), "1/16"),
        (slurm(12, 0, 30, 16, 2), "7/16"),
        (slurm(8, 0, 14, 4, 4), "3/4"),  # a last task that the step does not reach: 0, 4, 8, 12
        (slurm(7, 7, 7, 1, 1), "1/1"),
    ],
)
def test_slurm_tasks(variables: dict[str, str], share: str) -> None:
    assert str(parse_share("slurm", variables)) == share


@pytest.mark.parametrize(
    ("text", "variables", "message"),
    [
        ("slurm", {}, "no number in SLURM_ARRAY_TASK_ID, .*STEP, so this is no array job; start it by sbatch --array"),
        ("slurm", slurm(3, 1, 7, 3, 1), "task 3 of an array of 3 from 1 to 7 by 1 is not evenly numbered"),
        ("slurm", slurm(3, 0, 3, 3, 2), "not evenly numbered"),
        ("slurm", slurm(1, 1, 4, 4, 1) | {"SLURM_ARRAY_TASK_STEP": "x"}, "no number in SLURM_ARRAY_TASK_STEP"),
        *[(text, {}, "such as 3/16, or slurm") for text in ("0/3", "4/3", "3", "-1/3", "1/0", "a/b", "1/3/5", "")],
    ],
)
def test_shares_that_make_no_sense(text: str, variables: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_share(text, variables)


# ---- the command line ----


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_default_output_json_and_exit_status(
    corpora: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["run", "--generated", corpora[0], "--real", corpora[1], "--workers", "0", "--metrics", "loud"]
    for at in (1, 2):
        result = invoke(*asked, "--shard", f"{at}/2")
        assert (result.exit_code, f"written to runs/gen.shard-{at}-of-2" in result.output) == (0, True), result.output
    assert invoke(*asked, "--shard", "1/2", "--json").exit_code == 2
    folders = sorted(Path("runs").iterdir())
    merged = invoke("merge", *folders, "-o", "runs/gen", "--json")
    assert merged.exit_code == 0
    assert merged.stdout.encode() == Path("runs/gen/summary.json").read_bytes()
    assert invoke("merge", *folders, "-o", folders[0]).exit_code == 2
    # What was asked for by name and could not be computed: both a shard and the whole say so, as a run does.
    monkeypatch.setattr(Drift, "missing", lambda self: "no weights")
    for at in (1, 2):
        failed = invoke(*asked, "--metrics", "loud,drift", "--output", f"f{at}", "--shard", f"{at}/2")
        assert (failed.exit_code, "not computed: drift.l2: no weights" in failed.output) == (1, True)
    assert invoke("merge", "f1", "f2", "-o", "f").exit_code == 1


THIRD_PARTY = """
import sys
sys.path.insert(0, {root!r})
from tests.run.test_shards import Drift
"""


def start(arguments: Sequence[object], site: Path, cache: Path, **more: str) -> subprocess.Popen[str]:
    environment = os.environ | {"SLM_EVAL_CACHE": str(cache), "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"} | more
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """What pip would leave behind for a package that adds the metric ``drift``."""
    info = tmp_path / "site" / "third_party-1.dist-info"
    info.mkdir(parents=True)
    (info.parent / "third_party.py").write_text(THIRD_PARTY.format(root=str(ROOT)))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[slm_eval.metrics]\ndrift = third_party:Drift\n")
    return info.parent


def test_processes_with_a_recognizer_and_a_metric_of_another_package(site: Path, tmp_path: Path) -> None:
    """More shards than clips, the limit first, caches of their own, and weights that are gone when merging."""
    asked = [
        "run",
        "--generated",
        EXAMPLES / "generated",
        "--real",
        EXAMPLES / "real",
        "--limit",
        "2",
        "--workers",
        "0",
    ]
    asked += ["--metrics", "pjsd,drift:factor=0.3", "--recognizer", "pocketsphinx", "--ngrams", "1,2"]
    outputs = [("whole", []), *((f"s{at}", ["--shard", f"{at}/3"]) for at in (1, 2, 3))]
    running = [
        start([*asked, *more, "--output", tmp_path / name], site, tmp_path / f"cache {name}") for name, more in outputs
    ]
    for each in running:
        finish(each)
    folders = [tmp_path / f"s{at}" for at in (3, 1, 2)]
    printed = finish(start(["merge", *folders, "-o", tmp_path / "m"], site, tmp_path / "none", NO_WEIGHTS="1"))
    assert written(tmp_path / "m") == written(tmp_path / "whole")
    assert "pjsd.2" in printed
    assert "drift.l2" in printed
    assert "drift.l2" in (tmp_path / "m" / "report.html").read_text()
    assert not (tmp_path / "none").exists()
    assert json.loads(written(tmp_path / "m")[0])["corpora"]["real"]["n_total"] == 2


def test_a_shard_that_was_stopped_continues(site: Path, tmp_path: Path) -> None:
    asked = [
        "run",
        "--generated",
        EXAMPLES / "generated",
        "--real",
        EXAMPLES / "real",
        "--limit",
        "12",
        "--workers",
        "1",
    ]
    asked += ["--metrics", "pjsd", "--recognizer", "pocketsphinx", "--shard", "1/2", "--batch-seconds", "10"]
    finish(start([*asked, "--output", tmp_path / "undisturbed"], site, tmp_path / "cache1"))
    stopped = start([*asked, "--output", tmp_path / "stopped"], site, tmp_path / "cache2")
    assert stopped.stderr is not None
    while "observing" not in stopped.stderr.readline():
        assert stopped.poll() is None, "it ended before it could be stopped"
    stopped.send_signal(signal.SIGINT)
    _, errors = stopped.communicate(timeout=30)
    assert (stopped.returncode, "the same command continues" in errors) == (130, True)
    assert not (tmp_path / "stopped").exists()
    finish(start([*asked, "--output", tmp_path / "stopped"], site, tmp_path / "cache2"))
    for name in ("shard.json", "clips.jsonl"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()


def test_the_slurm_scripts_of_the_examples(corpora: tuple[Path, Path], site: Path, tmp_path: Path) -> None:
    """Without SLURM: its variables by hand, and the commands that SLURM would start."""
    scripts = EXAMPLES.parent / "slurm"
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "slm-eval").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from slm_eval.cli.main import main; main()" "$@"\n'
    )
    (bin_ / "slm-eval").chmod(0o755)
    common = os.environ | {
        "PATH": f"{bin_}:{os.environ['PATH']}", "PYTHONPATH": str(site), "REAL": str(corpora[1]), "METRICS": "drift",
        "GENERATED": str(corpora[0]), "SLURM_CPUS_PER_TASK": "1",
    }  # fmt: skip

    def call(script: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(scripts / script)]
        return subprocess.run(
            command, env=common | variables, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    assert call("run_array.sh", slurm(0, 0, 4, 3, 2)).returncode == 0
    assert call("run_array.sh", slurm(4, 0, 4, 3, 2)).returncode == 0
    early = call("merge.sh", {})
    assert (early.returncode, "missing of the 3 shards: 2" in early.stderr) == (1, True)
    assert call("run_array.sh", slurm(5, 5, 5, 1, 1) | {"SHARD": "2/3"}).returncode == 0
    assert call("merge.sh", {}).returncode == 0, call("merge.sh", {}).stderr
    assert json.loads(written(tmp_path / "runs" / "gen")[0])["corpora"]["generated"]["n_total"] == 10
    assert "a folder of real speech" in call("run_array.sh", {"REAL": ""}).stderr


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.pop("clips"),
        lambda content: content["clips"].pop("real"),
        lambda content: content.update(metrics=[1]),
        lambda content: content["clips"]["real"].append("x"),
        lambda content: content["clips"]["real"][0].update(facts={"x": 1}),
        lambda content: content["clips"]["real"][0].update(observations=[{"scores": {"loudness.rms": "."}}]),
        lambda content: content["corpora"]["real"].update(n_total="3"),
        lambda content: content.update(schema=None),
    ],
)
def test_a_shard_written_by_hand_is_one_line(
    edit: Callable[[dict[str, Any]], object], corpora: tuple[Path, Path], cache: Path, tmp_path: Path
) -> None:
    """Its digest is right: whoever writes a shard can write that too."""
    folder = make(corpora, Share(index=1, count=2), cache, tmp_path / "shard")
    read_shard(folder)
    content = json.loads((folder / "shard.json").read_text())
    del content["digest"]
    edit(content)
    (folder / "shard.json").write_text(json.dumps({"digest": _digest(content), **content}))
    with pytest.raises(SlmEvalError, match=r"shard\.json is ") as caught:
        read_shard(folder)
    assert "\n" not in str(caught.value)
