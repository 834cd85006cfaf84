"""What is trained on: lengths, tags of others, and languages as Whisper hears them, window by window."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from model_zoo.cli.main import main
from model_zoo.data.filters import Filtered, FilterOptions, filter_speech
from model_zoo.data.prepare import PrepareOptions, prepare
from model_zoo.data.sources import Source
from model_zoo.data.tags import LanguageTagger, ManifestTagger, NotTaggedError, Tags
from model_zoo.data.whisper import Detected, WhisperTagger, detector, load_detector
from slm_eval.base.errors import SlmEvalError, UsageError
from tests.conftest import noise


@pytest.fixture
def speech(tmp_path: Path, write_wav: Callable[..., Path]) -> Path:
    """a to e, 0.5 to 2.5 s, and one that is broken."""
    folder = tmp_path / "speech"
    for at, name in enumerate("abcde", start=1):
        write_wav(folder / f"{name}.wav", noise(at / 2, seed=at))
    (folder / "f.wav").write_bytes(b"broken")
    return folder


def source(path: Path) -> Source:
    return Source(path.name, "", path, None, None)


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def choose(speech: Path, output: Path, tagger: LanguageTagger | None = None, **options: float) -> Filtered:
    return filter_speech([speech], output, FilterOptions(**options), tagger)  # type: ignore[arg-type]


def test_lengths_and_why(speech: Path, tmp_path: Path) -> None:
    done = choose(speech, tmp_path / "out", min_seconds=1.0, max_seconds=2.0)
    assert done.kept == {"b.wav": 1.0, "c.wav": 1.5, "d.wav": 2.0}
    assert done.dropped == {
        "a.wav": ("too_short", "0.5 s, shorter than 1 s"),
        "e.wav": ("too_long", "2.5 s, longer than 2 s"),
        "f.wav": ("unreadable", "its length cannot be read"),
    }
    dropped = read(tmp_path / "out" / "dropped.jsonl")
    assert {line["id"]: (line["reason"], line["why"]) for line in dropped} == done.dropped
    assert choose(speech, tmp_path / "out").kept == {}  # the paper's 5 minutes


def test_prepare_takes_what_was_kept(speech: Path, tmp_path: Path) -> None:
    choose(speech, tmp_path / "out", min_seconds=1.0)
    options = PrepareOptions(validation=0.5, workers=0, seed=1)
    shards = prepare([tmp_path / "out" / "kept.jsonl"], tmp_path / "shards", options).shards
    assert [each.id for each in shards.recordings] == ["b.wav", "c.wav", "d.wav", "e.wav"]
    assert {each.group for each in shards.recordings} == {"speech"}


def test_tags_of_a_manifest(speech: Path, tmp_path: Path) -> None:
    tags = tmp_path / "tags.jsonl"
    tags.write_text(
        '{"id": "a.wav", "language_shares": {"en": 0.995, "de": 0.005}}\n'
        '{"path": "speech/b.wav", "language_shares": {"de": 0.02, "en": 0.98}}\n\n'
        '{"id": "c.wav", "language": "en"}\n{"id": "d.wav", "language": "fr"}\n'
    )
    done = choose(speech, tmp_path / "out", ManifestTagger(tags), min_seconds=0.0)
    assert list(done.kept) == ["a.wav", "c.wav"]
    assert done.dropped == {
        "b.wav": ("language", "0.9800 of the speech is en, less than 0.99 (de 0.0200, en 0.9800)"),
        "d.wav": ("language", "0.0000 of the speech is en, less than 0.99 (fr 1.0000)"),
        "e.wav": ("untagged", "not in tags.jsonl"),
        "f.wav": ("unreadable", "its length cannot be read"),
    }
    # What was found is a manifest of tags itself.
    again = choose(speech, tmp_path / "again", ManifestTagger(tmp_path / "out" / "tags.jsonl"), min_seconds=0.0)
    assert again.kept == done.kept
    with pytest.raises(NotTaggedError):
        ManifestTagger(tags).tag(source(tmp_path / "else.wav"))


@pytest.mark.parametrize(
    "line",
    [
        "nonsense", "[1]", '{"id": "a"}', '{"language": "en"}', '{"id": "a", "language": 5}',
        '{"id": "a", "language_shares": {"en": 1.5}}', '{"id": "a", "language_shares": {"en": 0.7, "de": 0.7}}',
    ],
)  # fmt: skip
def test_tags_that_cannot_be_read(tmp_path: Path, line: str) -> None:
    path = tmp_path / "tags.jsonl"
    path.write_text('{"id": "a", "language": "en"}\n' + line + "\n")
    with pytest.raises(UsageError, match="line 2: expected"):
        ManifestTagger(path)
    with pytest.raises(UsageError, match="cannot read"):
        ManifestTagger(tmp_path / "missing.jsonl")


class Heard:
    """A tagger that counts what it is asked, and may be stopped."""

    name = "heard"

    def __init__(self, stop_at: int | None = None) -> None:
        self.asked: list[str] = []
        self._stop_at = stop_at

    def tag(self, source: Source) -> Tags:
        if len(self.asked) == self._stop_at:
            raise KeyboardInterrupt
        self.asked.append(source.id)
        return Tags({"en": 1.0 if source.id < "c" else 0.5}, 1.0)


def test_tagging_goes_on_after_a_stop(speech: Path, tmp_path: Path) -> None:
    whole = choose(speech, tmp_path / "whole", Heard(), min_seconds=0.0)
    assert list(whole.kept) == ["a.wav", "b.wav"]
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        choose(speech, out, Heard(stop_at=3), min_seconds=0.0)
    assert not (out / "kept.jsonl").exists()
    with (out / "tags.jsonl").open("a") as file:
        file.write('{"id": "d.wav", "langua')  # as a kill leaves it
    rest = Heard()
    assert choose(speech, out, rest, min_seconds=0.0) == whole
    assert rest.asked == ["d.wav", "e.wav"]
    for name in ("kept.jsonl", "dropped.jsonl", "tags.jsonl"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    other = Heard()
    other.name = "another"
    with pytest.raises(UsageError, match="holds tags of heard, not of another"):
        choose(speech, out, other, min_seconds=0.0)
    with (out / "tags.jsonl").open("a") as file:
        file.write('{"id": "f.wav"}\n')
    with pytest.raises(SlmEvalError, match=r"line 6 must be a tag, got '{\"id\": \"f\.wav\"}' .*; remove that line"):
        choose(speech, out, Heard(), min_seconds=0.0)


class StandIn:
    """Hears what a window's loudness says: quiet windows are German, loud ones English; silence is no speech."""

    def __init__(self) -> None:
        self.lengths: list[list[int]] = []

    def __call__(self, windows: Sequence[np.ndarray]) -> list[Detected]:
        self.lengths.append([len(window) for window in windows])
        levels = [float(np.std(window)) for window in windows]
        return [Detected("en" if level > 0.1 else "de", 0.9 if level < 1e-3 else 0.1) for level in levels]


def test_shares_are_by_seconds_of_speech(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    hiss = np.random.default_rng(0).uniform(-1, 1, 100 * 16_000).astype(np.float32)
    hiss[: 30 * 16_000] *= 0.05  # 30 s of German
    hiss[30 * 16_000 : 60 * 16_000] *= 0.5  # 30 s of English, of which 12 s are a pause
    hiss[40 * 16_000 : 52 * 16_000] *= 1e-3
    hiss[60 * 16_000 : 90 * 16_000] *= 1e-5  # nobody speaks
    hiss[90 * 16_000 :] *= 0.5  # 10 s of English
    path = write_wav(tmp_path / "a.wav", hiss)
    heard = StandIn()
    tags = WhisperTagger(heard, "stand-in", batch=3).tag(source(path))
    assert heard.lengths == [[480_000] * 3, [160_000]]
    assert list(tags.shares) == ["de", "en"]
    assert tags.speech_seconds == pytest.approx(30 + 18 + 10, abs=0.1)
    assert tags.shares == pytest.approx({"de": 30 / 58, "en": 28 / 58}, abs=2e-3)
    assert WhisperTagger(heard, "stand-in").name == "whisper stand-in"


def test_a_recording_without_speech_is_dropped(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    write_wav(tmp_path / "speech" / "a.wav", 1e-6 * noise(2.0))
    done = choose(tmp_path / "speech", tmp_path / "out", WhisperTagger(StandIn(), "x"), min_seconds=0.0)
    assert done.dropped == {"a.wav": ("no_speech", "no speech was heard")}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper of random weights in the format of Hugging Face, with three languages."""
    transformers = pytest.importorskip("transformers")
    sizes = dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2)
    torch.manual_seed(4)  # whose languages differ between the windows below
    config = transformers.WhisperConfig(
        vocab_size=20, d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=80, decoder_start_token_id=3,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, init_std=0.5, **sizes,
    )  # fmt: skip
    network = transformers.WhisperForConditionalGeneration(config)
    languages = {"<|en|>": 5, "<|de|>": 6, "<|haw|>": 7}
    network.generation_config = transformers.GenerationConfig(
        lang_to_id=languages, no_timestamps_token_id=12, decoder_start_token_id=3
    )
    folder = tmp_path_factory.mktemp("whisper")
    network.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return folder


def test_the_detector_equals_transformers_own(tiny: Path) -> None:
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    network = WhisperForConditionalGeneration.from_pretrained(tiny)
    extractor = WhisperFeatureExtractor.from_pretrained(tiny)
    windows = [noise(seconds, seed=at) * level for at, (seconds, level) in enumerate([(30, 1), (7, 0.1), (30, 1e-4)])]
    heard = load_detector(str(tiny), "cpu")(windows)
    inputs = extractor(windows, sampling_rate=16_000, return_tensors="pt").input_features
    ids = network.detect_language(input_features=inputs).tolist()
    names = {5: "en", 6: "de", 7: "haw"}
    assert [each.language for each in heard] == [names[each] for each in ids]
    assert len(set(ids)) > 1
    with torch.no_grad():
        logits = network(inputs, decoder_input_ids=torch.full((3, 1), 3)).logits[:, 0]
    expected = torch.softmax(logits, -1)[:, 11].tolist()  # <|nospeech|> is the token before <|notimestamps|>
    assert [each.no_speech for each in heard] == pytest.approx(expected, rel=1e-4)


def test_models_that_cannot_tell_languages(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    network = WhisperForConditionalGeneration.from_pretrained(tiny)
    del network.generation_config.lang_to_id
    with pytest.raises(UsageError, match="hears English only"):
        detector(network, WhisperFeatureExtractor.from_pretrained(tiny))
    with pytest.raises(SlmEvalError, match=r"there is no Whisper model .*; unset SLM_EVAL_OFFLINE to fetch it"):
        load_detector(str(tmp_path / "nothing"))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SlmEvalError, match=r"pip install 'slm-eval\[tag\]'"):
        load_detector()


def test_the_command(speech: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["filter", str(speech), "-o", str(out), "--min-seconds", "1.2"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0
    told = f"3 kept, 0.00 h; 3 dropped (2 too_short, 1 unreadable; see {out / 'dropped.jsonl'})"
    assert done.stdout == f"{out / 'kept.jsonl'}: {told}\n"
    done = CliRunner().invoke(main, [*arguments, "--whisper", str(tiny), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert {line["id"] for line in read(out / "tags.jsonl")} == {"c.wav", "d.wav", "e.wav"}
    assert {line["tagger"] for line in read(out / "tags.jsonl")} == {f"whisper {tiny}"}
    both = CliRunner().invoke(main, [*arguments, "--whisper", "x", "--tags", str(out / "tags.jsonl")])
    assert both.exit_code == 2
    assert "leave one out" in both.output


@pytest.mark.parametrize("options", [{"min_seconds": -1.0}, {"max_seconds": 5.0}, {"min_share": 1.5}])
def test_impossible_options(options: dict) -> None:
    with pytest.raises(UsageError):
        FilterOptions(**options)


def test_a_path_that_no_manifest_can_hold_is_dropped(tmp_path: Path) -> None:

    (tmp_path / "speech").mkdir()
    with open(os.fsencode(tmp_path / "speech") + b"/\xff.wav", "wb") as file:
        soundfile.write(file, np.zeros(24_000), 24_000, format="WAV")
    filtered = filter_speech([tmp_path / "speech"], tmp_path / "out", FilterOptions(min_seconds=0.1), None)
    assert filtered.dropped["\\xff.wav"].why.startswith("its path is not UTF-8")
    (line,) = (tmp_path / "out" / "dropped.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["path"].endswith("\\udcff.wav")
