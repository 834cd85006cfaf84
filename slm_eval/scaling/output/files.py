"""Options of the commands read, and results written into a folder: numbers first, then figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from slm_eval.base.errors import SlmEvalError, UsageError, unknown_name
from slm_eval.base.files import dump, write_whole
from slm_eval.scaling.findings import ablations
from slm_eval.scaling.findings.report import FitReport
from slm_eval.scaling.output import ablation_figure, figures, style, tables
from slm_eval.scaling.output.ablation_table import ablation_table
from slm_eval.scaling.runs.real import Real

FIT = "fit.json"


@dataclass(frozen=True)
class Written:
    """Names of the files of a folder, and why there are no figures where there should be."""

    names: list[str]
    problem: str | None = None


def write_fit(report: FitReport, folder: Path, formats: Sequence[str]) -> Written:
    """Write fit.json, table.md and table.tex, then the figures; without matplotlib all but those.

    Raises:
        SlmEvalError: a file cannot be written.
    """
    write_whole(folder / "table.md", [tables.markdown(report)])
    write_whole(folder / "table.tex", [tables.latex(report)])
    write_whole(folder / FIT, [dump(report.to_dict(), indent=1), "\n"])
    return _with_figures([FIT, "table.md", "table.tex"], formats, lambda: figures.draw(report, folder, formats))


def write_ablations(
    studies: Sequence[ablations.Ablation], folder: Path, real: dict[str, Real], formats: Sequence[str]
) -> Written:
    """Write ablations.json, ablations.md and ablations.tex, then figure 6.

    Raises:
        SlmEvalError: a file cannot be written.
    """
    table = ablation_table(studies)
    write_whole(folder / "ablations.md", [table.to_markdown(), "\n"])
    write_whole(folder / "ablations.tex", ["% Needs \\usepackage{booktabs}.\n\n", table.to_latex(), "\n"])
    write_whole(folder / "ablations.json", [dump(ablations.to_dict(studies), indent=1), "\n"])
    names = ["ablations.json", "ablations.md", "ablations.tex"]
    return _with_figures(names, formats, lambda: ablation_figure.draw(studies, folder, real, formats))


def _with_figures(names: list[str], formats: Sequence[str], draw: Callable[[], list[Path]]) -> Written:
    if not formats:
        return Written(names)
    try:
        style.require_matplotlib()
    except SlmEvalError as error:
        return Written(names, str(error))
    return Written([*names, *(path.name for path in draw())])


def refuse_fit(folder: Path, *, force: bool) -> None:
    """Refuse to replace another fit unasked.

    Raises:
        UsageError: the folder holds one, and it was not said to replace it.
    """
    if (folder / FIT).exists() and not force:
        raise UsageError(f"{folder} holds a fit; --force replaces it, or choose another --output")


def parse_gamma(text: str) -> float | None:
    """Return a number, or None for "free".

    Raises:
        UsageError: it is neither that nor a number.
    """
    if text == "free":
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--gamma is {text!r}; expected a number, or free") from None


def parse_metrics(text: str | None) -> tuple[list[str] | None, dict[str, bool]]:
    """Return the names that are asked for, and the direction of those that slm-eval does not know: ``pjsd,name:lower``.

    Raises:
        UsageError: a direction that is neither higher nor lower.
    """
    if text is None:
        return None, {}
    extra = {}
    names = []
    for entry in text.split(","):
        name, colon, direction = entry.strip().partition(":")
        names.append(name)
        if colon and direction not in {"higher", "lower"}:
            raise UsageError(f"--metrics {entry.strip()}: after the colon comes higher or lower, whichever is better")
        if colon:
            extra[name] = direction == "higher"
    return names, extra


def figure_formats(text: str, no_figures: bool) -> list[str]:
    """Return file formats of figures; none where there shall be no figures.

    Raises:
        UsageError: an unknown format.
    """
    if no_figures:
        return []
    formats = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in formats:
        if name not in style.FORMATS:
            raise unknown_name("format", name, style.FORMATS)
    return formats
