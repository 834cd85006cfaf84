"""The command line of the model zoo: parse, call, print. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from slm_eval._version import __version__
from slm_eval.commands import Commands
from slm_eval.terminal import echo


@click.group(
    cls=Commands,
    stopped="stopped; what was finished is kept, the same command continues",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="slm-zoo")
def main() -> None:
    """The reference model: train, sample and vocode continuous-diffusion spoken language models."""
    from slm_eval.threads import spin_briefly

    spin_briefly()


@main.command("make-speech")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the recordings.")
@click.option("--hours", required=True, type=click.FloatRange(min=0, min_open=True), help="Of speech, in all.")
@click.option("--minutes", default=2.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Of each.")
@click.option("--seed", default=0, show_default=True, help="Of texts, voices and levels.")
@click.option("--workers", type=click.IntRange(min=1), help="Recordings made at once; by default one per core.")
def make_speech(output: Path, hours: float, minutes: float, seed: int, workers: int | None) -> None:
    """Make speech with known language structure: conversations of a small grammar, spoken by espeak-ng."""
    from model_zoo.made_speech.make import make_speech

    lines = make_speech(output, hours, seed, minutes, workers, progress=True)
    seconds = sum(line["seconds"] for line in lines)
    echo(f"{len(lines)} recordings, {seconds / 3600:.2f} h, in {output}")


@main.command("filter")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of kept.jsonl.")
@click.option("--min-seconds", default=300.0, show_default=True, help="Of a recording.")
@click.option("--max-seconds", type=float, help="Of a recording.")
@click.option("--language", default="en", show_default=True, help="Asked for where there are tags.")
@click.option("--min-share", default=0.99, show_default=True, help="Of the speech that is in that language.")
@click.option("--tags", type=click.Path(path_type=Path), help='JSONL: {"id" or "path", "language_shares": {...}}.')
@click.option("--whisper", metavar="MODEL", help="Hear languages by it: openai/whisper-large-v3, or a folder.")
@click.option("--device", default="auto", show_default=True, help="Of Whisper: auto, cpu or cuda:0.")
def filter_command(
    sources: tuple[Path, ...], output: Path, tags: Path | None, whisper: str | None, device: str, **options: Any
) -> None:
    """Choose the recordings to train on: by length, and by language with --tags or --whisper.

    Writes kept.jsonl, which slm-zoo prepare takes, and dropped.jsonl with the reasons.
    """
    from collections import Counter

    from model_zoo.data.filters import FilterOptions, filter_speech
    from model_zoo.data.tags import LanguageTagger, ManifestTagger
    from model_zoo.data.whisper import WhisperTagger, load_detector
    from slm_eval.errors import UsageError

    if tags is not None and whisper is not None:
        raise UsageError("languages come from --tags or from --whisper, not from both; leave one out")
    tagger: LanguageTagger | None = ManifestTagger(tags) if tags is not None else None
    if whisper is not None:
        tagger = WhisperTagger(load_detector(whisper, device), whisper)
    done = filter_speech(sources, output, FilterOptions(**options, progress=True), tagger)
    counts = Counter(dropped.reason for dropped in done.dropped.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    listed = f" ({reasons}; see {output / 'dropped.jsonl'})" if reasons else ""
    hours = sum(done.kept.values()) / 3600
    echo(f"{output / 'kept.jsonl'}: {len(done.kept)} kept, {hours:.2f} h; {len(done.dropped)} dropped{listed}")


@main.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the shards.")
@click.option("--validation", default=0.02, show_default=True, help="Share of the recordings that is never trained on.")
@click.option("--seed", default=0, show_default=True, help="Of the split, together with a recording's id.")
@click.option("--shard-hours", default=20.0, show_default=True, help="Of speech in one shard; 20 h are 0.9 GB.")
@click.option("--mel-floor", type=float, default=-5.0, show_default=True, help="The floor of the features.")
@click.option("--no-mel-floor", is_flag=True, help="For features that have none.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes; by default one per core, 0: none of their own.")
def prepare(
    sources: tuple[Path, ...],
    output: Path,
    validation: float,
    seed: int,
    shard_hours: float,
    mel_floor: float,
    no_mel_floor: bool,
    workers: int | None,
) -> None:
    """Speech as memory-mapped log-mels to train on.

    SOURCES are folders, lists or manifests of speech, as slm-eval run takes them. A command that was stopped goes on
    where it was; recordings that were added go into further shards, and none changes between training and validation.
    """
    from model_zoo.data.prepare import PrepareOptions
    from model_zoo.data.prepare import prepare as run
    from model_zoo.features import FeatureSpec

    features = FeatureSpec(mel_floor=None if no_mel_floor else mel_floor)
    done = run(sources, output, PrepareOptions(features, validation, seed, shard_hours, workers, progress=True))
    _say_failures({clip_id: why["error"] for clip_id, why in done.failed.items()}, output / "index.json")
    echo(done.line())
    if done.failed:
        sys.exit(1)


def _say_failures(failures: dict[str, str], where: Path, shown: int = 20) -> None:
    """The first ones on stderr, and where the others are listed."""
    for clip_id in sorted(failures)[:shown]:
        echo(f"{clip_id}: {failures[clip_id]}", err=True)
    if len(failures) > shown:
        echo(f"... and {len(failures) - shown} more, listed in {where}", err=True)


@main.command("convert-vocoder")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The .safetensors file to write.")
@click.option("--mel-floor", type=float, default=-5.0, show_default=True, help="The floor of the models' features.")
@click.option("--no-mel-floor", is_flag=True, help="For models whose features have none.")
def convert_vocoder(source: Path, output: Path, mel_floor: float, no_mel_floor: bool) -> None:
    """A ParallelWaveGAN HiFi-GAN as one safetensors file.

    SOURCE is the folder of a recipe (checkpoint-*.pkl, config.yml, stats.h5 or stats.npy) or a tar archive of it.
    Nothing in it is run.
    """
    from model_zoo.vocoder.convert import convert

    spec = convert(source, output, None if no_mel_floor else mel_floor)
    echo(f"wrote {output}: takes log-mels of features {spec.digest}")


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the wavs.")
@click.option("--vocoder", default="griffin-lim", show_default=True, help="griffin-lim, or a converted vocoder's file.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda:0, ...")
@click.option("--bfloat16", is_flag=True, help="HiFi-GAN in bfloat16: faster, less exact.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first clips, in the order of their ids.")
@click.option("--fresh", is_flag=True, help="Make again what is there.")
def vocode(
    source: Path, output: Path, vocoder: str, device: str, bfloat16: bool, limit: int | None, fresh: bool
) -> None:
    """Mels to 24 kHz wavs; or speech to mels and back, which bounds every model that speaks by this vocoder.

    SOURCE is a folder of .npy or .safetensors files (raw log10 mels, frames by 80 bins), or of audio in any form that
    slm-eval run takes. Wavs that are there already are kept.
    """
    from model_zoo.vocoder.vocode import VocodeOptions
    from model_zoo.vocoder.vocode import vocode as run

    options = VocodeOptions(vocoder, device, bfloat16, fresh, limit, progress=True)
    outcome = run(source, output, options)
    echo(f"{output}: {len(outcome.written)} written, {len(outcome.kept)} kept, {len(outcome.failed)} failed")
    for clip_id, line in outcome.failed.items():
        echo(f"  {clip_id}: {line}", err=True)
    if outcome.failed:
        raise click.exceptions.Exit(1)


@main.command()
@click.option("--layers", multiple=True, default=(4,), show_default=True, help="128 channels each; may be repeated.")
@click.option("--ladder", is_flag=True, help="All sizes of the ladder, 1 to 30 layers.")
@click.option("--patch", default=1, show_default=True, help="Frames per token, 1 to 6.")
@click.option("--context-frames", type=int, help="Frames that are heard; by default 800, 10 s.")
@click.option("--frames", type=int, help="Frames that are continued; by default 2400, 30 s.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def flops(
    layers: tuple[int, ...], ladder: bool, patch: int, context_frames: int | None, frames: int | None, as_json: bool
) -> None:
    """What models cost: parameters, true operations and the paper's 6ND side by side, for one sample.

    Sampling is 100 steps, with and without the context. D counts the tokens of both streams.
    """
    import json

    from model_zoo.cdslm.config import ModelConfig
    from model_zoo.cdslm.flops import LADDER, Tokens, costs, table

    models = [ModelConfig(layers=each, patch=patch) for each in (LADDER if ladder else layers)]
    rows = [costs(model, Tokens.of(model, context_frames, frames)) for model in models]
    echo(json.dumps(rows, indent=2) if as_json else table(rows))


@main.command()
@click.option(
    "--budget", "budgets", multiple=True, type=float, help="FLOPs (6ND); again for more. Default: the paper's."
)
@click.option("--sizes", default=5, show_default=True, help="Of the ladder, around each compute-optimal one.")
@click.option("--batch", default=256, show_default=True, help="Samples a step.")
@click.option("--data-hours", type=float, help="Of speech that there is; runs that hear more are marked.")
@click.option("--mfu", type=float, help="Share of the GPU's peak; by default what is aimed at for each size.")
@click.option(
    "--layers", multiple=True, type=click.IntRange(min=1), help="Instead: memory of such a model; again for more."
)
@click.option("--micro-batch", default=1, show_default=True, help="With --layers: samples at once on each GPU.")
@click.option("--communication", default="float32", type=click.Choice(["float32", "bfloat16"]), help="Of weights.")
@click.option("--gpu", default="H200", show_default=True, help="H200, H100, A100 or L40S.")
@click.option("--gpu-memory", type=float, metavar="GB", help="By default that of the data sheet.")
@click.option("--gpus", default=1, show_default=True, type=click.IntRange(min=1), help="That share the work.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def plan(
    budgets: tuple[float, ...],
    layers: tuple[int, ...],
    gpu: str,
    gpu_memory: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """What to train with so much compute, how long it takes, and on how many GPUs it fits.

    Sizes and durations are compute-optimal under the published law; times are of true operations. With --layers: a dry
    run of that size without memory, and what each GPU would hold under FSDP2.
    """
    import json

    from model_zoo.plan import BUDGETS, budget_table, memory_table, plan_budgets, plan_memory
    from model_zoo.planning.gpus import Gpu

    sold = Gpu.of(gpu, gpu_memory)
    names = ("gpus", "micro_batch", "communication") if layers else ("gpus", "mfu", "batch", "sizes", "data_hours")
    chosen = {name: options[name] for name in names}
    rows = plan_memory(layers, sold, **chosen) if layers else plan_budgets(budgets or BUDGETS, sold, **chosen)
    table = memory_table(rows, sold) if layers else budget_table(rows, sold, chosen["gpus"])
    echo(json.dumps(rows, indent=2) if as_json else table)


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for contexts/ and real/.")
@click.option("--context-seconds", default=10.0, show_default=True, help="That a model hears.")
@click.option("--seconds", default=30.0, show_default=True, help="That follow.")
@click.option("--clips", type=click.IntRange(min=1), help="At most, of as many recordings as there are; default: all.")
@click.option("--held-out", type=click.Path(path_type=Path), metavar="SHARDS", help="Only its validation recordings.")
def cut(source: Path, output: Path, **options: Any) -> None:
    """Cut recordings into contexts and what was really said after each: what sampling needs, and scoring compares with.

    SOURCE is speech in any form that slm-eval run takes.
    """
    from model_zoo.cut import CutOptions
    from model_zoo.cut import cut as run

    done = run(source, output, CutOptions(**options, progress=True))
    _say_failures(done.failed, output)
    echo(f"{len(done.written)} clips cut into {output}, {len(done.kept)} were there already")
    if done.failed:
        sys.exit(1)


@main.command()
@click.argument("plan", metavar="SWEEP.yaml", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the table and the runs."
)
@click.option("--speech", type=click.Path(path_type=Path), help="What `slm-zoo cut` wrote; wins over the file's.")
@click.option("--dry-run", is_flag=True, help="Only print what would be done, and how long it takes.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="Only the budgets that fit into this time.")
@click.option("--nproc", default=1, show_default=True, type=click.IntRange(min=1), help="GPUs that share a training.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:0.")
@click.option("--gpu", default="H200", show_default=True, help="Whose times are expected, until runs were measured.")
@click.option("--flops-per-second", type=float, help="True operations to expect instead, such as 3e10 on a laptop.")
def sweep(
    plan: Path,
    overrides: tuple[str, ...],
    output: Path,
    speech: Path | None,
    dry_run: bool,
    hours: float | None,
    nproc: int,
    device: str,
    gpu: str,
    flops_per_second: float | None,
) -> None:
    """Train and score many models, and put each as a row into a table for slm-eval scaling.

    SWEEP.yaml is an isoFLOP grid or an ablation; KEY=VALUE are of the training of all runs, as in slm-zoo train. The
    same command continues what was stopped.
    """
    from model_zoo.planning.gpus import Gpu
    from model_zoo.sweep import by_command
    from model_zoo.sweep import sweep as run
    from model_zoo.sweeping.overview import overview
    from model_zoo.sweeping.spec import read_sweep
    from model_zoo.sweeping.table import RunTable
    from model_zoo.sweeping.times import Throughput, affordable

    wanted = read_sweep(plan, overrides, speech)
    rows = RunTable(output / wanted.table, wanted.varied).rows
    throughput = Throughput.of(wanted, rows, Gpu.of(gpu), nproc, flops_per_second)
    if hours is not None:
        wanted = affordable(wanted, throughput, 3600 * hours, rows)
    echo(overview(wanted, output, throughput))
    if dry_run:
        return
    done = run(wanted, output, by_command(nproc, device), device)
    echo(f"{output / wanted.table}: {len(done.made)} runs added, {len(done.kept)} were there already")
    for name, why in done.failed.items():
        echo(f"{name} failed: {why}", err=True)
    if done.failed:
        sys.exit(1)


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("contexts", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the continuations.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Of each; by default as in training.")
@click.option("--guidance", default=2.0, show_default=True, help="Scale w; 1: the conditional model alone.")
@click.option("--guidance-rescale", default=0.0, show_default=True, help="0 to 1.")
@click.option("--guidance-interval", nargs=2, type=float, default=(0.0, 1.0), help="Guide where LOW < t/T <= HIGH.")
@click.option("--null-context", default="silence_wave", show_default=True, help="silence_wave or zero_mel.")
@click.option("--steps", default=100, show_default=True, help="Evaluations of the network, without guidance.")
@click.option("--solver", default="ddim", show_default=True, help="ddim or dpmpp_2m.")
@click.option("--seed", default=0, show_default=True, help="Of the noise, together with the clip's id.")
@click.option("--ema/--no-ema", default=True, show_default=True, help="Averaged weights, or the last ones.")
@click.option("--vocoder", default="griffin-lim", show_default=True, help="Or a file of convert-vocoder.")
@click.option("--precision", default="auto", show_default=True, help="float32 or bfloat16; auto: bfloat16 on CUDA.")
@click.option("--batch-size", "batch", default=8, show_default=True, type=click.IntRange(min=1), help="Clips at once.")
@click.option("--compile", is_flag=True, help="Use torch.compile: a slower start, faster steps.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:0.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The first N clips, by id.")
@click.option("--fresh", is_flag=True, help="Make again what is there.")
def sample(checkpoint: Path, contexts: Path, output: Path, compile: bool, **options: Any) -> None:
    """Continue clips of speech by what a trained model would say next, ready for `slm-eval run --generated`."""
    from model_zoo.cdslm.sampler import SamplerOptions
    from model_zoo.generate import GenerateOptions, generate

    names = ("steps", "solver", "guidance", "guidance_rescale", "guidance_interval", "seed")
    sampler = SamplerOptions(**{name: options.pop(name) for name in names}, compile=compile)
    done = generate(checkpoint, contexts, output, GenerateOptions(sampler, compile=compile, progress=True, **options))
    for clip_id, why in done.failed.items():
        echo(f"{clip_id}: {why}", err=True)
    if done.padded:
        echo(f"{len(done.padded)} contexts were too short; silence was put before them", err=True)
    echo(f"{len(done.written)} continuations written to {output}, {len(done.kept)} were there already")
    if done.failed:
        sys.exit(1)


@main.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:0; torchrun's take one GPU each.")
def train(config: Path, overrides: tuple[str, ...], output: Path, device: str) -> None:
    """Train a CD-SLM, or go on with a run that was stopped.

    CONFIG is YAML, see model_zoo/configs; KEY=VALUE with dots wins over it: data.shards=DIR steps=2000. On several
    GPUs: torchrun --nproc-per-node 8 -m model_zoo train CONFIG -o DIR. SIGTERM and Ctrl-C save what was reached; the
    same command continues.
    """
    from model_zoo.train import train
    from model_zoo.training.config import load_config
    from model_zoo.training.stopping import Stop

    stop = Stop()
    result = train(load_config(config, overrides), output, device, stop)
    if int(os.environ.get("RANK", "0")):
        return  # torchrun's first process speaks for all
    if result is None:
        echo(f"stopped and saved in {output}; the same command continues", err=True)
        if "RANK" not in os.environ:  # torchrun would take it for a failure, and end the other processes
            sys.exit(128 + (stop.signal or 0))
        return
    echo(f"{output / 'model.safetensors'}: loss {result['loss']:.5f} after {result['steps']} steps")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The .safetensors file to write.")
@click.option("--step", type=int, help="Of which checkpoint; by default the latest.")
def export(run: Path, output: Path, step: int | None) -> None:
    """The model of a checkpoint, as one file for `slm-zoo sample`.

    RUN is the folder of a training, which may be under way, on any number of GPUs.
    """
    from model_zoo.training.export import export

    echo(f"wrote {output}: step {export(run, output, step)}")
