"""Hands messages of SMFs and the UPF on, as if each had the proxy for its peer: addresses, SEIDs, sequence numbers and
time stamps are changed, and nothing else. No I/O.

What is learned by the way goes to an `Observer`, which the relay does not depend on: when that fails the message has
gone on all the same. When the relay's own understanding fails, the message goes on with its addresses changed only.
What is malformed is its sender's fault and not the relay's: it is counted, and goes on as well.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from typing import TypeVar

from core5g.pfcp.ies import Cause, NodeId
from core5g.pfcp.proxy.documents import ProxySection
from core5g.pfcp.proxy.exchanges import Exchange, Exchanges, Outgoing, spliced
from core5g.pfcp.proxy.observer import Change, Establishment, Observer
from core5g.pfcp.proxy.rulebook import begun
from core5g.pfcp.proxy.sessions import Modification, Session, SessionTable, subscriber_of
from core5g.pfcp.proxy.stamps import Stamps
from core5g.pfcp.transactions import Peer
from core5g.pfcp.wire import (
    RESPONSES,
    Header,
    Ie,
    IeType,
    Message,
    MessageType,
    PfcpError,
    decode,
    encode,
    find,
    with_seid,
    with_seq,
)

ANSWERS = frozenset(map(int, RESPONSES.values())) | {int(MessageType.VERSION_NOT_SUPPORTED_RESPONSE)}
_ACCEPTED = frozenset({bytes((Cause.ACCEPTED,)), bytes((Cause.PARTIALLY_ACCEPTED,))})
_GONE = bytes((Cause.SESSION_CONTEXT_NOT_FOUND,))
_ONE_V4 = b"\x02"
T = TypeVar("T")


class Relay:
    """`now` is on a clock that does not go back; `at`, of time stamps, in seconds since the epoch."""

    def __init__(
        self, section: ProxySection, stamps: Stamps, table: SessionTable, observer: Observer, counters: Counter[str]
    ) -> None:
        self._smfs = tuple(map(str, section.smfs))
        self._upf = Peer(str(section.upf.address), section.port)
        self._port = section.port
        self._packed = section.listen.packed
        self._node_id = NodeId(IPv4Address(section.listen)).encode()
        self._stamps, self._table, self._observer, self._counters = stamps, table, observer, counters
        self._exchanges = Exchanges()
        self._reserved: dict[int, tuple[str, int]] = {}
        self.where: dict[str, Peer] = {}
        self._from_smf: dict[int, Callable[[bytes, Header, Peer, float], list[Outgoing]]] = {
            MessageType.HEARTBEAT_REQUEST: self._stamped,
            MessageType.ASSOCIATION_SETUP_REQUEST: self._stamped,
            MessageType.ASSOCIATION_RELEASE_REQUEST: self._release,
            MessageType.SESSION_ESTABLISHMENT_REQUEST: self._establishment,
            MessageType.SESSION_MODIFICATION_REQUEST: self._modification,
            MessageType.SESSION_DELETION_REQUEST: self._deletion,
        }
        self._answers: dict[int, Callable[[bytes, Header, Exchange], bytes]] = {
            MessageType.HEARTBEAT_RESPONSE: self._stamped_answer,
            MessageType.ASSOCIATION_SETUP_RESPONSE: self._stamped_answer,
            MessageType.SESSION_ESTABLISHMENT_RESPONSE: self._established,
            MessageType.SESSION_MODIFICATION_RESPONSE: self._changed,
            MessageType.SESSION_DELETION_RESPONSE: self._changed,
        }

    # -- from an SMF ------------------------------------------------------------------------------------------------

    def from_smf(self, data: bytes, head: Header, peer: Peer, now: float) -> list[Outgoing]:
        """One message of a listed SMF. Raises nothing."""
        self.where[peer.address] = peer
        if head.type in ANSWERS:
            return self._answer(data, head, peer, upf=False)
        again = self._repeated(data, head, peer)
        if again is not None:
            return again
        try:
            return self._from_smf.get(head.type, self._plain)(data, head, peer, now)
        except PfcpError as error:
            self._malformed(error)
            return self._open(data, head, peer, now)
        except Exception as error:  # noqa: BLE001 - fails open: whatever it is, the SMF's message goes on
            self._observer.failed(self._table.by_up_seid(head.seid or 0), error)
            return self._open(data, head, peer, now)

    def _stamped(self, data: bytes, head: Header, peer: Peer, now: float) -> list[Outgoing]:
        self._saw(peer.address, find(decode(data).ies, IeType.RECOVERY_TIME_STAMP))
        stamp = self._stamps.to_upf.to_bytes(4, "big")
        return self._hand_on(data, head, peer, self._upf, now, replace={IeType.RECOVERY_TIME_STAMP: stamp})

    def _saw(self, smf: str, stamp: bytes | None) -> None:
        if stamp is not None and self._stamps.take(smf, int.from_bytes(stamp, "big")):
            self._counters["smf-restarts"] += 1
            self._observer.restarted(smf)

    def _release(self, data: bytes, head: Header, peer: Peer, now: float) -> list[Outgoing]:
        """The UPF has one association for all SMFs: it ends with the last one."""
        others = [smf for smf in self._stamps.seen if smf in self._smfs and smf != peer.address]
        self._stamps.seen.pop(peer.address, None)
        self._observer.restarted(peer.address)
        if not others:
            return self._hand_on(data, head, peer, self._upf, now)
        ies = (Ie(IeType.NODE_ID, self._node_id), Ie(IeType.CAUSE, bytes((Cause.ACCEPTED,))))
        return [Outgoing(encode(Message(MessageType.ASSOCIATION_RELEASE_RESPONSE, head.seq, None, ies)), peer)]

    def _establishment(self, data: bytes, head: Header, peer: Peer, now: float) -> list[Outgoing]:
        ies = decode(data).ies
        seid = _seid(find(ies, IeType.F_SEID) or b"")
        key = self._table.key_for(peer.address, seid)
        while self._reserved.get(key, (peer.address, seid)) != (peer.address, seid):
            key += 1 << 48
        self._reserved[key] = (peer.address, seid)
        note = Establishment(peer.address, seid, key, ies)
        replace: dict[int, bytes] = {IeType.F_SEID: self._fseid(key)}
        return self._hand_on(data, head, peer, self._upf, now, replace=replace, note=note)

    def _modification(self, data: bytes, head: Header, peer: Peer, now: float) -> list[Outgoing]:
        session = self._table.by_up_seid(head.seid or 0)
        if session is None or session.smf != peer.address:
            return self._unknown(data, head, peer, now, session)
        ies = decode(data).ies
        if not self._guarded(session, lambda: self._observer.has_room(session, ies), otherwise=True):
            session.held = session.held or []
            if (data, peer) not in session.held:
                session.held.append((data, peer))
            return []
        replace: dict[int, bytes] = {}
        if (moved := find(ies, IeType.F_SEID)) is not None:
            session.seid = _seid(moved)
            replace[IeType.F_SEID] = self._fseid(session.key)
        modification = Modification(ies)
        if session.pending is None:
            session.pending = deque()
        session.pending.append(modification)
        return self._hand_on(data, head, peer, self._upf, now, replace=replace, note=Change(session, modification))

    def _deletion(self, data: bytes, head: Header, peer: Peer, now: float) -> list[Outgoing]:
        session = self._table.by_up_seid(head.seid or 0)
        if session is None or session.smf != peer.address:
            return self._unknown(data, head, peer, now, session)
        return self._hand_on(data, head, peer, self._upf, now, note=Change(session, None))

    def _unknown(self, data: bytes, head: Header, peer: Peer, now: float, session: Session | None) -> list[Outgoing]:
        """A session that the proxy never saw is the UPF's to judge; another SMF's is none of this one's."""
        if session is None:
            self._counters["unknown-session"] += 1
            return self._plain(data, head, peer, now)
        self._counters["foreign-session"] += 1
        answer = Message(RESPONSES[MessageType(head.type)], head.seq, 0, (Ie(IeType.CAUSE, _GONE),))
        return [Outgoing(encode(answer), peer)]

    def _plain(self, data: bytes, head: Header, peer: Peer, now: float) -> list[Outgoing]:
        return self._hand_on(data, head, peer, self._upf, now)

    # -- from the UPF -----------------------------------------------------------------------------------------------

    def from_upf(self, data: bytes, head: Header, peer: Peer, now: float) -> list[Outgoing]:
        """One message of the UPF, but for answers to the proxy's own requests. Raises nothing."""
        if head.type in ANSWERS:
            return self._answer(data, head, peer, upf=True)
        try:
            return self._upf_request(data, head, peer, now)
        except PfcpError as error:
            self._malformed(error)
        except Exception as error:  # noqa: BLE001 - fails open: whatever it is, the UPF's message goes on
            self._observer.failed(self._table.by_key(head.seid or 0), error)
        session = self._table.by_key(head.seid or 0)
        smf = self._smf(session.smf if session is not None else self._smfs[0])
        exchange = self._exchanges.open(peer, head.seq, smf, data, now)
        exchange.request = with_seq(with_seid(data, session.seid) if session else data, exchange.own_seq)
        return [Outgoing(exchange.request, smf)]

    def _upf_request(self, data: bytes, head: Header, peer: Peer, now: float) -> list[Outgoing]:
        if head.type == MessageType.HEARTBEAT_REQUEST:
            return self._heartbeat(data, head, peer)
        again = self._repeated(data, head, peer)
        if again is not None:
            return again
        session = self._table.by_key(head.seid) if head.seid is not None else None
        if session is not None and not session.ended:
            return self._report(data, head, peer, now, session)
        if head.type == MessageType.ASSOCIATION_SETUP_REQUEST:
            self.upf_stamp(_stamp_in(data))
        known = [smf for smf in self._smfs if smf in self._stamps.seen] or list(self._smfs)
        if head.seid is not None and len(known) > 1:
            self._counters["unknown-session"] += 1
            return []
        replace: dict[int, bytes] = {IeType.RECOVERY_TIME_STAMP: self._stamps.to_smf.to_bytes(4, "big")}
        sent: list[Outgoing] = []
        for number, smf in enumerate(known):
            sent += self._hand_on(data, head, peer, self._smf(smf), now, replace=replace, mute=number > 0)
        return sent

    def _heartbeat(self, data: bytes, head: Header, peer: Peer) -> list[Outgoing]:
        """The UPF's control plane is the proxy, which answers; the UPF is answered to an SMF's by itself."""
        self.upf_stamp(_stamp_in(data))
        ies = (Ie(IeType.RECOVERY_TIME_STAMP, self._stamps.to_upf.to_bytes(4, "big")),)
        if not any(smf in self._stamps.seen for smf in self._smfs):
            return []
        return [Outgoing(encode(Message(MessageType.HEARTBEAT_RESPONSE, head.seq, None, ies)), peer)]

    def upf_stamp(self, stamp: bytes | None) -> None:
        if stamp is not None and self._stamps.take(self._upf.address, int.from_bytes(stamp, "big")):
            self._counters["upf-restarts"] += 1
            self._observer.restarted(None)

    def _report(self, data: bytes, head: Header, peer: Peer, now: float, session: Session) -> list[Outgoing]:
        value = self._guarded(session, lambda: self._observer.report(session, decode(data)), otherwise=None)
        replace: dict[int, bytes] = {IeType.DOWNLINK_DATA_REPORT: value} if value is not None else {}
        moved = with_seid(data, session.seid)
        return self._hand_on(moved, head, peer, self._smf(session.smf), now, replace=replace, told=data)

    def _smf(self, smf: str) -> Peer:
        return self.where.get(smf) or Peer(smf, self._port)

    # -- answers ----------------------------------------------------------------------------------------------------

    def _answer(self, data: bytes, head: Header, peer: Peer, *, upf: bool) -> list[Outgoing]:
        exchange = self._exchanges.answered(peer, head.seq)
        if exchange is None:
            self._counters["unexpected-answer"] += 1
            return []
        answered = data
        try:
            if upf and head.type in self._answers:
                answered = self._answers[head.type](data, head, exchange)
            answered = spliced(answered, head.size, {IeType.NODE_ID: self._node_id})
        except PfcpError as error:
            self._malformed(error)
            self._unread_answer(exchange.note)
            answered = self._sent_to_smf(data, exchange)
        except Exception as error:  # noqa: BLE001 - fails open: the SMF gets its answer
            note = exchange.note
            self._observer.failed(note.session if isinstance(note, Change) else None, error)
            answered = self._sent_to_smf(data, exchange)
        if head.seq != exchange.seq:
            answered = with_seq(answered, exchange.seq)
        exchange.response, exchange.note = answered, None
        return [] if exchange.mute else [Outgoing(answered, exchange.requester)]

    def _unread_answer(self, note: object) -> None:
        """Whether the UPF did what it was asked for is not known."""
        if not isinstance(note, Change):
            return
        self._observer.unread(note.session)
        if note.modification is not None and note.modification.accepted is None:
            note.modification.accepted = False
            self._guarded(note.session, partial(self._settle, note.session), otherwise=None)

    def _sent_to_smf(self, data: bytes, exchange: Exchange) -> bytes:
        match exchange.note:
            case Establishment(seid=seid):
                return with_seid(data, seid)
            case Change(session=session):
                return with_seid(data, session.seid)
        return data

    def _stamped_answer(self, data: bytes, head: Header, exchange: Exchange) -> bytes:  # noqa: ARG002 - as the others
        self.upf_stamp(_stamp_in(data))
        return spliced(data, head.size, {IeType.RECOVERY_TIME_STAMP: self._stamps.to_smf.to_bytes(4, "big")})

    def _established(self, data: bytes, head: Header, exchange: Exchange) -> bytes:
        note = exchange.note
        if not isinstance(note, Establishment):
            return data
        self._reserved.pop(note.key, None)
        answer = decode(data).ies
        fseid = find(answer, IeType.F_SEID)
        replace: dict[int, bytes] = {}
        if fseid is not None:
            up_seid = _seid(fseid)
            replace[IeType.F_SEID] = self._fseid(up_seid)
            if find(answer, IeType.CAUSE) in _ACCEPTED:
                session = self._guarded(None, lambda: self._session(note, up_seid, answer), otherwise=None)
                if session is not None:
                    self._guarded(session, lambda: self._observer.established(session), otherwise=None)
        return with_seid(spliced(data, head.size, replace), note.seid)

    def _session(self, note: Establishment, up_seid: int, answer: tuple[Ie, ...]) -> Session:
        session = Session(
            smf=note.smf,
            seid=note.seid,
            key=note.key,
            up_seid=up_seid,
            book=begun(note.ies, answer),
            whose=subscriber_of(note.ies),
            pdn_type=find(note.ies, IeType.PDN_TYPE) or b"\x01",
            dnn=find(note.ies, IeType.APN_DNN),
        )
        old = self._table.by_key(note.key)
        if old is not None:
            session.own.edge, old.own.edge = old.own.edge, 0
            self._table.drop(old)
        self._table.add(session)
        return session

    def _changed(self, data: bytes, head: Header, exchange: Exchange) -> bytes:  # noqa: ARG002 - as the others
        note = exchange.note
        if not isinstance(note, Change):
            return data
        session, answer = note.session, decode(data).ies
        cause = find(answer, IeType.CAUSE) or b""
        if note.modification is not None:
            note.modification.answer, note.modification.accepted = answer, cause in _ACCEPTED
            self._guarded(session, lambda: self._settle(session), otherwise=None)
            if note.modification.unread and note.modification.accepted:
                self._observer.unread(session)
        if cause == _GONE or (note.modification is None and cause in _ACCEPTED):
            if not session.ended:
                self._table.end(session)
                self._guarded(session, lambda: self._observer.ended(session, "released"), otherwise=None)
        elif note.modification is not None and cause not in _ACCEPTED:
            self._guarded(session, lambda: self._observer.wiped(session), otherwise=None)
        return with_seid(data, session.seid)

    def _settle(self, session: Session) -> None:
        """Modifications count in the order in which they were sent, whatever the order of the answers."""
        while session.pending and session.pending[0].accepted is not None:
            modification = session.pending.popleft()
            if modification.accepted:
                try:
                    self._took(session, modification)
                except PfcpError as error:
                    self._malformed(error)
                    self._observer.unread(session)

    def _took(self, session: Session, modification: Modification) -> None:
        """Raises PfcpError."""
        book = session.opened()
        book.apply(modification.ies)
        book.assigned(modification.answer or ())
        session.book = book.octets()
        self._observer.modified(session, modification.ies)

    def _fseid(self, seid: int) -> bytes:
        return _ONE_V4 + seid.to_bytes(8, "big") + self._packed

    # -- both -------------------------------------------------------------------------------------------------------

    def _repeated(self, data: bytes, head: Header, peer: Peer) -> list[Outgoing] | None:
        again = self._exchanges.repeated(peer, head.seq, data)
        if again is None:
            return None
        self._counters["repeated"] += 1
        if again.response is not None:
            return [Outgoing(again.response, peer)]
        return [Outgoing(again.request, again.target)] if again.request is not None else []

    def _hand_on(
        self,
        data: bytes,
        head: Header,
        peer: Peer,
        target: Peer,
        now: float,
        *,
        replace: dict[int, bytes] | None = None,
        note: object = None,
        mute: bool = False,
        told: bytes | None = None,
    ) -> list[Outgoing]:
        sent = spliced(data, head.size, {IeType.NODE_ID: self._node_id, **(replace or {})})
        exchange = self._exchanges.open(peer, head.seq, target, told if told is not None else data, now)
        if exchange.own_seq != head.seq:
            sent = with_seq(sent, exchange.own_seq)
        exchange.request, exchange.note, exchange.mute = sent, note, mute
        return [Outgoing(sent, target)]

    def _open(self, data: bytes, head: Header, peer: Peer, now: float) -> list[Outgoing]:
        """A message that was not understood, as it came but for the addresses of the sender where they are found."""
        replace: dict[int, bytes] = {}
        note: object = self._change(head, peer)
        try:
            if head.type == MessageType.SESSION_ESTABLISHMENT_REQUEST:
                value = find(decode(data).ies, IeType.F_SEID) or b""
                seid = _seid(value)
                replace[IeType.F_SEID] = self._fseid(seid)
                note = Establishment(peer.address, seid, seid, ())
            return self._hand_on(data, head, peer, self._upf, now, replace=replace, note=note)
        except Exception:  # noqa: BLE001 - not even its IEs can be walked: the UPF judges it
            exchange = self._exchanges.open(peer, head.seq, self._upf, data, now)
            exchange.request, exchange.note = with_seq(data, exchange.own_seq), note
            return [Outgoing(exchange.request, self._upf)]

    def _change(self, head: Header, peer: Peer) -> Change | None:
        """By what a message that was not understood may change a session, if the UPF understands it. No other waits for
        its answer: a stock UPF gives none."""
        session = self._table.by_up_seid(head.seid or 0)
        if session is None or session.smf != peer.address:
            return None
        if head.type == MessageType.SESSION_MODIFICATION_REQUEST:
            return Change(session, Modification((), unread=True))
        return Change(session, None) if head.type == MessageType.SESSION_DELETION_REQUEST else None

    def _malformed(self, error: PfcpError) -> None:
        self._counters[f"malformed-{error.reason}"] += 1

    def _guarded(self, session: Session | None, call: Callable[[], T], *, otherwise: T) -> T:
        try:
            return call()
        except PfcpError as error:
            self._malformed(error)
            return otherwise
        except Exception as error:  # noqa: BLE001 - fails open: the message goes on whatever the observer does
            self._observer.failed(session, error)
            return otherwise

    def tick(self, now: float) -> None:
        """Forgets old exchanges. What the UPF never answered has changed nothing that is known."""
        for exchange in self._exchanges.expire(now):
            self._counters["unanswered"] += 1
            if isinstance(exchange.note, Establishment):
                self._reserved.pop(exchange.note.key, None)
            elif isinstance(exchange.note, Change) and exchange.note.modification is not None:
                session = exchange.note.session
                exchange.note.modification.accepted = False
                self._guarded(session, partial(self._settle, session), otherwise=None)


def _seid(fseid: bytes) -> int:
    """Of an F-SEID (TS 29.244 8.2.37). Raises PfcpError."""
    if len(fseid) < 9:
        raise PfcpError("value", "an F-SEID has nine octets and more", ie=IeType.F_SEID)
    return int.from_bytes(fseid[1:9], "big")


def _stamp_in(data: bytes) -> bytes | None:
    return find(decode(data).ies, IeType.RECOVERY_TIME_STAMP)
