"""The path type `cdn` of the line-up."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from nf.documents.lineup import DeliveryPath
from nf.documents.model import Address, DocumentModel, Form, Name, RuleError
from nf.documents.quantities import DurationMs
from nf.media.documents.fields import (
    MAX_HOST_CHARACTERS,
    SHARED_PATHWAY,
    BucketName,
    Endpoint,
    HostName,
    SecretRef,
    ServerUrl,
    pathway_host,
)
from nf.media.documents.ladder import Rung, check_ladder
from nf.media.documents.protection import Protection


class Steering(DocumentModel):
    """Players are steered between the sites of the path (HLS and DASH Content Steering) by the server at `server`."""

    server: ServerUrl


class Origin(DocumentModel):
    """Where the packager writes and the shields read. `credentials` are the writer's; reading needs none."""

    endpoint: Endpoint
    bucket: BucketName
    credentials: SecretRef


class OmeEngine(DocumentModel):
    """An OvenMediaEngine that pulls the programme and pushes it to the path's contribution port as MPEG-TS.

    endpoint  http://ADDRESS:PORT of its REST API; token: its AccessToken, named; vhost, app: where the stream is made
    pull      RTSP or OVT URLs, tried in order; to: the packager's address as the engine reaches it
    profile   an output profile of that application that bypasses; an application that lacks it is made or changed,
              which restarts it. Absent: the application is taken as it is
    """

    endpoint: Endpoint
    token: SecretRef
    vhost: Name = "default"
    app: Name
    pull: Annotated[
        tuple[Annotated[str, Form(r"(rtsp|ovt)://[^\s]{1,400}", "a URL of scheme rtsp or ovt", "")], ...],
        Field(min_length=1),
    ]
    to: Address
    profile: Name | None = None


class CdnPath(DeliveryPath):
    """Over-the-top: the channel as CMAF with HLS and DASH, from the origin through shields to the edges at `sites`.

    source    a source of the line-up with a port of its own, since one port has one reader
    rate      total bit rate of all renditions
    segment   duration of a media segment; window: how much of the programme a manifest lists
    ladder    renditions that the packager's appliance encodes, the best first; absent: the one that comes, as it is
    cues      splice information (SCTE 35) of the source goes into playlists and DASH manifest
    steering  makes a pathway of each site, `SITE.HOST`, beside the path's host
    """

    can_be_handed_over: ClassVar[bool] = True

    type: Literal["cdn"]
    host: HostName
    sites: Annotated[tuple[Name, ...], Field(min_length=1)]
    source: Name
    segment_ms: Annotated[DurationMs, Field(ge=1_000, le=10_000)] = Field(alias="segment", default=2_000)
    window_ms: Annotated[DurationMs, Field(ge=4_000, le=3_600_000)] = Field(alias="window", default=30_000)
    origin: Origin
    ladder: tuple[Rung, ...] | None = None
    cues: bool = False
    steering: Steering | None = None
    protection: Protection | None = None
    engine: OmeEngine | None = None

    @model_validator(mode="after")
    def _names_of_sites(self) -> Self:
        if self.steering is not None and SHARED_PATHWAY in self.sites:
            raise RuleError(f"{SHARED_PATHWAY} is the pathway of the path's host", "call the site otherwise")
        if self.steering is not None and len(pathway_host(self.host, max(self.sites, key=len))) > MAX_HOST_CHARACTERS:
            raise RuleError("with the name of a site before it the host is no DNS name any more", "shorten the host")
        return self

    @model_validator(mode="after")
    def _ladder_fits(self) -> Self:
        if self.ladder is None:
            return self
        check_ladder(self.ladder)
        if self.cues:
            raise RuleError(
                "an encoder has time stamps of its own, by which no cue of the source is found",
                "remove cues or the ladder",
            )
        total = sum(rung.bitrate_bps for rung in self.ladder)
        if total >= self.rate_bps:
            raise RuleError(
                f"the ladder's renditions have {total} bit/s together, and the path's rate is {self.rate_bps} bit/s",
                "rate is for all renditions and the sound: raise it, or lower the ladder's bitrates",
            )
        return self

    @model_validator(mode="after")
    def _encrypted_is_scrambled(self) -> Self:
        if self.protection is not None and not self.scrambled:
            raise RuleError("what is encrypted is of no use without a key", "add scrambled: true")
        return self

    @model_validator(mode="after")
    def _window_of_segments(self) -> Self:
        if self.window_ms < 4 * self.segment_ms:
            raise RuleError("the window is shorter than four segments (RFC 8216 section 6.2.2)", "widen the window")
        return self
