"""Service templates: what an operator says about a service, in the terms of a device's model."""

from __future__ import annotations

import re
from collections.abc import Mapping

from headend.devices.instances import resolve
from headend.devices.model import Model, Template
from headend.devices.rows import parse_name
from headend.devices.values import Value, is_number
from nf.documents.rules import nearest
from nf.errors import InputError, NotFoundError, Problem

_FIELD = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def render(model: Model, name: str, fields: Mapping[str, Value]) -> dict[str, Value]:
    """The changes for `Device.set`. Raises NotFoundError (no such template), InputError (fields, all at once)."""
    template = model.spec.templates.get(name)
    if template is None:
        known = ", ".join(model.spec.templates) or "none"
        raise NotFoundError("no such template", where=f"{model.name} {name}", remedy=f"known: {known}")
    filled = _filled(template, name, fields)
    changes: dict[str, Value] = {}
    for target, value in template.values.items():
        place = str(_fill(target, filled))
        key = parse_name(place).parameter
        changes[place] = typed(model, key, _fill(value, filled))
    for place in changes:
        resolve(model, place)
    return changes


def _filled(template: Template, name: str, fields: Mapping[str, Value]) -> dict[str, Value]:
    problems = [
        Problem("no such field", nearest(given, template.fields), key=given)
        for given in fields
        if given not in template.fields
    ]
    filled: dict[str, Value] = {**template.fields, **fields}
    problems += [
        Problem("has to be given", f"say {key}=...", key=key) for key, value in filled.items() if value is None
    ]
    if problems:
        raise InputError(f"the template {name} cannot be filled: " + "; ".join(map(str, problems)), problems=problems)
    return filled


def _fill(text: Value, fields: Mapping[str, Value]) -> Value:
    """A text that is one field alone keeps the field's type."""
    if not isinstance(text, str):
        return text
    alone = _FIELD.fullmatch(text)
    if alone is not None:
        return fields[alone[1]]
    return _FIELD.sub(lambda match: str(fields[match[1]]), text)


def typed(model: Model, key: str, value: Value) -> Value:
    """A value in its parameter's form: numbers come as text from a command line. `key`: in the model's file."""
    if not isinstance(value, str) or not is_number(model.parameters[key]):
        return value
    try:
        return int(value) if re.fullmatch(r"-?\d+", value) else float(value)
    except ValueError:
        return value
