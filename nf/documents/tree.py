"""YAML text as a tree of nodes that know their line and column.

Built from the parser's events: YAML 1.2 core schema (chapter 10.3), no custom tags, bounded in size, depth and
alias expansion, so that no text whatsoever costs more than its length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from nf.documents.keys import Loc, format_key
from nf.errors import Problem

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 500_000

Scalar: TypeAlias = "bool | int | float | str | None"


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a mapping, where it stands, and its value."""

    line: int
    column: int
    node: Node


@dataclass(frozen=True, slots=True)
class Node:
    """`text` is the scalar as written; `size` counts the nodes in it, aliases expanded."""

    line: int
    column: int
    value: Scalar | dict[str, Entry] | list[Node]
    text: str = ""
    size: int = 1

    def data(self) -> Any:
        """Plain Python: dict, list, str, int, float, bool, None."""
        if isinstance(self.value, dict):
            return {key: entry.node.data() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [node.data() for node in self.value]
        return self.value


@dataclass(slots=True)
class Place:
    """Where a key points: at a scalar's value, at a collection's key, else at the nearest mapping or list above."""

    line: int
    column: int
    node: Node | None  # None: the key itself is not there


def find(root: Node, loc: Loc, *, at_key: bool = False) -> Place:
    """The place of `loc`. `at_key`: at the key even when a scalar follows it."""
    line, column, node = root.line, root.column, root
    for part in loc:
        if isinstance(node.value, dict) and isinstance(part, str) and part in node.value:
            entry = node.value[part]
            line, column, node = entry.line, entry.column, entry.node
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line, column = node.line, node.column
        else:
            return Place(line, column, None)
    written = bool(node.text) and not isinstance(node.value, dict | list)
    if written and not at_key:
        line, column = node.line, node.column
    return Place(line, column, node)


class DocumentSyntaxError(Exception):
    """The text is no document at all; internal to the loader."""

    def __init__(self, rule: str, remedy: str, line: int, column: int, key: str = "") -> None:
        super().__init__(rule)
        self.problem = Problem(rule=rule, remedy=remedy, line=line, column=column, key=key)


def parse(text: str) -> tuple[Node, list[Problem]]:
    """The tree, and the problems that leave a tree (duplicate keys and the like). Raises DocumentSyntaxError."""
    builder = _Builder(_events(text))
    return builder.document(), builder.problems


def _events(text: str) -> Iterator[Event]:
    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise DocumentSyntaxError("a character that YAML does not allow", "remove it", line, column) from None
    except MarkedYAMLError as error:
        raise _syntax_problem(error) from None
    except (YAMLError, ValueError, OverflowError, LookupError, AttributeError, TypeError, AssertionError) as error:
        # The parser trips over some malformed escapes, tags and directives with errors of its own making.
        raise DocumentSyntaxError(
            f"not YAML: {type(error).__name__}: {error}"[:200], "write plain YAML 1.2", 1, 1
        ) from None


def _syntax_problem(error: MarkedYAMLError) -> DocumentSyntaxError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    what = str(error.problem or error.context or "malformed").strip()
    if "'\\t'" in what:
        return DocumentSyntaxError("a tab indents the line", "indent with spaces", line, column)
    context = f" {error.context}" if error.context and error.context != error.problem else ""
    remedy = "check the indentation, colons, quotes and brackets on this line and the one before"
    return DocumentSyntaxError(f"not YAML: {what}{context}", remedy, line, column)


_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")
_INT = re.compile(r"[-+]?[0-9]{1,20}")
_BASED = re.compile(r"0o[0-7]{1,20}|0x[0-9a-fA-F]{1,16}")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)


def resolve_plain(text: str) -> Scalar:
    """A plain scalar by the core schema. Integers beyond 64 bit stay text, which every number's rule refuses."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


@dataclass(slots=True)
class _Builder:
    events: Iterator[Event]
    problems: list[Problem] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)
    nodes: int = 0

    def document(self) -> Node:
        root: Node | None = None
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    line, column = _position(event)
                    raise DocumentSyntaxError(
                        "a second document in one file", "one document for each file", line, column
                    )
                root = self._node(next(self.events), ())
        if root is None:
            raise DocumentSyntaxError("the document is empty", "write apiVersion, kind, metadata and spec", 1, 1)
        return root

    def _node(self, event: Event, loc: Loc) -> Node:
        line, column = _position(event)
        if isinstance(event, AliasEvent):
            node = self._alias(event, loc)
        else:
            if len(loc) > MAX_DEPTH:
                raise DocumentSyntaxError(f"nested deeper than {MAX_DEPTH} levels", "flatten it", line, column)
            node = self._own(event, loc)
            anchor = getattr(event, "anchor", None)
            if anchor is not None:
                self.anchors[str(anchor)] = node
        self.nodes += node.size if isinstance(event, AliasEvent) else 1
        if self.nodes > MAX_NODES:
            raise DocumentSyntaxError(f"more than {MAX_NODES} values, aliases expanded", "split it", line, column)
        return node

    def _alias(self, event: AliasEvent, loc: Loc) -> Node:
        line, column = _position(event)
        node = self.anchors.get(str(event.anchor))
        if node is None:
            rule = f"the alias *{event.anchor} has no anchor before it"
            raise DocumentSyntaxError(
                rule, f"define &{event.anchor} above, or write the value", line, column, format_key(loc)
            )
        return Node(line, column, node.value, node.text, node.size)

    def _own(self, event: Event, loc: Loc) -> Node:
        line, column = _position(event)
        tag = str(getattr(event, "tag", None) or "")
        if tag not in ("", *_TEXT_TAGS):
            self._problem(loc, line, column, f"the tag {tag[:60]} is not used in documents", "remove the tag")
        if isinstance(event, ScalarEvent):
            plain = not event.style and tag not in _TEXT_TAGS
            text = str(event.value)
            return Node(line, column, resolve_plain(text) if plain else text, text if plain else json.dumps(text))
        if isinstance(event, SequenceStartEvent):
            return self._sequence(line, column, loc)
        if isinstance(event, MappingStartEvent):
            return self._mapping(line, column, loc)
        raise DocumentSyntaxError("not YAML", "write plain YAML 1.2", line, column)

    def _sequence(self, line: int, column: int, loc: Loc) -> Node:
        items: list[Node] = []
        size = 1
        while not isinstance(event := next(self.events), SequenceEndEvent):
            items.append(self._node(event, (*loc, len(items))))
            size += items[-1].size
        return Node(line, column, items, size=size)

    def _mapping(self, line: int, column: int, loc: Loc) -> Node:
        entries: dict[str, Entry] = {}
        size = 1
        while not isinstance(event := next(self.events), MappingEndEvent):
            key_line, key_column = _position(event)
            if not isinstance(event, ScalarEvent):
                raise DocumentSyntaxError(
                    "a key is a word", "write `key: value`", key_line, key_column, format_key(loc)
                )
            key = str(event.value)
            node = self._node(next(self.events), (*loc, key))
            size += node.size
            if key in entries:
                rule = f"the key stands twice in one mapping, first on line {entries[key].line}"
                self._problem((*loc, key), key_line, key_column, rule, "keep one of the two")
                continue
            entries[key] = Entry(key_line, key_column, node)
        return Node(line, column, entries, size=size)

    def _problem(self, loc: Loc, line: int, column: int, rule: str, remedy: str) -> None:
        self.problems.append(Problem(rule=rule, remedy=remedy, line=line, column=column, key=format_key(loc)))


def _position(event: Event) -> tuple[int, int]:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1
