"""Messages of the control plane as the JSON that `--json` prints."""

from __future__ import annotations

import json
import re
from typing import Any

from google.protobuf.message import Message

from nf.contracts.json import Json, JsonObject


def to_json(message: Message) -> JsonObject:
    """Every field under its own name (snake_case, units in names), also when it is empty.

    Integers stay integers; enums become lower-case words and null when unspecified; absent messages null; a field
    `x_json` becomes `x` with its parsed value.
    """
    result: JsonObject = {}
    for field in message.DESCRIPTOR.fields:
        value: Any = getattr(message, field.name)
        name = field.name.removesuffix("_json")
        if field.is_repeated:
            result[name] = _repeated(field, value)
        elif field.message_type is not None:
            result[name] = to_json(value) if message.HasField(field.name) else None
        elif name != field.name:
            result[name] = json.loads(value) if value else None
        else:
            result[name] = _scalar(field, value)
    return result


def _repeated(field: Any, value: Any) -> Json:
    if field.message_type is None:
        return [_scalar(field, item) for item in value]
    if field.message_type.GetOptions().map_entry:
        return {str(key): value[key] for key in sorted(value)}
    return [to_json(item) for item in value]


def _scalar(field: Any, value: Any) -> Json:
    if field.enum_type is not None:
        return enum_word(field.enum_type.name, field.enum_type.values_by_number[value].name)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    scalar: Json = value
    return scalar


def enum_word(enum: str, member: str) -> str | None:
    """`Outcome`, `OUTCOME_CONFIRMED` -> `confirmed`; None for the unspecified member."""
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum).upper() + "_"
    name = member.removeprefix(prefix).lower()
    return None if name == "unspecified" else name
