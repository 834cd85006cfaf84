"""Which runs may stand in one table: those that computed every number alike."""

from __future__ import annotations

from collections.abc import Sequence

from slm_eval.base.errors import SlmEvalError
from slm_eval.compare.leaderboard.systems import System

Difference = tuple[str | None, str | None]


def by_signature(systems: Sequence[System], keys: Sequence[str]) -> list[list[System]]:
    """Systems that may be ranked together: each joins the first group in which it agrees with every member.

    A key that a run lacks is no disagreement: the run is then not ranked by it.
    """
    groups: list[list[System]] = []
    for system in systems:
        fitting = (group for group in groups if not any(differences(system, each, keys) for each in group))
        group = next(fitting, None)
        if group is None:
            groups.append([system])
        else:
            group.append(system)
    return groups


def require_one_signature(groups: Sequence[Sequence[System]], keys: Sequence[str]) -> None:
    """
    Raises:
        SlmEvalError: there are several groups; the message names runs that disagree and the part that differs.
    """
    if len(groups) < 2:
        return
    other = groups[1][0]
    mine = next(each for each in groups[0] if differences(each, other, keys))
    about: dict[str, list[str]] = {}
    for key, parts in differences(mine, other, keys).items():
        told = ", ".join(f"{part} {a or 'none'} against {b or 'none'}" for part, (a, b) in parts.items())
        about.setdefault(told, []).append(key)
    listed = "; ".join(f"{', '.join(of)}: {told}" for told, of in about.items())
    raise SlmEvalError(
        f"{mine.name} and {other.name} carry different signatures and are not ranked together ({listed}); "
        "run them alike, or make a table of each signature with --per-signature"
    )


def differences(a: System, b: System, keys: Sequence[str]) -> dict[str, dict[str, Difference]]:
    """Key -> part of the signature -> what it is for either system; nothing for keys that agree or that one lacks."""
    found = {}
    for key in keys:
        if key in a.run.metrics and key in b.run.metrics:
            parts = a.run.signature(key).differences(b.run.signature(key))
            if parts:
                found[key] = parts
    return found
