"""The folder of a run continues a run of the same values and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_zoo.training.train import train
from slm_eval.base.errors import SlmEvalError, UsageError
from tests.zoo.training_runs import configured


def test_another_run_in_the_folder_is_refused(whole: Path, shards: Path) -> None:
    with pytest.raises(UsageError, match=r"holds a run with optimizer\.learning_rate = 0\.001, not 0\.002"):
        train(configured(shards, optimizer={"learning_rate": 2e-3}), whole, "cpu")
    with pytest.raises(UsageError, match="holds a run with batch = 4, not 8"):
        train(configured(shards, batch=8), whole, "cpu")


@pytest.mark.parametrize(("text", "said"), [("{}", "does not say what is trained there"), ("{", "is damaged")])
def test_a_folder_whose_run_json_was_edited_is_refused(shards: Path, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(SlmEvalError, match=said):
        train(configured(shards), tmp_path, "cpu")
