"""A stand-in for the published Allosaurus model: its format and architecture, random weights, phones that vary.

The published acoustic weights cannot be had everywhere. What a recogniser does with a model directory can be tested,
and timed, with any weights. Configuration and inventories are the published ones where they lie beside the repository
(``../shared/weights/allosaurus``), else small ones that are written here.

    python tests.observing.phones.allosaurus.standin.py DIRECTORY [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import tarfile
from pathlib import Path

import torch

from tests.conftest import SHARED

ARCHIVE = SHARED / "weights/allosaurus/uni2005-config-and-inventory.tar.gz"
_INPUTS, _HIDDEN, _LAYERS, _PHONES = 120, 320, 5, 230
# Chosen by trial on real speech: some 6 phones a second, 170 of the 229 used, about half of the rows blank, and states
# that forget (larger recurrent weights make the network chaotic: rounding errors then grow over time).
_INPUT_GAIN, _RECURRENT_GAIN, _OUTPUT_GAIN, _BLANK_BIAS = 3.0, 1.0, 16.0, 11.7
_PM = {
    "model": "mfcc_hires", "sample_rate": 8000, "cep_size": 40, "bank_size": 40, "low_freq": 40, "high_freq": 3800,
    "window_size": 0.025, "window_shift": 0.01, "dither": 1.0, "dtype": "float32", "backend": "numpy",
    "use_energy": False, "cmvn": "speaker", "feature_window": 3,
}  # fmt: skip
_LANGUAGES = {
    ("eng", "stan1293", "English"): range(1, 60, 2),
    ("deu", "stan1295", "German"): range(1, 90, 3),
    ("spa", "stan1288", "Spanish"): range(40, 70),
}


def make_model(folder: Path, seed: int = 0) -> Path:
    """Write a whole model directory to ``folder`` (which must not exist) and return it."""
    if ARCHIVE.is_file():
        _unpack_published(folder)
    else:
        write_small_configuration(folder)
    torch.save(random_state(seed), folder / "model.pt")
    return folder


def random_state(
    seed: int = 0, hidden: int = _HIDDEN, layers: int = _LAYERS, phones: int = _PHONES
) -> dict[str, torch.Tensor]:
    """Tensors with the published names and shapes; the same for the same arguments."""
    random = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {}

    def draw(name: str, *shape: int, gain: float = 1.0) -> None:
        state[name] = torch.randn(*shape, generator=random) * (gain / shape[-1] ** 0.5)

    for layer in range(layers):
        for direction in ("", "_reverse"):
            inputs = _INPUTS if layer == 0 else 2 * hidden
            draw(f"blstm_layer.weight_ih_l{layer}{direction}", 4 * hidden, inputs, gain=_INPUT_GAIN)
            draw(f"blstm_layer.weight_hh_l{layer}{direction}", 4 * hidden, hidden, gain=_RECURRENT_GAIN)
            draw(f"blstm_layer.bias_ih_l{layer}{direction}", 4 * hidden)
            draw(f"blstm_layer.bias_hh_l{layer}{direction}", 4 * hidden)
    draw("phone_layer.weight", phones, 2 * hidden, gain=_OUTPUT_GAIN)
    draw("phone_layer.bias", phones)
    state["phone_layer.bias"][0] += _BLANK_BIAS
    return state


def write_small_configuration(folder: Path, hidden: int = _HIDDEN, layers: int = _LAYERS) -> None:
    """Write the configuration, 229 made-up phones and three inventories, one of them with a phone the model lacks."""
    inventory = folder / "inventory"
    inventory.mkdir(parents=True)
    am = {
        "model": "allosaurus", "feat_size": -1, "feat_size_dict": {"any": {"mfcc_hires": _INPUTS}},
        "lang_size_dict": {}, "hidden_size": hidden, "layer_size": layers, "proj_size": 0,
        "phone_size": _PHONES, "loss": "ctc",
    }  # fmt: skip
    for name, config in (("am", am), ("pm", _PM), ("lm", {"model": "phone_ipa", "backend": "numpy"})):
        (folder / f"{name}_config.json").write_text(json.dumps(config))
    (folder / "phone.txt").write_text("".join(f"p{index} {index}\n" for index in range(1, _PHONES)), encoding="utf-8")
    index = []
    for (iso, glottocode, name), phones in _LANGUAGES.items():
        file = f"{glottocode}.txt"
        index.append({"ISO6393": iso, "GlottoCode": glottocode, "LanguageName": name, "phonelists": file})
        lines = [*(f"p{phone}" for phone in phones), "ʘ"]
        (inventory / file).write_text(
            "".join(f"{line} {number}\n" for number, line in enumerate(lines, 1)), encoding="utf-8"
        )
    (inventory / "index.json").write_text(json.dumps(index))


def _unpack_published(folder: Path) -> None:
    """The archive holds one folder, ``uni2005``."""
    with tarfile.open(ARCHIVE) as archive:
        for member in archive.getmembers():
            inside = Path(*Path(member.name).parts[1:])
            if member.isfile():
                content = archive.extractfile(member)
                assert content is not None
                (folder / inside).parent.mkdir(parents=True, exist_ok=True)
                (folder / inside).write_bytes(content.read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(make_model(options.directory, options.seed))


if __name__ == "__main__":
    main()
