"""What a folder says of its making comes with its clips."""

from __future__ import annotations

from pathlib import Path

import pytest

from slm_eval.base.errors import UsageError
from slm_eval.speech.corpus import load_corpus


def test_a_folder_says_how_it_was_made(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    assert load_corpus(tmp_path).provenance is None
    (tmp_path / "provenance.json").write_text('{"checkpoint": "abc", "guidance": 2}')
    corpus = load_corpus(tmp_path)
    assert corpus.provenance == corpus.limit(1).provenance == {"checkpoint": "abc", "guidance": 2}
    assert corpus.ignored == {}
    for damaged in ("[1]", "{", '{"guidance": NaN}'):
        (tmp_path / "provenance.json").write_text(damaged)
        with pytest.raises(UsageError, match=r"provenance\.json .*fix or remove it"):
            load_corpus(tmp_path)
