"""Training, and the model of a training under way."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from slm_eval.base.terminal import echo


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option(
    "--device", default="auto", show_default=True, help="Run on auto, cpu or cuda:0; torchrun's take one GPU each."
)
def train(config: Path, overrides: tuple[str, ...], output: Path, device: str) -> None:
    """Train a CD-SLM, or go on with a run that was stopped.

    CONFIG is YAML, see model_zoo/configs; KEY=VALUE with dots wins over it: data.shards=DIR steps=2000. On several
    GPUs: torchrun --nproc-per-node 8 -m model_zoo train CONFIG -o DIR. SIGTERM and Ctrl-C save what was reached; the
    same command continues.
    """
    from model_zoo.training.config import load_config
    from model_zoo.training.stopping import Stop
    from model_zoo.training.train import train

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


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The .safetensors file to write.")
@click.option("--step", type=int, help="Step of the checkpoint; by default the latest.")
def export(run: Path, output: Path, step: int | None) -> None:
    """Write the model of a checkpoint as one file for `slm-zoo sample`.

    RUN is the folder of a training, which may be under way, on any number of GPUs.
    """
    from model_zoo.training.export import export

    echo(f"wrote {output}: step {export(run, output, step)}")
