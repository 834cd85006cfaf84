"""report.md and report.tex: the tables of a run for a README, an issue or a paper.

The numbers are those of the page, rounded as there. LaTeX needs booktabs; nothing of a name reaches it unescaped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slm_eval.base.files import write_whole
from slm_eval.base.tables import Table, in_code, in_markdown, one_line
from slm_eval.report.findings import reading
from slm_eval.report.findings.traits import Trait, traits
from slm_eval.report.text.numbers import NONE, direction, fixed, interval_text, signed
from slm_eval.run.finished import SIDES, FinishedRun, require_fields


def write_documents(run: FinishedRun, folder: Path) -> list[Path]:
    """Write report.md and report.tex into a folder, which is made where needed.

    Raises:
        SlmEvalError: the summary lacks fields, or a file cannot be written.
    """
    require_fields(run)
    written = [folder / "report.md", folder / "report.tex"]
    for path, make in zip(written, (markdown, latex), strict=True):
        write_whole(path, [make(run)])
    return written


def markdown(run: FinishedRun) -> str:
    """Return the run as GitHub reads it."""
    parts = [f"# {in_markdown(run.name)}", *(in_markdown(sentence) for sentence in _sentences(run))]
    parts += [table.to_markdown() for table in _tables(run)]
    parts.append("Signatures:")
    parts.append("\n".join(f"- {in_code(key)}: {in_code(metric['signature'])}" for key, metric in run.metrics.items()))
    return "\n\n".join(parts) + "\n"


def latex(run: FinishedRun) -> str:
    """Return the tables for a paper, with what each number is in the caption, and the signatures as comments."""
    parts = ["% Needs \\usepackage{booktabs}.", "\n".join(f"% {line}" for line in _comments(run))]
    parts += [table.to_latex() for table in _tables(run)]
    return "\n\n".join(parts) + "\n"


def _sentences(run: FinishedRun) -> list[str]:
    sentences = [_of_corpus(run, side) for side in SIDES]
    if run.divergences:
        sentences.append(reading.of_divergences(run.divergences))
    sentences.append(reading.of_scores({key: run.metrics[key] for key in run.score_keys}))
    return [sentence for sentence in sentences if sentence]


def _of_corpus(run: FinishedRun, side: str) -> str:
    corpus = run.summary["corpora"][side]
    minutes = "" if corpus.get("seconds") is None else f", {corpus['seconds'] / 60:.1f} min"
    counts = f"{corpus['n_scored']:,} of {corpus['n_total']:,} clips scored"
    return f"{side.capitalize()}: {corpus['path']}, {counts}{minutes}."


def _comments(run: FinishedRun) -> list[str]:
    lines = [*_sentences(run), *(f"{key}: {metric['signature']}" for key, metric in run.metrics.items())]
    return [one_line(line) for line in lines]


def _tables(run: FinishedRun) -> list[Table]:
    tables = []
    if run.divergences:
        unit = next(iter(run.divergences.values()))["unit"]
        header = ["metric", "pJSD", "95 % interval", "real vs real", "p", "excess", "corrected", "coverage"]
        rows = [_divergence_row(key, run.metrics[key]) for key in run.divergence_keys.values()]
        tables.append(Table(f"pJSD in {unit}, lower is better", header, rows))
    for unit in dict.fromkeys(run.metrics[key]["unit"] for key in run.score_keys):
        header = ["metric", "generated", "95 % interval", "real", "95 % interval", "difference", "clips"]
        rows = [_score_row(key, run.metrics[key]) for key in run.score_keys if run.metrics[key]["unit"] == unit]
        tables.append(Table(f"Means over clips in {unit}, with 95 % intervals", header, rows))
    if run.cross_entropies:
        unit = next(iter(run.cross_entropies.values()))["unit"]
        header = ["metric", "generated", "95 % interval", "real", "95 % interval", "difference", "p"]
        rows = [_cross_entropy_row(key, metric) for key, metric in run.cross_entropies.items()]
        tables.append(Table(f"Cross-entropy of phones under a model of real speech, in {unit}", header, rows))
    if run.corpus_metrics:
        header = ["metric", "value", "95 % interval", "real", "unit", "better"]
        rows = [_corpus_row(key, metric) for key, metric in run.corpus_metrics.items()]
        tables.append(Table("Metrics over whole corpora", header, rows))
    rows = [_trait_row(trait) for trait in traits(run)]
    if rows:
        header = ["", "generated", "95 % interval", "real", "95 % interval"]
        tables.append(Table("Tempo, silence, variety and repetition", header, rows))
    return tables


def _divergence_row(key: str, metric: dict[str, Any]) -> list[str]:
    digits = metric["digits"]
    floor = (
        NONE if metric["floor"] is None else f"{fixed(metric['floor'], digits)} ± {fixed(metric['floor_sd'], digits)}"
    )
    return [
        key,
        fixed(metric["value"], digits),
        interval_text(metric["ci95"], digits),
        floor,
        fixed(metric.get("p"), 3),
        NONE if metric["excess"] is None else signed(metric["excess"], digits),
        fixed(metric["corrected"], digits),
        fixed(metric["coverage"], 3),
    ]


def _score_row(key: str, metric: dict[str, Any]) -> list[str]:
    digits, real = metric["digits"], metric.get("real")
    gap = reading.difference(reading.moments(metric), reading.moments(real))
    return [
        key,
        fixed(metric["value"], digits),
        interval_text(metric["ci95"], digits),
        fixed(real and real["value"], digits),
        interval_text(real and real["ci95"], digits),
        NONE if gap is None else f"{signed(gap.value, digits)} {interval_text(gap.interval, digits)}",
        f"{metric['n']:,} / {real['n'] if real else 0:,}",
    ]


def _cross_entropy_row(key: str, metric: dict[str, Any]) -> list[str]:
    digits, real, gap = metric["digits"], metric["real"], metric["difference"]
    return [
        key,
        fixed(metric["value"], digits),
        interval_text(metric["ci95"], digits),
        fixed(real["value"], digits),
        interval_text(real["ci95"], digits),
        f"{signed(gap['value'], digits)} {interval_text(gap['ci95'], digits)}",
        NONE if gap["p"] is None else f"{gap['p']:.2g}",
    ]


def _corpus_row(key: str, metric: dict[str, Any]) -> list[str]:
    digits, real = metric["digits"], metric.get("real")
    return [
        key,
        fixed(metric["value"], digits),
        interval_text(metric["ci95"], digits),
        fixed(real and real["value"], digits),
        metric["unit"],
        direction(metric["higher_is_better"]).removesuffix(" is better"),
    ]


def _trait_row(trait: Trait) -> list[str]:
    cells = [f"{trait.name}, {trait.unit}" if trait.unit else trait.name]
    for side in SIDES:
        moments = trait.moments.get(side)
        cells += (
            [NONE, NONE]
            if moments is None
            else [fixed(moments.value, trait.digits), interval_text(moments.ci95, trait.digits)]
        )
    return cells
