"""Writes rain tables into the text of a fleet document, and leaves every other line as a person wrote it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from yaml import CSafeLoader, MappingNode, Node, ScalarNode, SequenceNode, compose
from yaml.error import YAMLError

from headend.satellite.ground import RainRecord
from nf.errors import InputError

_HAND = "write `satellite:` in block style, one key on a line, or paste what --print gives"


def lines_of(records: Sequence[RainRecord], indent: int = 0) -> list[str]:
    """Key `rain` as YAML, a table on a line."""
    space = " " * indent
    if not records:
        return [f"{space}rain: []"]
    return [f"{space}rain:", *(f"{space}  - {_flow(record)}" for record in records)]


def with_rain(text: str, records: Sequence[RainRecord]) -> str:
    """The document with these tables in place of what it had. Raises InputError when its form does not allow it."""
    try:
        root = compose(text, Loader=CSafeLoader)
    except YAMLError as error:
        raise InputError(f"not YAML: {error}", remedy="nf lineup check says where") from None
    node = root
    for key in ("spec", "equipment", "satellite"):
        node = _value(node, key)
    if not isinstance(node, MappingNode) or node.flow_style or not node.value:
        raise InputError("spec.equipment.satellite of the fleet cannot be written to", remedy=_HAND)
    lines = text.splitlines()
    made = lines_of(records, node.value[0][0].start_mark.column)
    for key, value in node.value:
        if key.value == "rain":
            first, last = key.start_mark.line, max(_last_line(value), key.start_mark.line)
            break
    else:
        last = _last_line(node)
        first = last + 1
    return "\n".join([*lines[:first], *made, *lines[last + 1 :]]) + "\n"


def _flow(record: RainRecord) -> str:
    """`{site: pop1, ...}`; the values are plain enough for JSON and YAML to agree."""
    data = record.to_json()
    return "{" + ", ".join(f"{key}: {json.dumps(value)}" for key, value in data.items()) + "}"


def _value(node: Node | None, key: str) -> Node | None:
    if not isinstance(node, MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _last_line(node: Node) -> int:
    """Where its last word ends: a block's own end is only known at the next key, comments passed over."""
    return max(_ends(node))


def _ends(node: Node) -> Iterator[int]:
    yield node.start_mark.line
    if isinstance(node, ScalarNode) or getattr(node, "flow_style", False):
        # A block scalar ends at the beginning of the line after it.
        yield node.end_mark.line - (1 if node.end_mark.column == 0 else 0)
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            yield from _ends(key)
            yield from _ends(value)
    elif isinstance(node, SequenceNode):
        for value in node.value:
            yield from _ends(value)
