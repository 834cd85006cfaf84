"""Parity and speed beside the official packages: each in an environment of its own, the same files, one run.

    python benchmarks/peers/compare.py --audio FOLDER [--files 24] [--rounds 3] [--peers dnsmos nisqa ...]
        [--environments FOLDER] [--allosaurus-model FOLDER] [--audiobox-checkpoint FILE] [--output FILE]

Makes an environment per package under --environments (kept, and used again), writes the first --files clips of FOLDER
as 16-bit WAV, and lets the package and us score them in turns. Prints and writes, per package: the largest and the mean
difference (for phones: clips that differ), seconds of audio per second of either side, and the ratio, without and with
loading. NISQA's weights come from the cache of slm-eval; the other models may be given, as stand-ins where the
published weights are out of reach: speed and parity do not depend on what the weights are, the scores do.

Audiobox's package is run in batches of 8 whole files, not of its default 100, which take about 35 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile

from slm_eval.speech.audio import resample

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from machine import stamp  # noqa: E402 - beside the folder of this script


@dataclass(frozen=True)
class Peer:
    """An official package: what to install beside torch, and how its script is called."""

    script: str
    packages: tuple[str, ...]  # installed without their dependencies: the pins of some forbid any new torch
    needs: tuple[str, ...] = ()  # installed with their dependencies
    arguments: tuple[str, ...] = ()


PEERS = {
    "dnsmos": Peer("speechmos_peer.py", ("speechmos==0.0.1.1",), ("librosa", "onnxruntime")),
    "nisqa": Peer("nisqa_peer.py", ("nisqa==2.0.post2",), ("librosa", "pandas", "matplotlib", "pyyaml", "seaborn")),
    "audiobox": Peer(
        "audiobox_peer.py", ("audiobox-aesthetics==0.0.4",), ("safetensors", "huggingface_hub", "submitit")
    ),
    "allosaurus": Peer("allosaurus_peer.py", ("allosaurus==1.0.2",), ("resampy", "panphon", "editdistance", "scipy")),
}


@dataclass
class Result:
    """One package beside us."""

    name: str
    rounds: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)  # (official, ours)

    def row(self, audio_seconds: float) -> dict[str, Any]:
        """What the table says."""

        def ratio(key: str) -> float:
            return statistics.median(official[key] / ours[key] for official, ours in self.rounds)

        official, ours = self.rounds[-1]
        return {
            "peer": self.name,
            **_difference(official, ours),
            "official_x_real_time": audio_seconds / statistics.median(each["seconds"] for each, _ in self.rounds),
            "ours_x_real_time": audio_seconds / statistics.median(each["seconds"] for _, each in self.rounds),
            "ratio": ratio("seconds"),
            "ratio_with_loading": ratio("seconds_with_loading"),
            "rounds": len(self.rounds),
            "official": official.get("tool") or official.get("package"),
            "ours": ours["tool"],
        }


def environment(name: str, folder: Path) -> Path:
    """The python of a package's own environment, made where it is not there yet; torch is that of this one."""
    python = folder / name / "bin" / "python"
    done = folder / name / "installed"
    if done.exists():
        return python
    venv.create(folder / name, with_pip=True, clear=True)
    # torch is gigabytes: the new environment sees it in ours, behind its own packages.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    (folder / name / "lib" / version / "site-packages" / "torch_of_the_caller.pth").write_text(ours + "\n")
    pip = [str(python), "-m", "pip", "install", "-q"]
    subprocess.run([*pip, *PEERS[name].needs], check=True)
    subprocess.run([*pip, "--no-deps", "--ignore-installed", *PEERS[name].packages], check=True)
    done.touch()
    return python


def run_json(command: list[str], folder: Path) -> dict[str, Any]:
    """What a script printed or wrote; the official packages print besides."""
    output = folder / "output.json"
    with output.open("w") as out:
        subprocess.run(command, check=True, stdout=out, cwd=folder)
    result: dict[str, Any] = json.loads(output.read_text())
    # The scripts name the same things a little differently.
    result.setdefault("seconds", result.get("recognise_seconds"))
    result.setdefault("seconds_with_loading", result.get("total_seconds"))
    if "files" in result:
        result["scores"] = {each["path"]: each["phones"] for each in result["files"]}
    return result


def official_command(name: str, python: Path, listing: Path, folder: Path, models: dict[str, str]) -> list[str]:
    """How the official package is called on the list."""
    command = [str(python), str(HERE / PEERS[name].script), "--files", str(listing)]
    if name == "nisqa":
        from slm_eval.weights.locate import locate

        return [*command, "--weights", str(locate("nisqa")), "--output", "/dev/stdout"]
    if name == "audiobox":
        return [*command, "--checkpoint", models[name], "--batch-size", "8"]
    if name == "allosaurus":
        return [*command, "--model", models[name], "--lang", "eng"]
    return command


def our_command(name: str, listing: Path, models: dict[str, str]) -> list[str]:
    """How we are called on the same list."""
    command = [sys.executable, str(HERE / "ours.py"), "--observer", name, "--files", str(listing)]
    command += ["--model", models[name]] if name in models else []
    return [*command, "--lang", "eng"] if name == "allosaurus" else command


def compare(
    names: list[str], audio: Path, n_files: int, rounds: int, environments: Path, models: dict[str, str]
) -> tuple[list[dict[str, Any]], float]:
    """Rows of the table, and the seconds of audio they are about."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = sorted(audio.glob("*.flac"))[:n_files]
        listing, seconds = _as_wav(files, folder / "audio")
        for peer in names:
            python = environment(peer, environments)
            result = Result(peer)
            for _ in range(rounds):
                theirs = run_json(official_command(peer, python, listing, folder, models), folder)
                ours = run_json(our_command(peer, listing, models), folder)
                result.rounds.append((theirs, ours))
            rows.append(result.row(seconds))
            if peer == "allosaurus":
                # The package resamples by itself, and phones differ with that; on 8 kHz audio they must not.
                at_8k, _ = _as_wav(files, folder / "8k", rate=8_000)
                theirs = run_json(official_command(peer, python, at_8k, folder, models), folder)
                rows[-1]["on_8_kHz_audio"] = _difference(theirs, run_json(our_command(peer, at_8k, models), folder))
            print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    return rows, seconds


def _as_wav(files: list[Path], folder: Path, rate: int | None = None) -> tuple[Path, float]:
    """16-bit WAV copies, which every package reads, at their own rate or another; and the list of them."""
    folder.mkdir()
    seconds, paths = 0.0, []
    for file in files:
        samples, native = soundfile.read(file, dtype="float32")
        paths.append(folder / f"{file.stem}.wav")
        soundfile.write(paths[-1], resample(samples, native, rate or native), rate or native, subtype="PCM_16")
        seconds += len(samples) / native
    listing = folder / "files.txt"
    listing.write_text("".join(f"{path}\n" for path in paths))
    return listing, seconds


def _difference(official: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Largest and mean difference of scores; of phones the clips that differ."""
    theirs, mine = official["scores"], ours["seen"]
    if any("phones" in each for each in mine.values()):
        different = sum(theirs[path] != mine[path]["phones"] for path in theirs)
        return {"clips": len(theirs), "clips_with_other_phones": different}
    gaps = [abs(theirs[path][key] - mine[path]["scores"][key]) for path in theirs for key in theirs[path]]
    return {"clips": len(theirs), "largest_difference": max(gaps), "mean_difference": statistics.fmean(gaps)}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache" / "slm_eval" / "peers")
    parser.add_argument("--allosaurus-model", type=Path)
    parser.add_argument("--audiobox-checkpoint", type=Path)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    given = {"allosaurus": arguments.allosaurus_model, "audiobox": arguments.audiobox_checkpoint}
    models = {name: str(path.resolve()) for name, path in given.items() if path is not None}
    lacking = [name for name in arguments.peers if name in given and name not in models]
    if lacking:
        parser.error(f"say which model to compare: --{' --'.join(f'{name}-...' for name in lacking)}")
    os.environ.setdefault("SLM_EVAL_OFFLINE", "1")
    rows, seconds = compare(
        arguments.peers, arguments.audio, arguments.files, arguments.rounds, arguments.environments.resolve(), models
    )
    official = sum(seconds / row["official_x_real_time"] for row in rows)
    ours = sum(seconds / row["ours_x_real_time"] for row in rows)
    print(f"all together: {official / ours:.2f} x the speed of the official packages")
    if arguments.output:
        table = {**stamp(), "audio_seconds": seconds, "rows": rows, "ratio_of_all": official / ours}
        arguments.output.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
