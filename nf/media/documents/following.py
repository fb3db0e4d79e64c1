"""Sections and arguments of who follows a channel at an edge: the intake of a PoP, the probe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nf.documents.model import Address, DocumentModel, Name, Port
from nf.documents.quantities import BitRate
from nf.media.documents.fields import (
    HostName,
    Milliseconds,
)


class IntakeOutput(DocumentModel):
    """Where the stream is handed over on this appliance: UDP to `address`:`port`, for the path `taker`."""

    taker: Name
    address: Address
    port: Port


class IntakeChannel(DocumentModel):
    """A channel that is followed at an edge and sent on as one steady transport stream.

    url    of the multivariant playlist, with the edge's address; `host` goes into the Host header
    """

    channel: Name
    path: Name
    url: str
    host: HostName
    segment_ms: Milliseconds = Field(alias="segment")
    outputs: Annotated[tuple[IntakeOutput, ...], Field(min_length=1)]
    requires: tuple[str, ...] = ()


class IntakeSection(DocumentModel):
    """Section `stream-intake`: what an appliance has of the CDN as transport streams, for its own other functions."""

    channels: tuple[IntakeChannel, ...] = ()


class HlsProbeArguments(DocumentModel):
    """Arguments of a probe target of kind `hls`.

    url    of the multivariant playlist, with the edge's address; `host` goes into the Host header
    """

    url: str
    host: HostName
    segment_ms: Milliseconds = Field(alias="segment")
    window_ms: Milliseconds = Field(alias="window")
    rate_bps: BitRate = Field(alias="rate")
