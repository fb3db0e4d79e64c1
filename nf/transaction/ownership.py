"""Two drivers never own the same thing: checked once, when the engine is built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from nf.contracts.driver import Driver, Ownership
from nf.errors import Problem, RefusedError

_SETS = ("nft_tables", "route_protocols", "rule_priorities", "ports", "units", "oids")


def check_ownership(drivers: Sequence[Driver]) -> None:
    """Raises RefusedError naming both drivers and what they share, for every overlap there is."""
    problems = [problem for first, second in combinations(drivers, 2) for problem in _overlaps(first, second)]
    if problems:
        raise RefusedError(
            "two drivers claim the same thing: " + "; ".join(str(problem) for problem in problems),
            remedy="give each its own and start again",
            problems=problems,
        )


def _overlaps(first: Driver, second: Driver) -> Iterator[Problem]:
    names = f"{first.name} and {second.name}"
    for kind in ("name", "section"):
        if getattr(first, kind) == getattr(second, kind):
            yield _problem(names, kind, str(getattr(first, kind)))
    one, other = first.owns, second.owns
    for kind in _SETS:
        for shared in sorted(map(str, getattr(one, kind) & getattr(other, kind))):
            yield _problem(names, kind.replace("_", " "), shared)
    for path in _shared_paths(one, other):
        yield _problem(names, "paths", str(path))


def _shared_paths(one: Ownership, other: Ownership) -> Iterator[Path]:
    for left in sorted(one.paths):
        for right in sorted(other.paths):
            if left.is_relative_to(right) or right.is_relative_to(left):
                yield max(left, right, key=lambda path: len(path.parts))


def _problem(names: str, kind: str, value: str) -> Problem:
    return Problem(rule=f"{names} both own it", remedy="one owner each", key=kind, value=value)
