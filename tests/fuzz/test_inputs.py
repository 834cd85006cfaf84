"""Manifests, lists, phones, finished runs, YAML, archives and tensors, changed at random: read, or refused in one line.

What is read has to be usable as well: its report is written, its systems compared, its phones scored. Nothing may end
in a traceback, say more than a line, or leave a value that a summary cannot hold.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

import slm_eval.cli.main
from slm_eval import evaluate
from slm_eval.base.errors import SlmEvalError
from slm_eval.base.files import dump
from slm_eval.metrics.pjsd import pJSD
from slm_eval.run.finished import read_run
from slm_eval.speech.corpus import load_corpus
from tests.fuzz.mutations import mutated_bytes, mutated_value

CASES = 150  # of each test, in CI: some seconds


def refused(act: Callable[[], object]) -> bool:
    """Whether it was refused; in one line, if so. Anything but ``SlmEvalError`` comes out."""
    problem = None
    try:
        act()
    except SlmEvalError as error:
        problem = str(error)
    assert problem is None or ("\n" not in problem and len(problem) < 20_000), problem
    return problem is not None


def cases(times: int, name: str, count: int = CASES) -> Iterator[random.Random]:
    for number in range(count * times):
        yield random.Random(f"{name} {number}")


MANIFEST = [
    {"id": "a", "path": "a.wav", "start": 0.5, "end": 2, "speaker": "s", "prompt": "p"},
    {"id": "b", "path": "b/c.wav", "speaker": None},
]
PHONES = [
    {"id": "a", "phones": ["a", "ə", "t"], "seconds": 1.5, "recognizer": "x|rev:1", "speaker": "s"},
    {"id": "b", "phones": ["a", "b", "a"], "seconds": 2},
    {"id": "c", "phones": []},
]


def test_manifests_and_phones(times: int, tmp_path: Path) -> None:
    outcomes: Counter[bool] = Counter()
    for rng in cases(times, "manifest"):
        lines = rng.choice((MANIFEST, PHONES))
        path = tmp_path / "x.jsonl"
        text = "\n".join(mutated_value(line, rng) if rng.random() < 0.4 else json.dumps(line) for line in lines)
        path.write_bytes(mutated_bytes(text.encode(), rng) if rng.random() < 0.3 else text.encode())

        def use(path: Path = path) -> None:
            corpus = load_corpus(path)
            for clip in corpus.clips:
                dump([clip.id, clip.labels, clip.start, clip.end, clip.seconds, clip.recognizer, clip.phones]).encode()
            if not corpus.has_audio:
                dump(evaluate(corpus, corpus, [pJSD(n=1)]).to_dict()).encode()

        outcomes[refused(use)] += 1
    assert min(outcomes[True], outcomes[False]) > CASES / 10  # neither all broken nor all harmless


@pytest.mark.parametrize("name", ["list.txt", "wav.scp"])
def test_lists(name: str, times: int, tmp_path: Path) -> None:
    text = "a.wav\nb/c d.wav\n/x/y.flac\n" if name == "list.txt" else "utt1 a.wav\nutt2\tb/c d.wav\n"
    outcomes: Counter[bool] = Counter()
    for rng in cases(times, name):
        (tmp_path / name).write_bytes(mutated_bytes(text.encode(), rng))
        outcomes[refused(lambda: dump([clip.id for clip in load_corpus(tmp_path / name).clips]).encode())] += 1
    assert min(outcomes.values()) > CASES / 20


def test_provenance(times: int, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    made = {"made_by": "x", "sampler": {"steps": 10, "guidance": 2.0}, "list": [1, None]}
    for rng in cases(times, "provenance"):
        text = mutated_value(made, rng).encode()
        (tmp_path / "provenance.json").write_bytes(mutated_bytes(text, rng) if rng.random() < 0.3 else text)
        refused(lambda: dump(load_corpus(tmp_path).provenance).encode())


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ready-made phones and of scores, as it is written."""
    from slm_eval.run.files import write_run

    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    for side in ("generated", "real"):
        lines = [{"id": f"{at}", "phones": rng.choice(list("abc"), 12).tolist(), "seconds": 1} for at in range(10)]
        (folder / f"{side}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_run(evaluate(folder / "generated.jsonl", folder / "real.jsonl", [pJSD(n=(1, 2))]), folder / "a")
    lines = [json.loads(line) for line in (folder / "a" / "clips.jsonl").read_text().split("\n") if line]
    summary = json.loads((folder / "a" / "summary.json").read_text())
    scores = {"value": 3.0, "sd": 0.5, "ci95": [2.8, 3.2], "n": 10, "unit": "MOS", "higher_is_better": True}
    summary["metrics"]["dnsmos.ovrl"] = {
        **scores, "real": {"value": 3.1, "sd": 0.4, "ci95": [3.0, 3.3], "n": 10}, "signature": "dnsmos.ovrl|rev:1",
    }  # fmt: skip
    for at, line in enumerate(lines):
        line["scores"] = {"dnsmos.ovrl": 2.5 + at / 10}
    (folder / "a" / "summary.json").write_text(json.dumps(summary))
    (folder / "a" / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "a"


def test_finished_runs(times: int, run_folder: Path, tmp_path: Path) -> None:
    """What is done with a run that somebody else gave away: a page, a comparison, a rank."""
    summary = json.loads((run_folder / "summary.json").read_text())
    lines = [json.loads(line) for line in (run_folder / "clips.jsonl").read_text().split("\n") if line]
    shutil.copytree(run_folder, tmp_path / "other")
    outcomes: Counter[str] = Counter()
    for rng in cases(times, "run", 60):
        run, out = tmp_path / "run", tmp_path / "out"
        for folder in (run, out):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(run_folder, run)
        if rng.random() < 0.6:
            (run / "summary.json").write_text(mutated_value(summary, rng))
        else:
            at = rng.randrange(len(lines))
            texts = [json.dumps(line) for line in lines]
            texts[at] = mutated_value(lines[at], rng)
            (run / "clips.jsonl").write_text("\n".join(texts))
        # Digests, where a run has them, are right: whoever edits a run can do that too.
        sign(run)
        if refused(lambda run=run: read_run(run)):
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        for command in (
            ["report", run, "-o", out],
            ["compare", run, tmp_path / "other", "--permutations", "99"],
            ["leaderboard", f"a={run}", f"b={tmp_path / 'other'}", "-o", out],
        ):
            result = CliRunner().invoke(slm_eval.cli.main.main, list(map(str, command)))
            if result.exception is not None and not isinstance(result.exception, SystemExit):
                raise AssertionError(f"{command[0]}: {rng}") from result.exception
            outcomes[f"{command[0]} {result.exit_code}"] += 1
    assert min(outcomes["refused"], outcomes["read"]) > 6, outcomes


def sign(run: Path) -> None:
    """Write the digest of clips.jsonl into summary.json again, where it has one."""
    import hashlib

    try:
        summary = json.loads((run / "summary.json").read_text())
    except (ValueError, RecursionError):
        return
    about = summary.get("environment") if isinstance(summary, dict) else None
    about = about.get("run") if isinstance(about, dict) else None
    if isinstance(about, dict) and "clips_sha256" in about:
        about["clips_sha256"] = hashlib.sha256((run / "clips.jsonl").read_bytes()).hexdigest()
        (run / "summary.json").write_text(json.dumps(summary))


CONFIG = """
model: {layers: 2, width: 32, head_dim: 16, patch: 4, context_seconds: 0.2, target_seconds: 0.4}
data: {shards: nowhere, validation_clips: 4}
optimizer: {learning_rate: 1e-3, warmup_steps: 2}
score: {every: 0, guidance: [2, 4]}
steps: 10
precision: float32
"""
SWEEP = """
budgets: [1e12, 2e12]
sizes: [1, 2]
score: {guidance: []}
training: {steps: 10}
"""


def test_configurations(times: int, tmp_path: Path) -> None:
    import yaml

    from model_zoo.sweeping.spec import read_sweep
    from model_zoo.training.config import load_config

    for rng in cases(times, "yaml", 50):
        source = rng.choice((CONFIG, SWEEP))
        text = mutated_value(yaml.safe_load(source), rng) if rng.random() < 0.6 else source
        path = tmp_path / "x.yaml"
        path.write_bytes(mutated_bytes(text.encode(), rng) if rng.random() < 0.5 else text.encode())
        refused(lambda path=path: load_config(path))
        refused(lambda path=path: read_sweep(path, [], None))


def test_archives(times: int, tmp_path: Path) -> None:
    import io
    import tarfile

    from slm_eval.weights.archive import unpack

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("a/model.pt", "b" * 120, "a/c"):
            info = tarfile.TarInfo(name)
            info.size = 700
            tar.addfile(info, io.BytesIO(bytes(700)))
    for rng in cases(times, "tar"):
        path, out = tmp_path / "x.tar", tmp_path / "inner" / "out"
        shutil.rmtree(tmp_path / "inner", ignore_errors=True)
        content = bytearray(buffer.getvalue())
        # Where headers are: a change there counts, one in the content does not.
        for header in (0, 1536, 2048, 2560):
            if rng.random() < 0.5:
                at = header + rng.randrange(512)
                content[at] ^= 1 << rng.randrange(8)
                if rng.random() < 0.8:  # with a checksum that is right
                    block = content[header : header + 512]
                    block[148:156] = b" " * 8
                    content[header + 148 : header + 156] = b"%06o\0 " % sum(block)
        path.write_bytes(content)
        refused(lambda path=path, out=out: unpack(path, out, 100_000))
        assert {each.name for each in tmp_path.iterdir()} <= {"x.tar", "inner"}
        assert {each.name for each in (tmp_path / "inner").iterdir()} == {"out"}
        assert not any(each.is_symlink() for each in out.rglob("*"))


def test_tensors_and_arrays(times: int, tmp_path: Path) -> None:
    from model_zoo.vocoder.vocode import read_mels
    from slm_eval.base.tensors import load_tensors

    save_file({"x": torch.zeros(20, 80)}, tmp_path / "mel.safetensors", {"rows": "{}"})
    torch.save({"x": torch.zeros(20, 80)}, tmp_path / "mel.pt")
    np.save(tmp_path / "mel.npy", np.zeros((20, 80), np.float32))
    for rng in cases(times, "tensors", 2 * CASES):
        suffix = rng.choice((".safetensors", ".pt", ".npy"))
        content = (tmp_path / f"mel{suffix}").read_bytes()
        head = rng.choice((128, 512, len(content)))  # headers come first
        path = tmp_path / f"x{suffix}"
        path.write_bytes(mutated_bytes(content[:head], rng) + content[head:])
        refused(lambda path=path: load_tensors(path) if path.suffix == ".pt" else read_mels(path))


def test_models_and_shards(times: int, tmp_path: Path) -> None:
    """What safetensors files and the tables of shards say of themselves."""
    from model_zoo.vocoder.file import load_hifigan

    about: dict[str, Any] = {
        "format": "slm-eval-vocoder-1",
        "features": {"sample_rate": 24000, "n_fft": 2048, "hop": 300, "window": 1200, "n_mels": 80, "fmin": 80.0},
        "generator": {"in_channels": 80, "channels": 32, "upsample_scales": [5, 5, 4, 3], "slope": 0.1},
        "source": {}, "licence": "x",
    }  # fmt: skip
    from model_zoo.cdslm import checkpoint

    model: dict[str, Any] = {
        "format": checkpoint.FORMAT,
        "model": {"layers": 2, "width": 32, "head_dim": 16, "context_seconds": 1.0},
        "diffusion": {"steps": 10, "schedule": "linear"},
        "features": {"n_mels": 80}, "features_digest": "x", "facts": {"step": 1},
    }  # fmt: skip
    for rng in cases(times, "models"):
        path = tmp_path / "x.safetensors"
        for key, value, load in (("vocoder", about, load_hifigan), ("cdslm", model, checkpoint.load)):
            text = mutated_value(value, rng)
            save_file({"mean": torch.zeros(80), "scale": torch.ones(80)}, path, {key: text})
            assert refused(lambda path=path, load=load: load(path))
