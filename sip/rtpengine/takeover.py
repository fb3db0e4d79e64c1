"""Calls that a takeover or a restart leaves without media: those with DTLS-SRTP, whose keys no store has.

RTP and SDES go on. Which are stranded is told by their Call-IDs, so that the proxies can send them a re-INVITE.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import InputError, NotFoundError, RefusedError
from sip.rtpengine import http
from sip.rtpengine.documents import RtpengineSection
from sip.rtpengine.messages import Members, call_ids, list_calls, query
from sip.rtpengine.telemetry import is_here

STRANDED: Final = "stranded"
MANY: Final = 100_000
_AT_ONCE: Final = 16

FindSection = Callable[[], Awaitable[RtpengineSection | None]]


def medias(call: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Of an answer to `query`: every media of every party."""
    tags = call.get("tags")
    for party in tags.values() if isinstance(tags, Mapping) else ():
        listed = party.get("medias") if isinstance(party, Mapping) else None
        yield from (one for one in (listed if isinstance(listed, list) else ()) if isinstance(one, Mapping))


def has_dtls(call: Mapping[str, Any]) -> bool:
    """A party speaks UDP/TLS/RTP/SAVP or SAVPF (RFC 5764 section 8)."""
    return any(str(one.get("protocol", "")).startswith("UDP/TLS/") for one in medias(call))


def local_addresses(call: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(
        str(stream["local address"])
        for media in medias(call)
        for stream in media.get("streams", ())
        if isinstance(stream, Mapping) and "local address" in stream
    )


def is_stranded(call: Mapping[str, Any], started: float, moved: str = "", since: float | None = None) -> bool:
    """Its keys were agreed on before this process began (`started`, seconds since the epoch), or elsewhere: the call's
    media has the address `moved`, the partner's, and nobody has signalled it `since`."""
    signalled = call.get("last signal", call.get("created"))
    if not isinstance(signalled, int) or not has_dtls(call):
        return False
    elsewhere = moved in local_addresses(call) and (since is None or signalled < since)
    return signalled < started - 1 or elsewhere


async def stranded(section: RtpengineSection, started: float, since: float | None = None) -> tuple[str, ...]:
    """Call-IDs, sorted. Raises UnavailableError when the relay does not answer."""
    moved = str(section.pair.address) if section.pair is not None and is_here(str(section.pair.address)) else ""
    ids = call_ids(await http.ask(list_calls(MANY)))
    gate = asyncio.Semaphore(_AT_ONCE)

    async def look(call_id: str) -> Members:
        async with gate:
            try:
                return await http.ask(query(call_id))
            except NotFoundError:
                return {}

    calls = await asyncio.gather(*map(look, ids))
    return tuple(sorted(one for one, call in zip(ids, calls, strict=True) if is_stranded(call, started, moved, since)))


class Stranded:
    """Operation `stranded`. Argument `since` (seconds since the epoch): of the calls taken over, leave out those that
    were signalled after it, and so invited anew. Result: `calls`, their Call-IDs, and `count`."""

    def __init__(self, find: FindSection) -> None:
        self._find = find

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002
        section = await self._find()
        if section is None:
            raise RefusedError("no relay of ours is here", where=STRANDED, remedy="see nf lineup show")
        since = arguments.get("since")
        if since is not None and (isinstance(since, bool) or not isinstance(since, int | float)):
            raise InputError("`since` is a time in seconds since 1970", where=STRANDED, remedy="leave it out")
        uptime = (await http.metrics()).get("rtpengine_uptime_seconds", 0.0)
        found = await stranded(section, context.clock.now() - uptime, since)
        text = f"{len(found):,} calls with DTLS have no media until they are invited anew"
        return {"text": text, "count": len(found), "calls": [*found]}
