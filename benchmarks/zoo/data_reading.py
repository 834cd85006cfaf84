"""What training reads: windows and noise as multiples of real time, by threads; and how fast speech is prepared.

    python benchmarks/zoo/data_reading.py --output benchmarks/results/data-reading.json

Reading: shards of random log-mels in the page cache, windows of 10 + 30 s, float16 into a buffer that is used again,
with and without drawing float32 noise for the 30 s; then the whole feed as the trainer uses it, batches of 64 on the
CPU, and on a GPU where there is one. Real time counts 40 s a window. The target is 50,000 on 16 cores, that is 3,125 a
core. Preparing: recordings of noise as 24 kHz WAV and 16 kHz FLAC (resampled), in 1 process and in all; and the peak
memory of a process that hears one recording of hours. Each figure is the best of some rounds, as machines are shared;
``per_cpu_second`` divides by the processor time that was used instead, which neighbours change less.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile
import torch

from model_zoo.data.feed import Feed
from model_zoo.data.listening import hear
from model_zoo.data.moments import Moments
from model_zoo.data.prepare import PrepareOptions, prepare
from model_zoo.data.shards import Entry, MelShards, write_index, write_shard
from model_zoo.data.windows import Windows
from model_zoo.features import FeatureSpec
from model_zoo.noise import training_noise

sys.path.append(str(Path(__file__).parents[1]))
from machine import stamp

CONTEXT, TARGET = 800, 2400  # frames
SECONDS = (CONTEXT + TARGET) / 80


@click.command()
@click.option("--hours", default=10.0, show_default=True, help="Hours of log-mels to read: 10 h are 0.46 GB.")
@click.option("--recording", default=10.0, show_default=True, help="Minutes of each recording that is prepared.")
@click.option("--threads", multiple=True, type=int, default=(1, 2), show_default=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--long-hours", default=2.0, show_default=True, help="Hours of the recording whose memory is measured.")
@click.option("--output", type=click.Path(path_type=Path))
def main(
    hours: float, recording: float, threads: tuple[int, ...], rounds: int, long_hours: float, output: Path | None
) -> None:
    """See the module."""
    with tempfile.TemporaryDirectory() as folder:
        shards = made_shards(Path(folder, "shards"), hours)
        result = {
            "windows": {"hours": hours, "rounds": rounds, "by_threads": reading(shards, threads, rounds)},
            "prepare": preparing(Path(folder), recording, max(threads), min(rounds, 3)),
            "long_recording": memory(Path(folder), long_hours),
            **stamp("cuda" if torch.cuda.is_available() else "cpu"),
        }
    text = json.dumps(result, indent=1) + "\n"
    click.echo(text)
    if output is not None:
        output.write_text(text)


def made_shards(folder: Path, hours: float) -> MelShards:
    """Random numbers with the mean and spread of speech, in recordings of 10 minutes; just written, so in memory."""
    rng = np.random.default_rng(0)
    mel = (rng.standard_normal((48_000, 80), np.float32) - 2).astype(np.float16)
    n = max(2, round(hours * 6))
    moments = Moments.from_frames(mel)
    entries = [Entry(f"{at:04d}", "", "train" if at else "validation", "", mel, moments) for at in range(n)]
    write_shard(folder, 0, entries, {}, 80)
    write_index(folder, FeatureSpec(), {}, 1, {})
    return MelShards.open(folder)


def reading(shards: MelShards, threads: tuple[int, ...], rounds: int, batch: int = 64) -> dict[str, Any]:
    """Multiples of real time by number of threads."""
    windows = Windows(shards, "train", CONTEXT, TARGET)
    found = {}
    for count in threads:
        mels = np.empty((count, batch, CONTEXT + TARGET, 80), np.float16)
        noise = torch.empty(count, batch, TARGET, 80)

        def read(step: int, part: int, mels: np.ndarray = mels) -> None:
            windows.fill(mels[part], step, part * batch)

        def draw(step: int, part: int, noise: torch.Tensor = noise) -> None:
            training_noise(noise[part], 0, step, part * batch)

        def both(step: int, part: int) -> None:
            read(step, part)
            draw(step, part)

        speeds = {}
        for name, job in (("windows", read), ("noise", draw), ("windows_and_noise", both)):
            took, used = best(rounds, lambda step, job=job, count=count: in_threads(job, step, count))
            speeds[name] = round(count * batch * SECONDS / took)
            speeds[f"{name}_per_cpu_second"] = round(count * batch * SECONDS / used)
        speeds["feed_cpu"] = fed(windows, "cpu", batch, count, rounds)
        if torch.cuda.is_available():
            speeds["feed_cuda"] = fed(windows, "cuda", batch, count, rounds)
        found[str(count)] = speeds
    return found


def in_threads(job: Callable[[int, int], None], step: int, count: int) -> None:
    """One part of the batch each."""
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(job, [step] * count, range(count)))


def fed(windows: Windows, device: str, batch: int, threads: int, rounds: int) -> int:
    """What a loop that does nothing else gets, normalised and on the device."""
    with Feed(windows, 1000, batch, device=device, threads=threads) as feed:
        for _ in range(4):
            next(feed)

        def some(_: int) -> None:
            for _ in range(4):
                next(feed)
            if device == "cuda":
                torch.cuda.synchronize()

        return round(4 * batch * SECONDS / best(rounds, some)[0])


def best(rounds: int, job: Callable[[int], None]) -> tuple[float, float]:
    """Seconds by the clock, and of processors, of the best round in each, after one that warms up."""
    times = []
    for number in range(rounds + 1):
        start, used = time.perf_counter(), _processors()
        job(number)
        times.append((time.perf_counter() - start, _processors() - used))
    clock, processors = zip(*times[1:], strict=True)
    return min(clock), min(processors)


def _processors() -> float:
    """Seconds that this process and those it waited for have computed."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in usages)


def preparing(folder: Path, minutes: float, workers: int, rounds: int) -> dict[str, Any]:
    """Multiples of real time: of one core alone, and of commands, whose processes take seconds to start."""
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {"minutes": minutes, "rounds": rounds}
    for name, rate, suffix in (("wav_24k", 24_000, "wav"), ("flac_16k", 16_000, "flac")):
        source = folder / name
        source.mkdir()
        samples = (0.1 * rng.standard_normal(round(60 * minutes * rate), np.float32)).clip(-1, 1)
        for at in range(2 * workers):
            soundfile.write(source / f"{at}.{suffix}", samples, rate)
        hours = 2 * workers * minutes / 60
        one = source / f"0.{suffix}"
        with torch_threads(1):
            _, used = best(rounds, lambda _, one=one: hear(one, None, None, FeatureSpec()))
        found[f"{name}_per_cpu_second"] = round(60 * minutes / used)
        for count in sorted({1, workers}):
            took, _ = best(rounds, lambda _, source=source, count=count: _prepare(source, folder / "out", count))
            found[f"{name}_{count}_workers"] = round(hours * 3600 / took)
    return found


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """As many as a worker has."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def _prepare(source: Path, output: Path, workers: int) -> None:
    shutil.rmtree(output, ignore_errors=True)
    prepare([source], output, PrepareOptions(validation=0.5, seed=3, workers=workers))


def memory(folder: Path, hours: float) -> dict[str, Any]:
    """Peak resident memory of a process that hears one recording, beside that of one that hears a second."""
    samples = (0.1 * np.random.default_rng(0).standard_normal(44_100 * 60, np.float32)).clip(-1, 1)
    path = folder / "long.flac"
    with soundfile.SoundFile(path, "w", 44_100, 1) as file:
        for _ in range(round(hours * 60)):
            file.write(samples)
    code = (
        "import sys; from pathlib import Path; from model_zoo.data.listening import hear; "
        "from model_zoo.features import FeatureSpec; import torch; torch.set_num_threads(1); "
        "hear(Path(sys.argv[1]), 0.0, float(sys.argv[2]), FeatureSpec()); "
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"  # kB
    )

    def peak(seconds: float) -> float:
        command = [sys.executable, "-c", code, str(path), str(seconds)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1024

    short, long = peak(1.0), peak(hours * 3600)
    return {
        "hours": hours,
        "rate": 44_100,
        "mib": round(long - short),  # beyond what the libraries take
        "mib_of_mels": round(hours * 3600 * 80 * 80 * 2 / 2**20),
        "mib_of_audio": round(hours * 3600 * 44_100 * 4 / 2**20),
    }


if __name__ == "__main__":
    main()
