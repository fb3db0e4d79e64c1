"""Models from values that were validated before: a country's plan has millions of entries, of the same few values."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from nf.documents.model import DocumentModel

M = TypeVar("M", bound=DocumentModel)
_FIELDS: dict[type[DocumentModel], set[str]] = {}


def trusted(model: type[M], **values: Any) -> M:
    """`model(**values)` without asking again whether the values are right; fields by their Python names."""
    fields = _FIELDS.get(model)
    if fields is None:
        fields = _FIELDS[model] = set(model.model_fields)
    return cast("M", model.model_construct(fields, **values))
