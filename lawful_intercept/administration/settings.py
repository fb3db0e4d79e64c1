"""What an ADMF is started with (`nf-li run admf --config FILE`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from lawful_intercept.configuration import Listen, ProcessSettings, TlsFiles
from nf.documents.model import DocumentModel, Form, Whole


class Server(DocumentModel):
    """A server and the certificate that it, and the client of the same link, shows."""

    listen: Listen
    tls: TlsFiles


class Hi1(DocumentModel):
    """How the operator is called in HI1 messages (TS 103 120): country (ISO 3166) and a name that was agreed."""

    country: Annotated[
        str, Form(r"[A-Z]{2}", "a country is two capital letters", "write its ISO 3166 code, such as NZ")
    ]
    identifier: Annotated[str, Field(min_length=1, max_length=64)]


class AdministrationSettings(ProcessSettings):
    """officers     where officers call
    x1           where elements report; its certificate is also shown to elements
    heads        a file that gets the signed head of the audit every hour, for the auditor: best on another machine
    replica      a directory in a second place, which gets a copy of the state within half a minute of each change
    linger_s     how long mediation keeps the task of a warrant that has ended, for what is on the way
    reconcile_s  how often an element is asked what it holds
    keepalive_s  how often it is told that the ADMF lives
    """

    officers: Server
    x1: Server
    hi1: Hi1
    heads: Path | None = None
    replica: Path | None = None
    linger_s: Annotated[Whole, Field(ge=0, le=30 * 86_400)] = 3600
    reconcile_s: Annotated[Whole, Field(ge=1, le=86_400)] = 60
    keepalive_s: Annotated[Whole, Field(ge=1, le=3600)] = 10
