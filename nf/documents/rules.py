"""Small rules that planners and checks share; each broken one is a Problem with its document key."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Iterator

from nf.errors import Problem


def nearest(word: str, known: Iterable[str]) -> str:
    """A remedy for a word that is none of `known`: the nearest one, or all of them."""
    words = sorted(known)
    close = difflib.get_close_matches(word[:100], words, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(words)}" if words else "remove it"


def unique(rule: str, remedy: str, items: Iterable[tuple[str, Hashable, str]]) -> Iterator[Problem]:
    """A problem for each (key, identity, value) whose identity stood there before. `{first}` in `rule`: where."""
    first: dict[Hashable, str] = {}
    for key, identity, value in items:
        if identity in first:
            yield Problem(rule.format(first=first[identity]), remedy, key=key, value=value)
        else:
            first[identity] = key


def unknown(what: str, key: str, name: str, known: Iterable[str]) -> Problem:
    """A reference that does not resolve. `what`: what was looked for, with its place."""
    return Problem(f"no such {what}", nearest(name, known), key=key, value=name)
