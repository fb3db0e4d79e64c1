"""MODEL of open5gs-upfd: N4 as the recorded one answers it. `python -m lab.mobile.upf -c upf.yaml`.

Any associated CP may change any session by its SEID (open5gs #4761); one that is not associated gets no answer, nor do
PFD management and node reports. A CP that comes with a newer recovery time stamp loses all its sessions.
`NF_MODEL_GRACE_S`: seconds after the start without Error Indications, 11 as Open5GS has it; `NF_MODEL_HEARTBEAT_S`:
between heartbeats, 10 by default.
"""

from __future__ import annotations

import os
import random
import selectors
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from lab.mobile import pfcp
from lab.mobile.config import Endpoint, pools, refuse, section, servers
from lab.mobile.daemon import Daemon, run
from lab.mobile.http import Answer, HttpError, metrics_text, serve
from lab.mobile.journal import Journal
from lab.mobile.node import Peer, Requests
from lab.mobile.pfcp import Address, Cause, Kind, Message, PfcpFormatError, T, ie
from lab.mobile.plane import Plane, Reports, open_tun, udp
from lab.mobile.rules import Pdr, RuleRejected, Session

FEATURES = bytes.fromhex("10211004")
"""FTUP, EMPU, MNOP, VTIME, FRRT (clause 8.2.25), as recorded."""

GRACE_S = 11.0
HEARTBEAT_S = float(os.environ.get("NF_MODEL_HEARTBEAT_S", "10"))
_GROUPED = (1, 2, 3, 4, 6, 7, 9, 10, 11, 14, 15, 16, 17, 18, 77, 85)
_RESTORATION = 0x01
_REPORT_DOWNLINK, _REPORT_USAGE, _REPORT_ERROR = b"\1", b"\2", b"\4"


@dataclass
class Node:
    """A CP: `rts` is its recovery time stamp."""

    peer: Peer
    rts: int
    heartbeat_at: float
    associated: bool = True


class Upf(Daemon):
    """Raises ConfigError where the real one would not start."""

    kind = "upf"

    def __init__(self, data: dict[str, Any], journal: Journal) -> None:
        refuse(data, "upf")
        part = section(data, "upf")
        self.journal = journal
        self.rts = pfcp.now_ntp()
        self.nodes: dict[Peer, Node] = {}
        self.sessions: dict[int, tuple[Session, Node]] = {}
        self.counters: Counter[str] = Counter()
        self.selector = selectors.DefaultSelector()
        listening = servers(part, "pfcp", pfcp.PORT)
        self.address = listening[0].address
        self._n4 = {endpoint.address.version: udp(endpoint) for endpoint in listening}
        self.requests = Requests(self._send)
        self._acts: dict[int, Callable[[Message, Node], bytes]] = {
            Kind.SESSION_ESTABLISHMENT_REQUEST: self._establish,
            Kind.SESSION_MODIFICATION_REQUEST: self._modify,
            Kind.SESSION_DELETION_REQUEST: self._delete,
        }
        served = pools(part)
        tuns = {dev: open_tun(dev) for dev in dict.fromkeys(pool.dev for pool in served)}
        tunnels = [udp(endpoint) for endpoint in servers(part, "gtpu", 2152)]
        reports = Reports(self._downlink_data, self._usage, self._error_indication)
        grace_s = float(os.environ.get("NF_MODEL_GRACE_S", GRACE_S))
        self.plane = Plane(tunnels, served, tuns, reports, grace_s)
        for sock in self._n4.values():
            self.selector.register(sock, selectors.EVENT_READ, lambda s=sock: self._read(s))
        for sock in tunnels:
            self.selector.register(sock, selectors.EVENT_READ, lambda s=sock: self.plane.read_tunnel(s))
        for tun in tuns.values():
            self.selector.register(tun, selectors.EVENT_READ, lambda d=tun: self.plane.read_tun(d))
        for endpoint in servers(part, "metrics", 9090):
            self._serve(endpoint)

    def _serve(self, endpoint: Endpoint) -> None:
        def handle(_method: str, path: str, _query: object, _body: bytes) -> Answer:
            if path != "/metrics":
                raise HttpError(404, "not found")
            return metrics_text(self.metrics())

        self.servers.append(serve(endpoint, handle))

    def metrics(self) -> dict[str, float]:
        """Names of the real one. The two of N3 packets stay 0: theirs are compiled out (open5gs #2210)."""
        per_dnn = Counter(session.dnn or "" for session, _ in self.sessions.values())
        return {
            "fivegs_ep_n3_gtp_indatapktn3upf": 0,
            "fivegs_ep_n3_gtp_outdatapktn3upf": 0,
            "fivegs_upffunction_upf_sessionnbr": len(self.sessions),
            **{f'fivegs_upffunction_upf_qosflows{{dnn="{dnn}"}}': n for dnn, n in sorted(per_dnn.items())},
            "fivegs_upffunction_sm_n4sessionestabreq": self.counters["establishments"],
            "fivegs_upffunction_sm_n4sessionreport": self.counters["reports"],
            "fivegs_upffunction_sm_n4sessionreportsucc": self.counters["reports answered"],
            **{
                f'fivegs_upffunction_sm_n4sessionestabfail{{cause="{name.removeprefix("failed ")}"}}': n
                for name, n in sorted(self.counters.items())
                if name.startswith("failed ")
            },
            "pfcp_peers_active": sum(node.associated for node in list(self.nodes.values())),
            "pfcp_sessions_active": len(self.sessions),
        }

    # The wire.

    def _send(self, data: bytes, peer: Peer) -> None:
        sock = self._n4.get(6 if ":" in peer[0] else 4)
        if sock is not None:
            try:
                sock.sendto(data, peer)
            except OSError as error:
                self.journal.warning(f"sendto [{peer[0]}]:{peer[1]} failed: {error.strerror}")

    def _read(self, sock: Any) -> None:
        try:
            data, sender = sock.recvfrom(65536)
        except OSError:
            return
        peer = (sender[0], sender[1])
        try:
            message = pfcp.parse(data)
            _well_formed(message)
        except PfcpFormatError as error:
            self.journal.error(f"[DROP] Cannot decode PFCP packet from [{peer[0]}]: {error}")
            return
        now = time.monotonic()
        if message.type in _ANSWERS:
            self.requests.answered(message, peer)
        elif not self.requests.repeated(data, peer, now):
            answer = self._answer(message, peer, now)
            if answer is not None:
                self.requests.answer(data, answer, peer, now)

    def tick(self) -> float:
        """Sends what is due; seconds until it should be asked again."""
        now = time.monotonic()
        self.requests.tick(now)
        for node in list(self.nodes.values()):
            if now >= node.heartbeat_at:
                node.heartbeat_at = now + HEARTBEAT_S
                self._beat(node, now)
        return 0.5

    def _beat(self, node: Node, now: float) -> None:
        """A heartbeat to a CP; to one that was lost, a request to associate again."""
        seq = self.requests.next_seq()
        if node.associated:
            data = pfcp.build(Kind.HEARTBEAT_REQUEST, seq, self._rts())
        else:
            identity = (pfcp.node_id(self.address), self._rts(), ie(T.UP_FUNCTION_FEATURES, FEATURES))
            data = pfcp.build(Kind.ASSOCIATION_SETUP_REQUEST, seq, *identity)

        def done(answer: Message | None) -> None:
            if answer is None:
                if node.associated:
                    self.journal.warning(f"No Heartbeat from CP [{node.peer[0]}]")
                node.associated = False
                return
            node.associated = True
            self._recovery(node, answer)

        self.requests.request(data, seq, node.peer, now, done)

    def _rts(self) -> bytes:
        return ie(T.RECOVERY_TIME_STAMP, self.rts.to_bytes(4))

    def _recovery(self, node: Node, message: Message) -> None:
        """A newer time stamp: the CP has restarted and knows nothing of its sessions, so they are deleted."""
        rts = pfcp.number(message.first(T.RECOVERY_TIME_STAMP))
        if rts is None or rts <= node.rts:
            return
        node.rts = rts
        for seid in [seid for seid, (_, owner) in self.sessions.items() if owner is node]:
            self._remove(seid)
        self.journal.warning(f"CP [{node.peer[0]}] has restarted: its sessions are deleted")

    # Requests.

    def _answer(self, message: Message, peer: Peer, now: float) -> bytes | None:
        if message.type == Kind.HEARTBEAT_REQUEST:
            if peer in self.nodes:
                self._recovery(self.nodes[peer], message)
            return pfcp.build(Kind.HEARTBEAT_RESPONSE, message.seq, self._rts())
        if message.type == Kind.ASSOCIATION_SETUP_REQUEST:
            return self._associate(message, peer, now)
        node = self.nodes.get(peer)
        if node is None or not node.associated:
            self.journal.error(f"[DROP] message {message.type} of [{peer[0]}], which is not associated")
            return None
        act = self._acts.get(message.type)
        if act is None:
            self.journal.error(f"Not implemented PFCP message type {message.type}")
            return None
        return act(message, node)

    def _associate(self, message: Message, peer: Peer, now: float) -> bytes:
        rts = pfcp.number(message.first(T.RECOVERY_TIME_STAMP))
        own = pfcp.node_id(self.address)
        missing = next((t for t in (T.NODE_ID, T.RECOVERY_TIME_STAMP) if message.first(t) is None), None)
        if missing is not None or rts is None:
            cause = (_cause(Cause.MANDATORY_IE_MISSING), ie(T.OFFENDING_IE, (missing or 0).to_bytes(2)))
            return pfcp.build(Kind.ASSOCIATION_SETUP_RESPONSE, message.seq, own, *cause, self._rts())
        node = self.nodes.get(peer)
        if node is None:
            self.nodes[peer] = Node(peer, rts, now + HEARTBEAT_S)
            self.journal.info(f"PFCP associated [{peer[0]}]:{peer[1]}")
        else:
            self._recovery(node, message)
            node.associated = True
        features = ie(T.UP_FUNCTION_FEATURES, FEATURES)
        return pfcp.build(
            Kind.ASSOCIATION_SETUP_RESPONSE, message.seq, own, _cause(Cause.ACCEPTED), self._rts(), features
        )

    def _establish(self, message: Message, node: Node) -> bytes:
        self.counters["establishments"] += 1
        kind = Kind.SESSION_ESTABLISHMENT_RESPONSE
        f_seid = message.first(T.F_SEID)
        if f_seid is None:
            self.counters[f"failed {int(Cause.MANDATORY_IE_MISSING)}"] += 1
            return _refused(kind, message.seq, 0, RuleRejected(Cause.MANDATORY_IE_MISSING, T.F_SEID))
        seid = self._new_seid()
        session = Session(seid, pfcp.seid_of(f_seid), self.plane)
        session.dnn = pfcp.dnn_of(message.first(T.APN_DNN))
        session.pdn_type = (pfcp.number(message.first(T.PDN_TYPE)) or 0) & 3
        if not session.pdn_type:
            self.journal.error("No PDN Type")
        try:
            created = session.apply(message)
        except RuleRejected as error:
            self.counters[f"failed {int(error.cause)}"] += 1
            return _refused(kind, message.seq, session.cp_seid, error)
        self.sessions[seid] = (session, node)
        self.plane.publish(session, ())
        if (pfcp.number(message.first(T.PFCPSEREQ_FLAGS)) or 0) & _RESTORATION:
            created = []
        return pfcp.build(
            kind,
            message.seq,
            pfcp.node_id(self.address),
            _cause(Cause.ACCEPTED),
            pfcp.f_seid(seid, self.address),
            *map(_created, created),
            seid=session.cp_seid,
        )

    def _new_seid(self) -> int:
        most = 0xFFF if len(self.sessions) < 0x800 else 0xFFFFFFF
        while (seid := random.randint(1, most)) in self.sessions:  # noqa: S311 - as the recorded UPF, no secret
            pass
        return seid

    def _modify(self, message: Message, _node: Node) -> bytes:
        kind = Kind.SESSION_MODIFICATION_RESPONSE
        found = self.sessions.get(message.seid or 0)
        if found is None:
            return _refused(kind, message.seq, 0, RuleRejected(Cause.SESSION_NOT_FOUND))
        session = found[0]
        before = tuple(session.by_teid)
        try:
            created = session.apply(message)
        except RuleRejected as error:
            self.journal.error(f"modification of session {session.seid:#x} rejected: {error}; its rules are gone")
            return _refused(kind, message.seq, session.cp_seid, error)
        finally:
            self.plane.publish(session, before)
        return pfcp.build(kind, message.seq, _cause(Cause.ACCEPTED), *map(_created, created), seid=session.cp_seid)

    def _delete(self, message: Message, _node: Node) -> bytes:
        kind = Kind.SESSION_DELETION_RESPONSE
        found = self.sessions.get(message.seid or 0)
        if found is None:
            return _refused(kind, message.seq, 0, RuleRejected(Cause.SESSION_NOT_FOUND))
        session = found[0]
        usage = [urr.report(final=True) for urr in session.urrs.values()]
        self._remove(session.seid)
        return pfcp.build(kind, message.seq, _cause(Cause.ACCEPTED), *usage, seid=session.cp_seid)

    def _remove(self, seid: int) -> None:
        session, _ = self.sessions.pop(seid)
        self.plane.forget(session)

    # Reports.

    def _downlink_data(self, session: Session, pdr: Pdr) -> None:
        qfi = pdr.qer.qfi if pdr.qer else 0
        flow = ie(T.DOWNLINK_DATA_SERVICE_INFORMATION, b"\2", bytes((qfi,))) if qfi else b""
        data = ie(T.DOWNLINK_DATA_REPORT, ie(T.PDR_ID, pdr.id.to_bytes(2)), flow)
        self._report(session, ie(T.REPORT_TYPE, _REPORT_DOWNLINK), data)

    def _usage(self, session: Session, urr_ids: list[int]) -> None:
        usage = [session.urrs[urr_id].report() for urr_id in urr_ids if urr_id in session.urrs]
        self._report(session, ie(T.REPORT_TYPE, _REPORT_USAGE), *usage)

    def _error_indication(self, session: Session, teid: int, peer: Address) -> None:
        v4, v6 = (peer, None) if isinstance(peer, IPv4Address) else (None, peer)
        remote = pfcp.FTeid(teid, v4, v6).encode()
        self._report(session, ie(T.REPORT_TYPE, _REPORT_ERROR), ie(T.ERROR_INDICATION_REPORT, remote))

    def _report(self, session: Session, *ies: bytes) -> None:
        _, node = self.sessions[session.seid]
        self.counters["reports"] += 1
        seq = self.requests.next_seq()
        data = pfcp.build(Kind.SESSION_REPORT_REQUEST, seq, *ies, seid=session.cp_seid)

        def done(answer: Message | None) -> None:
            if answer is not None:
                self.counters["reports answered"] += 1

        self.requests.request(data, seq, node.peer, time.monotonic(), done)


_ANSWERS = frozenset({Kind.HEARTBEAT_RESPONSE, Kind.ASSOCIATION_SETUP_RESPONSE, Kind.SESSION_REPORT_RESPONSE})


def _well_formed(message: Message) -> None:
    """Raises PfcpFormatError: a message that does not parse to its leaves is dropped whole."""
    waiting = list(message.ies)
    while waiting:
        ie_type, value = waiting.pop()
        if ie_type in _GROUPED:
            waiting.extend(pfcp.members(value))


def _cause(cause: Cause) -> bytes:
    return ie(T.CAUSE, bytes((cause,)))


def _created(pdr: Pdr) -> bytes:
    return ie(T.CREATED_PDR, ie(T.PDR_ID, pdr.id.to_bytes(2)), pdr.fteid.encode() if pdr.fteid else b"")


def _refused(kind: Kind, seq: int, seid: int, error: RuleRejected) -> bytes:
    offending = b"" if error.offending is None else ie(T.OFFENDING_IE, error.offending.to_bytes(2))
    return pfcp.build(kind, seq, _cause(error.cause), offending, seid=seid)


if __name__ == "__main__":
    run(Upf)
