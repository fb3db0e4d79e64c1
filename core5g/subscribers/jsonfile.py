"""A JSON list of subscribers, item by item, each with its offset; and where a key stands inside an item.

The list stands alone, or under the key `subscribers` as `nf subscriber export` writes it.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nf.documents.keys import Loc

_SPACE = re.compile(r"[ \t\r\n]*")
_HEAD = re.compile(r'\{[ \t\r\n]*"subscribers"[ \t\r\n]*:[ \t\r\n]*(?=\[)')


class Source:
    """Text whose offsets become line and column, both from 1."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def position(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


@dataclass(frozen=True, slots=True)
class Item:
    """A value of the list, or the rule that it breaks."""

    offset: int
    value: Any = field(default=None, repr=False)
    rule: str = ""
    remedy: str = ""


class _TwiceError(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError
    return found


def _constant(_text: str) -> float:
    raise ValueError


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _skip(text: str, offset: int) -> int:
    match = _SPACE.match(text, offset)
    return match.end() if match else offset


def items(source: Source) -> Iterator[Item]:
    """The values of the list. After one that is no JSON at all, nothing more can be told."""
    text = source.text
    offset = _skip(text, 0)
    head = _HEAD.match(text, offset)
    offset = head.end() if head else offset
    if text[offset : offset + 1] != "[":
        yield Item(offset, rule="a file of subscribers is a list", remedy='write [...], or {"subscribers": [...]}')
        return
    offset = _skip(text, offset + 1)
    closed = text[offset : offset + 1] == "]"
    while not closed:
        try:
            value, end = _DECODER.raw_decode(text, offset)
            yield Item(offset, value)
        except _TwiceError:
            yield Item(offset, rule="a key stands twice in this subscriber", remedy="remove one of them")
            end = _end(text, offset)
        except json.JSONDecodeError as error:
            yield Item(min(error.pos, len(text)), rule="this is not JSON", remedy="repair it here; then check again")
            return
        except (ValueError, RecursionError):
            yield Item(offset, rule="this subscriber has a number or a depth that JSON has not", remedy="repair it")
            return
        offset = _skip(text, end)
        closed = text[offset : offset + 1] == "]"
        if not closed and text[offset : offset + 1] != ",":
            yield Item(
                min(offset, len(text)), rule="the list is not closed here, nor does it go on", remedy="write , or ]"
            )
            return
        offset = offset if closed else _skip(text, offset + 1)
    rest = text[offset + 1 :].strip()
    if rest != ("}" if head else ""):
        remedy = "write one } behind it, which ends the file" if head else "remove it"
        yield Item(offset + 1, rule="there is more behind the list", remedy=remedy)


def _end(text: str, offset: int) -> int:
    """Where a value ends whose only fault is a repeated key."""
    return json.JSONDecoder().raw_decode(text, offset)[1]


def find(text: str, offset: int, loc: Loc) -> int:
    """The offset of what stands at `loc` in the value at `offset`; of the nearest thing above it that is there."""
    decoder = json.JSONDecoder()
    for part in loc:
        inner = _member(text, offset, part, decoder)
        if inner is None:
            return offset
        offset = inner
    return offset


def _member(text: str, offset: int, part: str | int, decoder: json.JSONDecoder) -> int | None:
    opening = text[offset : offset + 1]
    if opening != ("[" if isinstance(part, int) else "{"):
        return None
    offset = _skip(text, offset + 1)
    number = 0
    while text[offset : offset + 1] not in ("]", "}", ""):
        name: str | int = number
        if opening == "{":
            name, offset = decoder.raw_decode(text, offset)
            offset = _skip(text, _skip(text, offset) + 1)
        if name == part:
            return offset
        offset = _skip(text, decoder.raw_decode(text, offset)[1])
        if text[offset : offset + 1] == ",":
            offset = _skip(text, offset + 1)
        number += 1
    return None
