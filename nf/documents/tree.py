"""YAML text as a tree of nodes that know their line and column.

Built from the parser's events: YAML 1.2 core schema (chapter 10.3), no custom tags, bounded in size, depth and
alias expansion, so that no text whatsoever costs more than its length. The parser is libyaml: one in Python takes
twenty times as long.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from yaml import CSafeLoader
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from nf.documents.keys import Loc, format_key
from nf.errors import Problem

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 500_000

Scalar: TypeAlias = "bool | int | float | str | None"


class Entry(NamedTuple):
    """A key of a mapping, where it stands, and its value."""

    line: int
    column: int
    node: Node


class Node(NamedTuple):
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
    _refuse_characters(text)
    builder = _Builder(CSafeLoader(text).get_event)
    try:
        return builder.document(), builder.problems
    except MarkedYAMLError as error:
        raise _syntax_problem(error, text) from None
    except YAMLError as error:
        raise DocumentSyntaxError(f"not YAML: {error}"[:200], "write plain YAML 1.2", 1, 1) from None


_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\x85\u2028\u2029]")


def _refuse_characters(text: str) -> None:
    """YAML 1.2.2 chapter 5.1; and the line breaks of YAML 1.1 that no editor shows as such (chapter 5.4)."""
    found = _FORBIDDEN.search(text)
    if found is None:
        return
    before = text[: found.start()]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    rule, remedy = "a character that YAML does not allow", "remove it"
    if found[0] in "\x85\u2028\u2029":
        rule = f"an invisible line break (U+{ord(found[0]):04X})"
        remedy = f'remove it, or write "\\u{ord(found[0]):04x}" in double quotes'
    raise DocumentSyntaxError(rule, remedy, line, column)


def _syntax_problem(error: MarkedYAMLError, text: str) -> DocumentSyntaxError:
    mark = error.problem_mark or error.context_mark
    line, column, index = (mark.line + 1, mark.column + 1, mark.index) if mark else (1, 1, 0)
    if text[index : index + 1] == "\t":
        return DocumentSyntaxError("a tab indents the line", "indent with spaces", line, column)
    what = str(error.problem or "malformed").strip()
    context = f" {error.context}" if error.context else ""
    if context and error.context_mark and error.context_mark.line + 1 < line:
        context += f" that begins on line {error.context_mark.line + 1}"
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
    """`next_event`: the parser's events, None behind the last. `path`: keys and indices of what is being read."""

    next_event: Callable[[], Any]
    problems: list[Problem] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)
    path: list[str | int] = field(default_factory=list)
    nodes: int = 0

    def document(self) -> Node:
        root: Node | None = None
        while (event := self.next_event()) is not None:
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    raise self._refused(event, "a second document in one file", "one document for each file")
                root = self._node(self.next_event())
        if root is None:
            raise DocumentSyntaxError("the document is empty", "write apiVersion, kind, metadata and spec", 1, 1)
        return root

    def _node(self, event: Event) -> Node:
        if isinstance(event, AliasEvent):
            node = self._alias(event)
            self.nodes += node.size
        else:
            if len(self.path) > MAX_DEPTH:
                raise self._refused(event, f"nested deeper than {MAX_DEPTH} levels", "flatten it", "")
            node = self._own(event)
            self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self._refused(event, f"more than {MAX_NODES} values, aliases expanded", "split it", "")
        return node

    def _alias(self, event: AliasEvent) -> Node:
        node = self.anchors.get(str(event.anchor))
        if node is None:
            rule = f"the alias *{event.anchor} has no anchor before it"
            raise self._refused(event, rule, f"define &{event.anchor} above, or write the value")
        return Node(*_position(event), node.value, node.text, node.size)

    def _own(self, event: Event) -> Node:
        if not isinstance(event, ScalarEvent | SequenceStartEvent | MappingStartEvent):
            raise self._refused(event, "not YAML", "write plain YAML 1.2")
        tag = event.tag
        if tag is not None and tag not in _TEXT_TAGS:
            self._problem(event, f"the tag {tag[:60]} is not used in documents", "remove the tag")
        if isinstance(event, ScalarEvent):
            node = _scalar(event)
        elif isinstance(event, SequenceStartEvent):
            node = self._sequence(event)
        else:
            node = self._mapping(event)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _sequence(self, start: Event) -> Node:
        items: list[Node] = []
        size = 1
        path, next_event = self.path, self.next_event
        path.append(0)
        while not isinstance(event := next_event(), SequenceEndEvent):
            path[-1] = len(items)
            node = self._node(event)
            items.append(node)
            size += node.size
        path.pop()
        return Node(*_position(start), items, "", size)

    def _mapping(self, start: Event) -> Node:
        entries: dict[str, Entry] = {}
        size = 1
        path, next_event = self.path, self.next_event
        path.append("")
        while not isinstance(event := next_event(), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                path.pop()
                raise self._refused(event, "a key is a word", "write `key: value`")
            key = path[-1] = event.value
            node = self._node(next_event())
            size += node.size
            if key in entries:
                rule = f"the key stands twice in one mapping, first on line {entries[key].line}"
                self._problem(event, rule, "keep one of the two")
                continue
            entries[key] = Entry(*_position(event), node)
        path.pop()
        return Node(*_position(start), entries, "", size)

    def _key(self) -> str:
        return format_key(tuple(self.path))

    def _problem(self, event: Event, rule: str, remedy: str) -> None:
        line, column = _position(event)
        self.problems.append(Problem(rule=rule, remedy=remedy, line=line, column=column, key=self._key()))

    def _refused(self, event: Event, rule: str, remedy: str, key: str | None = None) -> DocumentSyntaxError:
        line, column = _position(event)
        return DocumentSyntaxError(rule, remedy, line, column, self._key() if key is None else key)


def _scalar(event: ScalarEvent) -> Node:
    line, column = _position(event)
    text = event.value
    if event.style or (event.tag is not None and event.tag in _TEXT_TAGS):
        return Node(line, column, text, json.dumps(text))
    return Node(line, column, resolve_plain(text), text)


def _position(event: Event) -> tuple[int, int]:
    mark: Any = event.start_mark  # an event that a parser made always has one
    return mark.line + 1, mark.column + 1
