"""MODEL of open5gs-smfd: N4 as recorded from the real one. `python -m lab.mobile.smf -c smf.yaml`.

N1, N2 and the service based interface are not modelled: `lab.mobile.smf_api` makes and changes sessions instead.
`NF_MODEL_HEARTBEAT_S`: seconds between heartbeats, 10 by default.
"""

from __future__ import annotations

import os
import queue
import selectors
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from lab.mobile import gtpu, n4, pfcp
from lab.mobile.config import ConfigError, clients, pools, refuse, section, servers
from lab.mobile.daemon import Daemon, run
from lab.mobile.http import HttpError, serve
from lab.mobile.journal import Journal
from lab.mobile.n4 import PduSession, Tunnel
from lab.mobile.node import Peer, Requests
from lab.mobile.pfcp import Cause, Kind, Message, PfcpFormatError, T, ie
from lab.mobile.plane import udp
from lab.mobile.selection import Addresses, Selection, Upf

HEARTBEAT_S = float(os.environ.get("NF_MODEL_HEARTBEAT_S", "10"))
_DOWNLINK_DATA, _USAGE, _ERROR_INDICATION = 1, 2, 4
_BAD_GATEWAY, _TIMED_OUT = 502, 504

Build = Callable[[int], bytes]


@dataclass
class Served:
    """A session, its UPF and what became of it. `paged`: downlink data that waited for the UE."""

    session: PduSession
    upf: Upf
    tac: int | None = None
    active: bool = False
    paged: int = 0
    located_at: float = field(default_factory=time.time)
    usage: Counter[str] = field(default_factory=Counter)

    @property
    def id(self) -> str:
        return f"{self.session.supi}-{self.session.psi}"


class Smf(Daemon):
    """Raises ConfigError where the real one would not start. Only the loop's thread touches what is in it: `call`."""

    kind = "smf"

    def __init__(self, data: dict[str, Any], journal: Journal) -> None:
        from lab.mobile.smf_api import Api

        refuse(data, "smf")
        part = section(data, "smf")
        parameter = (data.get("global") or {}).get("parameter") or {}
        self.journal = journal
        self.rts = pfcp.now_ntp()
        self.counters: Counter[str] = Counter()
        self.sessions: dict[str, Served] = {}
        self.by_seid: dict[int, Served] = {}
        self.addresses = Addresses(pools(part))
        try:
            upfs = [upf for entry in clients(part, "pfcp", "upf") for upf in Upf.of(entry, pfcp.PORT)]
        except ValueError as error:
            raise ConfigError(f"smf.pfcp.client.upf: {error}") from error
        self.selection = Selection(upfs, bool(parameter.get("no_pfcp_rr_select")))
        listening = servers(part, "pfcp", pfcp.PORT)
        self.address = listening[0].address
        self._n4 = {endpoint.address.version: udp(endpoint) for endpoint in listening}
        self.requests = Requests(self._send)
        self._last_seid = 0x100 + self.rts % 0x10000
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._woken, self._wake = os.pipe()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self._woken, selectors.EVENT_READ, self._called)
        for sock in self._n4.values():
            self.selector.register(sock, selectors.EVENT_READ, partial(self._read, sock))
        for tunnel in [udp(endpoint) for endpoint in servers(part, "gtpu", gtpu.PORT)]:
            self.selector.register(tunnel, selectors.EVENT_READ, partial(_echo, tunnel))
        api = Api(self)
        self.servers += [serve(endpoint, api.handle) for endpoint in servers(part, "metrics", 9090)]

    # The loop, from other threads.

    def call(self, act: Callable[[Future[Any]], None], wait_s: float) -> Any:
        """What `act`, in the loop's thread, sets in the future. Raises HttpError, and what was set as an exception."""
        done: Future[Any] = Future()

        def guarded() -> None:
            try:
                act(done)
            except (HttpError, PfcpFormatError) as error:
                done.set_exception(error)
            except (ValueError, TypeError) as error:
                done.set_exception(HttpError(400, str(error)))

        self._calls.put(guarded)
        os.write(self._wake, b"\0")
        try:
            return done.result(wait_s)
        except TimeoutError:
            raise HttpError(_TIMED_OUT, "the UPF does not answer") from None
        except PfcpFormatError as error:
            raise HttpError(_BAD_GATEWAY, f"the UPF's answer is malformed: {error}") from error

    def _called(self) -> None:
        os.read(self._woken, 4096)
        while not self._calls.empty():
            self._calls.get()()

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
            message = pfcp.parse(data)
        except (OSError, PfcpFormatError) as error:
            self.journal.error(f"[DROP] PFCP: {error}")
            return
        peer, now = (sender[0], sender[1]), time.monotonic()
        upf = next((upf for upf in self.selection.upfs if upf.peer == peer), None)
        if upf is None:
            self.journal.error(f"[DROP] PFCP of unknown peer [{peer[0]}]:{peer[1]}")
        elif message.type in _ANSWERS:
            self.requests.answered(message, peer)
        elif not self.requests.repeated(data, peer, now):
            answer = self._answer(message, upf)
            if answer is not None:
                self.requests.answer(data, answer, peer, now)

    def _answer(self, message: Message, upf: Upf) -> bytes | None:
        if message.type == Kind.HEARTBEAT_REQUEST:
            self._alive(upf, message)
            return n4.heartbeat(message.seq, self.rts, answer=True)
        if message.type == Kind.ASSOCIATION_SETUP_REQUEST:
            self._associated(upf, message)
            body = (pfcp.node_id(self.address), ie(T.CAUSE, b"\1"), ie(T.RECOVERY_TIME_STAMP, self.rts.to_bytes(4)))
            features = ie(T.CP_FUNCTION_FEATURES, b"\0")
            return pfcp.build(Kind.ASSOCIATION_SETUP_RESPONSE, message.seq, *body, features)
        if message.type == Kind.SESSION_REPORT_REQUEST:
            return self._reported(message)
        return None

    def tick(self) -> float:
        now = time.monotonic()
        self.requests.tick(now)
        for upf in self.selection.upfs:
            if now >= upf.next_at and not upf.asking:
                upf.next_at, upf.asking = now + HEARTBEAT_S, True
                self._beat(upf, now)
        return 0.5

    def _beat(self, upf: Upf, now: float) -> None:
        """A heartbeat, or the request to associate, which is made until it is answered."""
        seq = self.requests.next_seq()
        data = n4.heartbeat(seq, self.rts) if upf.associated else n4.association(seq, self.address, self.rts)

        def done(answer: Message | None) -> None:
            upf.asking = False
            if answer is None:
                if upf.associated:
                    self.journal.warning(f"No Heartbeat from UPF [{upf.peer[0]}]")
                upf.associated, upf.next_at = False, 0.0
            elif answer.type == Kind.ASSOCIATION_SETUP_RESPONSE:
                if answer.first(T.CAUSE) == b"\1":
                    self._associated(upf, answer)
            else:
                self._alive(upf, answer)

        self.requests.request(data, seq, upf.peer, now, done)

    def _associated(self, upf: Upf, message: Message) -> None:
        """With a newer recovery time stamp: it has restarted, and its sessions are set up again with their tunnels."""
        if not upf.associated:
            self.journal.info(f"PFCP associated [{upf.peer[0]}]:{upf.peer[1]}")
        upf.associated = True
        rts = pfcp.number(message.first(T.RECOVERY_TIME_STAMP)) or 0
        restarted, upf.rts = 0 < upf.rts < rts, max(rts, upf.rts)
        if restarted:
            self.journal.warning(f"UPF [{upf.peer[0]}] has restarted: its sessions are restored")
            for served in [served for served in self.sessions.values() if served.upf is upf]:
                self._ask(served, partial(self._establishment, served), partial(self._restored, served))

    def _alive(self, upf: Upf, message: Message) -> None:
        """A heartbeat; one that tells of a restart makes us associate anew first."""
        if (pfcp.number(message.first(T.RECOVERY_TIME_STAMP)) or 0) > upf.rts > 0:
            upf.associated, upf.next_at = False, 0.0

    def _restored(self, served: Served, answer: Message | None) -> None:
        if answer is None or answer.first(T.CAUSE) != b"\1":
            self.journal.error(f"session {served.id} could not be restored")
            return
        served.session.up_seid = pfcp.seid_of(answer.first(T.F_SEID))

    # Sessions.

    def _establishment(self, served: Served, seq: int) -> bytes:
        return n4.establishment(seq, served.session, self.address, restore=True)

    def _ask(self, served: Served, build: Build, on_answer: Callable[[Message | None], None]) -> None:
        seq = self.requests.next_seq()
        self.requests.request(build(seq), seq, served.upf.peer, time.monotonic(), on_answer)

    def ask(self, served: Served, build: Build, done: Future[Any], then: Callable[[Message], Any]) -> None:
        """Sends to the session's UPF; `done` gets what `then` makes of an answer that accepts, or an HttpError."""

        def on_answer(answer: Message | None) -> None:
            try:
                done.set_result(then(_accepted(answer)))
            except (HttpError, PfcpFormatError) as error:
                done.set_exception(error)

        self._ask(served, build, on_answer)

    def new_session(self, asked: dict[str, Any]) -> Served:
        """Chosen, addressed, not yet at its UPF. Raises HttpError."""
        dnn, tac, cell = str(asked["dnn"]), asked.get("tac"), asked.get("cell")
        upf = self.selection.choose(dnn, tac, cell)
        if upf is None:
            raise HttpError(503, "No UPFs are PFCP associated that are suited to RR")
        self._last_seid += 1
        session = PduSession(asked["supi"], asked.get("psi", 1), dnn, self._last_seid, self._last_seid & 0xFFFF)
        session.sst, session.sd = asked.get("sst", 1), asked.get("sd", "ffffff")
        self._address(session, asked)
        return Served(session, upf, tac)

    def _address(self, session: PduSession, asked: dict[str, Any]) -> None:
        kind, static = asked.get("pdn_type", "ipv4"), asked.get("ue_ip")
        if static is not None:
            address = pfcp.address_of(static)
            if not self.addresses.claim(address):
                raise HttpError(409, f"{static} is another session's")
            session.v4, session.v6 = (address, None) if isinstance(address, IPv4Address) else (None, address)
            return
        v4 = self.addresses.take(session.dnn, 4) if kind in ("ipv4", "ipv4v6") else None
        v6 = self.addresses.take(session.dnn, 6) if kind in ("ipv6", "ipv4v6") else None
        session.v4 = v4 if isinstance(v4, IPv4Address) else None
        session.v6 = v6 if isinstance(v6, IPv6Address) else None
        if session.v4 is None and session.v6 is None:
            raise HttpError(409, f"no pool serves {kind} of {session.dnn}, or it is used up")

    def established(self, served: Served, answer: Message) -> Served:
        """What the UPF chose: its SEID, and the tunnels of the uplink and of our own downlink."""
        session = served.session
        session.up_seid = pfcp.seid_of(answer.first(T.F_SEID))
        for created in map(pfcp.members, answer.all(T.CREATED_PDR)):
            fteid = pfcp.FTeid.parse(pfcp.first(created, T.F_TEID) or b"")
            tunnel = Tunnel(fteid.teid, fteid.address)
            if pfcp.number(pfcp.first(created, T.PDR_ID)) == 2:
                session.upf = tunnel
            elif pfcp.number(pfcp.first(created, T.PDR_ID)) == 3:
                session.from_cp = tunnel
        if session.upf is None:
            raise PfcpFormatError("no tunnel for the uplink")
        self.sessions[served.id] = self.by_seid[session.cp_seid] = served
        return served

    def forget(self, served: Served) -> None:
        self.sessions.pop(served.id, None)
        self.by_seid.pop(served.session.cp_seid, None)
        self.addresses.free(served.session.v4, served.session.v6)

    def _reported(self, message: Message) -> bytes:
        kind = Kind.SESSION_REPORT_RESPONSE
        served = self.by_seid.get(message.seid or 0)
        if served is None:
            return pfcp.build(kind, message.seq, ie(T.CAUSE, bytes((Cause.SESSION_NOT_FOUND,))), seid=0)
        reported = pfcp.number(message.first(T.REPORT_TYPE)) or 0
        if reported & _DOWNLINK_DATA:
            served.paged += 1
        if reported & _USAGE:
            for report in message.all(T.USAGE_REPORT_SESSION_REPORT):
                volumes = pfcp.first(pfcp.members(report), T.VOLUME_MEASUREMENT) or b""
                served.usage.update(total=int.from_bytes(volumes[1:9]), up=int.from_bytes(volumes[9:17]))
        if reported & _ERROR_INDICATION and served.active:
            # The gNB knows the tunnel no more: as after a release of its context, the downlink is kept.
            served.active = False
            self._ask(served, partial(n4.idle, session=served.session), lambda _answer: None)
        return pfcp.build(kind, message.seq, ie(T.CAUSE, b"\1"), seid=served.session.up_seid)


_ANSWERS = frozenset(
    {
        *(Kind.HEARTBEAT_RESPONSE, Kind.ASSOCIATION_SETUP_RESPONSE, Kind.SESSION_ESTABLISHMENT_RESPONSE),
        *(Kind.SESSION_MODIFICATION_RESPONSE, Kind.SESSION_DELETION_RESPONSE),
    }
)


def _accepted(answer: Message | None) -> Message:
    if answer is None:
        raise HttpError(_TIMED_OUT, "the UPF does not answer")
    cause = pfcp.number(answer.first(T.CAUSE))
    if cause != Cause.ACCEPTED:
        raise HttpError(_BAD_GATEWAY, f"the UPF refuses with cause {cause}")
    return answer


def _echo(sock: Any) -> None:
    """The SMF's own tunnels: echoes are answered, router solicitations are not (no N1 here)."""
    try:
        data, sender = sock.recvfrom(65536)
    except OSError:
        return
    found = gtpu.header(data)
    if found is not None and found.type == gtpu.ECHO_REQUEST:
        sock.sendto(gtpu.echo_response(data), sender)


if __name__ == "__main__":
    run(Smf)
