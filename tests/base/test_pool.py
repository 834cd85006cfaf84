"""Jobs in processes: the budget of what waits, crashes, bugs, and an end at any moment."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.pool import Died, Pool, in_processes


def pool_of(jobs: list[float], processes: int, ahead: float) -> Pool[float, str]:
    return Pool(partial(partial, repr), jobs, processes, float, ahead, {})


def test_a_job_beyond_the_budget_comes_once_nothing_else_waits() -> None:
    """0.1 + 0.2 - 0.1 - 0.2 is 2.8e-17 in floating point: as a running sum it stood for a job that never came."""
    pool = pool_of([0.1, 0.2, 9.0], 1, ahead=0.4)
    taken: list[str] = []

    def take_all() -> None:
        while pool._ready.qsize() < 2:  # both are in flight at once
            time.sleep(0.01)
        taken.extend(str(answer) for _, answer in pool)

    thread = threading.Thread(target=take_all, daemon=True)
    thread.start()
    thread.join(timeout=60)
    pool.stop()
    assert taken == ["0.1", "0.2", "9.0"]


def test_what_waits_stays_within_the_budget() -> None:
    pool = pool_of([1.0] * 6, 2, ahead=2.5)
    while pool._ready.qsize() < 2:
        time.sleep(0.01)
    time.sleep(0.3)
    assert pool._ready.qsize() == 2  # a third would be 3 of 2.5
    assert [answer for _, answer in pool] == ["1.0"] * 6
    pool.stop()


def work_that_dies(folder: Path) -> Callable[[str], str]:
    """Return work that leaves a trace of each try, and dies with the status that the job names."""

    def work(job: str) -> str:
        tries = len(list(folder.glob(f"{job}.*")))
        (folder / f"{job}.{tries}").touch()
        if job == "3" or (job == "once" and tries == 0):
            os._exit(3)
        return f"{job} done"

    return work


def test_a_crash_costs_one_job_and_is_tried_twice(tmp_path: Path) -> None:
    answers = dict(in_processes(partial(work_that_dies, tmp_path), ["a", "3", "once", "b"], 1))
    assert answers == {"a": "a done", "3": Died("with status 3"), "once": "once done", "b": "b done"}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["3.0", "3.1", "a.0", "b.0", "once.0", "once.1"]


def test_a_bug_names_the_job() -> None:
    with pytest.raises(SlmEvalError, match=r"^ZeroDivisionError while working on 0: .*zero$"):
        list(in_processes(partial(partial, divmod, 1), [0], 1))


def begin_without_weights() -> Callable[[str], str]:
    raise SlmEvalError("the weights are missing")


def test_what_keeps_a_process_from_starting_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SlmEvalError, match="the weights are missing"):
        list(in_processes(begin_without_weights, ["a"], 2))
    with pytest.raises(SlmEvalError, match="a worker process could not start; --workers 0 works in the main process"):
        list(in_processes(partial(os._exit, 1), ["a"], 1))
    (tmp_path / "only_here.py").write_text("def begin(): ...")
    with monkeypatch.context() as importable:
        importable.syspath_prepend(tmp_path)
        module = import_module("only_here")
    with pytest.raises(
        SlmEvalError, match=r"a worker process cannot import what it is given \(.*only_here.*\); install"
    ):
        list(in_processes(module.begin, ["a"], 1))


def sleeping() -> Callable[[float], None]:
    return time.sleep


def test_an_early_end_does_not_wait_for_the_work() -> None:
    answers = in_processes(sleeping, [0.0, 600.0, 600.0], 2)
    next(answers)
    before = time.monotonic()
    answers.close()
    assert time.monotonic() - before < 60


def environment() -> Callable[[str], str | None]:
    return os.environ.get


def test_processes_get_their_variables_and_print_beside_the_answers(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(in_processes(environment, ["OMP_NUM_THREADS"], 1, environment={"OMP_NUM_THREADS": "7"})) == [
        ("OMP_NUM_THREADS", "7")
    ]
    assert list(in_processes(partial(partial, print), ["said"], 1)) == [("said", None)]
    assert capfd.readouterr().err == "said\n"
