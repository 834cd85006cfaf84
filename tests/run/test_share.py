"""Which clips a share has, and how --shard says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from slm_eval.base.errors import UsageError
from slm_eval.run.share import Share, parse_share
from slm_eval.speech.corpus import load_corpus
from tests.run.made_shards import slurm


def test_a_shard_takes_every_nth_clip(corpora: tuple[Path, Path]) -> None:
    corpus = load_corpus(corpora[0])
    parts = [[clip.id for clip in Share(index=at, count=3).select(corpus).clips] for at in (1, 2, 3)]
    assert [each for at in range(4) for part in parts for each in part[at : at + 1]] == [c.id for c in corpus.clips]
    assert Share(index=30, count=30).select(corpus).clips == ()


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
