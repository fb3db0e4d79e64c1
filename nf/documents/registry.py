"""What domains add to the documents: path types, appliance sections, document kinds (entry points `nf.documents`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Literal, get_args, get_origin

from nf.documents.appliance import ApplianceConfig
from nf.documents.fleet import Fleet
from nf.documents.lineup import DeliveryPath, LineUp
from nf.documents.model import Document, DocumentModel
from nf.errors import IntegrityError

GROUP = "nf.documents"

CORE_KINDS: Mapping[str, type[Document]] = MappingProxyType(
    {"LineUp": LineUp, "Fleet": Fleet, "ApplianceConfig": ApplianceConfig}
)
"""The documents of the house itself; no domain may take their names."""


@dataclass(frozen=True, slots=True)
class Extension:
    """What an entry point of the group `nf.documents` names.

    path_types   `type:` in a channel's delivery -> model (fixes `type` with a Literal)
    sections     section of an appliance's configuration -> model
    equipment    part of a fleet's `equipment` -> model
    messages     name of a message that other systems send -> model, for its published schema
    kinds        `kind:` at the head of a document of the domain's own -> model (fixes `kind` with a Literal)
    """

    path_types: Mapping[str, type[DeliveryPath]] = field(default_factory=dict)
    sections: Mapping[str, type[DocumentModel]] = field(default_factory=dict)
    equipment: Mapping[str, type[DocumentModel]] = field(default_factory=dict)
    kinds: Mapping[str, type[Document]] = field(default_factory=dict)
    messages: Mapping[str, type[DocumentModel]] = field(default_factory=dict)


class Registry:
    """Everything registered, with the house's own kinds. Two extensions that register one name: IntegrityError."""

    def __init__(self, extensions: Iterable[Extension]) -> None:
        path_types: dict[str, type[DeliveryPath]] = {}
        sections: dict[str, type[DocumentModel]] = {}
        equipment: dict[str, type[DocumentModel]] = {}
        kinds: dict[str, type[Document]] = dict(CORE_KINDS)
        messages: dict[str, type[DocumentModel]] = {}
        for extension in extensions:
            for name, path_model in extension.path_types.items():
                _refuse_second("path type", name, path_types.get(name), path_model)
                _check_literal(name, path_model, "type")
                path_types[name] = path_model
            for name, section_model in extension.sections.items():
                _refuse_second("section", name, sections.get(name), section_model)
                sections[name] = section_model
            for name, part_model in extension.equipment.items():
                _refuse_second("equipment", name, equipment.get(name), part_model)
                equipment[name] = part_model
            for name, message_model in extension.messages.items():
                _refuse_second("message", name, messages.get(name), message_model)
                messages[name] = message_model
            for name, kind_model in extension.kinds.items():
                _refuse_second("kind", name, kinds.get(name), kind_model)
                _check_literal(name, kind_model, "kind")
                kinds[name] = kind_model
        self.path_types: Mapping[str, type[DeliveryPath]] = MappingProxyType(dict(sorted(path_types.items())))
        self.sections: Mapping[str, type[DocumentModel]] = MappingProxyType(dict(sorted(sections.items())))
        self.equipment: Mapping[str, type[DocumentModel]] = MappingProxyType(dict(sorted(equipment.items())))
        self.kinds: Mapping[str, type[Document]] = MappingProxyType(kinds)
        self.messages: Mapping[str, type[DocumentModel]] = MappingProxyType(dict(sorted(messages.items())))


@cache
def registry() -> Registry:
    """The registry of everything that is installed. Raises IntegrityError."""
    points = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
    return Registry([_extension(point.load(), point.value) for point in points])


def _extension(loaded: object, where: str) -> Extension:
    if not isinstance(loaded, Extension):
        raise IntegrityError(f"the entry point is no {Extension.__name__}", where=where, remedy="reinstall the package")
    return loaded


def _refuse_second(what: str, name: str, first: type[DocumentModel] | None, second: type[DocumentModel]) -> None:
    if first is not None:
        raise IntegrityError(
            f"two extensions register the {what} {name!r}: {_path(first)} and {_path(second)}",
            remedy="uninstall one of the two packages, or rename what it registers",
        )


def _check_literal(name: str, model: type[DocumentModel], key: str) -> None:
    found = model.model_fields.get(key)
    annotation = found.annotation if found is not None else None
    if get_origin(annotation) is not Literal or get_args(annotation) != (name,):
        raise IntegrityError(f"{_path(model)} is registered as {name!r}: its `{key}` must be Literal[{name!r}]")


def _path(model: type[DocumentModel]) -> str:
    return f"{model.__module__}.{model.__qualname__}"
