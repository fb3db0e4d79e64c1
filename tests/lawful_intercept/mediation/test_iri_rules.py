from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.handover.values import IriType
from lawful_intercept.mediation.iri_rules import (
    TABLE,
    Patience,
    Phase,
    Session,
    Signal,
    begins_anew,
    event_begins_anew,
    event_step,
    sip_step,
    step,
)
from lawful_intercept.mediation.sip import SipMessage

B, C, E, R = IriType.BEGIN, IriType.CONTINUE, IriType.END, IriType.REPORT


def m(text: str) -> SipMessage:
    """`INVITE1:a` of CSeq 1 with From tag a; `180-INVITE1:ab` for a reply that has To tag b."""
    found = re.fullmatch(r"(?:(\d+)-)?([A-Z]+)(\d+):(\w)(\w?)", text)
    assert found
    status, method, number, from_tag, to_tag = found.groups()
    return SipMessage(method, int(status or 0), "call", int(number), from_tag, to_tag)


CALLS = {
    "a call": (
        (
            "INVITE1:a 100-INVITE1:a 180-INVITE1:ab 200-INVITE1:ab ACK1:ab "
            "INVITE2:ab 200-INVITE2:ab ACK2:ab BYE3:ab 200-BYE3:ab"
        ),
        "BCCCCCCCCE",
    ),
    "the callee hangs up, and says so twice": (
        "INVITE1:a 200-INVITE1:ab ACK1:ab BYE9:ba 200-BYE9:ba 200-BYE9:ba",
        "BCCCER",
    ),
    "busy": ("INVITE1:a 486-INVITE1:ab ACK1:ab 486-INVITE1:ab", "BCER"),
    "busy, then forwarded": (
        "INVITE1:a 486-INVITE1:ab 180-INVITE1:ac 200-INVITE1:ac ACK1:ac BYE2:ac 200-BYE2:ac",
        "BCCCCCE",
    ),
    "moved, refused by the network, refused by everybody": (
        "INVITE1:a 302-INVITE1:ab 503-INVITE1:ab 603-INVITE1:ab ACK1:ab",
        "BCCCE",
    ),
    "cancelled": ("INVITE1:a 180-INVITE1:ab CANCEL1:a 200-CANCEL1:a 487-INVITE1:ab ACK1:ab", "BCCCCE"),
    "cancelled as it was answered": (
        "INVITE1:a CANCEL1:a 200-CANCEL1:a 200-INVITE1:ab ACK1:ab BYE2:ab 481-BYE2:ab",
        "BCCCCCE",
    ),
    "asked for credentials": (
        "INVITE1:a 407-INVITE1:ab ACK1:ab INVITE2:a 200-INVITE2:ab BYE3:ab 407-BYE3:ab BYE4:ab 200-BYE4:ab",
        "BCCCCCCCE",
    ),
    "a change that is refused, and what else is said within": (
        (
            "INVITE1:a 200-INVITE1:ab INVITE2:ab 488-INVITE2:ab ACK2:ab "
            "UPDATE3:ab 200-UPDATE3:ab MESSAGE4:ab REFER5:ab NOTIFY1:ba"
        ),
        "BCCCCCCCCC",
    ),
    "two answers: the call goes on until both have ended": (
        "INVITE1:a 200-INVITE1:ab 200-INVITE1:ac BYE2:ac 200-BYE2:ac INVITE3:ab BYE4:ba 200-BYE4:ba",
        "BCCCCCCE",
    ),
    "ordered in the middle of a call": ("ACK1:ab BYE2:ab 200-BYE2:ab", "BCE"),
    "ordered at its very end": ("200-BYE2:ab ACK1:ab", "RR"),
    "ordered while it rings": ("180-INVITE1:ab 200-INVITE1:ab", "BC"),
    "of no call": (
        (
            "REGISTER1:a 200-REGISTER1:ab OPTIONS1:a 200-OPTIONS1:ab MESSAGE1:a 202-MESSAGE1:ab "
            "SUBSCRIBE1:a NOTIFY1:ab PUBLISH1:a"
        ),
        "RRRRRRRRR",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(name: str) -> None:
    messages, expected = CALLS[name]
    session, found = Session(), ""
    for message in messages.split():
        kind, session = sip_step(session, m(message))
        found += kind.name[0]
    assert found == expected


def test_who_still_rings_is_waited_for() -> None:
    session = Session()
    for message in ("INVITE1:a", "180-INVITE1:ab", "180-INVITE1:ac", "486-INVITE1:ab"):
        kind, session = sip_step(session, m(message))
    assert (kind, session.phase) == (C, Phase.CALLING)
    _, session = sip_step(session, m("480-INVITE1:ac"))
    assert session.phase is Phase.FAILING
    _, session = sip_step(session, m("180-INVITE1:ad"))  # forwarded
    assert session.phase is Phase.CALLING


def test_a_call_id_that_is_used_again_is_another_session() -> None:
    session = Session()
    for message in map(m, ("INVITE5:a", "486-INVITE5:ab", "ACK5:ab")):
        _, session = sip_step(session, message)
    assert not begins_anew(session, m("INVITE5:a"))
    assert sip_step(session, m("INVITE5:a"))[0] is R
    assert begins_anew(session, m("INVITE6:a"))
    assert sip_step(session, m("INVITE6:a"))[0] is B


def test_a_call_that_falls_silent() -> None:
    patience, up = Patience(), Session(Phase.UP, 1)
    assert patience.of(up, media=True) == patience.media_s
    assert patience.of(up, media=False) == patience.silent_s
    assert patience.of(Session(Phase.CLOSING), media=False) == 32.0
    assert patience.of(Session(Phase.CALLING), media=True) == patience.calling_s
    assert patience.of(Session(Phase.FAILING), media=True) == patience.refused_s
    assert patience.of(Session(), media=False) is None
    assert patience.of(Session(Phase.ENDED), media=True) is None
    assert step(up, Signal.GONE) == (E, Session(Phase.ENDED, 1))


def test_the_5g_core() -> None:
    session, found = Session(), []
    for told in (R, B, R, C, B, E, C, R):
        kind, session = event_step(session, told)
        found.append(kind)
    assert found == [R, B, R, C, C, E, R, R]
    assert event_begins_anew(session, B)
    assert event_step(session, B)[0] is B
    assert event_step(Session(), C)[0] is B
    assert event_step(Session(), E)[0] is R


def test_the_table_is_whole() -> None:
    assert {(phase, signal) for phase in TABLE for signal in TABLE[phase]} == {(p, s) for p in Phase for s in Signal}


_METHODS = ["INVITE", "ACK", "BYE", "CANCEL", "UPDATE", "INFO", "PRACK", "OPTIONS", "MESSAGE", "NOTIFY", "REGISTER"]
_MESSAGES = st.builds(
    SipMessage,
    st.sampled_from(_METHODS),
    st.sampled_from([0, 0, 0, 100, 180, 200, 202, 302, 401, 407, 481, 486, 487, 503, 603]),
    st.just("call"),
    st.integers(1, 4),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["", "a", "b", "c"]),
)


@given(st.lists(st.one_of(_MESSAGES, st.just(Signal.GONE), st.sampled_from(IriType)), max_size=60))
def test_any_order_of_anything(inputs: list[SipMessage | Signal | IriType]) -> None:
    """One Begin, first but for Reports; at most one End; nothing but Reports after it. A new session counts anew."""
    session = Session()
    sessions: list[list[IriType]] = [[]]
    for one in inputs:
        if isinstance(one, SipMessage):
            anew, (kind, after) = begins_anew(session, one), sip_step(session, one)
        elif isinstance(one, IriType):
            anew, (kind, after) = event_begins_anew(session, one), event_step(session, one)
        else:
            anew, (kind, after) = False, step(session, one)
        if anew:
            sessions.append([])
        sessions[-1].append(kind)
        session = after
        assert session.open == (bool([k for k in sessions[-1] if k is not R]) and E not in sessions[-1])
    for kinds in sessions:
        told = [kind for kind in kinds if kind is not R]
        assert told.count(B) == (1 if told else 0)
        assert not told or told[0] is B
        assert told.count(E) <= 1
        assert E not in told[:-1]
        if E in kinds:
            assert set(kinds[kinds.index(E) + 1 :]) <= {R}


@given(st.lists(_MESSAGES, max_size=40))
def test_a_session_ends_when_it_is_given_up(messages: list[SipMessage]) -> None:
    session = Session()
    for message in messages:
        _, session = sip_step(session, message)
    opened = session.open
    assert (Patience().of(session, media=False) is not None) == opened
    assert step(session, Signal.GONE)[0] is (E if opened else R)
