"""Dialogs of the proxies against calls of the relays: both leak, and what only a relay has is taken away.

A call at a relay comes before its dialog (the offer goes out with the INVITE), and a dialog's end may be told late; so
nothing is deleted that is younger than `older_than_s`, and never when the proxies' dialogs could not be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from nf.errors import InputError, NfError, NotFoundError
from sip.rtpengine.messages import Members, call_ids, delete, list_calls, query

OLDER_THAN_S: Final = 300.0
LEAST_S: Final = 30.0
MANY: Final = 100_000
_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Dialog:
    """age_s: since it began."""

    call_id: str
    age_s: float


class Dialogs(Protocol):
    async def dialogs(self) -> tuple[Dialog, ...]:
        """Of every proxy that may use the relay; all of them or an NfError."""


class Ng(Protocol):
    async def ask(self, members: Members) -> Members:
        """As `client.NgClient`, or `http.ask`, which has room for long lists."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call at a relay. rtpengine never counts a call's last packet as `silent_s` when no stream tells it."""

    call_id: str
    age_s: float
    silent_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """Call-IDs, sorted. `deleted` and `failed` (with why) are of `only_at_relay`; `young`: spared for their age."""

    both: tuple[str, ...] = ()
    only_at_proxy: tuple[str, ...] = ()
    only_at_relay: tuple[str, ...] = ()
    young: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    failed: Mapping[str, str] | None = None


def compare(dialogs: Mapping[str, float], calls: Mapping[str, float], older_than_s: float = OLDER_THAN_S) -> Report:
    """Call-ID -> age in seconds, on either side. Pure; `young` are those of `only_at_relay` that are to stay."""
    alone = calls.keys() - dialogs.keys()
    return Report(
        both=tuple(sorted(calls.keys() & dialogs.keys())),
        only_at_proxy=tuple(sorted(dialogs.keys() - calls.keys())),
        only_at_relay=tuple(sorted(alone)),
        young=tuple(sorted(one for one in alone if calls[one] < older_than_s)),
    )


def read_call(call_id: str, answer: Mapping[str, Any], now: float) -> Call:
    """Of an answer to `query`; `now`: seconds since the epoch. An age that it does not tell is 0, so that it stays."""
    created, heard = answer.get("created"), answer.get("last signal")
    age = max(0.0, now - created) if isinstance(created, int) else 0.0
    signalled = max(0.0, now - heard) if isinstance(heard, int) else 0.0
    packets = [
        max(0.0, now - stream["last packet"])
        for party in answer.get("tags", {}).values()
        for media in party.get("medias", ())
        for stream in media.get("streams", ())
        if isinstance(stream.get("last packet"), int)
    ]
    return Call(call_id, age, min([signalled, *packets]))


async def reconcile(
    dialogs: Dialogs, relay: Ng, now: float, *, older_than_s: float = OLDER_THAN_S, remove: bool = True
) -> Report:
    """Raises what `dialogs` and the relay's list raise: then nothing was deleted.

    `older_than_s` goes for the time since the call was last signalled, too: a call whose re-INVITE has just gone by
    has a dialog, whatever the list said.
    """
    if older_than_s < LEAST_S:
        remedy = f"write {LEAST_S:.0f} seconds or more"
        raise InputError("calls that are being set up have no dialog yet", where="older_than_s", remedy=remedy)
    ids = call_ids(await relay.ask(list_calls(MANY)))
    # Dialogs are read after the calls: one that begins in between is then on both sides.
    known = {one.call_id: one.age_s for one in await dialogs.dialogs()}
    gate = asyncio.Semaphore(_AT_ONCE)

    async def look(call_id: str) -> Call | None:
        async with gate:
            try:
                return read_call(call_id, await relay.ask(query(call_id)), now)
            except NotFoundError:
                return None

    calls = [one for one in await asyncio.gather(*map(look, ids)) if one is not None]
    signalled = {one.call_id: one.age_s for one in calls}
    found = compare(known, signalled, older_than_s)
    if not remove:
        return found
    deleted: list[str] = []
    failed: dict[str, str] = {}
    for call_id in found.only_at_relay:
        if call_id in found.young:
            continue
        try:
            await relay.ask(delete(call_id))
            deleted.append(call_id)
        except NfError as error:
            failed[call_id] = str(error)
    return Report(found.both, found.only_at_proxy, found.only_at_relay, found.young, tuple(deleted), failed)
