"""A wav2vec2 model for phones in the format of Hugging Face: where it lies, what it says of itself, its network.

    config.json                             the network; pad_token_id is the blank of CTC
    vocab.json                              phone -> index
    preprocessor_config.json                sampling rate, normalisation (may be absent: 16 kHz, normalised)
    special_tokens_map.json                 tokens that are no phones (may be absent: the usual four)
    model.safetensors or pytorch_model.bin  the tensors

The vocabulary is read as it is: the tokenizer class would ask for phonemizer and espeak, to which it owes nothing
when phones are read rather than written. Importing this loads neither torch nor transformers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.strict_json import read_object
from slm_eval.base.tensors import load_tensors
from slm_eval.weights import hub
from slm_eval.weights.locate import digest as digest_of_set
from slm_eval.weights.locate import digest_at, missing, offline_by
from slm_eval.weights.locate import locate as locate_set

if TYPE_CHECKING:
    from torch import nn
    from transformers import Wav2Vec2Config

NAME = "wav2vec2"  # the weight set
DEFAULT = "facebook/wav2vec2-lv-60-espeak-cv-ft"
_TENSORS = ("model.safetensors", "pytorch_model.bin")
_NEEDED = ("config.json", "vocab.json")
_OPTIONAL = ("preprocessor_config.json", "special_tokens_map.json")
_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")
_MAX_PHONES = 100_000
_USUAL_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_WORD_BOUNDARY = "|"  # between words in the vocabularies of character models
# The convolution over positions is stored in the names that weight_norm used before torch 2.
_RENAMED = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
# Only used in training: a checkpoint may lack it.
_UNUSED = "wav2vec2.masked_spec_embed"


@dataclass(frozen=True)
class Settings:
    """What decides how audio becomes phones, apart from tensors.

    Attributes:
        phones: by index; None for what is no phone (special tokens).
        blank: index of the CTC blank.
        normalise: each clip is brought to zero mean and unit variance.
        masked: the network was trained with masks over padding ("layer" norm in its front end): others hear padding.
        kernels, strides: of the convolutions, which decide the number of frames.
    """

    phones: tuple[str | None, ...]
    blank: int
    normalise: bool
    masked: bool
    kernels: tuple[int, ...]
    strides: tuple[int, ...]

    def frames(self, samples: int) -> int:
        """Return the number of frames of a clip; below 1 there are none."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    @property
    def min_samples(self) -> int:
        """Return how many samples make one frame."""
        samples = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples


def problem(model: str | None) -> str | None:
    """Return None when the model is at hand or can be fetched, else one line. Never uses the network."""
    if model is None:
        return missing(NAME)
    folder = Path(model)
    if folder.is_dir():
        absent = _lacking(folder)
        return f"{model} must be a whole wav2vec2 model, but lacks {', '.join(absent)}" if absent else None
    if not _REPO_ID.fullmatch(model):
        return f"there is no wav2vec2 model {model}; give a folder or a Hugging Face repository id"
    if _cached(model) is not None:
        return None
    forbidden = offline_by()
    if forbidden is not None:
        return f"the model {model} is not in the Hugging Face cache; unset {forbidden} to fetch it"
    return None if hub.client_installed() else f"fetching {model} needs huggingface_hub; pip install huggingface_hub"


def locate(model: str | None) -> Path:
    """Return the folder of a model, which is fetched if need be.

    Args:
        model: a folder, or a Hugging Face repository id; None: the weight set ``wav2vec2``.

    Raises:
        SlmEvalError: it is not there and cannot be fetched.
    """
    line = problem(model)
    if line is not None:
        raise SlmEvalError(line)
    if model is None:
        return locate_set(NAME)
    if Path(model).is_dir():
        return Path(model)
    return _cached(model) or _fetch(model)


def digest(model: str | None) -> str:
    """Return a SHA-256 over the files of the model.

    Raises:
        SlmEvalError: as ``locate``.
    """
    return digest_of_set(NAME) if model is None else digest_at(NAME, locate(model))


def settings(folder: Path, rate: int) -> Settings:
    """Return what the JSON files of a model say.

    Raises:
        SlmEvalError: one is missing, damaged, or asks for another sampling rate than ``rate``.
    """
    config, vocabulary = _read_json(folder / "config.json"), _read_json(folder / "vocab.json")
    preprocessor = _read_json(folder / _OPTIONAL[0]) if (folder / _OPTIONAL[0]).is_file() else {}
    asked = preprocessor.get("sampling_rate", rate)
    if asked != rate:
        raise SlmEvalError(f"{folder} wants audio at {asked} Hz, expected {rate} Hz; use another model")
    try:
        size, blank = int(config["vocab_size"]), int(config["pad_token_id"])
        if not 0 < size <= _MAX_PHONES:
            raise ValueError(f"vocab_size must be from 1 to {_MAX_PHONES}, got {size}")
        phones: list[str | None] = [None] * size
        special = _special(folder)
        for phone, index in vocabulary.items():
            phones[index] = None if phone in special else phone
        if not 0 <= blank < size:
            raise ValueError(f"pad_token_id must be from 0 to {size - 1}, got {blank}")
        kernels, strides = config["conv_kernel"], config["conv_stride"]
        if len(kernels) != len(strides) or not all(isinstance(n, int) and 0 < n < 1000 for n in [*kernels, *strides]):
            raise ValueError(f"conv_kernel and conv_stride must be as many sizes, got {kernels} and {strides}")
        return Settings(
            phones=tuple(phones),
            blank=blank,
            normalise=bool(preprocessor.get("do_normalize", True)),
            masked=config["feat_extract_norm"] == "layer",
            kernels=tuple(kernels),
            strides=tuple(strides),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise SlmEvalError(
            f"{folder}: config.json and vocab.json do not describe a CTC model ({error!r}); get it again"
        ) from error


def network(folder: Path, device: str) -> nn.Module:
    """Return the network with its tensors, in float32.

    Raises:
        SlmEvalError: the tensors are damaged, hold code, or do not fit the configuration.
    """
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    path = next(folder / name for name in _TENSORS if (folder / name).is_file())
    state = {_current_name(name): tensor.float() for name, tensor in load_tensors(path).items()}
    config = Wav2Vec2Config(**_known(_read_json(folder / "config.json"), Wav2Vec2Config()))
    with torch.device("meta"):  # no memory and no random numbers for tensors that are replaced at once
        model = Wav2Vec2ForCTC(config)
    if _UNUSED in model.state_dict():
        state.setdefault(_UNUSED, torch.zeros(config.hidden_size))
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise SlmEvalError(f"{path} does not fit config.json ({reason}); get the model again") from error
    return model.requires_grad_(False).eval().to(device)


def _known(values: dict[str, Any], defaults: Wav2Vec2Config) -> dict[str, Any]:
    """Return what a configuration says of the network itself.

    Others of its keys are left out: transformers fetches and runs the code that ``attn_implementation`` names.
    """
    kept = defaults.to_dict().keys() - {"attn_implementation", "_attn_implementation", "experts_implementation"}
    return {key: value for key, value in values.items() if key in kept and not key.startswith("_")}


def _current_name(name: str) -> str:
    stem, _, last = name.rpartition(".")
    return f"{stem}.{_RENAMED[last]}" if last in _RENAMED else name


def _special(folder: Path) -> set[str]:
    """Return the tokens that are no phones."""
    path = folder / _OPTIONAL[1]
    named = _read_json(path).values() if path.is_file() else ()
    words = [token["content"] if isinstance(token, dict) else token for token in named]
    return {*_USUAL_SPECIAL, _WORD_BOUNDARY, " ", *(token for token in words if isinstance(token, str))}


def _lacking(folder: Path) -> list[str]:
    absent = [name for name in _NEEDED if not (folder / name).is_file()]
    return absent if any((folder / name).is_file() for name in _TENSORS) else [*absent, " or ".join(_TENSORS)]


def _cached(repo: str) -> Path | None:
    snapshot = hub.cached_snapshot(repo)
    return snapshot if snapshot is not None and not _lacking(snapshot) else None


def _fetch(repo: str) -> Path:
    for name in _OPTIONAL:
        _fetch_if_published(repo, name)
    for name in _NEEDED:
        hub.fetch_file(repo, name)
    if not _fetch_if_published(repo, _TENSORS[0]):
        hub.fetch_file(repo, _TENSORS[1])
    fetched = _cached(repo)
    if fetched is None:
        raise SlmEvalError(f"{repo} was fetched but is not in the Hugging Face cache; check HF_HOME")
    return fetched


def _fetch_if_published(repo: str, name: str) -> bool:
    from slm_eval.weights.download import NotPublished

    try:
        hub.fetch_file(repo, name)
    except NotPublished:
        return False
    return True


def _read_json(path: Path) -> dict[str, Any]:
    return read_object(path, "get the model again")
