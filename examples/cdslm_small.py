"""A small spoken language model from nothing to its score, on a laptop's CPU: the whole loop in one command.

    python examples/cdslm_small.py -o runs/small --steps 600

Speech with known structure is made (or taken from --speech), a small CD-SLM learns to continue it, continues recordings
that it never heard, and slm-eval compares what it says with what was really said. So small a model does not learn to
talk: the example shows that the parts fit, and which numbers move. Beside it, as the upper bound of every model with
this vocoder, stands real speech that went through the vocoder alone.

The same at a terminal: slm-zoo make-speech, prepare, cut, train, sample, vocode; slm-eval run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from model_zoo.data.prepare import PrepareOptions, prepare
from model_zoo.sampling.generate import GenerateOptions, generate
from model_zoo.sampling.sampler import SamplerOptions
from model_zoo.speech.cut import CutOptions, cut
from model_zoo.speech.make import make_speech
from model_zoo.training.config import TrainConfig, from_dict
from model_zoo.training.train import train
from model_zoo.vocoder.vocode import VocodeOptions, vocode
from slm_eval import DNSMOS, evaluate, pJSD
from slm_eval.observing.options import RunOptions
from slm_eval.report.text.table import render
from slm_eval.run.files import write_run

HELD_OUT = 0.2  # share of the recordings that the model never hears
CLIPS = 40  # continued and scored

SMALL: dict[str, Any] = {
    "model": {"layers": 2, "patch": 4, "context_seconds": 2.0, "target_seconds": 4.0},
    "data": {"validation_clips": 16},
    "optimizer": {"warmup_steps": 50},
    "batch": 16,
    "ema": 0.99,  # over so few steps
    "precision": "float32",
    "compile": False,
    "log_every": 20,
    "validate_every": 200,
    "checkpoint_every": 200,
}


@click.command()
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
@click.option(
    "--speech", type=click.Path(path_type=Path, exists=True), help="Recordings; made by espeak-ng if not given."
)
@click.option("--hours", default=0.5, show_default=True, help="Hours of made speech.")
@click.option("--steps", default=600, show_default=True, help="Steps of training, 0.12 s each on four cores.")
def main(output: Path, speech: Path | None, hours: float, steps: int) -> None:
    """Make speech, train, sample, vocode and score."""
    if speech is None:
        speech = output / "speech"
        make_speech(speech, hours, minutes=1.0, progress=True)
    shards = output / "shards"
    run(speech, output, from_dict({**SMALL, "steps": steps, "data": {**SMALL["data"], "shards": str(shards)}}))


def run(speech: Path, output: Path, config: TrainConfig, clips: int = CLIPS) -> None:
    """The whole loop; everything is written below ``output``. Stopped and started again, it goes on."""
    shards = Path(config.data.shards)
    prepare([speech], shards, PrepareOptions(validation=HELD_OUT, progress=True))
    lengths = config.model.context_seconds, config.model.target_seconds
    cut(speech, output, CutOptions(*lengths, clips, held_out=shards, progress=True))
    train(config, output / "training", "cpu")
    options = GenerateOptions(SamplerOptions(steps=50, guidance=2.0), progress=True)
    generate(output / "training" / "model.safetensors", output / "contexts", output / "generated", options)
    vocode(output / "real", output / "vocoded", VocodeOptions(progress=True))
    for name in ("generated", "vocoded"):
        metrics = [pJSD(n=(1, 2, 3), recognizer="pocketsphinx"), DNSMOS()]
        evaluation = evaluate(output / name, output / "real", metrics, RunOptions(progress=True))
        write_run(evaluation, output / f"run-{name}")
        click.echo(f"\n{name}\n\n{render(evaluation)}")


if __name__ == "__main__":
    main()
