"""From files of mels, or of speech, to wavs: what ``slm-zoo vocode`` does.

Given speech, it is taken apart into mels and put together again. Whatever a model does better than that, the vocoder
does not let through: how this speech scores is the upper bound of every model that speaks by this vocoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from model_zoo.features import FeatureSpec, log_mel
from model_zoo.speech.wavs import claim, wav_files, write_audio
from model_zoo.vocoder.arrays import read_array
from model_zoo.vocoder.loading import load_vocoder
from slm_eval._version import __version__
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.tensors import load_tensors
from slm_eval.speech.audio import AudioError, read_audio, resample
from slm_eval.speech.corpus import Clip, load_corpus

MEL_SUFFIXES = (".npy", ".safetensors")


@dataclass(frozen=True)
class VocodeOptions:
    """How wavs are made."""

    vocoder: str = "griffin-lim"  # or a file that `slm-zoo convert-vocoder` wrote
    device: str = "auto"
    bfloat16: bool = False  # HiFi-GAN only: faster, less exact
    fresh: bool = False  # make again what is there
    limit: int | None = None  # only the first clips, in the order of their ids
    progress: bool = False  # a bar on stderr


@dataclass(frozen=True)
class Outcome:
    """Ids by what became of them."""

    written: list[str]
    kept: list[str]  # were there already
    failed: dict[str, str]  # id -> one line


def vocode(source: Path, output: Path, options: VocodeOptions) -> Outcome:
    """Write a wav for every file of mels, or of speech, with the same relative name.

    Args:
        source: a folder or one file. Where it holds .npy or .safetensors files: raw log10 mels, (T, n_mels), one tensor
            a file. Else speech, in any form that ``slm-eval run`` takes.
        output: folder of the wavs and of ``provenance.json``.

    Raises:
        UsageError: there is nothing to vocode, mels and speech lie together, or the folder holds other speech.
        SlmEvalError: the vocoder cannot be loaded, or a wav not be written.
    """
    vocoder = load_vocoder(options.vocoder, options.device, options.bfloat16)
    kind, items = _items(source, vocoder.spec)
    items = dict(list(items.items())[: options.limit])
    files = wav_files(items, output)
    name = Path(options.vocoder).name
    made = {
        "made_by": f"slm-zoo vocode {__version__}",
        "source": {"path": str(source), "kind": kind},
        "vocoder": {"name": name, "digest": vocoder.digest, "bfloat16": options.bfloat16},
        "features": vocoder.spec.digest,
        "torch": torch.__version__,
    }
    claim(output, made, files.values(), options.fresh)
    kept = [clip_id for clip_id in items if files[clip_id].exists()]
    outcome = Outcome([], kept, {})
    done = set(kept)
    todo = [clip_id for clip_id in items if clip_id not in done]
    for clip_id in tqdm(todo, desc="vocoding", unit="clip", disable=not options.progress):
        try:
            audio = vocoder(items[clip_id]()[None])[0]
        except (SlmEvalError, AudioError) as error:
            outcome.failed[clip_id] = str(error)
            continue
        write_audio(files[clip_id], audio.cpu().numpy(), vocoder.spec.sample_rate)
        outcome.written.append(clip_id)
    return outcome


def _items(source: Path, spec: FeatureSpec) -> tuple[str, dict[str, Callable[[], Tensor]]]:
    """Return "mels" or "speech", and for every id what reads its mels."""
    mels = dict(_mel_files(source))
    if not mels:
        corpus = load_corpus(source)
        if not corpus.has_audio:
            raise UsageError(f"{source} is ready-made phones; give speech, or mels as {' or '.join(MEL_SUFFIXES)}")
        return "speech", {clip.id: lambda clip=clip: _analyse(clip, spec) for clip in corpus.clips}  # type: ignore[misc]
    if source.is_dir() and _holds_audio(source):
        raise UsageError(f"{source} holds mels and audio; give a folder with one of them")
    return "mels", {clip_id: lambda path=path: read_mels(path) for clip_id, path in sorted(mels.items())}  # type: ignore[misc]


def _mel_files(source: Path) -> Iterator[tuple[str, Path]]:
    if source.is_file() and source.suffix in MEL_SUFFIXES:
        yield source.name, source
    elif source.is_dir():
        for path in source.rglob("*"):
            name = path.relative_to(source)
            hidden = any(part.startswith(".") for part in name.parts)
            if path.suffix in MEL_SUFFIXES and path.is_file() and not hidden:
                yield name.as_posix(), path


def _holds_audio(folder: Path) -> bool:
    try:
        load_corpus(folder)
    except UsageError:
        return False
    return True


def read_mels(path: Path) -> Tensor:
    """Read the mels of a file, (T, n_mels) float32: an array of numpy, or the one tensor of a safetensors file.

    Raises:
        SlmEvalError: it is damaged, or holds something else.
    """
    if path.suffix == ".safetensors":
        tensors = load_tensors(path)
        if len(tensors) != 1:
            raise SlmEvalError(f"{path.name} holds {len(tensors)} tensors, expected one of mels; write one file a clip")
        (mels,) = tensors.values()
    else:
        try:
            mels = torch.from_numpy(np.array(read_array(path), dtype=np.float32))
        except (OSError, ValueError) as error:
            raise SlmEvalError(
                f"{path.name} holds no array of floats ({error}); write raw log10 mels, (frames, bins)"
            ) from error
    if mels.ndim != 2 or not mels.is_floating_point():
        raise SlmEvalError(
            f"{path.name} holds {mels.dtype} of shape {tuple(mels.shape)}, expected floats (frames, bins)"
        )
    return mels.float()


def _analyse(clip: Clip, spec: FeatureSpec) -> Tensor:
    assert clip.path is not None
    audio = read_audio(clip.path, clip.start, clip.end)
    samples = resample(audio.samples, audio.facts.sample_rate, spec.sample_rate)
    return log_mel(torch.from_numpy(samples), spec, spec.sample_rate)
