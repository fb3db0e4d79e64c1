"""What the process of an appliance's points of interception is started with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, IPvAnyAddress, field_validator

from lawful_intercept.configuration import Listen, ProcessSettings, TcpPort, TlsFiles
from lawful_intercept.points.identities import DEFAULTS
from nf.documents.model import DocumentModel, Name, RuleError, Whole


class PointSettings(DocumentModel):
    """An observation point of this appliance.

    content        where packets are copied: `media` of sip, `n6` or `n3` of core5g; "": nowhere here, another appliance
                   does
    copies         of sip: this appliance's address on interception's own network, at which copies from relays of other
                   appliances come in; without it, calls that have such a relay are not copied, and told as lost
    address, port  where the function itself listens: the destination of the messages that came to it
    """

    content: str = ""
    copies: IPvAnyAddress | None = None
    address: IPvAnyAddress | None = None
    port: TcpPort = 5060


class Admf(DocumentModel):
    """Who may task this element, and hears its reports. `name`: in its certificate and in X1."""

    name: Name
    url: str

    @field_validator("url")
    @classmethod
    def _https(cls, value: str) -> str:
        if not value.startswith("https://"):
            raise RuleError("X1 is HTTPS", "write https://ADDRESS:PORT/X1/ADMF")
        return value


class Delivery(DocumentModel):
    """X2 and X3.

    mediation        names that an MDF's certificate may have
    spool_mib        what each destination may wait with on disk while its MDF is away
    remember_days    for which a destination's spool is kept that the ADMF has not made again
    """

    tls: TlsFiles
    mediation: Annotated[tuple[Name, ...], Field(min_length=1)]
    spool_mib: Annotated[Whole, Field(ge=8, le=1 << 20)] = 1024
    remember_days: Annotated[Whole, Field(ge=1, le=90)] = 7


class PointsSettings(ProcessSettings):
    """listen, tls       X1, where the ADMF tasks this element
    run_dir             the appliance's, where observation points have their sockets
    keepalive_s         without a keepalive of the ADMF for so long, all tasks end
    """

    listen: Listen
    tls: TlsFiles
    admf: Admf
    delivery: Delivery
    run_dir: Path = Path("/run/nf")
    points: Annotated[dict[str, PointSettings], Field(min_length=1)]
    keepalive_s: Annotated[Whole, Field(ge=5, le=86_400)] = 180

    @field_validator("points")
    @classmethod
    def _known(cls, value: dict[str, PointSettings]) -> dict[str, PointSettings]:
        for name, point in value.items():
            if name not in DEFAULTS:
                raise RuleError("not an observation point", f"use {' or '.join(DEFAULTS)}")
            if point.copies is not None and name != "sip":
                raise RuleError("its packets are copied where they pass", "leave `copies` out, or write it below sip")
        return value
