"""Systems whose names would be markup, commands or other lines."""

from __future__ import annotations

from slm_eval.compare.leaderboard import Leaderboard, leaderboards
from tests.compare.leaderboard.made_runs import spoken, system

HOSTILE = (
    "</script><script>alert(1)</script>",
    '" onerror="alert(1)" x="',
    "evil\u202egpj",
    "a|b_c*d`e`[f](g)",
    r"\input{/etc/passwd} & 5 % $x$ #1 ~^",
    "two\nlines",
)


def hostile_boards() -> list[Leaderboard]:
    return leaderboards([system(name, spoken(30, index, 0.1 * index)) for index, name in enumerate(HOSTILE)])
