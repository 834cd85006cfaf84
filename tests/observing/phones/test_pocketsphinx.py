"""PocketSphinx: the phones of a clip depend on the clip alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from slm_eval.base.errors import UsageError
from slm_eval.observing.observer import Refusal, Signal
from slm_eval.observing.phones.pocketsphinx import PocketSphinx
from slm_eval.speech.audio import resample
from tests.conftest import EXAMPLES, noise

PHONES = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
CMU = set(PHONES.split(" "))


@pytest.fixture(scope="module")
def recognizer() -> PocketSphinx:
    observer = PocketSphinx()
    observer.ready("cpu")
    return observer


def signals(*numbers: int) -> list[Signal]:
    files = sorted((EXAMPLES / "real").rglob("*.ogg"))
    return [Signal(*soundfile.read(files[number], dtype="float32")) for number in numbers]


def test_phones_do_not_depend_on_the_clips_heard_before(recognizer: PocketSphinx) -> None:
    clips = signals(0, 9, 18, 27)
    together = recognizer.observe(clips)
    assert recognizer.observe(clips[::-1])[::-1] == together
    fresh = PocketSphinx()
    fresh.ready("cpu")
    assert fresh.observe(clips[3:]) == together[3:]


def test_phones_are_those_of_the_cmu_set_without_silence_and_fillers(recognizer: PocketSphinx) -> None:
    (seen,) = recognizer.observe(signals(5))
    assert isinstance(seen, dict)
    assert set(seen["phones"]) <= CMU
    assert 30 < len(seen["phones"]) < 120


def test_equal_to_the_official_decoder(recognizer: PocketSphinx) -> None:
    # A decoder made for one clip, driven as PocketSphinx's documentation shows.
    from pocketsphinx import Decoder, get_model_path

    (clip,) = signals(11)
    model = get_model_path("en-us")
    decoder = Decoder(
        hmm=f"{model}/en-us", allphone=f"{model}/en-us-phone.lm.bin", lm=None, lw=2.0, beam=1e-20, pbeam=1e-20,
        cmn="batch", loglevel="FATAL",
    )  # fmt: skip
    decoder.start_utt()
    decoder.process_raw((clip.samples * 32768).round().astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    words = [segment.word for segment in decoder.seg()]
    assert recognizer.observe([clip]) == [{"phones": [word for word in words if word in CMU]}]


def test_short_clips_and_noise(recognizer: PocketSphinx) -> None:
    for samples in (1, 100, 729):
        (seen,) = recognizer.observe([Signal(noise(1)[:samples], 16_000)])
        assert isinstance(seen, Refusal)
        assert seen.code == "too_short"
    for samples in (730, 1_000, 3_000):
        (seen,) = recognizer.observe([Signal(noise(1)[:samples], 16_000)])
        assert isinstance(seen, dict)
    (loud,) = recognizer.observe([Signal(noise(1) * 100, 16_000)])
    assert isinstance(loud, dict)


def test_language_and_search_are_signed() -> None:
    fingerprint = str(PocketSphinx("eng").fingerprint)
    assert fingerprint == str(PocketSphinx().fingerprint)
    assert "lang:eng" in fingerprint
    assert "lw:2.0|beam:1e-20|pbeam:1e-20" in fingerprint
    with pytest.raises(UsageError, match="recognises 'eng' only"):
        PocketSphinx("deu")


def test_real_speech(librispeech: Path, recognizer: PocketSphinx) -> None:
    # Frozen from pocketsphinx 5.1.1 by the code above on 118-121721-0000.flac, first 20 phones.
    samples, rate = soundfile.read(librispeech / "118-121721-0000.flac", dtype="float32")
    (seen,) = recognizer.observe([Signal(resample(samples, rate, 16_000), 16_000)])
    assert isinstance(seen, dict)
    assert " ".join(seen["phones"][:20]) == "TH AE S T IH JH IH NG T AY M S EY ZH N EH S EY K Z"
