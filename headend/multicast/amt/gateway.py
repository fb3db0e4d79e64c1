"""The gateway (RFC 7450 section 5.2): finds a relay, keeps its memberships there, takes the data. No I/O.

Time is given, in seconds of a clock that does not go back. What is to be sent comes back as values, and `deadline` says
when `tick` has something to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from headend.multicast.amt.codec import (
    PORT,
    Advertisement,
    Discovery,
    Endpoint,
    MembershipQuery,
    MembershipUpdate,
    Message,
    MulticastData,
    Request,
    Teardown,
    decode,
    encode,
)
from headend.multicast.igmp import ALL_IGMPV3_ROUTERS, Flow, GroupRecord, Query, RecordType, build_report, parse_query
from headend.multicast.ipv4 import IGMP, ROUTER_ALERT, UDP, MalformedError, build, parse

FIRST_WAIT_S, LAST_WAIT_S = 1.0, 30.0
"""Retransmission: after a second, then ever twice as long (section 5.2.3.4.3), at most half a minute."""
TRIES = 3
"""Requests without an answer after which the relay is looked for anew."""
SILENCE_S = 3.0
"""Data that stops for so long although it is asked for: the relay may have forgotten us. It is asked at once."""


class Phase(Enum):
    DISCOVERING = "discovering"  # a discovery is out
    REQUESTING = "requesting"  # a request is out
    MEMBER = "member"  # the relay knows what is wanted; the next request is due with the query interval
    CLOSED = "closed"


class Input(Enum):
    START = "start"
    ADVERTISED = "advertised"
    QUERIED = "queried"
    DUE = "due"  # the time that was set is over
    GIVEN_UP = "given up"  # it is over for the last time
    SILENT = "silent"
    STOP = "stop"


TABLE: dict[tuple[Phase, Input], Phase] = {
    (Phase.CLOSED, Input.START): Phase.DISCOVERING,
    (Phase.DISCOVERING, Input.ADVERTISED): Phase.REQUESTING,
    (Phase.DISCOVERING, Input.DUE): Phase.DISCOVERING,
    (Phase.DISCOVERING, Input.STOP): Phase.CLOSED,
    (Phase.REQUESTING, Input.QUERIED): Phase.MEMBER,
    (Phase.REQUESTING, Input.DUE): Phase.REQUESTING,
    (Phase.REQUESTING, Input.GIVEN_UP): Phase.DISCOVERING,
    (Phase.REQUESTING, Input.STOP): Phase.CLOSED,
    (Phase.MEMBER, Input.DUE): Phase.REQUESTING,
    (Phase.MEMBER, Input.SILENT): Phase.REQUESTING,
    (Phase.MEMBER, Input.STOP): Phase.CLOSED,
}


@dataclass(frozen=True, slots=True)
class Outgoing:
    data: bytes
    to: Endpoint


@dataclass(frozen=True, slots=True)
class Incoming:
    """A multicast datagram of a wanted flow, as its source sent it."""

    packet: bytes
    flow: Flow


@dataclass(slots=True)
class Gateway:
    """`discovery`: where a relay answers, possibly an anycast address. `flows`: what is wanted.

    `bad`: datagrams that were dropped, by reason. `limited`: the relay takes no more memberships.
    """

    discovery: Endpoint
    flows: tuple[Flow, ...]
    nonce: Callable[[], int]
    phase: Phase = Phase.CLOSED
    relay: Endpoint | None = None
    limited: bool = False
    bad: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    deadline: float | None = None
    heard_at: dict[Flow, float] = field(default_factory=dict)
    _wait_s: float = FIRST_WAIT_S
    _tries: int = 0
    _nonce: int = 0
    _last_query: MembershipQuery | None = None
    _silence_from: float = 0.0

    # -- inputs -----------------------------------------------------------------------------------------------------

    def start(self, now: float) -> Iterator[Outgoing]:
        self._go(Input.START)
        yield self._discover(now)

    def stop(self) -> Iterator[Outgoing]:
        """A teardown where the relay told us our endpoint; without it the tunnel ends by its time."""
        self._go(Input.STOP)
        self.deadline = None
        if self._last_query is not None and self._last_query.gateway is not None:
            yield self._teardown(self._last_query)

    def tick(self, now: float) -> Iterator[Outgoing]:
        if self.phase is Phase.MEMBER and self._silent(now):
            self._go(Input.SILENT)
            yield self._request(now, anew=True)
        elif self.deadline is not None and now >= self.deadline:
            yield self._due(now)

    def receive(self, data: bytes, sender: Endpoint, now: float) -> Iterator[Outgoing | Incoming]:
        """A datagram that came to the gateway's socket."""
        try:
            message = decode(data)
            yield from self._take(message, sender, now)
        except MalformedError as error:
            self.bad[error.reason] += 1

    # -- what they do -----------------------------------------------------------------------------------------------

    def _take(self, message: Message, sender: Endpoint, now: float) -> Iterator[Outgoing | Incoming]:
        match message:
            case MulticastData(packet):
                yield self._data(packet, sender, now)
            case Advertisement(nonce, relay):
                if self.phase is not Phase.DISCOVERING:
                    raise MalformedError("unexpected")
                if nonce != self._nonce:
                    raise MalformedError("nonce")
                self._go(Input.ADVERTISED)
                self.relay = Endpoint(relay, PORT if self.discovery.port == PORT else self.discovery.port)
                yield self._request(now, anew=True)
            case MembershipQuery():
                yield from self._queried(message, sender, now)
            case _:
                raise MalformedError("not-for-a-gateway")

    def _queried(self, message: MembershipQuery, sender: Endpoint, now: float) -> Iterator[Outgoing]:
        if self.phase is not Phase.REQUESTING:
            raise MalformedError("unexpected")
        if sender != self.relay:
            raise MalformedError("sender")
        if message.nonce != self._nonce:
            raise MalformedError("nonce")
        query = _general_query(message.query)
        before = self._last_query
        self._go(Input.QUERIED)
        self._last_query, self.limited = message, message.limited
        if before is not None and before.gateway is not None and before.gateway != message.gateway:
            # A NAT gave us another port: the tunnel to the old one ends (section 5.2.3.6).
            yield self._teardown(before)
        yield self._update(message)
        self.deadline = now + query.interval_s
        self._silence_from = now

    def _data(self, packet: bytes, sender: Endpoint, now: float) -> Incoming:
        if sender != self.relay:
            raise MalformedError("sender")
        inner = parse(packet)
        flow = (inner.source, inner.destination)
        if flow not in self.flows or inner.protocol != UDP:
            raise MalformedError("unwanted")
        self.heard_at[flow] = now
        return Incoming(packet, flow)

    def _silent(self, now: float) -> bool:
        """All that was heard has stopped; what never came is no sign that we were forgotten."""
        if not self.heard_at:
            return False
        return now - max(self._silence_from, *self.heard_at.values()) >= SILENCE_S

    def _due(self, now: float) -> Outgoing:
        if self.phase is Phase.REQUESTING and self._tries >= TRIES:
            self._go(Input.GIVEN_UP)
            return self._discover(now)
        before = self.phase
        self._go(Input.DUE)
        if self.phase is Phase.DISCOVERING:
            return self._discover(now, again=True)
        return self._request(now, anew=before is Phase.MEMBER)

    def _discover(self, now: float, *, again: bool = False) -> Outgoing:
        self._begin(now, again=again)
        return self._out(Discovery(self._nonce), self.discovery)

    def _request(self, now: float, *, anew: bool) -> Outgoing:
        self._begin(now, again=not anew)
        self.requests += 1
        return self._out(Request(self._nonce), self._relay())

    def _begin(self, now: float, *, again: bool) -> None:
        """A new exchange with its nonce, or the same one once more, later."""
        if again:
            self._wait_s = min(LAST_WAIT_S, self._wait_s * 2)
            self._tries += 1
        else:
            self._wait_s, self._tries, self._nonce = FIRST_WAIT_S, 1, self.nonce()
        self.deadline = now + self._wait_s

    def _update(self, query: MembershipQuery) -> Outgoing:
        groups: dict[int, list[int]] = {}
        for source, group in self.flows:
            groups.setdefault(group, []).append(source)
        records = [GroupRecord(RecordType.IS_INCLUDE, group, tuple(found)) for group, found in groups.items()]
        report = build(0, ALL_IGMPV3_ROUTERS, IGMP, build_report(records), tos=0xC0, options=ROUTER_ALERT)
        return self._out(MembershipUpdate(query.mac, query.nonce, report), self._relay())

    def _teardown(self, query: MembershipQuery) -> Outgoing:
        if query.gateway is None:
            raise ValueError("the relay did not tell our endpoint")
        return self._out(Teardown(query.mac, query.nonce, query.gateway), self._relay())

    def _relay(self) -> Endpoint:
        return self.relay or self.discovery

    def _out(self, message: Message, to: Endpoint) -> Outgoing:
        return Outgoing(encode(message), to)

    def _go(self, event: Input) -> None:
        """Raises KeyError for what is not in the table."""
        self.phase = TABLE[self.phase, event]


def _general_query(packet: bytes) -> Query:
    datagram = parse(packet)
    if datagram.protocol != IGMP:
        raise MalformedError("no-query")
    query = parse_query(datagram.payload)
    if query.group != 0:
        raise MalformedError("no-query")
    return query
