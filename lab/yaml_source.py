"""YAML as containerlab reads it (merge keys included), with the place of every key for errors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from nf.documents import tree
from nf.documents.keys import Loc, format_key
from nf.errors import DocumentError, Problem

_MERGE = "<<"


@dataclass(slots=True)
class Source:
    """A YAML document as plain data; `problems` are those of its form that still leave data to check."""

    file: str
    root: tree.Node
    data: Any
    problems: list[Problem] = field(default_factory=list)

    def problem(self, loc: Loc, rule: str, remedy: str, *, value: object = "", at_key: bool = False) -> Problem:
        """A problem at `loc`, or at the nearest part around it that stands in the file."""
        place = tree.find(self.root, loc, at_key=at_key)
        shown = "" if value in ("", None) else str(value)
        return Problem(rule, remedy, self.file, place.line, place.column, format_key(loc), shown)


def read(text: str | bytes, *, file: str) -> Source:
    """Parse one document. Raises DocumentError when it is no YAML, no UTF-8, or far too large."""
    if len(text) > tree.MAX_BYTES:
        raise _refused(file, Problem("far too large for a topology", "split the lab", line=1, column=1))
    try:
        words = text.decode() if isinstance(text, bytes) else text
        root, problems = tree.parse(words)
    except UnicodeDecodeError:
        raise _refused(file, Problem("not UTF-8 text", "save it as UTF-8", line=1, column=1)) from None
    except tree.DocumentSyntaxError as error:
        raise _refused(file, error.problem) from None
    merged = _merged(root)
    return Source(file, merged, merged.data(), [replace(problem, file=file) for problem in problems])


def _refused(file: str, problem: Problem) -> DocumentError:
    return DocumentError([replace(problem, file=file)], where=file)


def _merged(node: tree.Node) -> tree.Node:
    """`<<: *other` taken in (https://yaml.org/type/merge.html): the mapping's own keys win, then earlier ones."""
    if isinstance(node.value, list):
        return node._replace(value=[_merged(item) for item in node.value])
    if not isinstance(node.value, dict):
        return node
    own = {key: entry._replace(node=_merged(entry.node)) for key, entry in node.value.items()}
    given = own.get(_MERGE)
    if given is None:
        return node._replace(value=own)
    parts = given.node.value if isinstance(given.node.value, list) else [given.node]
    inherited: dict[str, tree.Entry] = {}
    for part in parts:
        if not isinstance(part.value, dict):
            return node._replace(value=own)  # no mapping: `<<` stays, and is refused as an unknown key
        inherited = {**part.value, **inherited}
    del own[_MERGE]
    return node._replace(value={**inherited, **own})
