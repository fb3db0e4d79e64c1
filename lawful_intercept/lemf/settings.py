"""The file that `nf-li lemf` works with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from lawful_intercept.configuration import Listen, ProcessSettings, TlsFiles
from lawful_intercept.identifiers import check_liid
from nf.documents.model import DocumentModel, RuleError, Whole
from nf.errors import InputError


class PayloadKey(DocumentModel):
    """What an LIID's payloads are encrypted with. `key`: file:PATH or pkcs11:..., 24 or 32 octets."""

    liid: str
    key: str

    @field_validator("liid")
    @classmethod
    def _liid(cls, value: str) -> str:
        try:
            return check_liid(value)
        except InputError as error:
            raise RuleError(error.message, error.remedy) from None


class Portal(DocumentModel):
    """The web page, for officers whose certificates `tls.authority` made."""

    listen: Listen
    tls: TlsFiles


class LemfSettings(ProcessSettings):
    """hi2, hi3          where IRI and CC are taken; one port each
    tls                  of both; its certificate's key signs what is exported, too
    acknowledge          pDUAcknowledgement is accepted where it is asked for
    payload_keys         of LIIDs whose payloads are encrypted
    signature_keys       public keys (PEM) that hashes may be signed with
    limit_mib            of stored product; when it is reached nothing more is taken, and nothing acknowledged
    """

    hi2: Listen
    hi3: Listen
    tls: TlsFiles
    portal: Portal | None = None
    acknowledge: bool = True
    payload_keys: tuple[PayloadKey, ...] = ()
    signature_keys: tuple[Path, ...] = ()
    limit_mib: Annotated[Whole, Field(ge=1, le=16 << 20)] = 10_240
