"""The base of every document model: frozen, unknown keys forbidden, keys as written in the document (aliases)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from nf.contracts.json import JsonObject

API_VERSION = "streamverse.nf/v1"

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,38}$", description="lower-case letters, digits, hyphens")]


class DocumentModel(BaseModel):
    """Python names carry units (`rate_bps`), documents use the alias (`rate: 8M`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, str_strip_whitespace=True)

    def to_json(self) -> JsonObject:
        """Canonical JSON with document keys; `type(self).model_validate` of it gives an equal model."""
        data: JsonObject = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return data


class Metadata(DocumentModel):
    name: Name
    description: str = ""


class Document(DocumentModel):
    """Head of every document that a person writes."""

    api_version: Literal["streamverse.nf/v1"] = Field(alias="apiVersion")
    metadata: Metadata
