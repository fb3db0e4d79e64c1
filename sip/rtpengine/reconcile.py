"""Calls of a relay against dialogs of the proxies: both leak, and what only a relay has is taken away.

A call at a relay comes before its dialog (the offer goes out with the INVITE), and a dialog's end may be told late. So
a call is deleted when it was last signalled long ago, and every proxy has said, in two rounds, that it knows no such
dialog. A proxy that does not tell keeps them all.

Calls whose keys a takeover or a restart has lost (`sip.rtpengine.takeover`) are let go at once: they have no media, and
their proxy, which sees that no relay has them, ends them so that they are made anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, Protocol

from nf.errors import NfError, NotFoundError
from sip.rtpengine.messages import Members, call_ids, delete, list_calls, query
from sip.rtpengine.takeover import Lost, has_dtls, local_addresses

OLDER_THAN_S: Final = 300.0
MANY: Final = 100_000
_AT_ONCE: Final = 16
_PARTY: Final = "offer/answer"


class Ng(Protocol):
    async def ask(self, members: Members) -> Members:
        """As `client.NgClient`, or `http.ask`, which has room for long lists."""


class Proxies(Protocol):
    async def know(self, call: Call) -> bool:
        """Whether one of them has its dialog. Raises UnavailableError when not all that matter have told."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call at a relay. `tags`: of two parties that talk to one another; `age_s`: since it was last signalled."""

    call_id: str
    tags: tuple[str, str]
    age_s: float
    addresses: frozenset[str] = frozenset()
    dtls: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """Call-IDs, sorted, each in one place.

    known     a proxy has the dialog; `young`: it is spared for its age
    suspects  no proxy knows it, for the first time; `orphans`: again
    untold    not all proxies have said whether they know it
    """

    known: tuple[str, ...] = ()
    young: tuple[str, ...] = ()
    suspects: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Round:
    """What one look has found and done. `failed`: what could not be deleted, and why."""

    verdict: Verdict = Verdict()
    lost: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    failed: Mapping[str, str] | None = None


def judge(
    ages: Mapping[str, float],
    dialogs: Mapping[str, bool | None],
    before: AbstractSet[str] = frozenset(),
    older_than_s: float = OLDER_THAN_S,
) -> Verdict:
    """Pure. `ages`: Call-ID -> seconds; `dialogs`: whether a proxy has it, None or absent: not told; `before`: suspects
    of the round before."""
    places: dict[str, list[str]] = {name: [] for name in Verdict.__slots__}
    for call_id in sorted(ages):
        has = dialogs.get(call_id)
        if has:
            place = "known"
        elif ages[call_id] < older_than_s:
            place = "young"
        elif has is None:
            place = "untold"
        else:
            place = "orphans" if call_id in before else "suspects"
        places[place].append(call_id)
    return Verdict(**{name: tuple(found) for name, found in places.items()})


def read_call(call_id: str, answer: Mapping[str, Any], now: float) -> Call | None:
    """Of an answer to `query`; `now`: seconds since the epoch. None: nobody talks to anybody, as where a call has been
    left of which something else is still to be taken. An age that it does not tell is 0, so that it stays."""
    pair = next(_pairs(answer), None)
    if pair is None:
        return None
    signalled = answer.get("last signal", answer.get("created"))
    age = max(0.0, now - signalled) if isinstance(signalled, int) else 0.0
    return Call(call_id, pair, age, local_addresses(answer), has_dtls(answer))


def _pairs(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    tags = answer.get("tags")
    for tag, party in tags.items() if isinstance(tags, Mapping) else ():
        listed = party.get("subscriptions") if isinstance(party, Mapping) else None
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, Mapping) and one.get("type") == _PARTY and isinstance(one.get("tag"), str):
                yield str(tag), str(one["tag"])


async def read_calls(relay: Ng, now: float) -> dict[str, Call]:
    """Raises what its list raises."""
    ids = call_ids(await relay.ask(list_calls(MANY)))
    gate = asyncio.Semaphore(_AT_ONCE)

    async def look(call_id: str) -> Call | None:
        async with gate:
            try:
                return read_call(call_id, await relay.ask(query(call_id)), now)
            except NotFoundError:
                return None

    return {one.call_id: one for one in await asyncio.gather(*map(look, ids)) if one is not None}


class Reconciler:
    """Of one relay; it remembers whom it suspected in the last round."""

    def __init__(self, relay: Ng, proxies: Proxies, older_than_s: float = OLDER_THAN_S) -> None:
        self._relay, self._proxies, self._older = relay, proxies, older_than_s
        self._suspects: frozenset[str] = frozenset()

    async def look(self, now: float, lost: Lost) -> Round:
        """`now`: seconds since the epoch. Raises what the relay's list raises: then nothing was deleted."""
        calls = {one: call for one, call in (await read_calls(self._relay, now)).items() if lost.serves(call.addresses)}
        gone = {one for one, call in calls.items() if call.dtls and lost.without_keys(now - call.age_s, call.addresses)}
        rest = {one: call for one, call in calls.items() if one not in gone}
        dialogs = await self._dialogs([one for one in rest.values() if one.age_s >= self._older])
        verdict = judge({one: call.age_s for one, call in rest.items()}, dialogs, self._suspects, self._older)
        self._suspects = frozenset({*verdict.suspects, *verdict.orphans})
        deleted: list[str] = []
        failed: dict[str, str] = {}
        for call_id in (*sorted(gone), *verdict.orphans):
            try:
                # By a party: what is no party's, such as a subscription, is left to whoever made it.
                await self._relay.ask(delete(call_id, calls[call_id].tags[0]))
                deleted.append(call_id)
            except NfError as error:
                failed[call_id] = str(error)
        return Round(verdict, tuple(sorted(gone)), tuple(sorted(deleted)), failed)

    async def _dialogs(self, calls: list[Call]) -> dict[str, bool | None]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(call: Call) -> bool | None:
            async with gate:
                try:
                    return await self._proxies.know(call)
                except NfError:
                    return None

        answers = await asyncio.gather(*map(ask, calls))
        return {call.call_id: known for call, known in zip(calls, answers, strict=True)}
