"""Sections of who makes a channel ready for the CDN: contributions, engine, packager, bucket."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nf.documents.lineup import Peer
from nf.documents.model import Address, DocumentModel, Name, Port
from nf.documents.quantities import BitRate
from nf.media.documents.fields import (
    BucketName,
    Endpoint,
    HostName,
    Milliseconds,
    SecretRef,
    ServerUrl,
)
from nf.media.documents.ladder import Rung
from nf.media.documents.protection import Protection


class Bucket(DocumentModel):
    """The bucket `name` with the objects of one channel in it; anyone may read it, `credentials` may write it."""

    name: BucketName
    channel: Name
    path: Name
    credentials: SecretRef
    provides: tuple[str, ...] = ()


class OriginSection(DocumentModel):
    """Section `s3-origin`: the buckets at one S3 API. Several entries may share a bucket, one for each channel."""

    endpoint: Endpoint
    buckets: tuple[Bucket, ...] = ()


class Pathways(DocumentModel):
    """What manifests say of steering: the server, and the sites of the path below its host."""

    server: ServerUrl
    host: HostName
    sites: Annotated[tuple[Name, ...], Field(min_length=1)]


class IngestSource(DocumentModel):
    """A contribution that something stands before: received at `arrival` or from `peer`, given to `port`.

    backup_port   UDP port where its backup is found; failback: how long the primary has to be back, absent: by hand
    """

    source: Name
    type: Literal["udp", "srt", "rist"]
    port: Port
    arrival: Port | None = None
    peer: Peer | None = None
    latency_ms: Milliseconds = Field(alias="latency", default=200)
    backup_port: Port | None = None
    detect_ms: Milliseconds = Field(alias="detect", default=400)
    failback_ms: Milliseconds | None = Field(alias="failback", default=None)


class IngestSection(DocumentModel):
    """Section `ingest`: the contributions that this appliance receives for those who read them at a UDP port."""

    sources: tuple[IngestSource, ...] = ()


class PackagerChannel(DocumentModel):
    """MPEG-TS on UDP `contribution_port` becomes CMAF with HLS and DASH at `endpoint`/`bucket`/`channel`/."""

    channel: Name
    path: Name
    contribution_port: Port
    rate_bps: BitRate = Field(alias="rate")
    endpoint: Endpoint
    bucket: BucketName
    credentials: SecretRef
    segment_ms: Milliseconds = Field(alias="segment")
    window_ms: Milliseconds = Field(alias="window")
    ladder: tuple[Rung, ...] | None = None
    cues: bool = False
    steering: Pathways | None = None
    protection: Protection | None = None
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


class PackagerSection(DocumentModel):
    """Section `packager`: the channels that this appliance packages and uploads."""

    channels: tuple[PackagerChannel, ...] = ()


class OmeStream(DocumentModel):
    """What an OvenMediaEngine pulls into `app`, and pushes to UDP `port` of `to`. See `OmeEngine`."""

    channel: Name
    path: Name
    app: Name
    pull: tuple[str, ...]
    to: Address
    port: Port
    profile: Name | None = None


class OmeSection(DocumentModel):
    """Section `ome`: the streams of ours at one OvenMediaEngine. What its Server.xml declares is never written."""

    endpoint: Endpoint
    token: SecretRef
    vhost: Name = "default"
    streams: tuple[OmeStream, ...] = ()
