"""Weights: only whole and right ones are ever taken, whatever the network, the disk or an archive does.

The publisher is a local HTTP server that can cut, lie and dawdle.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.files import cache_folder
from slm_eval.base.tensors import load_tensors
from slm_eval.weights import acquire
from slm_eval.weights import locate as weights
from slm_eval.weights.archive import unpack
from slm_eval.weights.download import Remote
from slm_eval.weights.sources import SETS, Web, WeightSet
from tests.conftest import SHARED
from tests.weights.publisher import CONTENT, SHA256, Publisher, Register, one_line


@pytest.mark.parametrize("variable", ["SLM_EVAL_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_says_what_to_do_and_asks_nobody(
    publisher: Publisher, register: Register, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    path = register()
    monkeypatch.setenv(variable, "1")
    line = weights.missing("toy")
    assert line is not None
    assert f"unset {variable} and run `slm-eval download toy`, or put the file at {path}" in line
    with pytest.raises(SlmEvalError, match="the weights toy are missing"):
        weights.locate("toy")
    assert publisher.asked == []
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert weights.missing("toy") is None
    assert weights.digest("toy") == SHA256


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    for function in (weights.locate, weights.missing, weights.digest, weights.at_hand, lambda n: weights.download([n])):
        with pytest.raises(UsageError, match="did you mean 'nisqa'"):
            function("nisqua")


@pytest.mark.parametrize("name", list(SETS))
def test_offline_every_set_is_found_or_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(cache_folder() / "hf"))
    path, line = weights.at_hand(name), weights.missing(name)
    assert (path is None) == (line is not None)
    if line is not None:
        assert "\n" not in line
        assert f"slm-eval download {name}" in line or "pip install" in line


def test_a_wrong_file_names_both_digests_and_what_to_delete(register: Register) -> None:
    path = register(sha256=SHA256)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(SlmEvalError) as error:
        weights.locate("toy")
    digest = hashlib.sha256(CONTENT[:-1]).hexdigest()
    assert one_line(error) == weights.missing("toy")
    for part in (digest, SHA256, f"delete {path} and run `slm-eval download toy`"):
        assert part in one_line(error)
    path.unlink()
    assert weights.locate("toy").read_bytes() == CONTENT  # nothing of the wrong one was recorded


def test_an_incomplete_folder_names_what_it_lacks() -> None:
    folder = cache_folder() / "weights" / "audiobox"
    folder.mkdir(parents=True)
    assert weights.at_hand("audiobox") is None  # empty: as good as none
    (folder / "config.json").write_text("{}")
    line = weights.missing("audiobox")
    assert line is not None
    assert f"{folder} is not a complete set of the weights audiobox: it lacks model.safetensors" in line
    (folder / "checkpoint.pt").write_bytes(b"x")
    assert weights.locate("audiobox") == folder
    assert weights.digest("audiobox") == hashlib.sha256(b"x").hexdigest()


def test_sets_that_come_in_packages_are_found_and_verified() -> None:
    for name, file in (("dnsmos", "dnsmos_models/model_v8.onnx"), ("pocketsphinx", "model/en-us/en-us/mdef")):
        assert (weights.locate(name) / file).is_file()
        assert len(weights.digest(name)) == 64


def test_a_package_with_other_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETS["dnsmos"].source.digests, "dnsmos_models/model_v8.onnx", "0" * 64)  # type: ignore[union-attr]
    line = weights.missing("dnsmos")
    assert line is not None
    assert "is not the published file" in line
    assert "pip install --force-reinstall speechmos" in line


def test_the_listing_names_every_set_with_its_licence(publisher: Publisher, register: Register) -> None:
    path = register()
    rows = {row.name: row for row in weights.listing()}
    assert list(rows) == list(SETS)
    assert all(row.licence for row in rows.values())
    assert rows["toy"].found == f"not here yet: slm-eval download toy ({publisher.url}/set.bin)"
    assert publisher.asked == []
    weights.locate("toy")
    assert {row.name: row for row in weights.listing()}["toy"].found == str(path)


def test_one_failing_download_does_not_stop_the_others(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    path = register()
    monkeypatch.setattr(weights, "SETS", {"toy": SETS["toy"], "bad": WeightSet("t", "CC0", Web(_NOWHERE), "bad")})
    bad, toy = weights.download(["bad", "toy", "bad"])
    assert (toy.path, toy.problem, toy.licence) == (path, None, "CC0")
    assert bad.path is None
    assert "cannot reach" in str(bad.problem)


_NOWHERE = Remote("http://no-such-host.invalid/x", ("no-such-host.invalid",))


def test_without_names_the_sets_of_the_paper_are_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(cache_folder() / "hf"))
    names = [outcome.name for outcome in weights.download()]
    assert names == ["nisqa", "nisqa_tts", "allosaurus", "audiobox", "dnsmos", "pocketsphinx"]


def test_importing_weights_is_light() -> None:
    heavy = {"torch", "requests", "huggingface_hub"}
    code = f"import sys, slm_eval.weights.locate; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["nisqa", "nisqa_tts"])
def test_the_published_nisqa_weights_are_accepted(name: str) -> None:
    published = SHARED / "weights" / "nisqa" / f"{name}.tar"
    if not published.is_file():
        pytest.skip("the published weights are not beside the repository (../shared/weights/nisqa)")
    target = cache_folder() / "weights" / "nisqa" / f"{name}.tar"
    target.parent.mkdir(parents=True)
    target.symlink_to(published)
    assert weights.missing(name) is None
    assert weights.digest_at(name, weights.locate(name)) == weights.digest(name)
    source = SETS[name].source
    assert isinstance(source, Web)
    assert source.remote.size == target.stat().st_size
    assert load_tensors(target)["model_state_dict"]


def test_the_published_allosaurus_folder_unpacks_and_lacks_only_its_model(tmp_path: Path) -> None:
    archive = SHARED / "weights" / "allosaurus" / "uni2005-config-and-inventory.tar.gz"
    if not archive.is_file():
        pytest.skip("the published configuration is not beside the repository (../shared/weights/allosaurus)")
    unpack(archive, tmp_path / "out", acquire._MAX_UNPACKED)
    folder = tmp_path / "out" / "uni2005"
    assert SETS["allosaurus"].lacking(folder) == ["model.pt"]
    (folder / "model.pt").write_bytes(b"stand-in")
    files = SETS["allosaurus"].files(folder)
    assert len([file for file in files if file.startswith("inventory/")]) > 2000
    os.makedirs(cache_folder() / "weights" / "allosaurus")
    os.rename(folder, cache_folder() / "weights" / "allosaurus" / "uni2005")
    first = weights.digest("allosaurus")
    start = time.perf_counter()
    assert weights.digest("allosaurus") == first
    assert time.perf_counter() - start < 1.0  # 2,192 files are looked at, none is read
