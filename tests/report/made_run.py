"""A small finished run with hostile names, and audio for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from slm_eval.metrics.metric import NotComputed
from slm_eval.metrics.pjsd import pJSD
from slm_eval.observing.sounds import ClipResult, Sound
from slm_eval.run.evaluate import summarise
from slm_eval.run.finished import SIDES, FinishedRun
from slm_eval.speech.audio import AudioError, read_audio
from slm_eval.speech.corpus import Clip, Corpus
from tests.conftest import noise
from tests.fakes import Loudness, SpellingObserver

HOSTILE = (
    "</script><script>alert(1)</script>.wav",
    "\"onerror='alert(1)' x=\".wav",
    "evil\u202egpj.wav",
    "a" * 300 + ".wav",
)
BROKEN = "& <b>bold</b>.wav"
CLIPS = 30


def made_run(folder: Path) -> FinishedRun:
    """30 clips a side of 0.6 s and 40 phones: generated speech has hostile names, too many "v", and one failure.

    Args:
        folder: where the audio is written, as generated-0.wav and so on: no file system takes all of these names.
    """
    rng = np.random.default_rng(0)
    loudness, phones = Loudness(), pJSD(n=(1, 2, 3), recognizer=SpellingObserver())
    clips: dict[str, list[ClipResult]] = {}
    for side in SIDES:
        real = side == "real"
        clips[side] = []
        for index in range(CLIPS):
            file = folder / f"{side}-{index}.wav"
            soundfile.write(file, noise(0.6, seed=index + 100 * real), 16_000)
            name = HOSTILE[index] if not real and index < len(HOSTILE) else f"{index:02}.wav"
            spoken = rng.choice(list("abcdv"), size=40, p=[0.3, 0.3, 0.2, 0.15, 0.05] if real else [0.2] * 5)
            sound = Sound(Clip(name, file), f"{side}{index}", read_audio(file).facts)
            # The clips with hostile names are the best and the worst, so that the page shows them.
            score = (0.5, 0.49, 0.01, 0.02)[index] if name in HOSTILE else float(rng.normal(0.2 + 0.1 * real, 0.02))
            sound.observations = {
                str(loudness.observer.fingerprint): {"scores": {"loudness.rms": score}},
                str(phones.observer.fingerprint): {"phones": spoken.tolist()},
            }
            clips[side].append(ClipResult(sound.clip, side, sound))
    broken = Sound(Clip(BROKEN, folder / "none"), None, error=AudioError("decode_error", "cut & <short>"))
    clips["generated"].append(ClipResult(broken.clip, "generated", broken))
    corpora = {
        side: Corpus(str(folder / f"<{side}>"), tuple(clip.clip for clip in of_side)) for side, of_side in clips.items()
    }
    absent = {"nisqa.mos": NotComputed("its weights <are> not here", unavailable=True)}
    return FinishedRun.from_evaluation(summarise(corpora, clips, [loudness, phones], absent), "a <run>")


def its_audio(run: FinishedRun, folder: Path) -> dict[str, Corpus | str]:
    """Return where ``made_run`` has put it."""
    return {
        side: Corpus(
            str(folder),
            tuple(Clip(clip["id"], folder / f"{side}-{index}.wav") for index, clip in enumerate(run.clips[side])),
        )
        for side in SIDES
    }
