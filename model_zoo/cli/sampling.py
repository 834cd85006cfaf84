"""What a trained model says: continuations of speech, and the vocoders that make them sound."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from slm_eval.base.terminal import echo


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("contexts", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the continuations.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds of each continuation; by default as in training.",
)
@click.option("--guidance", default=2.0, show_default=True, help="Use scale w; 1: the conditional model alone.")
@click.option("--guidance-rescale", default=0.0, show_default=True, help="Rescale guided velocities, 0 to 1.")
@click.option("--guidance-interval", nargs=2, type=float, default=(0.0, 1.0), help="Guide where LOW < t/T <= HIGH.")
@click.option(
    "--null-context",
    default="silence_wave",
    show_default=True,
    help="Let the unconditional branch hear silence_wave or zero_mel.",
)
@click.option("--steps", default=100, show_default=True, help="Evaluate the network so often, without guidance.")
@click.option("--solver", default="ddim", show_default=True, help="Solve by ddim or dpmpp_2m.")
@click.option("--seed", default=0, show_default=True, help="Seed the noise, together with the clip's id.")
@click.option("--ema/--no-ema", default=True, show_default=True, help="Use averaged weights, or the last ones.")
@click.option(
    "--vocoder", default="griffin-lim", show_default=True, help="Use griffin-lim, or a file of convert-vocoder."
)
@click.option(
    "--precision", default="auto", show_default=True, help="Compute in float32 or bfloat16; auto: bfloat16 on CUDA."
)
@click.option(
    "--batch-size",
    "batch",
    default=8,
    show_default=True,
    type=click.IntRange(min=1),
    help="Sample so many clips at once.",
)
@click.option("--compile", is_flag=True, help="Use torch.compile: a slower start, faster steps.")
@click.option("--device", default="auto", show_default=True, help="Run on auto, cpu or cuda:0.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Take the first N clips, by id.")
@click.option("--fresh", is_flag=True, help="Make again what is there.")
def sample(checkpoint: Path, contexts: Path, output: Path, compile: bool, **options: Any) -> None:
    """Continue clips of speech by what a trained model would say next, ready for `slm-eval run --generated`."""
    from model_zoo.sampling.generate import GenerateOptions, generate
    from model_zoo.sampling.sampler import SamplerOptions

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


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the wavs.")
@click.option(
    "--vocoder", default="griffin-lim", show_default=True, help="Use griffin-lim, or a converted vocoder's file."
)
@click.option("--device", default="auto", show_default=True, help="Run on auto, cpu, cuda:0, ...")
@click.option("--bfloat16", is_flag=True, help="Run HiFi-GAN in bfloat16: faster, less exact.")
@click.option("--limit", type=click.IntRange(min=1), help="Take the first clips only, in the order of their ids.")
@click.option("--fresh", is_flag=True, help="Make again what is there.")
def vocode(
    source: Path, output: Path, vocoder: str, device: str, bfloat16: bool, limit: int | None, fresh: bool
) -> None:
    """Turn mels into 24 kHz wavs; or speech into mels and back, which bounds every model that speaks by this vocoder.

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


@click.command("convert-vocoder")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The .safetensors file to write.")
@click.option("--mel-floor", type=float, default=-5.0, show_default=True, help="Floor of the models' features.")
@click.option("--no-mel-floor", is_flag=True, help="Set no floor, for models whose features have none.")
def convert_vocoder(source: Path, output: Path, mel_floor: float, no_mel_floor: bool) -> None:
    """Convert a ParallelWaveGAN HiFi-GAN into one safetensors file.

    SOURCE is the folder of a recipe (checkpoint-*.pkl, config.yml, stats.h5 or stats.npy) or a tar archive of it.
    Nothing in it is run.
    """
    from model_zoo.vocoder.convert import convert

    spec = convert(source, output, None if no_mel_floor else mel_floor)
    echo(f"wrote {output}: takes log-mels of features {spec.digest}")
