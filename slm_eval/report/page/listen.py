"""Which clips a page lets one hear: the best, the median and the worst by each ranking, and some real ones beside."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from slm_eval.base.errors import SlmEvalError
from slm_eval.report.findings.contributions import strangeness
from slm_eval.report.findings.reading import leading_keys
from slm_eval.report.page.sound import Recording, record
from slm_eval.run.finished import SIDES, FinishedRun
from slm_eval.run.identity import source
from slm_eval.speech.audio import AudioError
from slm_eval.speech.corpus import Corpus, load_corpus

GROUPS = ("best", "median", "worst")
PER_GROUP = 2
REAL = 3
# n of the ranking by phones: the sharpest at the sizes that people have.
_STRANGENESS_N = 2


@dataclass(frozen=True)
class Ranking:
    """An order of the generated clips.

    Attributes:
        key: "dnsmos.ovrl", or "phones" for how unlike real speech the 2-grams of a clip are.
        name: for people.
        values: clip id -> what it is ranked by.
        groups: group -> clip ids.
    """

    key: str
    name: str
    values: dict[str, float]
    groups: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Heard:
    """A clip with its recording, or why there is none."""

    clip: dict[str, Any]  # its line of clips.jsonl
    recording: Recording | str


def find_audio(run: FinishedRun, given: Mapping[str, str | None]) -> dict[str, Corpus | str]:
    """Return, by side, where its audio is, or why that is not known.

    Args:
        run: its summary says where the audio was.
        given: side -> where it is now, where the user says so.

    Raises:
        UsageError: a path that the user gave does not exist.
    """
    audio: dict[str, Corpus | str] = {}
    for side in SIDES:
        folder = given.get(side)
        try:
            corpus = load_corpus(folder or source(run.summary, side, run.folder))
        except (SlmEvalError, OSError) as error:
            if folder is not None:
                raise
            audio[side] = str(error)
        else:
            audio[side] = corpus if corpus.has_audio else "the phones were given ready-made: there is no audio"
    return audio


def rankings(run: FinishedRun) -> list[Ranking]:
    """Return one ranking per family of scores, and one by phones where there are some."""
    by_key = []
    for key in leading_keys(run):
        values = run.scores(key)
        if values:
            by_key.append(_ranking(key, key, values, higher_is_better=bool(run.metrics[key]["higher_is_better"])))
    if run.divergences and all(run.phones(side) for side in SIDES):
        values = strangeness(run, _STRANGENESS_N)
        if values:
            by_key.append(_ranking("phones", "likeness of phones", values, higher_is_better=False))
    return by_key


def hear(run: FinishedRun, chosen: Sequence[Ranking], audio: Mapping[str, Corpus | str]) -> dict[str, dict[str, Heard]]:
    """Return, by side and clip id, clips with their recordings: all clips of the rankings, and some real ones."""
    wanted = {
        "generated": list(dict.fromkeys(name for one in chosen for group in GROUPS for name in one.groups[group])),
        "real": _typical(run, chosen),
    }
    jobs = []
    for side, ids in wanted.items():
        corpus = audio[side]
        lines = {clip["id"]: clip for clip in run.clips[side]}
        files = {} if isinstance(corpus, str) else {clip.id: clip for clip in corpus.clips}
        jobs += [(side, lines[name], corpus if isinstance(corpus, str) else files.get(name)) for name in ids]

    def one(job: tuple[str, dict[str, Any], Any]) -> Heard:
        _, line, clip = job
        if clip is None or isinstance(clip, str):
            return Heard(line, clip or "the file is not there any more")
        try:
            return Heard(line, record(clip, line.get("seconds")))
        except AudioError as error:
            return Heard(line, error.message)

    # Decoding, encoding and compressing all release the interpreter's lock.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as pool:
        results = list(pool.map(one, jobs))
    heard: dict[str, dict[str, Heard]] = {side: {} for side in SIDES}
    for (side, line, _), result in zip(jobs, results, strict=True):
        heard[side][line["id"]] = result
    return heard


def _ranking(key: str, name: str, values: dict[str, float], *, higher_is_better: bool) -> Ranking:
    ordered = sorted(values, key=lambda clip: (-values[clip] if higher_is_better else values[clip], clip))
    size = max(1, min(PER_GROUP, len(ordered) // 3))
    middle = (len(ordered) - size + 1) // 2
    candidates = {"best": ordered[:size], "worst": ordered[-size:], "median": ordered[middle : middle + size]}
    taken: set[str] = set()
    groups: dict[str, tuple[str, ...]] = {}
    for group, clips in candidates.items():
        groups[group] = tuple(clip for clip in clips if clip not in taken)
        taken.update(clips)
    return Ranking(key, name, values, {group: groups[group] for group in GROUPS})


def _typical(run: FinishedRun, chosen: Sequence[Ranking]) -> list[str]:
    """Return real clips to compare with by ear: those nearest the median of the first score, else of the length."""
    scored = next((run.scores(one.key, "real") for one in chosen if one.key in run.metrics), {})
    values = scored or {
        clip["id"]: clip["seconds"] for clip in run.clips["real"] if clip["status"] == "ok" and clip.get("seconds")
    }
    if not values:
        return []
    median = float(np.median(list(values.values())))
    return sorted(values, key=lambda clip: (abs(values[clip] - median), clip))[:REAL]
