"""The table of weight sets: what each is for, its licence, where it comes from, and which files make it up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slm_eval.weights.download import Remote

_GITHUB = ("github.com", "githubusercontent.com")
_HUB = ("huggingface.co", "hf.co")
# SHA-256 of the files of DNS-Challenge 591184a, which are those of speechmos 0.0.1.1.
_DNSMOS = {
    "dnsmos_models/sig_bak_ovr.onnx": "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
    "pdnsmos_models/sig_bak_ovr.onnx": "9e3a197449ca2177f0997afec3bd6b890117ce2f17b89d6eea7fa0d47272c81c",
    "dnsmos_models/model_v8.onnx": "9246480c58567bc6affd4200938e77eef49468c8bc7ed3776d109c07456f6e91",
}


@dataclass(frozen=True)
class Web:
    """One file, or an archive that holds the set's folder."""

    remote: Remote
    archive: bool = False

    @property
    def origin(self) -> str:
        return self.remote.url


@dataclass(frozen=True)
class Hub:
    """A model repository of huggingface.co."""

    repo: str

    @property
    def origin(self) -> str:
        return f"https://huggingface.co/{self.repo}"

    def remote(self, file: str) -> Remote:
        """Return where one of its files is."""
        return Remote(f"{self.origin}/resolve/main/{file}", _HUB)


@dataclass(frozen=True)
class Wheel:
    """A Python package whose wheel carries the weights, with their digests where they are known."""

    package: str
    digests: dict[str, str]

    @property
    def origin(self) -> str:
        return f"the package {self.package}"


@dataclass(frozen=True)
class WeightSet:
    """What is known of a set of weights.

    Attributes:
        purpose: what it is for, one phrase.
        path: where it lies below ``$SLM_EVAL_CACHE/weights``.
        layouts: for a folder, the files (globs) that make it up, in the order of preference; none for a single file.
        optional: further files that belong to it where they are there.
        by_default: ``slm-eval download`` without names fetches it.
    """

    purpose: str
    licence: str
    source: Web | Hub | Wheel
    path: str
    layouts: tuple[tuple[str, ...], ...] = ()
    optional: tuple[str, ...] = ()
    by_default: bool = True

    def files(self, folder: Path) -> dict[str, Path]:
        """Return the files of the first layout that ``folder`` holds, by relative name; empty if it holds none."""
        for layout in self.layouts:
            if not _lacking(layout, folder):
                return {
                    file.relative_to(folder).as_posix(): file
                    for pattern in (*layout, *self.optional)
                    for file in sorted(folder.glob(pattern))
                    if file.is_file()
                }
        return {}

    def lacking(self, folder: Path) -> list[str]:
        """Return what ``folder`` lacks of the layout that it is nearest to."""
        return min((_lacking(layout, folder) for layout in self.layouts), key=len, default=[])


def _lacking(layout: tuple[str, ...], folder: Path) -> list[str]:
    return [pattern for pattern in layout if next(folder.glob(pattern), None) is None]


def _nisqa(file: str, sha256: str, size: int) -> Web:
    url = f"https://raw.githubusercontent.com/gabrielmittag/NISQA/master/weights/{file}"
    return Web(Remote(url, _GITHUB, sha256=sha256, size=size))


SETS: dict[str, WeightSet] = {
    "nisqa": WeightSet(
        "NISQA: overall quality, noisiness, discontinuity, coloration, loudness",
        "CC BY-NC-SA 4.0 (not for commercial use)",
        _nisqa("nisqa.tar", "7ec4cf937514dd3f8860b21e66fabd8ca87a168572675ef8d979c4c4ad2e805c", 1_051_663),
        "nisqa/nisqa.tar",
    ),
    "nisqa_tts": WeightSet(
        "NISQA-TTS: naturalness of synthetic speech",
        "CC BY-NC-SA 4.0 (not for commercial use)",
        _nisqa("nisqa_tts.tar", "c556a954cd9536360b4fe6f524ad432816509cd22f436f345b281a7851360656", 1_237_159),
        "nisqa/nisqa_tts.tar",
    ),
    "allosaurus": WeightSet(
        "Allosaurus uni2005: phones of any language",
        "GPL-3.0, that of its repository (none is stated for the weights alone)",
        # The address that the package allosaurus 1.0.2 itself downloads from; no digest is published.
        Web(
            Remote(
                "https://github.com/xinjli/allosaurus/releases/download/v1.0/latest.tar.gz",
                _GITHUB,
                max_size=500_000_000,
            ),
            archive=True,
        ),
        "allosaurus/uni2005",
        (("model.pt", "am_config.json", "pm_config.json", "lm_config.json", "phone.txt", "inventory/*"),),
    ),
    "audiobox": WeightSet(
        "Audiobox Aesthetics: CE, CU, PC, PQ",
        "CC BY 4.0",
        Hub("facebook/audiobox-aesthetics"),
        "audiobox",
        (("model.safetensors", "config.json"), ("checkpoint.pt",)),
    ),
    "wav2vec2": WeightSet(
        "wav2vec2 lv-60 espeak: phones of many languages",
        "Apache-2.0",
        Hub("facebook/wav2vec2-lv-60-espeak-cv-ft"),
        "wav2vec2",
        (("model.safetensors", "config.json", "vocab.json"), ("pytorch_model.bin", "config.json", "vocab.json")),
        ("preprocessor_config.json", "tokenizer_config.json", "special_tokens_map.json"),
        by_default=False,
    ),
    "dnsmos": WeightSet(
        "DNSMOS: P.808, signal, background, overall",
        "MIT",
        Wheel("speechmos", _DNSMOS),
        "dnsmos",
        (tuple(_DNSMOS),),
    ),
    "pocketsphinx": WeightSet(
        "PocketSphinx en-us: phones of English",
        "BSD-2-Clause",
        Wheel("pocketsphinx", {}),
        "pocketsphinx",
        (("model/en-us/en-us/*", "model/en-us/en-us-phone.lm.bin"),),
    ),
}
