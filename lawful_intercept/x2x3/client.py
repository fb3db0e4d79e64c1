"""A point's delivery to one MDF (ETSI TS 103 221-2 clauses 5.5 and 6): in order, again until it is confirmed.

What is put goes to a spool of X2 or of X3; one connection delivers both, X2 before X3, since signalling is little and
is never to wait for content. After so many octets, or a tenth of a second, a keepalive follows: our MDF answers it
when all before it is durable, so its answer confirms what was sent before. What was not confirmed when a connection
ends is sent again on the next; the MDF knows it by its sequence numbers.

The spools bound what waits while the MDF is away or slow; memory holds a few hundred kilobytes. Nothing waits for the
MDF but `run`.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from lawful_intercept.spool import Spool
from lawful_intercept.x2x3.codec import PduType
from lawful_intercept.x2x3.delivery import KINDS, Delivery, EndedError, Owner, Timing, first_of
from nf.errors import IdentityError

_FIRST_AGAIN_S = 0.2
_U32 = 0xFFFFFFFF


class LinkState(Enum):
    """AWAY: no MDF is there, or it has gone. REFUSED: one side does not take the other's certificate."""

    AWAY = "away"
    REFUSED = "refused"
    UP = "up"


class Client:
    """`spools`: of X2 and of X3; nobody else appends or confirms, and who made them closes them.

    check    is given each new connection, and raises IdentityError when the peer is not the MDF (`tls.require`)
    answers  False: the MDF answers no keepalives; what its connection took counts as delivered
    lost     is told how many PDUs of a kind were in a damaged part of a spool
    changed  is told each new state
    """

    def __init__(
        self,
        address: tuple[str, int],
        tls: ssl.SSLContext,
        spools: Mapping[PduType, Spool],
        *,
        check: Callable[[asyncio.StreamWriter], object],
        answers: bool = True,
        timing: Timing | None = None,
        lost: Callable[[PduType, int], None] = lambda _kind, _count: None,
        changed: Callable[[LinkState], None] = lambda _state: None,
    ) -> None:
        self._address, self._tls, self._check, self._changed = address, tls, check, changed
        self._spools = {kind: spools[kind] for kind in KINDS}
        self._owner = Owner(
            spools=self._spools,
            timing=timing or Timing(),
            answers=answers,
            arrived=asyncio.Event(),
            sequence=self._next_sequence,
            confirmed=self._confirmed,
            lost=lost,
        )
        self._state = LinkState.AWAY
        self._empty = asyncio.Event()
        self._sequence = 0
        self._failures = 0

    @property
    def state(self) -> LinkState:
        return self._state

    @property
    def waiting(self) -> int:
        """PDUs that are not confirmed."""
        return sum(spool.waiting for spool in self._spools.values())

    async def put(self, kind: PduType, octets: bytes) -> None:
        """An encoded PDU, kept when this returns. Never waits for the MDF. Raises SpoolFullError, StorageError."""
        self.put_many(kind, (octets,))

    def put_many(self, kind: PduType, pdus: Sequence[bytes]) -> None:
        """All of them or none; ten times as quick as one after another. Raises SpoolFullError, StorageError."""
        self._spools[kind].append_many(pdus)
        self._owner.arrived.set()

    async def drained(self) -> None:
        """Until everything is confirmed, while `run` runs."""
        while self.waiting:
            self._empty.clear()
            await self._empty.wait()

    async def run(self) -> None:
        """Delivers until it is cancelled. Raises StorageError when the disk of a spool has failed."""
        await first_of(self._sync(), self._connections())

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(self._owner.timing.sync)
            for spool in self._spools.values():
                await spool.sync()

    async def _connections(self) -> None:
        while True:
            try:
                await self._connection()
            except (IdentityError, ssl.SSLError) as error:
                self._turn(LinkState.REFUSED if _of_certificates(error) else LinkState.AWAY)
            except (OSError, EndedError):
                self._turn(LinkState.AWAY)
            self._failures += 1
            # Full jitter: points that lost the same MDF do not come back all at once.
            most = min(self._owner.timing.again, _FIRST_AGAIN_S * 2 ** min(self._failures, 20))
            await asyncio.sleep(random.uniform(0, most))  # noqa: S311 - nothing secret

    async def _connection(self) -> None:
        async with asyncio.timeout(self._owner.timing.answer):
            reader, writer = await asyncio.open_connection(*self._address, ssl=self._tls)
        try:
            self._check(writer)
            if not self._owner.answers:
                self._turn(LinkState.UP)
            await Delivery(self._owner, reader, writer).run()
        finally:
            writer.transport.abort()

    def _confirmed(self, sent: Mapping[PduType, int]) -> None:
        self._failures = 0
        self._turn(LinkState.UP)
        for kind, number in sent.items():
            if number > self._spools[kind].first_unconfirmed:
                self._spools[kind].confirm(number - 1)
        if not self.waiting:
            self._empty.set()

    def _next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) & _U32
        return self._sequence

    def _turn(self, state: LinkState) -> None:
        if state is not self._state:
            self._state = state
            self._changed(state)


def _of_certificates(error: IdentityError | ssl.SSLError) -> bool:
    if isinstance(error, IdentityError):
        return True
    reason = error.reason or ""
    return "CERTIFICATE" in reason or "UNKNOWN_CA" in reason
