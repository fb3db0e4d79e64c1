"""Text into documents: all problems at once, each with file, line, column, key, value, rule and remedy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from nf.contracts.json import JsonObject
from nf.documents import tree
from nf.documents.appliance import ApplianceConfig
from nf.documents.fleet import Fleet
from nf.documents.keys import format_key, parse_key
from nf.documents.lineup import LineUp
from nf.documents.model import Document, DocumentModel
from nf.documents.registry import Registry, registry
from nf.documents.validation import Violation, check_kind, validate, validate_part
from nf.errors import DocumentError, Problem

D = TypeVar("D", bound=Document)
M = TypeVar("M", bound=DocumentModel)

MAX_PROBLEMS = 1000


@dataclass(frozen=True, slots=True)
class Loaded(Generic[D]):
    """A document and where its keys stand in the file it came from."""

    document: D
    file: str
    root: tree.Node

    def locate(self, key: str) -> tuple[int, int]:
        """Line and column, from 1, of a key such as `spec.channels[2].lcn`: of the value of a scalar, of the key of a
        mapping or list; of the nearest one above for a key that is not there. Raises ValueError for a malformed key.
        """
        place = tree.find(self.root, parse_key(key))
        return place.line, place.column

    def place(self, problem: Problem) -> Problem:
        """The same problem with file, line, column and, if it has none, the value that stands there."""
        place = tree.find(self.root, parse_key(problem.key))
        value = problem.value or _short(place.node.text if place.node else "")
        return replace(problem, file=self.file, line=place.line, column=place.column, value=value)


def load_lineup(text: str | bytes, *, file: str, extensions: Registry | None = None) -> Loaded[LineUp]:
    """Raises DocumentError with every problem. `extensions` defaults to what is installed."""
    return _load(LineUp, text, file, extensions)


def load_fleet(text: str | bytes, *, file: str, extensions: Registry | None = None) -> Loaded[Fleet]:
    """Raises DocumentError with every problem. `extensions` defaults to what is installed."""
    return _load(Fleet, text, file, extensions)


def load_document(text: str | bytes, *, file: str, extensions: Registry | None = None) -> Loaded[Document]:
    """A document of whatever kind its head names, those that domains register among them.

    Raises DocumentError with every problem. `extensions` defaults to what is installed.
    """
    known = extensions or registry()
    root, problems = _parse(text, file)
    data = root.data()
    violation = check_kind(data, known)
    if violation is not None:
        raise DocumentError([replace(_problem(violation, root), file=file)], where=file)
    return _judge(known.kinds[data["kind"]], root, problems, file, known)


def load_model(model: type[M], text: str | bytes, *, file: str) -> M:
    """A file of a domain's own that has no head, such as a seed. Raises DocumentError with every problem."""
    root, problems = _parse(text, file)
    part, violations = validate_part(model, root.data())
    problems = problems + [_problem(violation, root) for violation in violations]
    if part is None or problems:
        problems.sort(key=lambda p: (p.line, p.column, p.key, p.rule))
        raise DocumentError([replace(p, file=file) for p in _bounded(problems)], where=file)
    return part


def load_config(data: JsonObject, *, extensions: Registry | None = None) -> ApplianceConfig:
    """An appliance's configuration from its JSON, sections typed. Raises DocumentError (keys, no places)."""
    document, violations = validate(ApplianceConfig, data, extensions or registry())
    if document is None:
        problems = [Problem(v.rule, v.remedy, key=format_key(v.loc), value=v.value) for v in violations]
        raise DocumentError(_bounded(problems), where="appliance configuration")
    return document


def _load(model: type[D], text: str | bytes, file: str, extensions: Registry | None) -> Loaded[D]:
    root, problems = _parse(text, file)
    return _judge(model, root, problems, file, extensions or registry())


def _parse(text: str | bytes, file: str) -> tuple[tree.Node, list[Problem]]:
    try:
        return tree.parse(_decode(text))
    except tree.DocumentSyntaxError as error:
        raise DocumentError([replace(error.problem, file=file)], where=file) from None


def _judge(model: type[D], root: tree.Node, problems: list[Problem], file: str, known: Registry) -> Loaded[D]:
    document, violations = validate(model, root.data(), known)
    problems = problems + [_problem(violation, root) for violation in violations]
    if document is None or problems:
        problems.sort(key=lambda p: (p.line, p.column, p.key, p.rule))
        raise DocumentError([replace(p, file=file) for p in _bounded(problems)], where=file)
    return Loaded(document, file, root)


def _decode(text: str | bytes) -> str:
    if len(text) > tree.MAX_BYTES:
        rule = f"the file is larger than {tree.MAX_BYTES // 1024 // 1024} MiB"
        raise tree.DocumentSyntaxError(rule, "split it, or check that it is the right file", 1, 1)
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = text[: error.start]
        line, column = before.count(b"\n") + 1, len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        raise tree.DocumentSyntaxError("the file is not UTF-8", "save it as UTF-8", line, column) from None


def _problem(violation: Violation, root: tree.Node) -> Problem:
    place = tree.find(root, violation.loc, at_key=violation.at_key)
    written = place.node.text if place.node and not violation.at_key else ""
    return Problem(
        rule=violation.rule,
        remedy=violation.remedy,
        line=place.line,
        column=place.column,
        key=format_key(violation.loc),
        value=_short(written or violation.value),
    )


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _bounded(problems: list[Problem]) -> list[Problem]:
    more = len(problems) - MAX_PROBLEMS
    if more <= 0:
        return problems
    return [*problems[:MAX_PROBLEMS], Problem(f"and {more} more problems", "repair the first ones and check again")]
