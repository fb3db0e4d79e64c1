"""Plain data against the models: every violation at once, in an operator's words, each with its remedy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nf.documents.appliance import ApplianceConfig
from nf.documents.fleet import Fleet
from nf.documents.keys import Loc
from nf.documents.lineup import LineUp
from nf.documents.model import API_VERSION, Document, DocumentModel, RuleError
from nf.documents.registry import Registry
from nf.documents.rules import nearest

D = TypeVar("D", bound=Document)
M = TypeVar("M", bound=DocumentModel)


@dataclass(frozen=True, slots=True)
class Violation:
    """`at_key`: the key itself is wrong, not its value. `value` is what stands there, as JSON, shortened."""

    loc: Loc
    rule: str
    remedy: str
    value: str = ""
    at_key: bool = False


def validate(model: type[D], data: object, registry: Registry) -> tuple[D | None, list[Violation]]:
    """The document, or everything that is wrong with it. Path types and sections are those of `registry`."""
    head = check_head(model, data)
    if head:
        return None, head
    found: list[Violation] = []
    if issubclass(model, LineUp):
        data = _type_deliveries(cast("dict[str, Any]", data), registry, found)
    elif issubclass(model, ApplianceConfig):
        data = _type_parts(cast("dict[str, Any]", data), "sections", (), registry.sections, found)
    elif issubclass(model, Fleet) and isinstance(spec := cast("dict[str, Any]", data).get("spec"), dict):
        data = {
            **cast("dict[str, Any]", data),
            "spec": _type_parts(spec, "equipment", ("spec",), registry.equipment, found),
        }
    document = _validate(model, data, (), found)
    return (None if found else document), found


def validate_part(model: type[M], data: object) -> tuple[M | None, list[Violation]]:
    """As `validate`, for a model that is no document of the fleet: it has no head."""
    found: list[Violation] = []
    part = _validate(model, data, (), found)
    return part, found


def check_head(model: type[Document], data: object) -> list[Violation]:
    """Is it this kind of document at all? If not, one violation says more than all that would follow."""
    if not isinstance(data, dict):
        return [Violation((), "a document is a mapping", "write apiVersion, kind, metadata and spec", shown(data))]
    kind = get_args(model.model_fields["kind"].annotation)[0]
    for key, expected in (("apiVersion", API_VERSION), ("kind", kind)):
        if key in data and data[key] != expected:
            return [Violation((key,), f"must be {expected}", f"write {key}: {expected}", shown(data[key]))]
    return []


def check_kind(data: object, registry: Registry) -> Violation | None:
    """Whether the head names a kind that is registered."""
    if not isinstance(data, dict):
        return Violation((), "a document is a mapping", "write apiVersion, kind, metadata and spec", shown(data))
    if "kind" not in data:
        return Violation(("kind",), "is missing", f"known: {', '.join(sorted(registry.kinds))}")
    kind = data["kind"]
    if isinstance(kind, str) and kind in registry.kinds:
        return None
    return Violation(("kind",), "no such kind of document", nearest(str(kind), registry.kinds), shown(kind))


def shown(value: object) -> str:
    """The value for an error line: JSON, at most 60 characters; nothing for a mapping or a list."""
    if isinstance(value, dict | list | tuple | BaseModel):
        return ""
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _validate(model: type[M], data: object, prefix: Loc, found: list[Violation]) -> M | None:
    try:
        return model.model_validate(data, by_alias=True, by_name=False)
    except ValidationError as error:
        details = error.errors(include_url=False)
        above = {detail["loc"][:end] for detail in details for end in range(len(detail["loc"]))}
        # Items that broke a rule do not count for pydantic, so that it finds the lists around them too short as well.
        true = [detail for detail in details if not (detail["type"] == "too_short" and detail["loc"] in above)]
        found += [_violation(model, prefix, detail) for detail in true]
        return None


def _type_deliveries(data: dict[str, Any], registry: Registry, found: list[Violation]) -> dict[str, Any]:
    """Replace each delivery entry by the model of its type; entries that are wrong are reported and left out."""
    spec = data.get("spec")
    channels = spec.get("channels") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(channels, list):
        return data
    typed: list[Any] = []
    for number, channel in enumerate(channels):
        delivery = channel.get("delivery") if isinstance(channel, dict) else None
        if not isinstance(channel, dict) or not isinstance(delivery, list):
            typed.append(channel)
            continue
        loc = ("spec", "channels", number, "delivery")
        paths = [_typed_path(entry, (*loc, i), registry, found) for i, entry in enumerate(delivery)]
        typed.append({**channel, "delivery": [path for path in paths if path is not None]})
    return {**data, "spec": {**spec, "channels": typed}}


def _typed_path(entry: object, loc: Loc, registry: Registry, found: list[Violation]) -> DocumentModel | None:
    if not isinstance(entry, dict):
        found.append(
            Violation(loc, "a delivery path is a mapping", "write {id: ..., type: ..., rate: ...}", shown(entry))
        )
        return None
    known = registry.path_types
    if "type" not in entry:
        found.append(Violation((*loc, "type"), "the key is missing", f"add type: one of {', '.join(known)}"))
        return None
    name = entry["type"]
    if not isinstance(name, str) or name not in known:
        remedy = nearest(str(name), known)
        found.append(Violation((*loc, "type"), "no such type of delivery path", remedy, shown(name)))
        return None
    return _validate(known[name], entry, loc, found)


def _type_parts(
    data: dict[str, Any], key: str, above: Loc, known: Mapping[str, type[DocumentModel]], found: list[Violation]
) -> dict[str, Any]:
    """Replace each value of the mapping at `key` by its model; those that are wrong are reported and left out."""
    parts = data.get(key)
    if not isinstance(parts, dict):
        return data
    typed: dict[str, DocumentModel] = {}
    for name, value in parts.items():
        loc = (*above, key, name)
        if name not in known:
            what = "no such section" if key == "sections" else f"no such {key}"
            found.append(Violation(loc, what, nearest(str(name), known), at_key=True))
            continue
        part = _validate(known[name], value, loc, found)
        if part is not None:
            typed[name] = part
    return {**data, key: typed}


_BOUNDS = {
    "greater_than": ("gt", "must be more than {}"),
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than": ("lt", "must be less than {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "too_short": ("min_length", "needs at least {} of them"),
    "too_long": ("max_length", "has room for {} of them"),
    "string_too_short": ("min_length", "needs at least {} characters"),
    "string_too_long": ("max_length", "has room for {} characters"),
}
_SHAPES = {
    "string_type": ("must be text", "put it in quotes"),
    "bool_type": ("must be true or false", "write true or false"),
    "bool_parsing": ("must be true or false", "write true or false"),
    "int_type": ("must be a whole number", "write digits only, without quotes"),
    "int_parsing": ("must be a whole number", "write digits only, without quotes"),
    "int_from_float": ("must be a whole number", "write digits only, without quotes"),
    "float_type": ("must be a number", "write digits, with a point if need be, without quotes"),
    "float_parsing": ("must be a number", "write digits, with a point if need be, without quotes"),
    "tuple_type": ("must be a list", "write each item on a line of its own, after a hyphen"),
    "model_type": ("must be a mapping", "write `key: value` lines below it"),
    "dict_type": ("must be a mapping", "write `key: value` lines below it"),
    "mapping_type": ("must be a mapping", "write `key: value` lines below it"),
    "model_attributes_type": ("must be a mapping", "write `key: value` lines below it"),
}


def _violation(model: type[DocumentModel], prefix: Loc, detail: ErrorDetails) -> Violation:
    inner = tuple(detail["loc"])
    loc: Loc = (*prefix, *inner)
    if detail["type"] == "missing":
        return Violation(loc, "the key is missing", f"add {inner[-1]}:")
    if detail["type"] == "extra_forbidden":
        return Violation(loc, "unknown key", nearest(str(inner[-1]), _known_keys(model, inner[:-1])), at_key=True)
    value = shown(detail["input"])
    if detail["input"] is None:
        return Violation(loc, "the key has no value", "write a value, or remove the key", value)
    return Violation(loc, *_wrong_value(detail, value), value)


def _wrong_value(detail: ErrorDetails, value: str) -> tuple[str, str]:
    """Rule and remedy."""
    kind, context = detail["type"], detail.get("ctx", {})
    if isinstance(error := context.get("error"), RuleError):
        return error.rule, error.remedy
    if kind in ("literal_error", "enum"):
        expected = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
        return f"must be one of: {', '.join(expected)}", nearest(value, expected)
    if kind in _BOUNDS:
        name, rule = _BOUNDS[kind]
        return rule.format(context.get(name)), _bound_remedy(kind)
    return _SHAPES.get(kind, (detail["msg"], "see `nf schema` for what may stand here"))


def _bound_remedy(kind: str) -> str:
    return "change the number" if kind.startswith(("greater", "less")) else "add to it or shorten it"


def _known_keys(model: type[DocumentModel], loc: Loc) -> list[str]:
    """The keys that may stand in the mapping at `loc` below a document of type `model`."""
    current: Any = model
    for part in loc:
        candidates = _models(current)
        if isinstance(part, str) and candidates:
            fields = {(f.alias or name): f for found in candidates for name, f in found.model_fields.items()}
            current = fields[part].annotation if part in fields else None
        else:
            current = _item(current)
    return sorted({f.alias or name for found in _models(current) for name, f in found.model_fields.items()})


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation names directly (itself, or the members of a union or Annotated)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if _is_collection(annotation):
        return []
    return [found for argument in get_args(annotation) for found in _models(argument)]


def _item(annotation: Any) -> Any:
    """What one item of a list, or one value of a mapping with free keys, is."""
    if _is_collection(annotation):
        arguments = [argument for argument in get_args(annotation) if argument is not Ellipsis]
        return arguments[-1] if arguments else None
    for argument in get_args(annotation):
        found = _item(argument)
        if found is not None:
            return found
    return None


def _is_collection(annotation: Any) -> bool:
    origin = getattr(annotation, "__origin__", None)
    return isinstance(origin, type) and issubclass(origin, tuple | list | Mapping)
