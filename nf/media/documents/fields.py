"""The fields that the CDN's documents are made of: names, addresses, references to secrets; and the names of objects.

One rule places every object: the key is `CHANNEL/NAME` in the bucket of the path. The origin and the shields serve it
as `/BUCKET/CHANNEL/NAME`, the edges as `http://HOST/CHANNEL/NAME`.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from nf.documents.model import Form, RuleError, Whole
from nf.documents.quantities import format_duration, parse_duration_ms

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
