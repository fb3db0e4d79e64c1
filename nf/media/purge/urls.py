"""URLs as players ask for them, as what a purge selects. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from nf.documents.model import RuleError
from nf.media.purge.tags import plain_channel


@dataclass(frozen=True, slots=True)
class Url:
    """`name` below the channel. `host` without its port: other hosts of the channel are none of its business."""

    host: str
    channel: str
    name: str


def parse_url(url: str, *, below: bool = False) -> Url:
    """`http://HOST/CHANNEL/NAME`. `below`: NAME is where others begin, and may be empty. The query says nothing, as in
    the key of a cache.

    Raises RuleError.
    """
    remedy = "write it as a player asks for it: http://HOST/CHANNEL/NAME"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise RuleError("this is no URL", remedy) from None
    channel, slash, name = parts.path.removeprefix("/").partition("/")
    if parts.scheme not in {"http", "https"} or not host or not channel or not (name or (below and slash)):
        raise RuleError("this URL names nothing in a channel", remedy)
    if not url.isascii() or any(c.isspace() or not c.isprintable() for c in url):
        raise RuleError("a URL consists of printable ASCII characters (RFC 3986)", "encode it")
    if not below and name.endswith("/"):
        raise RuleError("what ends in a slash is no object", "purge it by prefix")
    plain_channel(channel)
    return Url(host, channel, name)
