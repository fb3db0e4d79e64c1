"""The relay (RFC 7450 section 5.3): answers gateways, keeps what each of them asks for. No I/O; time is given.

A discovery and a request leave nothing behind: only an update whose MAC proves that its sender was reached makes a
tunnel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address

from headend.multicast.amt.codec import (
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
from headend.multicast.amt.gateway import Outgoing
from headend.multicast.amt.mac import Authenticator
from headend.multicast.igmp import ALL_SYSTEMS, Flow, Query, build_query, parse_report
from headend.multicast.ipv4 import IGMP, ROUTER_ALERT, MalformedError, build, parse
from headend.multicast.membership import Membership

QUERY = Query(response_s=1.0, interval_s=20)
"""What gateways are told: a request every 20 s, which keeps the bindings of the NATs on the way as well."""
LIFETIME_S = QUERY.robustness * QUERY.interval_s + 10.0
"""Of a membership without an update (RFC 3376 section 8.4)."""


class Tunnel(Enum):
    ABSENT = "absent"
    OPEN = "open"


class Event(Enum):
    JOINED = "joined"  # an update that leaves something wanted
    EMPTIED = "emptied"  # one that leaves nothing
    TORN_DOWN = "torn down"
    EXPIRED = "expired"


TABLE: dict[tuple[Tunnel, Event], Tunnel] = {
    (Tunnel.ABSENT, Event.JOINED): Tunnel.OPEN,
    (Tunnel.ABSENT, Event.EMPTIED): Tunnel.ABSENT,
    (Tunnel.ABSENT, Event.TORN_DOWN): Tunnel.ABSENT,
    (Tunnel.OPEN, Event.JOINED): Tunnel.OPEN,
    (Tunnel.OPEN, Event.EMPTIED): Tunnel.ABSENT,
    (Tunnel.OPEN, Event.TORN_DOWN): Tunnel.ABSENT,
    (Tunnel.OPEN, Event.EXPIRED): Tunnel.ABSENT,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """`groups`: what may be asked for; None = every source-specific one."""

    max_gateways: int = 100
    max_flows: int = 64
    groups: frozenset[int] | None = None


@dataclass(slots=True)
class Relay:
    """`address`: what gateways are told to send to. `bad`: datagrams that were dropped, by reason."""

    address: IPv4Address
    authenticator: Authenticator
    limits: Limits = field(default_factory=Limits)
    bad: Counter[str] = field(default_factory=Counter)
    _tunnels: dict[Endpoint, Membership] = field(default_factory=dict)
    _receivers: dict[Flow, dict[Endpoint, None]] = field(default_factory=dict)

    def flows(self) -> frozenset[Flow]:
        """What must be joined upstream now."""
        return frozenset(self._receivers)

    def gateways(self) -> dict[Endpoint, tuple[Flow, ...]]:
        return {gateway: tuple(membership.joined()) for gateway, membership in self._tunnels.items()}

    def receive(self, data: bytes, sender: Endpoint, now: float) -> Iterator[Outgoing]:
        """A datagram that came to the relay's socket."""
        try:
            yield from self._take(decode(data), sender, now)
        except MalformedError as error:
            self.bad[error.reason] += 1

    def forward(self, packet: bytes, flow: Flow) -> Iterator[Outgoing]:
        """A datagram of a flow, as it came from upstream, to every gateway that asks for it."""
        receivers = self._receivers.get(flow)
        if receivers:
            data = encode(MulticastData(packet))
            yield from (Outgoing(data, gateway) for gateway in receivers)

    def tick(self, now: float) -> None:
        for gateway, membership in list(self._tunnels.items()):
            membership.expire(now)
            self._settle(gateway, membership, Event.EXPIRED)

    def _take(self, message: Message, sender: Endpoint, now: float) -> Iterator[Outgoing]:
        match message:
            case Discovery(nonce):
                yield Outgoing(encode(Advertisement(nonce, self.address)), sender)
            case Request(nonce, mld):
                if mld:
                    raise MalformedError("mld")
                yield Outgoing(encode(self._query(nonce, sender, now)), sender)
            case MembershipUpdate(mac, nonce, report):
                if not self.authenticator.holds(mac, sender, nonce, now):
                    raise MalformedError("mac")
                self._update(report, sender, now)
            case Teardown(mac, nonce, gateway):
                if not self.authenticator.holds(mac, gateway, nonce, now):
                    raise MalformedError("mac")
                if gateway in self._tunnels:
                    self._settle(gateway, Membership(fast_leave=True), Event.TORN_DOWN)
            case _:
                raise MalformedError("not-for-a-relay")

    def _query(self, nonce: int, sender: Endpoint, now: float) -> MembershipQuery:
        query = build(int(self.address), ALL_SYSTEMS, IGMP, build_query(QUERY), tos=0xC0, options=ROUTER_ALERT)
        full = sender not in self._tunnels and len(self._tunnels) >= self.limits.max_gateways
        return MembershipQuery(self.authenticator.make(sender, nonce, now), nonce, query, full, sender)

    def _update(self, report: bytes, sender: Endpoint, now: float) -> None:
        datagram = parse(report)
        if datagram.protocol != IGMP:
            raise MalformedError("no-report")
        records = parse_report(datagram.payload)
        allowed = self.limits.groups
        kept = tuple(record for record in records if allowed is None or record.group in allowed)
        membership = self._tunnels.get(sender)
        if membership is None:
            if len(self._tunnels) >= self.limits.max_gateways:
                raise MalformedError("too-many-gateways")
            membership = Membership(fast_leave=True, lifetime_s=LIFETIME_S, limit=self.limits.max_flows)
        over = membership.over
        membership.report(0, kept, now)
        self._settle(sender, membership, Event.JOINED)
        if len(kept) < len(records):
            raise MalformedError("group-not-allowed")
        if membership.over > over:
            raise MalformedError("too-many-flows")

    def _settle(self, gateway: Endpoint, membership: Membership, event: Event) -> None:
        """Bring both tables to what the gateway asks for now. `event`: what took the rest away, if nothing is left."""
        wanted = dict.fromkeys(membership.joined())
        if wanted:
            event = Event.JOINED
        elif event is Event.JOINED:
            event = Event.EMPTIED
        state = TABLE[Tunnel.OPEN if gateway in self._tunnels else Tunnel.ABSENT, event]
        left = [flow for flow, receivers in self._receivers.items() if gateway in receivers and flow not in wanted]
        for flow in left:
            del self._receivers[flow][gateway]
            if not self._receivers[flow]:
                del self._receivers[flow]
        for flow in wanted:
            self._receivers.setdefault(flow, {})[gateway] = None
        if state is Tunnel.OPEN:
            self._tunnels[gateway] = membership
        else:
            self._tunnels.pop(gateway, None)
