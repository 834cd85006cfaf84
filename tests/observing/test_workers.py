"""Clips that are decoded ahead fit their budget, and one that is beyond it travels alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from slm_eval.observing.workers import Job, _Pool
from tests.conftest import noise


def test_a_clip_beyond_the_budget_comes_once_nothing_else_waits(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    """0.1 + 0.2 - 0.1 - 0.2 is 2.8e-17 in floating point: as a running sum it stood for a clip that never came."""
    path = write_wav(tmp_path / "clip.wav", noise(0.1))
    jobs = [
        Job(f"{n}", path, None, None, seconds, frozenset([16_000]), ()) for n, seconds in enumerate((0.1, 0.2, 9.0))
    ]
    pool = _Pool(jobs, [], workers=1, ahead_seconds=0.4)
    taken: list[str] = []

    def take_all() -> None:
        while pool._ready.qsize() < 2:  # both are in flight at once
            time.sleep(0.01)
        taken.extend(pool.take()[0].content for _ in jobs)

    thread = threading.Thread(target=take_all, daemon=True)
    thread.start()
    thread.join(timeout=60)
    pool.stop()
    assert taken == ["0", "1", "2"]


def test_what_waits_stays_within_the_budget(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    path = write_wav(tmp_path / "clip.wav", noise(0.1))
    jobs = [Job(f"{n}", path, None, None, 1.0, frozenset([16_000]), ()) for n in range(6)]
    pool = _Pool(jobs, [], workers=2, ahead_seconds=2.5)
    while pool._ready.qsize() < 2:
        time.sleep(0.01)
    time.sleep(0.3)
    assert pool._ready.qsize() == 2  # a third second would be 3 of 2.5
    assert len({pool.take()[0].content for _ in jobs}) == 6
    pool.stop()
