"""JSON Schema of every kind of document, with the registered path types and sections inside, for editors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from nf.contracts.json import JsonObject
from nf.documents.appliance import ApplianceConfig
from nf.documents.fleet import Fleet
from nf.documents.lineup import DeliveryPath, LineUp
from nf.documents.model import DocumentModel
from nf.documents.quantities import DURATION_PATTERN, format_duration
from nf.documents.registry import CORE_KINDS, Registry, registry

FILES: Mapping[str, str] = {
    "LineUp": "lineup.json",
    "Fleet": "fleet.json",
    "ApplianceConfig": "appliance-config.json",
}
"""Kind of the house -> file name. The samples' `# yaml-language-server: $schema=` points at these in docs/schema."""

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/{model}"


def schemas(extensions: Registry | None = None) -> dict[str, JsonObject]:
    """Kind -> JSON Schema (draft 2020-12). `extensions` defaults to what is installed."""
    known = extensions or registry()
    own = {kind: _root(model, {})[0] for kind, model in known.kinds.items() if kind not in CORE_KINDS}
    own |= {name: _root(model, {})[0] for name, model in known.messages.items()}
    return {"LineUp": _lineup(known), "Fleet": _fleet(known), "ApplianceConfig": _config(known), **own}


def file_name(kind: str) -> str:
    """The file that holds the schema of `kind`: `FILES`, else the kind in lower case with hyphens."""
    return FILES.get(kind) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", kind).lower() + ".json"


def schema_text(schema: JsonObject) -> str:
    """As it is published, the same octets for the same schema."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def schema_files(extensions: Registry | None = None) -> dict[str, str]:
    """File name -> text, as `nf schema --write` writes them."""
    return {file_name(kind): schema_text(schema) for kind, schema in schemas(extensions).items()}


def _root(
    model: type[DocumentModel], others: Mapping[str, type[DocumentModel]]
) -> tuple[dict[str, Any], dict[str, JsonObject]]:
    """The schema of `model` with the others among its definitions, and a reference to each of the others."""
    models = [(found, "validation") for found in (model, *others.values())]
    places, schema = models_json_schema(models, by_alias=True, ref_template=_REF)  # type: ignore[arg-type]
    definitions: dict[str, Any] = schema["$defs"]
    root = definitions.pop(model.__name__)
    for definition in (root, *definitions.values()):
        _write_durations(definition)
    references = {name: places[other, "validation"] for name, other in others.items()}
    return {"$schema": _DRAFT, **root, "$defs": definitions}, references


def _write_durations(definition: dict[str, Any]) -> None:
    """Defaults of durations as a person writes them: pydantic shows milliseconds, which the schema itself refuses."""
    for value in definition.get("properties", {}).values():
        if value.get("pattern") == DURATION_PATTERN and isinstance(value.get("default"), int):
            value["default"] = format_duration(value["default"])


def _lineup(known: Registry) -> JsonObject:
    schema, references = _root(LineUp, known.path_types)
    schema["$defs"].pop(DeliveryPath.__name__, None)
    schema["$defs"]["Channel"]["properties"]["delivery"]["items"] = _one_of(references)
    return schema


def _one_of(references: Mapping[str, JsonObject]) -> JsonObject:
    """Chosen by `type`, so that an editor shows one type's errors and not those of all."""
    choices: list[Any] = [
        {"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": reference}
        for name, reference in references.items()
    ]
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": list(references)}},
        "allOf": choices,
    }


def _fleet(known: Registry) -> JsonObject:
    schema, references = _root(Fleet, known.equipment)
    schema["$defs"].pop(DocumentModel.__name__, None)
    equipment = {"type": "object", "additionalProperties": False, "properties": references}
    schema["$defs"]["FleetSpec"]["properties"]["equipment"] = equipment
    return schema


def _config(known: Registry) -> JsonObject:
    schema, references = _root(ApplianceConfig, known.sections)
    schema["$defs"].pop(DocumentModel.__name__, None)
    schema["properties"]["sections"] = {"type": "object", "additionalProperties": False, "properties": references}
    return schema
