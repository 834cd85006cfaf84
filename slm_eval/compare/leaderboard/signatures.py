"""Which runs may stand in one table: those that computed every number alike."""

from __future__ import annotations

from collections.abc import Sequence

from slm_eval.base.errors import SlmEvalError
from slm_eval.compare.leaderboard.systems import System

Difference = tuple[str | None, str | None]


def by_signature(systems: Sequence[System], keys: Sequence[str]) -> list[list[System]]:
    """Group systems that may be ranked together: each joins the first group in which it agrees with every member.

    A key that a run lacks is no disagreement: the run is then not ranked by it.
    """
    groups: list[list[System]] = []
    for system in systems:
        fitting = (group for group in groups if not any(differences(system, member, keys) for member in group))
        group = next(fitting, None)
        if group is None:
            groups.append([system])
        else:
            group.append(system)
    return groups


def require_one_signature(groups: Sequence[Sequence[System]], keys: Sequence[str]) -> None:
    """Refuse systems of several signatures.

    Raises:
        SlmEvalError: there are several groups; the message names runs that disagree and the part that differs.
    """
    if len(groups) < 2:
        return
    other = groups[1][0]
    one = next(system for system in groups[0] if differences(system, other, keys))
    keys_of: dict[str, list[str]] = {}
    for key, parts in differences(one, other, keys).items():
        differing = ", ".join(f"{part} {a or 'none'} against {b or 'none'}" for part, (a, b) in parts.items())
        keys_of.setdefault(differing, []).append(key)
    listed = "; ".join(f"{', '.join(named)}: {differing}" for differing, named in keys_of.items())
    raise SlmEvalError(
        f"{one.name} and {other.name} carry different signatures and are not ranked together ({listed}); "
        "run them alike, or make a table of each signature with --per-signature"
    )


def differences(a: System, b: System, keys: Sequence[str]) -> dict[str, dict[str, Difference]]:
    """Return key -> part of the signature -> what it is for either system; without keys that agree or one lacks."""
    differing = {}
    for key in keys:
        if key in a.run.metrics and key in b.run.metrics:
            parts = a.run.signature(key).differences(b.run.signature(key))
            if parts:
                differing[key] = parts
    return differing
