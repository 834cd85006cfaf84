"""The section of a report with clips to listen to: a card per clip, with player, spectrogram and scores."""

from __future__ import annotations

from collections.abc import Sequence

from slm_eval.report.page import charts
from slm_eval.report.page.elements import section
from slm_eval.report.page.listen import GROUPS, Heard, Ranking, hear, rankings
from slm_eval.report.page.markup import Markup, Node, tag
from slm_eval.run.finished import FinishedRun
from slm_eval.speech.corpus import Corpus


def listening(run: FinishedRun, audio: dict[str, Corpus | str]) -> Markup | None:
    """Return best, median and worst generated clips by each ranking, and some real clips.

    Args:
        run: a finished run.
        audio: side -> the corpus that holds its audio, or why there is none.
    """
    chosen = rankings(run)
    if not chosen:
        return None
    heard = hear(run, chosen, audio)
    return section(
        "clips",
        "Clips",
        "Listen",
        (_sentence(run, chosen[0]),),
        _missing(audio),
        _buttons(chosen) if len(chosen) > 1 else None,
        tag(
            "div",
            [
                tag(
                    "div",
                    tag("h3", f"{group.capitalize()} generated"),
                    tag(
                        "div",
                        [_card(heard["generated"][name], chosen) for name in chosen[0].groups[group]],
                        class_="cards",
                        data_group=group,
                    ),
                )
                for group in GROUPS
                if any(one.groups[group] for one in chosen)
            ],
            class_="groups",
        ),
        tag(
            "div",
            [_card(clip, chosen) for name, clip in heard["generated"].items() if name not in _of(chosen[0])],
            hidden=True,
            data_group="other",
        ),
        tag(
            "div",
            tag("h3", "Real clips"),
            tag("div", [_card(clip, chosen) for clip in heard["real"].values()], class_="cards"),
        )
        if heard["real"]
        else None,
    )


def _sentence(run: FinishedRun, ranking: Ranking) -> str:
    """Say how far apart the clips below are."""
    values = list(ranking.values.values())
    if ranking.key not in run.metrics:
        return "Generated clips whose 2-grams are most, half-way and least like those of real speech."
    return f"By {ranking.key}, generated clips go from {min(values):.2f} to {max(values):.2f}. Hear what that means."


def _of(ranking: Ranking) -> set[str]:
    return {name for group in GROUPS for name in ranking.groups[group]}


def _missing(audio: dict[str, Corpus | str]) -> Node:
    """Say why a side has no players, and what to do."""
    reasons = {side: corpus for side, corpus in audio.items() if isinstance(corpus, str)}
    return [
        tag("p", f"There are no players for {side} speech: {reason}. ", _remedy(reason), class_="notice")
        for side, reason in reasons.items()
    ]


def _remedy(reason: str) -> Node:
    if "ready-made" in reason:
        return None
    return [tag("code", "slm-eval report RUN --generated PATH --real PATH"), " makes this page where the audio is."]


def _buttons(chosen: Sequence[Ranking]) -> Markup:
    return tag(
        "div",
        [
            tag("button", one.name, type="button", data_ranking=index, aria_pressed="true" if not index else "false")
            for index, one in enumerate(chosen)
        ],
        class_="tabs",
        role="group",
        aria_label="Rank the clips by",
    )


def _card(heard: Heard, chosen: Sequence[Ranking]) -> Markup:
    clip, recording = heard.clip, heard.recording
    name = clip["id"]
    places = [
        f"{number}-{group}-{place}"
        for number, one in enumerate(chosen)
        for group in GROUPS
        for place, ranked in enumerate(one.groups[group])
        if ranked == name and clip["side"] == "generated"
    ]
    if isinstance(recording, str):
        player: Node = tag("p", f"no player: {recording}", class_="quiet")
    else:
        cut = f", the first {recording.seconds:.0f} s" if recording.cut else ""
        player = [
            charts.picture(recording.spectrogram, recording.seconds, recording.top_hz, f"Spectrogram of {name}{cut}"),
            tag("audio", controls=True, preload="metadata", src=recording.audio, aria_label=f"Play {name}"),
            tag("p", f"The first {recording.seconds:.0f} s.", class_="quiet") if recording.cut else None,
        ]
    scores = [(one.key, clip["scores"][one.key]) for one in chosen if one.key in clip["scores"]]
    return tag(
        "article",
        tag("h4", tag("bdi", name)),
        player,
        tag(
            "dl",
            [tag("div", tag("dt", key), tag("dd", f"{score:.2f}")) for key, score in scores],
            tag("div", tag("dt", "length"), tag("dd", f"{clip['seconds']:.1f} s")) if clip.get("seconds") else None,
        ),
        tag(
            "details", tag("summary", f"{len(clip['phones'])} phones"), tag("p", " ".join(clip["phones"]), class_="ipa")
        )
        if clip["phones"]
        else None,
        class_="card",
        data_places=" ".join(places) or None,
    )
