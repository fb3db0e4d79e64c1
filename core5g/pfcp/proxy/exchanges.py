"""What is between a request that the proxy handed on and its answer: sequence numbers, repetitions (TS 29.244 6.4).

A requester repeats what is not answered; the repetition goes on under the number that the request had, so that the
receiver knows it for one. An answer that has gone by is given again from here.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from core5g.pfcp.transactions import Peer
from core5g.pfcp.wire import PfcpError

HOLD_S = 20.0
"""How long an exchange is remembered: longer than a peer repeats (T1 3 s, N1 3) and a receiver keeps its answers."""

FIRST_MAPPED, FIRST_OWN = 0xE0_0000, 0xF0_0000
"""Below: requesters' own numbers. From here: numbers for those that two requesters use at once. Then: our requests."""

_TLV = struct.Struct("!HH")


class Outgoing(NamedTuple):
    data: bytes
    to: Peer


@dataclass(slots=True, eq=False)
class Exchange:
    """request: as it was handed on, None once answered; response: as it was given back. `note`: whoever opened it."""

    requester: Peer
    seq: int
    target: Peer
    own_seq: int
    told: int
    born: float
    request: bytes | None = None
    response: bytes | None = None
    note: object = None
    mute: bool = False


class Exchanges:
    def __init__(self) -> None:
        self._by_request: dict[tuple[str, int], Exchange] = {}
        self._by_target: dict[tuple[str, int], Exchange] = {}
        self._order: deque[Exchange] = deque()
        self._next = FIRST_MAPPED

    def __len__(self) -> int:
        return len(self._order)

    def repeated(self, requester: Peer, seq: int, data: bytes) -> Exchange | None:
        """The exchange that these octets opened. The same number with others is a new one: its sender restarted."""
        found = self._by_request.get((requester.address, seq))
        return found if found is not None and found.told == hash(data) else None

    def open(self, requester: Peer, seq: int, target: Peer, data: bytes, now: float) -> Exchange:
        host = target.address
        own_seq = seq
        while own_seq >= FIRST_OWN or (host, own_seq) in self._by_target:
            own_seq = self._next
            self._next = self._next + 1 if self._next + 1 < FIRST_OWN else FIRST_MAPPED
        exchange = Exchange(requester, seq, target, own_seq, hash(data), now)
        self._by_request[requester.address, seq] = exchange
        self._by_target[host, own_seq] = exchange
        self._order.append(exchange)
        return exchange

    def answered(self, target: Peer, seq: int) -> Exchange | None:
        """The exchange that an answer of `target` belongs to, once; None for one that nobody waits for."""
        found = self._by_target.get((target.address, seq))
        if found is None or found.request is None:
            return None
        found.request = None
        return found

    def expire(self, now: float) -> list[Exchange]:
        """Forgets what is old; those that were never answered."""
        lost = []
        while self._order and now - self._order[0].born >= HOLD_S:
            exchange = self._order.popleft()
            for table, key in (
                (self._by_request, (exchange.requester.address, exchange.seq)),
                (self._by_target, (exchange.target.address, exchange.own_seq)),
            ):
                if table.get(key) is exchange:
                    del table[key]
            if exchange.request is not None:
                lost.append(exchange)
        return lost


def spliced(data: bytes, size: int, replace: Mapping[int, bytes]) -> bytes:
    """A message with the values of its own IEs of these types replaced, all other octets as they are.

    `size`: of the header. The same object when there is none of them. Raises PfcpError.
    """
    at, end, copied = size, len(data), 0
    parts: list[bytes] = []
    while at + 4 <= end:
        kind, length = _TLV.unpack_from(data, at)
        after = at + 4 + length
        value = replace.get(kind)
        if value is not None and after <= end:
            parts += (data[copied:at], _TLV.pack(kind, len(value)), value)
            copied = after
        at = after
    if at != end:
        raise PfcpError("ie-length", "the last IE does not end with the message")
    if not parts:
        return data
    parts.append(data[copied:])
    whole = b"".join(parts)
    return whole[:2] + (len(whole) - 4).to_bytes(2, "big") + whole[4:]
