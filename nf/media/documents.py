"""What the CDN adds to the documents: the path type `cdn`, the sections of its drivers, the arguments of its probe.

One rule places every object: the key is `CHANNEL/NAME` in the bucket of the path. The origin and the shields serve it
as `/BUCKET/CHANNEL/NAME`, the edges as `http://HOST/CHANNEL/NAME`.
"""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from nf.documents.lineup import DeliveryPath, Peer
from nf.documents.model import Address, DocumentModel, Form, Name, Port, RuleError, Whole
from nf.documents.quantities import BitRate, DurationMs, format_duration, parse_duration_ms
from nf.documents.registry import Extension
from nf.media.purge.message import PurgeMessage

PART = "cdn"
"""Part of a fleet's equipment."""

HLS_MANIFEST = "master.m3u8"
"""Name of the multivariant playlist (RFC 8216) of a channel."""

DASH_MANIFEST = "manifest.mpd"
"""Name of the media presentation description (ISO/IEC 23009-1) of a channel."""

CACHE_KEY_HEADER = "xkey"
"""Header of a response by which a shield knows the channel an object belongs to."""

MAX_HOST_CHARACTERS = 253

HostName = Annotated[
    str,
    Form(
        r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+",
        "a host is a DNS name of two labels or more, in lower case",
        "write it as cdn.streamverse.test",
    ),
]

BucketName = Annotated[
    str,
    Form(
        r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
        "a bucket's name has 3 to 63 lower-case letters, digits and hyphens, and no hyphen at its ends",
        "choose a name such as media or media-west",
    ),
]

SecretRef = Annotated[
    str,
    Form(
        r"secret:[a-z][a-z0-9-]{0,38}",
        "credentials are never written into a document: they are named",
        "write it as secret:origin-writer",
    ),
]
"""The name of a secret. Its value is resolved on the appliance, when it is used, and is kept nowhere."""


KeyRef = Annotated[
    str,
    Form(
        r"secret:[a-z][a-z0-9-]{0,38}|file:/[^\s]{1,200}|pkcs11:[^\s]{1,300}",
        "a key is never written into a document: it is named",
        "write it as secret:NAME, file:/PATH or pkcs11:object=NAME;token=NAME?module-path=FILE&pin-source=secret:NAME",
    ),
]


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


def _milliseconds(value: object) -> object:
    return value if isinstance(value, int) and not isinstance(value, bool) else parse_duration_ms(value)


Milliseconds = Annotated[
    int, BeforeValidator(_milliseconds), Field(gt=0), PlainSerializer(format_duration, when_used="json")
]
"""A duration in a section. A program writes it as a number, JSON shows it with its unit: `2s`."""

HttpPort = Annotated[Whole, Field(ge=1, le=65535)]


def _endpoint(url: str) -> str:
    rule = RuleError("the endpoint of an S3 API is http://ADDRESS:PORT", "write it as http://10.0.9.10:8333")
    try:
        parts = urlsplit(url)
        IPv4Address(parts.hostname or "")
        port = parts.port
    except ValueError:
        raise rule from None
    if port is None or port == 0 or url != f"http://{parts.hostname}:{port}":
        raise rule
    return url


Endpoint = Annotated[str, AfterValidator(_endpoint)]
"""`http://ADDRESS:PORT` of an S3 API. An address, since the data plane has no resolver that a cache may wait for."""


def endpoint_address(endpoint: str) -> tuple[IPv4Address, int]:
    """Address and TCP port of an endpoint."""
    parts = urlsplit(endpoint)
    return IPv4Address(parts.hostname or ""), parts.port or 80


def object_prefix(bucket: str, channel: str) -> str:
    """How the origin and the shields name all that belongs to a channel: `/BUCKET/CHANNEL/`."""
    return f"/{bucket}/{channel}/"


def _server(url: str) -> str:
    rule = RuleError("a steering server is http(s)://HOST[:PORT], without a path", "write it as https://steer.example")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise rule from None
    plain = url.isascii() and url.isprintable() and not any(c in url for c in ' "<>\\^`{|}@')
    if parts.scheme not in {"http", "https"} or not host or not plain or url != f"{parts.scheme}://{parts.netloc}":
        raise rule
    return url


ServerUrl = Annotated[str, AfterValidator(_server)]
"""Where players reach a steering server: `https://steer.streamverse.test`. Nothing is below it: paths are ours."""

SHARED_PATHWAY = "any"
"""The pathway of a path's own host: whichever edge answers there."""

MAX_LISTED = 4
"""So many sites have variants of their own in multivariant playlists; those beyond are clones in steering manifests."""


def pathway_host(host: str, site: str) -> str:
    """The name by which the edges of one site are asked for what they serve under `host`."""
    return f"{site}.{host}"


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
    def _encrypted_is_scrambled(self) -> Self:
        if self.protection is not None and not self.scrambled:
            raise RuleError("what is encrypted is of no use without a key", "add scrambled: true")
        return self

    @model_validator(mode="after")
    def _window_of_segments(self) -> Self:
        if self.window_ms < 4 * self.segment_ms:
            raise RuleError("the window is shorter than four segments (RFC 8216 section 6.2.2)", "widen the window")
        return self


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


class ShieldChannel(DocumentModel):
    """What a shield serves below `/BUCKET/CHANNEL/`, from which origin, and how long a manifest stays fresh there."""

    channel: Name
    path: Name
    bucket: BucketName
    endpoint: Endpoint
    segment_ms: Milliseconds = Field(alias="segment")
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


class ShieldSection(DocumentModel):
    """Section `cdn-shield`: the cache between origin and edges. `listen` is where the edges find it.

    `requires`: the ordering facts that must hold before it can listen there.
    """

    listen: Address
    port: HttpPort = 6081
    requires: tuple[str, ...] = ()
    channels: tuple[ShieldChannel, ...] = ()


class Parent(DocumentModel):
    address: Address
    port: HttpPort = 6081


class EdgeChannel(DocumentModel):
    """`http://HOST/CHANNEL/` as the edge maps it to `/BUCKET/CHANNEL/` at the shields.

    `aliases`: names of the same, such as the one of its site only.
    """

    channel: Name
    path: Name
    host: HostName
    aliases: tuple[HostName, ...] = ()
    bucket: BucketName
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


class CongestionControl(Enum):
    """Of the connections that receivers open. `auto`: BBR where the kernel has it; `kernel`: what the kernel uses."""

    AUTO = "auto"
    BBR = "bbr"
    KERNEL = "kernel"


class EdgeTls(DocumentModel):
    """The https listener beside http. A certificate is a secret: its chain and its key, in PEM, leaf first.

    Which one a client gets is what it asks for by name (SNI, RFC 6066 section 3); without a name, the first.
    """

    port: HttpPort = 443
    certificates: Annotated[tuple[SecretRef, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.certificates)) != len(self.certificates):
            raise RuleError("a certificate is named twice", "name it once")
        return self


class Healing(DocumentModel):
    """How soon a shield that does not answer is left alone, and how soon it is asked again.

    path      what each shield is asked for; 500 and above, and what does not come in time, are failures
    interval  between two questions; timeout: for one. After a failure the next question is asked at once
    hold      how long a shield must have answered before it is asked for content again, and be on probation then
    """

    path: Annotated[
        str, Form(r"/[!-~]*", "the path of a request begins with a slash and has no space", "write it as /nf/health")
    ] = "/nf/health"
    interval_ms: Annotated[Milliseconds, Field(ge=50, le=60_000)] = Field(alias="interval", default=250)
    timeout_ms: Annotated[Milliseconds, Field(ge=20, le=10_000)] = Field(alias="timeout", default=200)
    hold_ms: Annotated[Milliseconds, Field(ge=500, le=3_600_000)] = Field(alias="hold", default=10_000)


class EdgeSection(DocumentModel):
    """Section `cdn-edge`: the cache that receivers ask. `shields` in the order in which they are preferred.

    `requires`: the ordering facts that must hold before it can listen there.
    """

    listen: Annotated[tuple[Address, ...], Field(min_length=1)]
    port: HttpPort = 80
    tls: EdgeTls | None = None
    congestion_control: CongestionControl = CongestionControl.AUTO
    healing: Healing = Healing()
    requires: tuple[str, ...] = ()
    shields: Annotated[tuple[Parent, ...], Field(min_length=1)]
    channels: tuple[EdgeChannel, ...] = ()

    @model_validator(mode="after")
    def _distinct_shields(self) -> Self:
        # Traffic Server knows a parent's state by its host, without the port.
        if len({shield.address for shield in self.shields}) != len(self.shields):
            raise RuleError("two shields share an address", "give every shield an address of its own")
        return self

    @model_validator(mode="after")
    def _distinct_ports(self) -> Self:
        if self.tls is not None and self.tls.port == self.port:
            raise RuleError("http and https share a port", "give each a port of its own")
        return self


class EdgeEquipment(DocumentModel):
    """What edges have beyond their place. `appliances`: which; none named: those that no other entry names."""

    appliances: tuple[Name, ...] = ()
    tls: EdgeTls | None = None
    congestion_control: CongestionControl = CongestionControl.AUTO
    healing: Healing = Healing()


class CdnEquipment(DocumentModel):
    """Part `cdn` of a fleet's equipment."""

    edges: tuple[EdgeEquipment, ...] = ()

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        named = [name for entry in self.edges for name in entry.appliances or ("",)]
        if len(set(named)) != len(named):
            raise RuleError(
                "two entries are for the same edge, or two name none", "name every edge once, and leave one entry open"
            )
        return self

    def of(self, appliance: str) -> EdgeEquipment:
        """What the edge on `appliance` has."""
        named = next((entry for entry in self.edges if appliance in entry.appliances), None)
        return named or next((entry for entry in self.edges if not entry.appliances), EdgeEquipment())


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


EXTENSION = Extension(
    path_types={"cdn": CdnPath},
    equipment={PART: CdnEquipment},
    sections={
        "ingest": IngestSection,
        "s3-origin": OriginSection,
        "packager": PackagerSection,
        "ome": OmeSection,
        "cdn-shield": ShieldSection,
        "cdn-edge": EdgeSection,
        "stream-intake": IntakeSection,
    },
    messages={"PurgeMessage": PurgeMessage},
)
