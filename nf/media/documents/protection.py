"""Common Encryption of what is packaged, as the line-up says it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import model_validator

from nf.documents.model import DocumentModel, Form, RuleError
from nf.media.documents.fields import (
    KeyRef,
)


class Protection(DocumentModel):
    """Common Encryption (ISO/IEC 23001-7) of what is packaged.

    key_uri   what players of HLS find in EXT-X-KEY: where a licence is had; absent: the key id, for players that
              know where to ask
    """

    scheme: Literal["cbcs", "cenc"] = "cbcs"
    key: KeyRef
    key_uri: (
        Annotated[str, Form(r"(https|skd|data):[^\s\"]{1,500}", "a URI of scheme https, skd or data", "")] | None
    ) = None

    @model_validator(mode="after")
    def _no_pin(self) -> Self:
        if "pin-value" in self.key:
            raise RuleError("a PIN is never written into a document", "name it: pin-source=secret:NAME")
        return self
