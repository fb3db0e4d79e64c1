"""Stand-ins at both sides of the proxy: a UPF that assigns and wipes as the recorded one does, an SMF that sends what
the recorded one sent. They are fakes without a user plane."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from core5g.pfcp.ies import Cause, FSeid, FTeid, NodeId, RecoveryTimeStamp, UeIpAddress, ie
from core5g.pfcp.proxy.documents import ProxySection
from core5g.pfcp.proxy.engine import Proxy
from core5g.pfcp.proxy.exchanges import Outgoing
from core5g.pfcp.proxy.rulebook import RuleBook
from core5g.pfcp.transactions import Peer
from core5g.pfcp.wire import Ie, IeType, Message, MessageType, PfcpError, decode, encode, find, group, grouped, need

PORT = 8805
PROXY, SMF, SMF2, UPF, EDGE = (Peer(f"127.50.0.{host}", PORT) for host in (9, 4, 5, 7, 8))
UE, SUPI = "10.45.0.2", "imsi-999700000000001"
GNB = (0x9001, "10.50.0.2")
RECORDED = [
    json.loads(line)
    for line in Path("tests/data/core5g/smf_upf_proxy_messages.jsonl").read_text().splitlines()
    if line.strip()
]
"""Of a real SMF and UPF."""


def recorded(kind: MessageType, direction: str = "SMF->UPF") -> Message:
    found = next(one for one in RECORDED if one.get("type") == kind and one["dir"] == direction)
    return decode(bytes.fromhex(found["hex"]))


def section(**changes: object) -> ProxySection:
    data: dict[str, object] = {
        "listen": PROXY.address,
        "smfs": [SMF.address, SMF2.address],
        "upf": {"id": "upf1", "address": UPF.address},
        "edge": {"id": "edge1", "n4": EDGE.address, "n3": EDGE.address},
        "rules": [{"id": "cdn", "prefixes": ["203.0.113.0/24"], "names": ["cdn.streamverse.test"]}],
        "cache": "203.0.113.10",
    }
    return ProxySection.model_validate(data | changes)


def replaced(ies: Iterable[Ie], *new: Ie) -> tuple[Ie, ...]:
    types = {one.type: one for one in new}
    return tuple(types.get(one.type, one) for one in ies)


def malformed(data: bytes) -> bytes:
    """The same message, with an IE behind that says to be longer than it is."""
    whole = data + b"\0\x13\0\x09\1"
    return whole[:2] + (len(whole) - 4).to_bytes(2, "big") + whole[4:]


def _decoded(data: bytes) -> Message | None:
    """None for what is malformed, which a receiver drops."""
    try:
        return decode(data)
    except PfcpError:
        return None


@dataclass
class Upf:
    """`reject`: says of a modification whether it is rejected, which wipes the session's rules."""

    peer: Peer
    stamp: int = 4_000_000_000
    up: bool = True
    reject: Callable[[Message], bool] = lambda _: False
    rules: dict[int, RuleBook] = field(default_factory=dict)
    cp: dict[int, FSeid] = field(default_factory=dict)
    ues: dict[int, str] = field(default_factory=dict)
    seen: list[Message] = field(default_factory=list)
    assigned: int = 0x100

    def receive(self, data: bytes) -> bytes | None:
        message = _decoded(data)
        if message is None or not self.up:
            return None
        self.seen.append(message)
        answer = self._answer(message)
        return encode(answer) if answer is not None else None

    def _answer(self, message: Message) -> Message | None:
        node, stamp = ie(NodeId(IPv4Address(self.peer.address))), ie(RecoveryTimeStamp(self.stamp))
        accepted = ie(Cause.ACCEPTED)
        match message.type:
            case MessageType.HEARTBEAT_REQUEST:
                return Message(MessageType.HEARTBEAT_RESPONSE, message.seq, None, (stamp,))
            case MessageType.ASSOCIATION_SETUP_REQUEST:
                return Message(MessageType.ASSOCIATION_SETUP_RESPONSE, message.seq, None, (node, accepted, stamp))
            case MessageType.ASSOCIATION_RELEASE_REQUEST:
                return Message(MessageType.ASSOCIATION_RELEASE_RESPONSE, message.seq, None, (node, accepted))
            case MessageType.SESSION_ESTABLISHMENT_REQUEST:
                self.assigned += 1
                seid = self.assigned
                self.cp[seid] = FSeid.decode(need(message.ies, IeType.F_SEID))
                self.rules[seid] = RuleBook()
                created = self._take(seid, message)
                own = ie(FSeid(seid, IPv4Address(self.peer.address)))
                return self._reply(message, self.cp[seid].seid, (node, accepted, own, *created))
            case MessageType.SESSION_MODIFICATION_REQUEST | MessageType.SESSION_DELETION_REQUEST:
                return self._session(message, accepted)
        return None

    def _session(self, message: Message, accepted: Ie) -> Message:
        seid = message.seid or 0
        if seid not in self.rules:
            return self._reply(message, 0, (ie(Cause.SESSION_CONTEXT_NOT_FOUND),))
        cp = self.cp[seid].seid
        if message.type is MessageType.SESSION_DELETION_REQUEST:
            del self.rules[seid], self.cp[seid]
            return self._reply(message, cp, (accepted,))
        if self.reject(message):
            self.rules[seid] = RuleBook()
            return self._reply(message, cp, (ie(Cause.MANDATORY_IE_INCORRECT),))
        return self._reply(message, cp, (accepted, *self._take(seid, message)))

    def _take(self, seid: int, message: Message) -> tuple[Ie, ...]:
        """Takes the rules and says of each new PDR with an F-TEID where it is."""
        book = self.rules[seid]
        book.apply(message.ies)
        created = []
        for pdr in (one.value for one in message.ies if one.type == IeType.CREATE_PDR):
            members = grouped(pdr)
            fteid = find(grouped(find(members, IeType.PDI) or b""), IeType.F_TEID)
            if fteid is None:
                continue
            value = FTeid.decode(fteid)
            if value.choose:
                self.assigned += 1
                value = FTeid(self.assigned, IPv4Address(self.peer.address))
            number = Ie(IeType.PDR_ID, find(members, IeType.PDR_ID) or b"")
            created.append(group(IeType.CREATED_PDR, (number, ie(value))))
        book.assigned(created)
        return tuple(created)

    @staticmethod
    def _reply(request: Message, seid: int, ies: tuple[Ie, ...]) -> Message:
        return Message(MessageType(request.type + 1), request.seq, seid, ies)

    def forget(self) -> None:
        """It restarts."""
        self.rules.clear()
        self.cp.clear()
        self.stamp += 10

    def ids(self, kind: IeType = IeType.CREATE_PDR) -> list[set[int]]:
        return [set(book.ids(kind)) for book in self.rules.values()]


@dataclass
class Smf:
    peer: Peer
    stamp: int = 4_000_000_100
    seq: int = 0
    seen: list[Message] = field(default_factory=list)

    def request(self, kind: MessageType, seid: int | None, ies: tuple[Ie, ...] = ()) -> bytes:
        self.seq += 1
        return encode(Message(kind, self.seq, seid, ies))

    def associate(self) -> bytes:
        node, stamp = ie(NodeId(IPv4Address(self.peer.address))), ie(RecoveryTimeStamp(self.stamp))
        return self.request(MessageType.ASSOCIATION_SETUP_REQUEST, None, (node, stamp))

    def heartbeat(self) -> bytes:
        return self.request(MessageType.HEARTBEAT_REQUEST, None, (ie(RecoveryTimeStamp(self.stamp)),))

    def establish(self, seid: int = 0x87E, ue: str = UE) -> bytes:
        """As recorded: the UE is not connected yet, its way back is a buffer."""
        message = recorded(MessageType.SESSION_ESTABLISHMENT_REQUEST)
        address = IPv4Address(self.peer.address)
        ies = replaced(message.ies, ie(NodeId(address)), ie(FSeid(seid, address)))
        return self.request(message.type, 0, tuple(_for_ue(one, ue) for one in ies))

    def connect(self, up_seid: int, gnb: tuple[int, str] = GNB, far: int = 1, *extra: Ie) -> bytes:
        """As recorded: the way back leads to the gNB."""
        message = recorded(MessageType.SESSION_MODIFICATION_REQUEST)
        header = Ie(IeType.OUTER_HEADER_CREATION, b"\1\0" + gnb[0].to_bytes(4, "big") + IPv4Address(gnb[1]).packed)
        update = grouped(need(message.ies, IeType.UPDATE_FAR))
        given = (*replaced(grouped(find(update, IeType.UPDATE_FORWARDING_PARAMETERS) or b""), header), *extra)
        members = replaced(
            update, Ie(IeType.FAR_ID, far.to_bytes(4, "big")), group(IeType.UPDATE_FORWARDING_PARAMETERS, given)
        )
        return self.request(message.type, up_seid, (group(IeType.UPDATE_FAR, members),))

    def idle(self, up_seid: int) -> bytes:
        members = (Ie(IeType.FAR_ID, b"\0\0\0\1"), Ie(IeType.APPLY_ACTION, b"\x0c\0"), Ie(IeType.BAR_ID, b"\1"))
        ies = (group(IeType.UPDATE_FAR, members),)
        return self.request(MessageType.SESSION_MODIFICATION_REQUEST, up_seid, ies)

    def release(self, up_seid: int) -> bytes:
        return self.request(MessageType.SESSION_DELETION_REQUEST, up_seid)


def _for_ue(one: Ie, ue: str) -> Ie:
    if one.type == IeType.UE_IP_ADDRESS:
        return ie(UeIpAddress(IPv4Address(ue), destination=True))
    if one.type in {IeType.CREATE_PDR, IeType.PDI}:
        return group(one.type, (_for_ue(member, ue) for member in grouped(one.value)))
    return one


class Net:
    """The proxy between its peers; datagrams arrive at once, or are held back while `lose` says so."""

    def __init__(self, proxy: Proxy | None = None, **changes: object) -> None:
        self.wall = 1_790_000_000.0
        self.now = 100.0
        self.proxy = proxy or Proxy(section(**changes), lambda: self.wall)
        self.upf, self.edge = Upf(UPF), Upf(EDGE, stamp=4_000_000_200)
        self.smf, self.smf2 = Smf(SMF), Smf(SMF2)
        self.lose: Callable[[Outgoing], bool] = lambda _: False
        self.lost: list[Outgoing] = []

    def send(self, peer: Peer, data: bytes) -> None:
        self._deliver(self.proxy.receive(data, peer, self.now))

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + 0.5)
            self.wall += 0.5
            self._deliver(self.proxy.tick(self.now))

    def _deliver(self, outgoing: Iterable[Outgoing]) -> None:
        queue = deque(outgoing)
        while queue:
            one = queue.popleft()
            if self.lose(one):
                self.lost.append(one)
                continue
            for smf in (self.smf, self.smf2):
                if one.to == smf.peer and (message := _decoded(one.data)) is not None:
                    smf.seen.append(message)
                    if message.type in {MessageType.HEARTBEAT_REQUEST, MessageType.SESSION_REPORT_REQUEST}:
                        queue += self.proxy.receive(self._smf_answer(message, smf), smf.peer, self.now)
            for upf in (self.upf, self.edge):
                if one.to == upf.peer and (answer := upf.receive(one.data)) is not None:
                    queue += self.proxy.receive(answer, upf.peer, self.now)

    @staticmethod
    def _smf_answer(message: Message, smf: Smf) -> bytes:
        if message.type is MessageType.HEARTBEAT_REQUEST:
            ies = (ie(RecoveryTimeStamp(smf.stamp)),)
            return encode(Message(MessageType.HEARTBEAT_RESPONSE, message.seq, None, ies))
        return encode(Message(MessageType.SESSION_REPORT_RESPONSE, message.seq, 1, (ie(Cause.ACCEPTED),)))

    def steered(self) -> int:
        """Associates, establishes one session, connects its UE, and looks that it is steered; the UPF's SEID."""
        self.pass_time(0.5)
        self.send(SMF, self.smf.associate())
        self.send(SMF, self.smf.establish())
        seid = FSeid.decode(need(self.smf.seen[-1].ies, IeType.F_SEID)).seid
        self.send(SMF, self.smf.connect(seid))
        assert self.proxy.status()["steered"] == 1
        return seid
