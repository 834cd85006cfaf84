"""A small spoken language model from nothing to its score, on a laptop's CPU: the whole loop in one command.

    python examples/cdslm_small.py -o runs/small --minutes 5

Speech with known structure is made (or taken from --speech), a small CD-SLM learns to continue it, continues recordings
that it never heard, and slm-eval compares what it says with what was really said. So small a model does not learn to
talk: the example shows that the parts fit, and which numbers move. Beside it, as the upper bound of every model with
this vocoder, stands real speech that went through the vocoder alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from model_zoo.cdslm.checkpoint import save
from model_zoo.cdslm.config import DiffusionConfig, ModelConfig
from model_zoo.cdslm.loss import DiffusionLoss, stratified_timesteps
from model_zoo.cdslm.model import MMDiT
from model_zoo.cdslm.noise import generator, training_noise
from model_zoo.cdslm.sampler import SamplerOptions
from model_zoo.cut import CutOptions, cut
from model_zoo.features import FeatureSpec, Normalizer, log_mel
from model_zoo.generate import GenerateOptions, generate
from model_zoo.made_speech.make import make_speech
from model_zoo.vocoder.vocode import VocodeOptions, vocode
from slm_eval import DNSMOS, evaluate, pJSD
from slm_eval.audio import read_audio, resample
from slm_eval.corpus import Corpus, load_corpus
from slm_eval.report.files import write_run
from slm_eval.report.table import render
from slm_eval.runner import RunOptions

SPEC = FeatureSpec()
HELD_OUT = 0.2  # share of the recordings that the model never hears


@dataclass(frozen=True)
class Small:
    """What is learnt, and for how long."""

    model: ModelConfig = field(
        default_factory=lambda: ModelConfig(layers=2, patch=4, context_seconds=2.0, target_seconds=4.0)
    )
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    batch: int = 16
    learning_rate: float = 1e-3
    ema: float = 0.99  # over so few steps
    minutes: float = 5.0
    steps: int | None = None  # instead of minutes
    clips: int = 40  # continued and scored

    @property
    def window(self) -> tuple[int, int]:
        """Frames of context and of speech to learn."""
        return tuple(round(s * SPEC.frame_rate) for s in (self.model.context_seconds, self.model.target_seconds))


@click.command()
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
@click.option(
    "--speech", type=click.Path(path_type=Path, exists=True), help="Recordings; made by espeak-ng if not given."
)
@click.option("--hours", default=0.5, show_default=True, help="Of made speech.")
@click.option("--minutes", default=5.0, show_default=True, help="Of training.")
def main(output: Path, speech: Path | None, hours: float, minutes: float) -> None:
    """Make speech, train, sample, vocode and score."""
    if speech is None:
        speech = output / "speech"
        make_speech(speech, hours, minutes=1.0, progress=True)
    run(speech, output, Small(minutes=minutes))


def run(speech: Path, output: Path, small: Small) -> None:
    """The whole loop; everything is written below ``output``."""
    clips = load_corpus(speech).clips
    n_train = max(1, round(len(clips) * (1 - HELD_OUT)))
    checkpoint = train([heard(clip.path) for clip in clips[:n_train]], output, small)
    held_out = Corpus(str(speech), clips[n_train:])
    cut(held_out, output, CutOptions(small.model.context_seconds, small.model.target_seconds, small.clips))
    options = GenerateOptions(SamplerOptions(steps=50, guidance=2.0), progress=True)
    generate(checkpoint, output / "contexts", output / "generated", options)
    vocode(output / "real", output / "vocoded", VocodeOptions(progress=True))
    for name in ("generated", "vocoded"):
        metrics = [pJSD(n=(1, 2, 3), recognizer="pocketsphinx"), DNSMOS()]
        evaluation = evaluate(output / name, output / "real", metrics, RunOptions(progress=True))
        write_run(evaluation, output / f"run-{name}")
        click.echo(f"\n{name}\n\n{render(evaluation)}")


def heard(path: Path) -> np.ndarray:
    """Samples at 24 kHz."""
    audio = read_audio(path)
    return resample(audio.samples, audio.facts.sample_rate, SPEC.sample_rate)


def train(recordings: list[np.ndarray], output: Path, small: Small) -> Path:
    """A few minutes of AdamW on random windows; the checkpoint holds averaged weights too."""
    mels = [log_mel(torch.from_numpy(each), SPEC) for each in recordings]
    normalizer = Normalizer.fit(mels)
    mels = [normalizer.normalize(each) for each in mels if len(each) > sum(small.window)]
    model = MMDiT(small.model, SPEC.n_mels, seed=0)
    averaged = {name: value.detach().clone() for name, value in model.state_dict().items()}
    loss = DiffusionLoss.of(small.diffusion)
    optimizer = torch.optim.AdamW(model.parameters(), lr=small.learning_rate, betas=(0.9, 0.95), weight_decay=0.03)
    stop = time.monotonic() + 60 * small.minutes
    step, smoothed, first = 0, 0.0, 0.0
    with tqdm(desc="training", unit="step", total=small.steps) as bar:
        while step < small.steps if small.steps else time.monotonic() < stop:
            context, target = windows(mels, small, step)
            t = stratified_timesteps(small.diffusion.steps, small.batch, 0, step)
            noisy, velocity = loss.noised(target, training_noise(torch.empty_like(target), 0, step), t)
            value = loss(model(context, noisy, loss.taus(t)), velocity, t).value
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            for name, weight in model.state_dict().items():
                averaged[name].lerp_(weight, 1 - small.ema)
            smoothed = value.item() if step == 0 else 0.98 * smoothed + 0.02 * value.item()
            first = first or smoothed
            step += 1
            bar.update()
            bar.set_postfix(loss=f"{smoothed:.3f}")
    click.echo(f"trained for {step} steps: loss {first:.3f} -> {smoothed:.3f}")
    path = output / "model.safetensors"
    facts = {"step": step, "seed": 0, "loss": smoothed}
    save(path, small.model, model.state_dict(), small.diffusion, SPEC, normalizer, facts, ema=averaged)
    return path


def windows(mels: list[Tensor], small: Small, step: int) -> tuple[Tensor, Tensor]:
    """A batch of random windows: contexts (B, Fc, 80) and what follows them, (B, Fg, 80)."""
    rng = generator(0, "windows", step)
    n_context, n_target = small.window
    chosen = []
    for _ in range(small.batch):
        recording = mels[rng.integers(len(mels))]
        start = rng.integers(len(recording) - n_context - n_target + 1)
        chosen.append(recording[start : start + n_context + n_target])
    batch = torch.stack(chosen)
    return batch[:, :n_context], batch[:, n_context:]


if __name__ == "__main__":
    main()
