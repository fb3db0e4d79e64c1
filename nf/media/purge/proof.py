"""The proof that a purge has been one: objects are asked for, and none is older than the purge."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final
from urllib.parse import urljoin

from nf.clock import Clock
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import CancelledError, DriverError, InputError
from nf.media.documents import DASH_MANIFEST, HLS_MANIFEST
from nf.media.hls import parse_media, parse_multivariant
from nf.media.http import Response

ELAPSED: Final = "elapsed_s"
"""Argument of every fleet operation: how long the purge has been going on elsewhere when that of this cache begins."""

SERVED: Final = "served_under"
"""In the result of an edge that does not serve the host of the URL: the hosts under which it serves the channel."""

MAX_PROOFS: Final = 12
"""So many objects stand for all that was purged."""

ROUNDING_S: Final = 2
"""An age is in whole seconds at each cache, and two seconds may begin between what a shield and an edge say."""

_WHERE: Final = "purge"
_BEGAN_AT: Final = "began_at"

Get = Callable[[str], Awaitable[Response]]
"""Asks a cache for the object of that name below the channel."""

GetEach = Callable[[Sequence[str]], Awaitable[Sequence[Response]]]
"""Asks for several, one after the other."""


async def listed(get: Get) -> tuple[str, ...]:
    """What the packager's manifests name now: themselves, the playlists, and their segments, the newest first.

    Read through the cache itself, before it is purged: what is in them is what is probably in it.
    """
    names = [HLS_MANIFEST, DASH_MANIFEST]
    master = await get(HLS_MANIFEST)
    try:
        parsed = parse_multivariant(master.body.decode())
    except (InputError, ValueError):
        return tuple(names)
    each: list[list[str]] = []
    for uri in dict.fromkeys((*(variant.uri for variant in parsed.variants), *parsed.audio.values())):
        playlist = urljoin(HLS_MANIFEST, uri)
        names.append(playlist)
        try:
            media = parse_media((await get(playlist)).body.decode())
        except (InputError, ValueError):
            continue
        segments: list[str] = []
        for segment in reversed(media.segments):
            segments += [urljoin(playlist, part) for part in (segment.init_uri, segment.uri) if part]
        each.append(segments)
    # By turns, so that the first of them stand for every rendition.
    mixed = (name for turn in zip_longest(*each) for name in turn if name)
    found = dict.fromkeys((*names, *mixed))
    return tuple(name for name in found if "://" not in name and not name.startswith("/"))


@dataclass(slots=True)
class Proof:
    """What came of asking for objects after the purge.

    refetched    the cache had to ask for it anew; gone: likewise, and it could not be had
    revalidated  the cache had to ask whether it is still the same, and it was
    refilled     somebody else had asked for it meanwhile
    oldest_s     the greatest Age (RFC 9111 section 5.1) among the answers
    stale        objects that were answered from what was to be purged
    """

    refetched: int = 0
    revalidated: int = 0
    refilled: int = 0
    gone: int = 0
    oldest_s: int = 0
    stale: list[str] = field(default_factory=list)

    def take(
        self, name: str, response: Response, word: str, *, here_s: float, fleet_s: float, took_s: float = 0.0
    ) -> None:
        """`word`: what the cache says of it (hit, stale, miss). `here_s`: since this cache was purged; `fleet_s`: since
        the first one was: what a cache above has asked for since then may be here. `took_s`: what the request took,
        which a cache may count into the age (RFC 9111 section 4.2.3)."""
        hit = word in {"hit", "stale"}
        age_s = _age_s(response)
        limit_s = fleet_s if math.isfinite(fleet_s) or not hit else here_s
        if age_s > limit_s + took_s + ROUNDING_S:
            self.stale.append(name)
            return
        self.oldest_s = max(self.oldest_s, age_s)
        if word == "stale":
            self.revalidated += 1
        elif hit:
            self.refilled += 1
        elif response.status >= 400:
            self.gone += 1
        else:
            self.refetched += 1

    def to_json(self) -> JsonObject:
        return {
            "refetched": self.refetched,
            "revalidated": self.revalidated,
            "refilled": self.refilled,
            "gone": self.gone,
            "oldest_s": self.oldest_s,
        }


async def prove(
    names: Sequence[str],
    get_each: GetEach,
    word: Callable[[Response], str],
    context: Context,
    *,
    cache: str,
    began: float,
    lead_s: float,
) -> Proof:
    """Ask for objects once, MAX_PROOFS of them. `cache`: which it is, for people. `began`: when it was purged, on the
    monotonic clock; `lead_s`: since the first cache of the fleet was, until then.

    Raises DriverError when an answer is older than the purge, CancelledError.
    """
    proof = Proof()
    names = names[:MAX_PROOFS]
    if context.cancel.is_set():
        raise CancelledError("the purge is done, its proof was cancelled", where=_WHERE)
    context.progress(0.5, f"asking for {len(names)} objects")
    asked = context.clock.monotonic()
    responses = await get_each(names)
    now = context.clock.monotonic()
    for name, response in zip(names, responses, strict=True):
        here_s = now - began
        proof.take(name, response, word(response), here_s=here_s, fleet_s=here_s + lead_s, took_s=now - asked)
    if proof.stale:
        raise DriverError(
            f"still served from before the purge, which was acknowledged: {', '.join(proof.stale[:5])}",
            where=cache,
            remedy="purge again; when it stays, look whether every cache above was purged, then purge all of the "
            "channel, and read the log of its unit",
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
