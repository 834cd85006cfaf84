"""Languages by Whisper (Radford et al. 2022), as the paper chose its speech (section 3.1, Whisper large-v3).

A recording is cut into the 30 s windows that Whisper hears. For each, the first token after <|startoftranscript|> tells
the language, and whether there is speech at all. A window counts for its most likely language, with its seconds of
speech: those outside pauses, and none where Whisper expects no speech. [choice] The paper does not say how it counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from model_zoo.data.listening import Recording
from model_zoo.data.sources import Source
from model_zoo.data.tags import Tags
from slm_eval.base.device import resolve_device
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.precision import exact_float32
from slm_eval.speech.audio import silence
from slm_eval.weights.locate import offline_by

if TYPE_CHECKING:
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

DEFAULT = "openai/whisper-large-v3"  # [paper]
RATE = 16_000  # Hz
WINDOW = 30 * RATE  # samples
NO_SPEECH = 0.6  # probability from which a window holds none: the threshold of Whisper's own transcription


@dataclass(frozen=True)
class Detected:
    """What is heard in a window."""

    language: str  # the most likely code, as if there was speech
    no_speech: float  # probability


# Windows, each (at most WINDOW,) float32 at 16 kHz, to what is heard in them.
Detector = Callable[[Sequence[np.ndarray]], list[Detected]]


class WhisperTagger:
    """Shares of languages, by seconds of speech.

    Args:
        detector: hears windows; ``load_detector`` makes it of a Whisper model.
        name: of the model.
        batch: windows heard at once.
    """

    def __init__(self, detector: Detector, name: str, batch: int = 8) -> None:
        self._detector, self._batch = detector, batch
        self.name = f"whisper {name}"

    def tag(self, source: Source) -> Tags:
        """Listen to a recording.

        Raises:
            AudioError: it cannot be decoded.
        """
        seconds: dict[str, float] = defaultdict(float)
        windows = _windows(Recording(source.path, source.start, source.end).at(RATE))
        while batch := list(islice(windows, self._batch)):
            for window, heard in zip(batch, self._detector(batch), strict=True):
                if heard.no_speech < NO_SPEECH:
                    seconds[heard.language] += len(window) / RATE * (1 - silence(window, RATE))
        total = sum(seconds.values())
        by_share = sorted(seconds, key=lambda language: (-seconds[language], language))
        return Tags({language: seconds[language] / total for language in by_share if seconds[language]}, total)


def _windows(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield windows side by side, the last one as long as it is."""
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= WINDOW:
            yield held[:WINDOW]
            held = held[WINDOW:]
    if len(held):
        yield held


def load_detector(model: str = DEFAULT, device: str = "auto") -> Detector:
    """Load a Whisper model in the format of Hugging Face: a folder, or a repository id that is fetched where it is
    allowed.

    Raises:
        SlmEvalError: transformers is missing, or the model is not to be had.
        UsageError: it hears one language only.
    """
    try:
        from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration
    except ImportError as error:
        raise SlmEvalError("hearing languages needs transformers; pip install 'slm-eval[tag]'") from error
    forbidden = offline_by()
    try:
        # Named, or else the model's own configuration may name code that transformers fetches and runs.
        how: dict[str, Any] = {"attn_implementation": "sdpa", "local_files_only": forbidden is not None}
        network = WhisperForConditionalGeneration.from_pretrained(model, **how)
        extractor = WhisperFeatureExtractor.from_pretrained(model, local_files_only=forbidden is not None)
    except (OSError, ValueError) as error:
        advice = f"unset {forbidden} to fetch it, or " if forbidden else "check the network, or "
        reason = str(error).strip().splitlines()[0]
        raise SlmEvalError(f"there is no Whisper model {model} ({reason}); {advice}give its folder") from error
    network.to(resolve_device(device))  # type: ignore[arg-type]  # transformers wraps torch's signature
    return detector(network, extractor)


def detector(network: WhisperForConditionalGeneration, extractor: WhisperFeatureExtractor) -> Detector:
    """Make a detector of a network on its device; half precision on CUDA.

    Raises:
        UsageError: the network hears one language only.
    """
    import torch

    settings: Any = network.generation_config  # whose attributes are those of the model's file
    tokens = getattr(settings, "lang_to_id", None)
    if not tokens:
        raise UsageError("this Whisper model hears English only; take a multilingual one, such as " + DEFAULT)
    languages = [token.strip("<|>") for token in tokens]
    ids = list(tokens.values())
    # <|nospeech|> stands before <|notimestamps|> in every vocabulary of Whisper.
    quiet = settings.no_timestamps_token_id - 1
    start = network.config.decoder_start_token_id
    network = network.eval()
    if network.device.type == "cuda":
        network = network.half()

    def detect(windows: Sequence[np.ndarray]) -> list[Detected]:
        heard = extractor(list(windows), sampling_rate=RATE, return_tensors="pt").input_features
        begin = torch.full((len(windows), 1), start, device=network.device)
        with torch.inference_mode(), exact_float32():
            inputs = heard.to(network.device, network.dtype)
            logits = network(input_features=inputs, decoder_input_ids=begin, use_cache=False).logits[:, -1].float()
        likely = logits[:, ids].argmax(dim=-1).tolist()
        no_speech = logits.softmax(dim=-1)[:, quiet].tolist()
        return [Detected(languages[index], silent) for index, silent in zip(likely, no_speech, strict=True)]

    return detect
