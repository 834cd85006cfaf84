"""The paper's Table 1, laid out as our leaderboards are, and what may be said of the two side by side."""

from __future__ import annotations

from pathlib import Path

from model_zoo.plain_yaml import read_yaml
from slm_eval.base.tables import Table, in_markdown
from slm_eval.report.text.numbers import NONE

DATA = Path(__file__).with_name("paper_table1.yaml")
HEADING = "# Beside the paper's Table 1"

Family = tuple[str, "str | None", bool]  # name, unit where it is stated, whether higher is better

# ``docs/leaderboard.md`` says why.
COMPARABLE = (
    "What can be compared: the order of systems within one table, which has one signature and one size. pJSD has the "
    "same definition in both.",
    "What cannot: a value of one table with a value of the other. The paper states neither n nor the base of its pJSD, "
    "nor how much speech it was computed from, and pJSD changes with each of these, with the recogniser and with the "
    "inventory of its phones. Nor can an equal value be called a reproduction.",
    "The paper's table has no intervals and so no ranks: which of its differences are real is not known.",
)


def tables() -> list[Table]:
    """One per family of metrics, a row per system, as in ``slm_eval.report.text.leaderboard``."""
    told = read_yaml(DATA)
    families: dict[Family, list[str]] = {}
    for key, about in told["metrics"].items():
        families.setdefault((about["family"], about["unit"], about["higher_is_better"]), []).append(key)
    return [_table(family, keys, told["systems"]) for family, keys in families.items()]


def beside(ours: str) -> str:
    """Our leaderboard and the paper's table in one document.

    Args:
        ours: the leaderboard as Markdown, its title first.
    """
    told = read_yaml(DATA)
    lines = [HEADING, *(in_markdown(line) for line in COMPARABLE)]
    lines += [ours.strip().replace("# Leaderboard", "## Ours", 1), f"## {in_markdown(told['source'])}"]
    lines += [in_markdown(f"Not stated there: {', '.join(told['unstated'])}.")]
    return "\n\n".join([*lines, *(table.to_markdown() for table in tables())]) + "\n"


def _table(family: Family, keys: list[str], systems: dict[str, dict[str, float]]) -> Table:
    name, unit, higher = family
    header = ["", *(text for key in keys for text in (key, "#"))]
    rows = [[system, *(text for key in keys for text in (f"{of[key]:.4f}", NONE))] for system, of in systems.items()]
    rows += [[row, *(text for _ in keys for text in (NONE, ""))] for row in ("real speech", _basis(name))]
    title, scale = "pJSD" if name == "pjsd" else name, f"in {unit}" if unit else "in a unit that is not stated"
    return Table(f"{title} {scale}, {'higher' if higher else 'lower'} is better", header, rows)


def _basis(family: str) -> str:
    return "n-grams" if family == "pjsd" else "clips"
