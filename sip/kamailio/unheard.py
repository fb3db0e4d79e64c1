"""Calls that are up at the proxy and that their relay does not know: nobody hears anybody.

A relay forgets a call of which no media has come for a minute, whose keys it has lost, or with which it died. A call's
parties may bring it back by a re-INVITE of their own; a call that its relay still does not know at a second look is
ended with BYE and a Reason (RFC 3326), as it would be paid for until its time is over. Not an emergency call: that is
told and left. While a relay does not answer, or takes another one's calls over, nothing is known of its calls.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from nf.clock import Clock
from nf.errors import NfError, NotFoundError
from sip.findings import ENDED, LEFT, NO_RELAY, NOT_TOLD, WAITING, Finding, Findings
from sip.kamailio.dialogs import TALKING, Rpc, dialogs, emergency_number, end, variable, whole
from sip.kamailio.documents import KamailioSection
from sip.rtpengine.client import NgClient
from sip.rtpengine.messages import query

PERIOD_S: Final = 10.0
CALLS_PER_S: Final = 100
"""A look is as much later as there are calls."""
AGAIN_S: Final = 5.0
YOUNG_S: Final = 15
REASON: Final = 'Reason: Q.850;cause=41;text="media relay has lost the call"\r\n'
"""ITU-T Q.850: temporary failure. Whoever reads it may call again at once."""

Dialog = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Heard:
    """unheard, untold: calls at the last look; `ended`: since the agent runs, and when last."""

    unheard: int = 0
    untold: int = 0
    ended: int = 0
    ended_at: float = float("-inf")


NOTHING: Final = Heard()


def relay_of(dialog: Dialog, now: float) -> str:
    """The relay that has its media; empty: it is not up, or was answered just now, or has none."""
    if whole(dialog.get("state")) != TALKING or now - whole(dialog.get("start_ts")) < YOUNG_S:
        return ""
    return variable(dialog, "relay").partition("|")[2]


class Unheard:
    def __init__(self, clock: Clock, rpc: Callable[[], Rpc], findings: Findings) -> None:
        self._clock, self._rpc, self._findings = clock, rpc, findings
        self._task: asyncio.Task[None] | None = None
        self._due = float("-inf")
        self.heard = NOTHING

    def turn(self, section: KamailioSection) -> None:
        """Begins a look when it is due and none is under way. Raises what the last one did not expect."""
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            task.result()
        if self._task is None and self._clock.now() >= self._due:
            self._due = self._clock.now() + PERIOD_S
            self._task = asyncio.create_task(self._look(section))

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _look(self, section: KamailioSection) -> None:
        with contextlib.suppress(NfError):  # the proxy does not answer: its own alarm says so
            found = await dialogs(self._rpc())
            self._due = self._clock.now() + PERIOD_S + len(found) / CALLS_PER_S
            async with _Relays.open(section) as relays:
                await self._judge(section, relays, found)

    async def _judge(self, section: KamailioSection, relays: _Relays, found: Sequence[Dialog]) -> None:
        now = self._clock.now()
        missing, untold = await relays.missing([one for one in found if relay_of(one, now)])
        standing = [
            *(Finding(str(one["call-id"]), NO_RELAY, WAITING, now) for one in missing),
            *(Finding(str(one["call-id"]), NOT_TOLD, WAITING, now) for one in untold),
        ]
        self._findings.standing, self._findings.checked = tuple(standing), now
        self.heard = replace(self.heard, unheard=len(missing), untold=len(untold))
        if not missing:
            return
        await self._clock.sleep(AGAIN_S)
        left, ended = [], []
        for one in await self._still(relays, missing):
            at, call = self._clock.now(), str(one["call-id"])
            if emergency_number(one, section):
                left.append(Finding(call, NO_RELAY, LEFT, at))
                continue
            try:
                await end(self._rpc(), one, REASON)
                ended.append(Finding(call, NO_RELAY, ENDED, at))
            except NfError as error:
                left.append(Finding(call, NO_RELAY, str(error), at))
        self._findings.note(ended)
        self._findings.standing = (*left, *(one for one in standing if one.found == NOT_TOLD))
        self.heard = Heard(
            unheard=len(left),
            untold=len(untold),
            ended=self.heard.ended + len(ended),
            ended_at=self._clock.now() if ended else self.heard.ended_at,
        )

    async def _still(self, relays: _Relays, missing: Sequence[Dialog]) -> Sequence[Dialog]:
        """Of these, those that are still up, and still unknown."""
        now, known = self._clock.now(), {(one["h_entry"], one["h_id"]) for one in missing}
        again = [one for call in {str(one["call-id"]) for one in missing} for one in await dialogs(self._rpc(), call)]
        up = [one for one in again if (one.get("h_entry"), one.get("h_id")) in known and relay_of(one, now)]
        return (await relays.missing(up))[0]


class _Relays:
    """Those of the section, for the time of a look."""

    def __init__(self, clients: Mapping[str, NgClient]) -> None:
        self._clients = clients

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, section: KamailioSection) -> AsyncIterator[_Relays]:
        async with contextlib.AsyncExitStack() as stack:
            made = {}
            for one in section.relays:
                made[one.id] = await stack.enter_async_context(NgClient(str(one.address), one.control))
            yield cls(made)

    async def missing(self, found: Sequence[Dialog]) -> tuple[list[Dialog], list[Dialog]]:
        """Those that their relay does not know, and those of which it says nothing."""
        by_relay: dict[str, list[Dialog]] = {}
        for dialog in found:
            by_relay.setdefault(variable(dialog, "relay").partition("|")[2], []).append(dialog)
        lost, silent = [], []
        for name, its in by_relay.items():
            client = self._clients.get(name)
            if client is None:
                silent += its
                continue
            answers = await client.ask_many(query(str(dialog["call-id"])) for dialog in its)
            for dialog, answer in zip(its, answers, strict=True):
                if isinstance(answer, NotFoundError):
                    lost.append(dialog)
                elif isinstance(answer, NfError):
                    silent.append(dialog)
        return lost, silent
