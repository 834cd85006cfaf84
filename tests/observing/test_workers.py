"""Clips come back from processes as they do from this one, whatever of them fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from slm_eval.base.digests import content_digest
from slm_eval.base.pool import Died
from slm_eval.observing.workers import Decoded, Job, decode_all, died_twice
from slm_eval.speech.audio import AudioError
from tests.conftest import noise


def test_processes_change_nothing(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    paths = [write_wav(tmp_path / f"{n}.wav", noise(0.1 * n, seed=n)) for n in (1, 2, 3)]
    (tmp_path / "no.wav").write_bytes(b"RIFF and no more")
    jobs = [
        Job(content_digest(path), path, None, None, 1.0, frozenset([16_000]), ())
        for path in (*paths, tmp_path / "no.wav")
    ]
    outcomes = [{job.path: outcome for job, outcome in decode_all(jobs, [], workers, 1.5)} for workers in (0, 2)]
    assert outcomes[0].keys() == outcomes[1].keys() == {job.path for job in jobs}
    for path in paths:
        here, there = (each[path] for each in outcomes)
        assert isinstance(here, Decoded)
        assert isinstance(there, Decoded)
        assert here.facts == there.facts
        assert np.array_equal(here.signals[16_000].samples, there.signals[16_000].samples)
    errors = [each[tmp_path / "no.wav"] for each in outcomes]
    assert all(isinstance(each, AudioError) for each in errors)
    assert str(errors[0]) == str(errors[1])


def test_without_clips_no_observer_is_made_ready() -> None:
    class Unready:
        def ready(self, device: str) -> None:
            raise AssertionError

    assert list(decode_all([], [Unready()], 0, 1.5)) == []  # type: ignore[list-item]


def test_where_memory_may_be_short_fewer_workers_are_advised() -> None:
    line = "the decoder process died twice on x.wav, the second time "
    assert died_twice(Path("a/x.wav"), Died("with status 3")).message == f"{line}with status 3"
    advice = "; if memory is short, fewer --workers need less of it"
    assert died_twice(Path("a/x.wav"), Died("by SIGKILL")).message == f"{line}by SIGKILL{advice}"
