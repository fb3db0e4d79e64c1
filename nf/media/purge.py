"""What a purge takes out of a cache, and the proof that it is out. The caches themselves are asked elsewhere."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin, urlsplit

from nf.clock import Clock
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import CancelledError, DriverError, InputError
from nf.media.documents import DASH_MANIFEST, HLS_MANIFEST
from nf.media.hls import parse_media, parse_multivariant
from nf.media.http import Response

PURGE: Final = "purge"
"""Name of the operation, at the drivers and for the fleet."""

ELAPSED: Final = "elapsed_s"
"""Argument of every fleet operation: how long the purge has been going on elsewhere when that of this cache begins."""

SERVED: Final = "served_under"
"""In the result of an edge that does not serve the host of the URL: the hosts under which it serves the channel."""

MAX_PROOFS: Final = 24
_BEGAN_AT: Final = "began_at"
_SEGMENTS_EACH: Final = 3

Get = Callable[[str], Awaitable[Response]]
"""Asks a cache for the object of that name below the channel."""


@dataclass(frozen=True, slots=True)
class Scope:
    """`name` below the channel: empty = all of it, ending in a slash = all below that, else one object.

    `host` is set when the scope was named by URL: then other hosts of the channel are none of its business.
    """

    channel: str
    host: str = ""
    name: str = ""

    @property
    def whole(self) -> bool:
        return not self.name

    @property
    def single(self) -> bool:
        return bool(self.name) and not self.name.endswith("/")

    def covers(self, name: str) -> bool:
        return name == self.name if self.single else name.startswith(self.name)


def scope_of(arguments: JsonObject) -> Scope:
    """Of `{"channel": ID}` or `{"url": "http://HOST/CHANNEL/NAME"}`. The query says nothing: caches leave it out.

    Raises InputError.
    """
    channel, url = arguments.get("channel"), arguments.get("url")
    if isinstance(channel, str) and channel and url is None:
        return Scope(channel)
    if isinstance(url, str) and channel is None:
        return scope_of_url(url)
    raise InputError("a purge names a channel or a URL", where=PURGE, remedy="give one of the two")


def scope_of_url(url: str) -> Scope:
    """Raises InputError."""
    remedy = "write it as a player asks for it: http://HOST/CHANNEL/NAME"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise InputError(f"this is no URL: {error}", where=url, remedy=remedy) from error
    channel, _, name = parts.path.removeprefix("/").partition("/")
    if parts.scheme not in {"http", "https"} or not host or not channel:
        raise InputError("this URL names nothing in a channel", where=url, remedy=remedy)
    if not parts.path.isascii() or any(c.isspace() or not c.isprintable() for c in parts.path):
        raise InputError("a URL consists of printable ASCII characters (RFC 3986)", where=url, remedy="encode it")
    return Scope(channel, host, name)


async def listed(get: Get) -> tuple[str, ...]:
    """The objects that stand for a channel: its manifests and playlists, and of each the newest segments.

    Read through the cache itself, before it is purged: what is in them is what is probably in it.
    """
    names = [HLS_MANIFEST, DASH_MANIFEST]
    segments: list[str] = []
    master = await get(HLS_MANIFEST)
    try:
        parsed = parse_multivariant(master.body.decode())
    except (InputError, ValueError):
        return tuple(names)
    for uri in dict.fromkeys((*(variant.uri for variant in parsed.variants), *parsed.audio.values())):
        playlist = urljoin(HLS_MANIFEST, uri)
        names.append(playlist)
        try:
            media = parse_media((await get(playlist)).body.decode())
        except (InputError, ValueError):
            continue
        for segment in media.segments[-_SEGMENTS_EACH:]:
            segments += [urljoin(playlist, part) for part in (segment.init_uri, segment.uri) if part]
    found = dict.fromkeys((*names, *segments))
    return tuple(name for name in found if "://" not in name and not name.startswith("/"))[:MAX_PROOFS]


@dataclass(slots=True)
class Proof:
    """What came of asking for objects after the purge.

    refetched  the cache had to ask for it anew; gone: likewise, and it could not be had
    refilled   somebody else had asked for it meanwhile
    oldest_s   the greatest Age (RFC 9111 section 5.1) among the answers
    stale      objects that were answered from what was to be purged
    """

    refetched: int = 0
    refilled: int = 0
    gone: int = 0
    oldest_s: int = 0
    stale: list[str] = field(default_factory=list)

    def take(self, name: str, response: Response, *, hit: bool, here_s: float, fleet_s: float) -> None:
        """`here_s`: since this cache was purged; `fleet_s`: since the first one was."""
        age_s = _age_s(response)
        # Age is in whole seconds, and a cache above may have begun with one more.
        if (hit and age_s > here_s + 1) or age_s > fleet_s + 1:
            self.stale.append(name)
            return
        self.oldest_s = max(self.oldest_s, age_s)
        if hit:
            self.refilled += 1
        elif response.status >= 400:
            self.gone += 1
        else:
            self.refetched += 1

    def to_json(self) -> JsonObject:
        return {
            "refetched": self.refetched,
            "refilled": self.refilled,
            "gone": self.gone,
            "oldest_s": self.oldest_s,
        }


async def prove(
    names: Sequence[str], get: Get, is_hit: Callable[[Response], bool], context: Context, *, began: float, lead_s: float
) -> Proof:
    """Ask for every object once. `began`: when this cache was purged, on the monotonic clock; `lead_s`: since the
    first cache of the fleet was, until then.

    Raises DriverError when an answer is older than the purge, CancelledError.
    """
    proof = Proof()
    for number, name in enumerate(names):
        if context.cancel.is_set():
            raise CancelledError("the purge is done, its proof was cancelled", where=PURGE)
        context.progress(0.5 + 0.5 * number / len(names), f"asking for {name}")
        response = await get(name)
        here_s = context.clock.monotonic() - began
        proof.take(name, response, hit=is_hit(response), here_s=here_s, fleet_s=here_s + lead_s)
    if proof.stale:
        raise DriverError(
            f"still served from before the purge: {', '.join(proof.stale[:5])}",
            where=PURGE,
            remedy="purge again; when it stays, look whether every cache above was purged",
        )
    return proof


def lead_of(arguments: JsonObject, checkpoint: Checkpoint, clock: Clock) -> float:
    """How long the purge has been going on elsewhere, in seconds, an interruption of this operation included.

    Infinite when nobody said: no age is too great then.
    """
    began_at = checkpoint.data.get(_BEGAN_AT)
    if isinstance(began_at, int | float):
        return max(0.0, clock.now() - began_at)
    value = arguments.get(ELAPSED)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.inf
    checkpoint.save({_BEGAN_AT: clock.now() - value})
    return float(value)


def added(left: JsonObject, right: JsonObject) -> JsonObject:
    """Counts of two proofs as one; of the ages the greater one."""
    if not left:
        return dict(right)
    both = {key: (_number(left[key]), _number(right[key])) for key in right}
    return {key: max(pair) if key.endswith("_s") else sum(pair) for key, pair in both.items()}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _age_s(response: Response) -> int:
    text = response.headers.get("age", "0").split(",")[0].strip()
    return int(text) if text.isascii() and text.isdigit() else 0
