"""Document keys: `spec.channels[2].delivery[0].group` as text and as a path of names and indices."""

from __future__ import annotations

import json
import re
from typing import TypeAlias

Loc: TypeAlias = "tuple[str | int, ...]"

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_PART = re.compile(r"\.?([A-Za-z_][A-Za-z0-9_-]*)|\[([0-9]+)\]|\[(\"(?:[^\"\\]|\\.)*\")\]")


def format_key(loc: Loc) -> str:
    """The dotted text; names that are not plain words stand in brackets and quotes: `spec["a b"]`."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part)}]"
    return text


def parse_key(text: str) -> Loc:
    """The inverse of `format_key`. Raises ValueError."""
    loc: list[str | int] = []
    position = 0
    while position < len(text):
        match = _PART.match(text, position)
        if match is None:
            raise ValueError(f"not a document key: {text!r}")
        name, index, quoted = match.groups()
        loc.append(int(index) if index else name or str(json.loads(quoted)))
        position = match.end()
    return tuple(loc)
