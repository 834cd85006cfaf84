"""plm on a leaderboard: real speech beside it, and a remark where the lowest value is no merit."""

from __future__ import annotations

from slm_eval.compare.leaderboard import System, leaderboards
from slm_eval.metrics.plm import PhoneLM
from slm_eval.observing.phones.given import GivenPhones
from slm_eval.observing.sounds import ClipResult, Sound
from slm_eval.report.text.leaderboard import remarks, render
from slm_eval.run.evaluate import summarise
from slm_eval.run.finished import FinishedRun
from slm_eval.speech.corpus import Clip, Corpus

Clips = list[list[str]]


def system(name: str, generated: Clips, real: Clips) -> System:
    metric = PhoneLM(recognizer=GivenPhones("made|rev:1"))
    results, corpora = {}, {}
    for side, clips in (("generated", generated), ("real", real)):
        results[side] = [
            ClipResult(clip, side, Sound(clip, None, observations={"made|rev:1": {"phones": phones}}))
            for clip, phones in (
                (Clip(f"{at:03}", None, phones=tuple(phones)), phones) for at, phones in enumerate(clips)
            )
        ]
        corpora[side] = Corpus(side, tuple(each.clip for each in results[side]))
    return System(name, FinishedRun.from_evaluation(summarise(corpora, results, [metric], {}), name))


def test_real_speech_is_beside_the_systems_and_recitation_is_remarked(librispeech_phones: Clips) -> None:
    real = librispeech_phones[:80]
    board = leaderboards(
        [
            system("other speech", librispeech_phones[80:160], real),
            system("backwards", [clip[::-1] for clip in librispeech_phones[80:160]], real),
            system("recited", [clip[5:] for clip in real[:60]], real),
        ]
    )[0]
    column = board.columns["plm.3"]
    assert column.results["other speech"].value < column.results["backwards"].value
    assert column.real is not None
    assert column.real.value < column.results["backwards"].value
    assert "plm.3: no rank of recited: it is more predictable than real speech, which is no merit" in remarks(board)
    # Three of the clips have fewer than 20 phones.
    assert sum(line.startswith("plm.3: recited: 57 of 60 generated clips hold") for line in remarks(board)) == 1
    assert column.ranked == ["other speech", "backwards"]
    assert board.order[-1] == "recited"
    assert f"{column.real.value:.4f}" in render([board])
