"""What the service is set to: `nf noc service set traffic-influence address=HOST:PORT ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from core5g.documents import HostName
from nf.documents.model import DocumentModel, Form, Whole


class TrafficInfluenceSettings(DocumentModel):
    """`address`: where it listens, by HTTPS with the NOC's certificate.

    sinks       hosts that may be notified, with those below them; without any, nobody is
    sink_ca     certificates (PEM) by which those hosts are known; else the system's
    resources   so many a consumer may have
    rate        so many requests a second a consumer may make, with a burst of twice as many
    """

    address: Annotated[
        str,
        Form(
            r"(\[[0-9a-fA-F:]+\]|[a-zA-Z0-9.-]+):[0-9]{1,5}",
            "an address to listen on is HOST:PORT",
            "write it as 10.0.0.5:7480 or [::]:7480",
        ),
    ]
    sinks: tuple[HostName, ...] = ()
    sink_ca: Path | None = None
    resources: Annotated[Whole, Field(ge=1, le=10_000)] = 1000
    rate: Annotated[float, Field(gt=0, le=10_000)] = 20.0

    @property
    def listen(self) -> tuple[str, int]:
        host, _, port = self.address.rpartition(":")
        return host.removeprefix("[").removesuffix("]"), int(port)
