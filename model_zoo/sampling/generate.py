"""From clips of speech to spoken continuations of them: the main path of ``slm-zoo sample``, read from top to bottom.

    clip -> its last 10 s at 24 kHz -> log-mel -> normalised -> sampler -> raw log-mel -> vocoder -> wav

What a clip is continued by depends on the checkpoint, the options and the clip's id. So a command that was stopped goes
on where it was; batches change nothing but the rounding of matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from model_zoo.cdslm.checkpoint import Loaded, load
from model_zoo.cdslm.schedule import Schedule
from model_zoo.features import log_mel, silence
from model_zoo.sampling.sampler import SamplerOptions, continue_to
from model_zoo.speech.wavs import claim, wav_files, write_audio
from model_zoo.vocoder.loading import load_vocoder
from model_zoo.vocoder.vocoder import Vocoder
from slm_eval._version import __version__
from slm_eval.base.device import resolve_device
from slm_eval.base.errors import SlmEvalError, UsageError, unknown_name
from slm_eval.speech.audio import AudioError, read_audio, resample
from slm_eval.speech.corpus import Clip, Corpus, load_corpus

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
NULL_CONTEXTS = ("silence_wave", "zero_mel")


@dataclass(frozen=True)
class GenerateOptions:
    """What is made of each clip, and how it is carried out.

    Raises:
        UsageError: an unknown name, or a number out of range.
    """

    sampler: SamplerOptions = field(default_factory=SamplerOptions)
    seconds: float | None = None  # of the continuation; None: what the model was trained for
    vocoder: str = "griffin-lim"  # or a file that `slm-zoo convert-vocoder` wrote
    ema: bool = True  # the averaged weights, rather than the last ones
    null_context: Literal["silence_wave", "zero_mel"] = "silence_wave"  # what the unconditional branch hears
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of the network; auto: bfloat16 on CUDA
    batch: int = 8  # clips at once
    compile: bool = False  # the network's blocks and the sampler's step, by torch.compile
    device: str = "auto"
    limit: int | None = None  # only the first clips, in the order of their ids
    fresh: bool = False  # make again what is there
    progress: bool = False  # a bar on stderr

    def __post_init__(self) -> None:
        if self.null_context not in NULL_CONTEXTS:
            raise unknown_name("null context", self.null_context, NULL_CONTEXTS)
        if self.precision not in {"auto", *PRECISIONS}:
            raise unknown_name("precision", self.precision, ["auto", *PRECISIONS])
        if self.batch < 1 or (self.seconds is not None and not self.seconds > 0):
            raise UsageError(f"batch and seconds must be above 0, got {self.batch} and {self.seconds}")


@dataclass(frozen=True)
class Outcome:
    """What ``generate`` did: ids by what became of them."""

    written: list[str]
    kept: list[str]  # were there already
    padded: list[str]  # contexts that were too short: silence was put before them
    failed: dict[str, str]  # id -> why it could not be read


def generate(checkpoint: Path, contexts: str | Path | Corpus, output: Path, options: GenerateOptions) -> Outcome:
    """Continue every clip by what the model would say next.

    Args:
        checkpoint: what training wrote; see ``cdslm.checkpoint``.
        contexts: a folder, list or manifest of clips, as ``slm-eval run`` takes them.
        output: folder of the wavs, one per clip and named after it, and of ``provenance.json``.

    Raises:
        UsageError: the folder holds continuations that were made otherwise, or names collide.
        SlmEvalError: checkpoint and vocoder do not fit each other, or there is not enough memory.
    """
    # 1. Who speaks, by which vocoder, and what is continued.
    device = resolve_device(options.device)
    corpus = (contexts if isinstance(contexts, Corpus) else load_corpus(contexts)).limit(options.limit)
    if not corpus.has_audio:
        raise UsageError(f"{corpus.path} is ready-made phones; contexts are speech")
    model = load(checkpoint, device, ema=options.ema)
    vocoder = load_vocoder(options.vocoder, device, features=model.features)
    model.features.require_same(vocoder.spec, f"the vocoder {options.vocoder}")

    # 2. The folder says how its speech is made before the first file is there; what was made is kept.
    files = wav_files([clip.id for clip in corpus.clips], output)
    claim(output, _provenance(model, vocoder, corpus, device, options), files.values(), options.fresh)
    todo = [clip for clip in corpus.clips if not files[clip.id].exists()]
    outcome = Outcome([], [clip.id for clip in corpus.clips if files[clip.id].exists()], [], {})

    # 3. Batch by batch: contexts to mels, mels to sound.
    continuation = _continuation(model, device, options)
    with tqdm(total=len(todo), desc="sampling", unit="clip", disable=not options.progress or not todo) as bar:
        log_mels = _contexts(todo, model, outcome, bar)
        while batch := list(islice(log_mels, options.batch)):
            ids = [clip_id for clip_id, _ in batch]
            with _memory(len(batch)):
                mels = continuation(torch.stack([mel for _, mel in batch]), ids)
                sound = vocoder(mels).cpu().numpy()
            for clip_id, samples in zip(ids, sound, strict=True):
                write_audio(files[clip_id], samples, vocoder.spec.sample_rate)
                outcome.written.append(clip_id)
                bar.update()
    return outcome


def _contexts(clips: Sequence[Clip], model: Loaded, outcome: Outcome, bar: tqdm) -> Iterator[tuple[str, Tensor]]:
    """Yield id and raw log-mel (Fc, mels) of the end of every clip that can be read; the others are accounted for."""
    spec = model.features
    length = round(model.model_config.context_seconds * spec.sample_rate)
    for clip in clips:
        assert clip.path is not None
        try:
            audio = read_audio(clip.path, clip.start, clip.end)
        except AudioError as error:
            outcome.failed[clip.id] = f"{error.code}, {error}"
            bar.update()
            continue
        samples = resample(audio.samples, audio.facts.sample_rate, spec.sample_rate)
        if len(samples) < length:
            outcome.padded.append(clip.id)
            samples = np.pad(samples, (length - len(samples), 0))
        yield clip.id, log_mel(torch.from_numpy(samples[len(samples) - length :]), spec)


def _continuation(model: Loaded, device: str, options: GenerateOptions) -> Callable[[Tensor, Sequence[str]], Tensor]:
    """Return a function from raw log-mels of contexts (B, Fc, mels) and ids to those of continuations (B, F, mels)."""
    spec, config = model.features, model.model_config
    schedule = Schedule.from_config(model.diffusion_config)
    frames = round((options.seconds or config.target_seconds) * spec.frame_rate)
    segment = round(config.target_seconds * spec.frame_rate)  # what the network continues at once
    quiet = model.normalizer.normalize(silence(round(config.context_seconds * spec.frame_rate), spec).to(device))
    null = torch.zeros_like(quiet) if options.null_context == "zero_mel" else quiet
    network = model.model.to(PRECISIONS[_precision(device, options)])
    if options.compile:
        network.compile_blocks()

    def continuation(contexts: Tensor, ids: Sequence[str]) -> Tensor:
        normalised = model.normalizer.normalize(contexts.to(device))
        continued = continue_to(frames, network, normalised, null, schedule, ids, options.sampler, segment)
        return model.normalizer.denormalize(continued)

    return continuation


def _precision(device: str, options: GenerateOptions) -> str:
    if options.precision != "auto":
        return options.precision
    return "bfloat16" if device.startswith("cuda") else "float32"


def _provenance(
    model: Loaded, vocoder: Vocoder, corpus: Corpus, device: str, options: GenerateOptions
) -> dict[str, Any]:
    """Return all that decides what is made, for the summary of slm-eval."""
    sampler = asdict(options.sampler)
    del sampler["compile"]  # changes how, not what
    return {
        "made_by": f"slm-zoo sample {__version__}",
        "checkpoint": {"digest": model.digest, "weights": "ema" if options.ema else "raw", **model.facts},
        "features": model.features.digest,
        "vocoder": {"name": Path(options.vocoder).name, "digest": vocoder.digest},
        "contexts": {"path": corpus.path, "seconds": model.model_config.context_seconds},
        "seconds": options.seconds or model.model_config.target_seconds,
        "sampler": sampler,
        "null_context": options.null_context,
        "precision": _precision(device, options),
        "torch": torch.__version__,
    }


@contextmanager
def _memory(batch: int) -> Iterator[None]:
    """Say what would help where a GPU's memory does not suffice.

    Raises:
        SlmEvalError: instead of torch's error of many lines.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        free, total = (round(size / 2**30, 1) for size in torch.cuda.mem_get_info())
        less = f"--batch-size {batch // 2}" if batch > 1 else "a smaller model, or --device cpu"
        raise SlmEvalError(
            f"the GPU's memory ({free} of {total} GiB free) does not hold {batch} clips at once; try {less}"
        ) from error
