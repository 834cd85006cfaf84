"""Weights of the Hugging Face hub come all or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.files import cache_folder
from slm_eval.weights import hub
from slm_eval.weights import locate as weights
from slm_eval.weights.download import Remote
from slm_eval.weights.sources import SETS, Hub, WeightSet
from tests.weights.publisher import CONTENT, Publisher, nothing_taken, one_line


@pytest.fixture
def toy_hub(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Register the set "toy" of a hub repository, fetched without the hub's client; where it will lie."""

    class LocalHub(Hub):
        def remote(self, file: str) -> Remote:
            return Remote(f"{publisher.url}/{file}", ("127.0.0.1",))

    layouts = (("model.safetensors", "config.json"), ("checkpoint.pt",))
    weight_set = WeightSet("tests", "CC0", LocalHub("owner/toy"), "toy", layouts, optional=("extra.json",))
    monkeypatch.setitem(SETS, "toy", weight_set)
    monkeypatch.setenv("HF_HOME", str(cache_folder() / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr(hub, "client_installed", lambda: False)
    return cache_folder() / "weights" / "toy"


@pytest.mark.parametrize(
    ("published", "taken"),
    [
        (["model.safetensors", "config.json"], ["config.json", "model.safetensors"]),
        (["model.safetensors", "config.json", "extra.json"], ["config.json", "extra.json", "model.safetensors"]),
        (["checkpoint.pt"], ["checkpoint.pt"]),
    ],
)
def test_hub_files_come_all_or_none(
    publisher: Publisher, toy_hub: Path, published: list[str], taken: list[str]
) -> None:
    publisher.files = {f"/{file}": file.encode() for file in published}
    assert weights.locate("toy") == toy_hub
    assert sorted(file.name for file in toy_hub.iterdir()) == taken


def test_a_hub_download_that_stops_between_files_takes_nothing(publisher: Publisher, toy_hub: Path) -> None:
    publisher.files = {"/model.safetensors": CONTENT, "/config.json": b"{}"}
    publisher.cut_after = [len(CONTENT), *[0] * 9]
    with pytest.raises(SlmEvalError, match="failed"):
        weights.locate("toy")
    assert nothing_taken(toy_hub)
    publisher.cut_after, asked = [], len(publisher.asked)
    weights.locate("toy")
    assert len(publisher.asked) == asked + 2  # the optional file, and what was still lacking


def test_a_hub_repository_without_the_files_is_one_line(publisher: Publisher, toy_hub: Path) -> None:
    with pytest.raises(SlmEvalError) as error:
        weights.locate("toy")
    assert "has no model.safetensors, config.json or checkpoint.pt any more" in one_line(error)


def test_the_hub_cache_is_used_where_it_has_the_set(toy_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLM_EVAL_OFFLINE", "1")
    repository = cache_folder() / "hf" / "hub" / "models--owner--toy"
    snapshot = repository / "snapshots" / "abc"
    for path, text in ((repository / "refs" / "main", "abc"), (snapshot / "config.json", "{}")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert weights.at_hand("toy") is None  # not all of it
    (snapshot / "model.safetensors").write_text("x")
    assert weights.locate("toy") == snapshot
    weights.digest("toy")
    (snapshot / "model.safetensors").write_text("y")
    with pytest.raises(SlmEvalError, match="has changed since it was first used"):
        weights.locate("toy")


def test_the_hub_client_is_used_where_it_is_installed(toy_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    snapshot = cache_folder() / "hf" / "hub" / "models--owner--toy" / "snapshots" / "abc"

    def fake(repo: str, file: str) -> str:
        if file == "extra.json":
            raise huggingface_hub.errors.EntryNotFoundError("no such entry")
        snapshot.mkdir(parents=True, exist_ok=True)
        (snapshot.parent.parent / "refs").mkdir(exist_ok=True)
        (snapshot.parent.parent / "refs" / "main").write_text("abc")
        (snapshot / file).write_text(repo)
        return str(snapshot / file)

    monkeypatch.setattr(hub, "client_installed", lambda: True)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fake)
    assert weights.locate("toy") == snapshot


def test_errors_of_the_hub_client_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def fail(repo: str, file: str) -> str:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(SlmEvalError, match=r"huggingface.co/owner/toy failed \(first line\)") as error:
        hub.fetch_file("owner/toy", "config.json")
    one_line(error)
