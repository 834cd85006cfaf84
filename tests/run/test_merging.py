"""Whatever the split, merging gives the bytes of the run without shards, or one line that says why not."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slm_eval.base.errors import UsageError
from slm_eval.base.signature import Signature
from slm_eval.metrics import registry
from slm_eval.metrics.metric import Metric
from slm_eval.run.files import write_run
from slm_eval.run.merging import merge
from slm_eval.run.shards import Shard, read_shard
from slm_eval.run.share import Share
from tests.fakes import LoudnessObserver
from tests.run.made_shards import Drift, Loud, Spelled, make, refused, whole, written


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
    shards = [make(corpora, share, cache, folder / str(index)) for index, share in enumerate(shares)]
    write_run(merge([read_shard(shard) for shard in shards]), folder / "merged")
    assert written(folder / "merged") == expected


def test_what_the_run_says_of_shared_and_broken_clips_is_there(
    corpora: tuple[Path, Path], cache: Path, tmp_path: Path
) -> None:
    """The property above compares; this says that there is something to compare."""
    shards = [make(corpora, Share(index=at, count=3), cache, tmp_path / str(at)) for at in (1, 2, 3)]
    evaluation = merge([read_shard(shard) for shard in shards])
    assert list(evaluation.summaries) == ["loudness.rms", "drift.l2", "spelled.1", "spelled.2"]
    assert evaluation["spelled.1"].warnings[-1] == "4 of 10 generated clips hold the same audio as real ones"
    lines = {clip.clip.id: clip.to_dict() for clip in evaluation.clips["generated"]}
    assert {line["status"] for line in lines.values()} == {"ok", "silent", "decode_error"}
    assert lines["z broken.wav"]["error"].startswith("cannot decode broken a.wav")
    assert lines["short.wav"]["refused"]["loudness"]["code"] == "too_short"


def test_shards_that_overlap(two: list[Path], corpora: tuple[Path, Path], cache: Path, tmp_path: Path) -> None:
    quarter = make(corpora, Share(index=3, count=4), cache, tmp_path / "quarter")
    assert f"{two[0]} (1/2) and {quarter} (3/4) overlap: both have '2é.wav', 'broken a.wav'" in refused([quarter, *two])
    assert f"{two[0]} (1/2) and {two[0]} (1/2) overlap" in refused([two[0], two[1], two[0]])


def test_missing_shards(corpora: tuple[Path, Path], cache: Path, tmp_path: Path) -> None:
    shards = [make(corpora, Share(index=at, count=20), cache, tmp_path / str(at)) for at in range(1, 21)]
    assert refused(shards[:5] + shards[6:]) == (
        "missing of the 20 shards: 6; 1 of 10 generated clips and 1 of 6 real clips are in none of those given; "
        "run the missing shards"
    )
    assert refused(shards[8:]).startswith("missing of the 20 shards: 1, 2, 3, ...; 8 of 10 generated clips")
    assert merge([read_shard(shard) for shard in shards[:10]]).summaries  # the others are empty
    odd = make(corpora, Share(index=1, count=2), cache, tmp_path / "odd")
    assert refused([odd, shards[1]]) == (
        "4 of 10 generated clips and 2 of 6 real clips are in none of those given; run the missing shards"
    )
    with pytest.raises(UsageError, match="at least one shard to merge, got none"):
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


def test_another_version_of_a_metric(two: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Drift, "keys", ("drift.l1",))
    assert "drift gives drift.l1 here, and drift.l2 where the shards were made" in refused(two)
    monkeypatch.delitem(registry.METRICS, "drift")
    assert "the metric 'drift' is of a package that is not installed here" in refused(two)


def test_machines_that_differ_are_both_named(two: list[Path]) -> None:
    shards = [read_shard(folder) for folder in two]
    same = merge(shards).environment

    def on_another(shard: Shard, **facts: str | None) -> Shard:
        seen = dataclasses.replace(shard.seen, environment=shard.seen.environment | facts)
        return dataclasses.replace(shard, seen=seen)

    merged = merge([shards[0], on_another(shards[1], numpy="0.1", torch=None)]).environment
    assert merged == same | {"numpy": f"0.1; {np.__version__}", "torch": f"{same['torch']}; None"}
