"""report.html: one self-contained page of a finished run, for people who read, compare and listen.

It asks the network for nothing (``shell``), and holds no time and no name of a machine, so that equal runs write equal
pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.files import write_whole
from slm_eval.base.terminal import notice
from slm_eval.report.findings.traits import traits
from slm_eval.report.page import phones_panels, scores_panels
from slm_eval.report.page.cards import listening
from slm_eval.report.page.elements import Cell, Column, copyable, section, table
from slm_eval.report.page.listen import find_audio
from slm_eval.report.page.markup import Markup, Node, tag
from slm_eval.report.page.shell import top_bar, whole_page
from slm_eval.run.finished import SIDES, FinishedRun, require_fields
from slm_eval.speech.audio import REASONS
from slm_eval.speech.corpus import Corpus, count_ignored

# Failed clips that are listed; the others are counted.
FAILURES = 200
_PLAYER = "<audio "  # text of clips is escaped: this is an element


def write_html(
    run: FinishedRun, folder: Path, given: Mapping[str, str | None] | None = None, *, keep_richer: bool = False
) -> Path:
    """Write report.html into a folder.

    Args:
        run: a finished run.
        folder: made where needed.
        given: side -> where its audio is now; where it is not said, the paths of the run are tried.
        keep_richer: leave a page alone that has more clips to listen to: it may be the only place where they are.

    Raises:
        UsageError: a given path does not exist.
        SlmEvalError: the summary lacks fields, the page cannot be written, or the one that is there is richer.
    """
    path = folder / "report.html"
    audio = find_audio(run, given or {})
    text = page(run, audio)
    before, now = _players(path), text.count(_PLAYER)
    why = "; ".join(reason for reason in audio.values() if isinstance(reason, str))
    if now < before and keep_richer:
        raise SlmEvalError(
            f"{path} has {before} clips to listen to, a new page would have {now}{why and f' ({why})'}; say where the "
            "audio is by --generated and --real, or where to write another page by --output"
        )
    write_whole(path, [text])
    if now < before and why:
        notice(f"{path} had {before} clips to listen to, and has {now} now ({why})")
    return path


def _players(path: Path) -> int:
    """Return how many clips a page that is there lets one hear."""
    try:
        return path.read_text(encoding="utf-8").count(_PLAYER)
    except (OSError, UnicodeDecodeError):
        return 0


def page(run: FinishedRun, audio: dict[str, Corpus | str]) -> str:
    """Return the whole page.

    Args:
        run: a finished run.
        audio: side -> the corpus that holds its audio, or why there is none.

    Raises:
        SlmEvalError: the summary lacks fields that every run writes.
    """
    require_fields(run)
    parts: list[Markup | None] = [
        scores_panels.glance(run),
        scores_panels.metrics(run),
        phones_panels.by_order(run),
        phones_panels.by_size(run),
        phones_panels.differences(run),
        phones_panels.language(traits(run)),
        scores_panels.distributions(run),
        listening(run, audio),
        _account(run),
        _reproduce(run),
    ]
    sections = [part for part in parts if part is not None]
    header = _header(run, sections)
    return whole_page(f"{run.name}: slm-eval report", header, sections, run.summary["version"])


def _header(run: FinishedRun, sections: list[Markup]) -> Markup:
    return tag(
        "header",
        top_bar("slm-eval report"),
        tag("h1", tag("bdi", run.name)),
        tag("div", [_corpus(run, side) for side in SIDES], class_="corpora"),
        tag("nav", [_link(part) for part in sections], aria_label="Sections"),
    )


def _corpus(run: FinishedRun, side: str) -> Markup:
    corpus = run.summary["corpora"][side]
    minutes = "" if corpus.get("seconds") is None else f", {corpus['seconds'] / 60:.1f} min"
    failed = f", {corpus['n_failed']:,} failed" if corpus["n_failed"] else ""
    ignored = f"; ignored: {count_ignored(corpus['ignored'])}" if corpus.get("ignored") else ""
    return tag(
        "div",
        tag("strong", side, class_=f"{side} name"),
        tag("bdi", corpus["path"], class_="path"),
        tag("span", f"{corpus['n_scored']:,} of {corpus['n_total']:,} clips scored{failed}{minutes}{ignored}"),
    )


def _link(part: Markup) -> Markup:
    """Return a link to a section, by the id and the name that it begins with."""
    _, identifier, _, name, *_ = part.split('"', 4)
    return tag("a", Markup(name), href=f"#{identifier}")


def _account(run: FinishedRun) -> Markup:
    """List every clip and every number that is missing, and every warning."""
    warnings: dict[str, list[str]] = {}
    for key, metric in run.metrics.items():
        for warning in metric.get("warnings", ()):
            warnings.setdefault(warning, []).append(key)
    absent: dict[str, list[str]] = {}
    for key, reason in run.summary.get("not_computed", {}).items():
        absent.setdefault(reason, []).append(key)
    failed = [clip for side in SIDES for clip in run.clips[side] if clip["status"] != "ok"]
    refused = [clip for side in SIDES for clip in run.clips[side] if clip["status"] == "ok" and clip.get("refused")]
    total = sum(len(run.clips[side]) for side in SIDES)
    parts = [
        f"{len(failed):,} of {total:,} clips could not be scored." if failed else f"All {total:,} clips were scored."
    ]
    if refused:
        parts.append(f"{len(refused):,} were refused by one metric and scored by others.")
    return section(
        "account",
        "Warnings",
        "Warnings and failures",
        (" ".join(parts),),
        _notes("Warnings", warnings),
        _notes("Not computed", absent),
        _failures(failed, refused) if failed or refused else None,
    )


def _notes(heading: str, by_text: dict[str, list[str]]) -> Node:
    if not by_text:
        return None
    items = [tag("li", tag("strong", ", ".join(keys)), " ", text) for text, keys in by_text.items()]
    return [tag("h3", heading), tag("ul", items, class_="notes")]


def _failures(failed: list[dict], refused: list[dict]) -> Node:
    rows = [(clip, clip["status"], clip.get("error") or REASONS.get(clip["status"], ""), "") for clip in failed]
    rows += [
        (clip, refusal["code"], refusal["message"], name)
        for clip in refused
        for name, refusal in sorted(clip["refused"].items())
    ]
    columns = [
        Column("clip", numeric=False),
        Column("side", numeric=False),
        Column("reason", numeric=False),
        Column("what happened", numeric=False),
    ]
    cells = [
        [
            Cell(tag("bdi", clip["id"]), clip["id"]),
            Cell(clip["side"], clip["side"]),
            Cell([tag("code", code), f" for {name}" if name else None], code),
            Cell(tag("bdi", message)),
        ]
        for clip, code, message, name in rows[:FAILURES]
    ]
    more = len(rows) - len(cells)
    rest = tag("p", f"{more:,} more are in clips.jsonl.", class_="note") if more else None
    return [tag("h3", "Failures"), table(columns, cells, "Clips that could not be scored"), rest]


def _reproduce(run: FinishedRun) -> Markup:
    signatures = "\n".join(f"{key}  {metric['signature']}" for key, metric in run.metrics.items())
    environment = "\n".join(
        f"{name}  {version or 'not installed'}"
        for name, version in {"slm-eval": run.summary["version"], **run.summary.get("environment", {})}.items()
        if name != "run"  # what is in there is for the commands
    )
    return section(
        "reproduce",
        "Reproduce",
        "Signatures and environment",
        ("Two numbers are comparable where their signatures are equal; slm-eval compare and leaderboard check it.",),
        copyable("Signatures", "signatures", signatures),
        copyable("Environment", "environment", environment),
    )
