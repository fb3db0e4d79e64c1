"""What domains add to the documents: delivery path types and appliance sections (entry-point group `nf.documents`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Literal, get_args, get_origin

from nf.documents.lineup import DeliveryPath
from nf.documents.model import DocumentModel
from nf.errors import IntegrityError

GROUP = "nf.documents"


@dataclass(frozen=True, slots=True)
class Extension:
    """What an entry point of the group `nf.documents` names.

    path_types   `type:` in a channel's delivery -> model (fixes `type` with a Literal)
    sections     section of an appliance's configuration -> model
    """

    path_types: Mapping[str, type[DeliveryPath]] = field(default_factory=dict)
    sections: Mapping[str, type[DocumentModel]] = field(default_factory=dict)


class Registry:
    """All path types and sections together. Two extensions that register one name: IntegrityError."""

    def __init__(self, extensions: Iterable[Extension]) -> None:
        path_types: dict[str, type[DeliveryPath]] = {}
        sections: dict[str, type[DocumentModel]] = {}
        for extension in extensions:
            for name, path_model in extension.path_types.items():
                _refuse_second("path type", name, path_types.get(name), path_model)
                _check_literal(name, path_model)
                path_types[name] = path_model
            for name, section_model in extension.sections.items():
                _refuse_second("section", name, sections.get(name), section_model)
                sections[name] = section_model
        self.path_types: Mapping[str, type[DeliveryPath]] = MappingProxyType(dict(sorted(path_types.items())))
        self.sections: Mapping[str, type[DocumentModel]] = MappingProxyType(dict(sorted(sections.items())))


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


def _check_literal(name: str, model: type[DeliveryPath]) -> None:
    annotation = model.model_fields["type"].annotation
    if get_origin(annotation) is not Literal or get_args(annotation) != (name,):
        raise IntegrityError(f"{_path(model)} is registered as {name!r}: its `type` must be Literal[{name!r}]")


def _path(model: type[DocumentModel]) -> str:
    return f"{model.__module__}.{model.__qualname__}"
