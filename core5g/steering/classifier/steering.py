"""What the classifier does next in a session, and what becomes of it. Pure; one request at a time in each session.

`next_wish` compares what stands with what is wanted, so that whatever happened in between (a handover, a rejection, a
restart) is made good by the same few operations. The order keeps a UE's traffic whole: first the way back at the UPF,
then the edge, then what goes there; away in the reverse order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from core5g.pfcp.ies import FSeid, FTeid, read
from core5g.pfcp.proxy.rulebook import RuleBook
from core5g.pfcp.proxy.sessions import Own, Session, Tunnel, tunnel_of
from core5g.pfcp.wire import Ie, IeType, MessageType, group, grouped
from core5g.steering.classifier import rules
from core5g.steering.classifier.bearer import Bearer, bearer_of, mirrored
from nf.errors import RefusedError

RETRY_S = 10.0


class Operation(Enum):
    BACK = "way back"  # at the UPF
    EDGE = "session at the edge"
    OUT = "way out"  # at the UPF: the filters
    FOLLOW = "follow"  # the way back goes where the SMF's goes
    WITHDRAW = "withdraw"  # all of ours from the UPF
    EDGE_END = "end at the edge"
    REBUILD = "rebuild"  # the SMF's rules, after the UPF lost them
    EXPEL = "expel"  # the session at the UPF, for an SMF that restarted


class Outcome(Enum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    GONE = "gone"  # the UPF knows no such session
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Wish:
    """A request to the SMF's UPF, or to the edge. `filters`, `pdrs`, `mirror`: what it makes, when it is OUT, BACK or
    FOLLOW."""

    operation: Operation
    kind: MessageType
    ies: tuple[Ie, ...]
    edge: bool = False
    filters: tuple[str, ...] = ()
    pdrs: tuple[int, ...] = ()
    mirror: bytes = b""


@dataclass(frozen=True, slots=True)
class Effect:
    """What the outcome means beyond the session's own state.

    alarm  cause and text; lost: the UPF has nothing of the session any more; over: nothing is left of it anywhere
    """

    alarm: tuple[str, str] | None = None
    lost: bool = False
    over: bool = False


UNSTEERED, LOST = "classifier-session-unsteered", "classifier-session-lost"
_NOTHING = Effect()


def next_wish(session: Session, wanted: tuple[str, ...], *, edge_up: bool) -> Wish | None:
    """`wanted`: filters, none when nothing is to be steered. None: all is as it should be, or cannot be now.

    Raises RefusedError when a rule would be one that a stock UPF does not follow, PfcpError.
    """
    own = session.own
    if session.ended:
        return _farewell(session, edge_up=edge_up)
    if own.broken:
        ies = session.opened().creates()
        return Wish(Operation.REBUILD, MessageType.SESSION_MODIFICATION_REQUEST, ies)
    if own.refused or not edge_up:
        wanted = ()
    if own.filters and (own.filters != wanted or not own.edge):
        return _withdraw(own)
    if not wanted:
        if own.back is not None or own.fars or own.pdrs:
            return _withdraw(own)
        return _end_at_edge() if own.edge and edge_up else None
    book = session.opened()
    bearer = bearer_of(book)
    if bearer is None:
        raise RefusedError(
            "no default rules for the UE's traffic in both directions", where=f"session {session.key:#x}"
        )
    return _towards(session, book, bearer, wanted)


def _towards(session: Session, book: RuleBook, bearer: Bearer, wanted: tuple[str, ...]) -> Wish | None:
    own = session.own
    if own.ids is None:
        own.ids = rules.own_ids(book)
    ids, modify = own.ids, MessageType.SESSION_MODIFICATION_REQUEST
    mirror = group(0, mirrored(bearer, IeType.FORWARDING_PARAMETERS)).value
    if own.back is None:
        if own.edge:
            return _end_at_edge()  # it leads back to a tunnel that is no more
        if len(wanted) > rules.room(book):
            raise RefusedError(f"no room for {len(wanted)} filters beside the SMF's rules", where="uplink classifier")
        ies = rules.downlink(bearer, ids)
        rules.judge(ies, book)
        return Wish(Operation.BACK, modify, ies, pdrs=(ids.back,), mirror=mirror)
    if own.mirror != mirror:
        ies = rules.follow(bearer, ids, session.flags)
        rules.judge(ies, book)
        return Wish(Operation.FOLLOW, modify, ies, mirror=mirror)
    if not own.edge or own.out is None:
        ies = rules.edge_session(bearer, session.pdn_type, session.dnn, own.back)
        rules.judge(ies, None)
        return Wish(Operation.EDGE, MessageType.SESSION_ESTABLISHMENT_REQUEST, ies, edge=True)
    if own.filters == wanted and ids.fars[1] in own.fars:
        return None
    ies = rules.uplink(bearer, ids, wanted, own.out)
    rules.judge(ies, book)
    pdrs = tuple(int.from_bytes(grouped(ie.value)[0].value, "big") for ie in ies if ie.type == IeType.CREATE_PDR)
    return Wish(Operation.OUT, modify, ies, filters=wanted, pdrs=pdrs)


def _withdraw(own: Own) -> Wish:
    ids = own.ids
    ies = rules.withdrawal(ids, own.pdrs, own.fars) if ids is not None else ()
    return Wish(Operation.WITHDRAW, MessageType.SESSION_MODIFICATION_REQUEST, ies)


def _end_at_edge() -> Wish:
    return Wish(Operation.EDGE_END, MessageType.SESSION_DELETION_REQUEST, (), edge=True)


def _farewell(session: Session, *, edge_up: bool) -> Wish | None:
    if session.expelled:
        return Wish(Operation.EXPEL, MessageType.SESSION_DELETION_REQUEST, ())
    return _end_at_edge() if session.own.edge and edge_up else None


def sent(session: Session, wish: Wish) -> None:
    """What may stand from now on, whether an answer comes or not."""
    own = session.own
    session.busy = True
    if wish.operation is Operation.OUT:
        own.filters = wish.filters
    if wish.operation in {Operation.OUT, Operation.BACK}:
        own.pdrs = tuple(sorted({*own.pdrs, *wish.pdrs}))
    if wish.operation is Operation.FOLLOW:
        session.flags = None


def conclude(session: Session, wish: Wish, outcome: Outcome, ies: tuple[Ie, ...], now: float) -> Effect:
    """What came of a request; `ies`: of the answer. Raises PfcpError for an answer that cannot be read."""
    session.busy = False
    session.retry_at = 0.0
    return _TABLE[wish.operation, outcome](session, wish, ies, now)


Handler = Callable[[Session, Wish, tuple[Ie, ...], float], Effect]


def _back_stands(session: Session, wish: Wish, ies: tuple[Ie, ...], _now: float) -> Effect:
    own = session.own
    own.mirror = wish.mirror
    if own.ids is not None:
        own.fars = (own.ids.fars[0],)
        own.back = _created(ies, own.ids.back)
    if own.back is None:
        return _refuse(session, "the UPF chose no F-TEID for the way back")
    return _NOTHING


def _edge_stands(session: Session, _wish: Wish, ies: tuple[Ie, ...], _now: float) -> Effect:
    fseid = read(FSeid, ies)
    session.own.edge = fseid.seid if fseid is not None else 0
    session.own.out = _created(ies, 2)
    if session.own.out is None or fseid is None:
        return _refuse(session, "the edge chose no F-TEID")
    return _NOTHING


def _out_stands(session: Session, _wish: Wish, _ies: tuple[Ie, ...], _now: float) -> Effect:
    if session.own.ids is not None:
        session.own.fars = session.own.ids.fars
    return _NOTHING


def _followed(session: Session, wish: Wish, _ies: tuple[Ie, ...], _now: float) -> Effect:
    session.own.mirror = wish.mirror
    return _NOTHING


def _withdrawn(session: Session, _wish: Wish, _ies: tuple[Ie, ...], _now: float) -> Effect:
    forget_at_upf(session.own)
    return _NOTHING


def _wiped(session: Session, wish: Wish, _ies: tuple[Ie, ...], _now: float) -> Effect:
    """A stock UPF of before 2026-09 drops all rules of a session when it rejects a modification."""
    forget_at_upf(session.own)
    session.own.broken = True
    return _refuse(session, f"the UPF rejected the {wish.operation.value}")


def _rebuilt(session: Session, _wish: Wish, _ies: tuple[Ie, ...], _now: float) -> Effect:
    session.own.broken = False
    return _NOTHING


def _rebuild_failed(session: Session, _wish: Wish, _ies: tuple[Ie, ...], _now: float) -> Effect:
    session.own.broken = False
    session.own.refused = "the UPF does not take the SMF's own rules again"
    return Effect(alarm=(LOST, session.own.refused))


def _gone(session: Session, _wish: Wish, _ies: tuple[Ie, ...], _now: float) -> Effect:
    forget_at_upf(session.own)
    return Effect(lost=True)


def _edge_refused(session: Session, _wish: Wish, _ies: tuple[Ie, ...], _now: float) -> Effect:
    return _refuse(session, "the edge refused the session")


def _edge_ended(session: Session, _wish: Wish, _ies: tuple[Ie, ...], _now: float) -> Effect:
    session.own.edge, session.own.out = 0, None
    return Effect(over=session.ended and not session.expelled)


def _expelled(session: Session, _wish: Wish, _ies: tuple[Ie, ...], _now: float) -> Effect:
    session.expelled = False
    return Effect(over=not session.own.edge)


def _later(session: Session, _wish: Wish, _ies: tuple[Ie, ...], now: float) -> Effect:
    session.retry_at = now + RETRY_S
    return _NOTHING


_ACCEPTED: dict[Operation, Handler] = {
    Operation.BACK: _back_stands,
    Operation.EDGE: _edge_stands,
    Operation.OUT: _out_stands,
    Operation.FOLLOW: _followed,
    Operation.WITHDRAW: _withdrawn,
    Operation.EDGE_END: _edge_ended,
    Operation.REBUILD: _rebuilt,
    Operation.EXPEL: _expelled,
}
_TABLE: dict[tuple[Operation, Outcome], Handler] = {
    **{(operation, Outcome.ACCEPTED): handler for operation, handler in _ACCEPTED.items()},
    **{(operation, Outcome.SILENT): _later for operation in Operation},
    (Operation.BACK, Outcome.REJECTED): _wiped,
    (Operation.OUT, Outcome.REJECTED): _wiped,
    (Operation.FOLLOW, Outcome.REJECTED): _wiped,
    (Operation.WITHDRAW, Outcome.REJECTED): _wiped,
    (Operation.REBUILD, Outcome.REJECTED): _rebuild_failed,
    (Operation.EDGE, Outcome.REJECTED): _edge_refused,
    (Operation.EDGE_END, Outcome.REJECTED): _edge_ended,
    (Operation.EXPEL, Outcome.REJECTED): _expelled,
    (Operation.BACK, Outcome.GONE): _gone,
    (Operation.OUT, Outcome.GONE): _gone,
    (Operation.FOLLOW, Outcome.GONE): _gone,
    (Operation.WITHDRAW, Outcome.GONE): _gone,
    (Operation.REBUILD, Outcome.GONE): _gone,
    (Operation.EDGE, Outcome.GONE): _edge_refused,
    (Operation.EDGE_END, Outcome.GONE): _edge_ended,
    (Operation.EXPEL, Outcome.GONE): _expelled,
}


def forget_at_upf(own: Own) -> None:
    """Nothing of ours stands at the UPF any more."""
    own.back, own.mirror, own.filters, own.pdrs, own.fars, own.ids = None, b"", (), (), (), None


def _refuse(session: Session, why: str) -> Effect:
    session.own.refused = why
    return Effect(alarm=(UNSTEERED, why))


def _created(ies: tuple[Ie, ...], pdr_id: int) -> Tunnel | None:
    for ie in ies:
        if ie.type == IeType.CREATED_PDR:
            members = grouped(ie.value)
            number = next((one.value for one in members if one.type == IeType.PDR_ID), b"")
            if int.from_bytes(number, "big") == pdr_id:
                return tunnel_of(read(FTeid, members))
    return None
