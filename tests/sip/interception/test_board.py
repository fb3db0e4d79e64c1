"""What follows of what the proxy tells, and of whom."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.contracts.interception import Event, EventKind, Identity, IdentityKind, Loss, Order
from sip.interception import messages, sdp
from sip.interception.board import LATE_S, Board
from sip.interception.identities import account, keys, matchable, number
from sip.interception.items import WORDS, read_item
from sip.interception.standing import contacts, dialogs

ALICE = Identity(IdentityKind.SIP_URI, "sip:alice@a.example")
INVITE = (
    b"INVITE sip:bob@a.example SIP/2.0\r\nFrom: <sip:alice@a.example>;tag=1\r\nTo: <sip:bob@a.example>\r\n"
    b'Proxy-Authorization: Digest username="alice",\r\n  response="00"\r\nCSeq: 1 INVITE\r\n\r\nv=0\r\n'
)


def item(what: str, told: str, *, octets: bytes = b"", code: int = 0, at: float = 100.0, call: str = "c1") -> str:
    coded = [base64.b64encode(one).decode() for one in (call.encode(), b"tag", octets)]
    return f"{told};{at:.6f};1000|r1;udp:192.0.2.1:5060;{code};{coded[0]};{coded[1]};{len(octets)};{coded[2]}"


def board() -> Board:
    made = Board()
    made.activate((1, "x1"), Order("x1", ALICE), ("alice@a.example",))
    return made


def test_a_call_begins_and_ends_and_carries_no_credentials() -> None:
    made = board()
    begun = made.take(read_item("invite", item("invite", "c1:1|", octets=INVITE)))
    ended = made.take(read_item("end", item("end", "c1:2|", code=7)))
    events = [one.told for one in (*begun, *ended)]
    assert all(isinstance(one, Event) for one in events)
    kinds = [one.kind for one in events if isinstance(one, Event)]
    assert kinds == [EventKind.SESSION_BEGIN, EventKind.MESSAGE, EventKind.SESSION_END]
    message = events[1]
    assert isinstance(message, Event)
    assert b"uthorization" not in message.octets
    assert b"response" not in message.octets
    assert message.octets.endswith(b"CSeq: 1 INVITE\r\n\r\nv=0\r\n")
    assert made.calls() == {}


@pytest.mark.parametrize("began", [True, False])
def test_media_of_a_call_that_began_under_an_order_is_whole_and_of_one_that_was_there_is_not(began: bool) -> None:
    made = Board()
    made.activate((1, "x1"), Order("x1", ALICE, content="media"), ("alice@a.example",))
    if began:
        made.take(read_item("invite", item("invite", "c1:1|", octets=INVITE)))
    answer = b"SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"
    made.take(read_item("reply", item("reply", "c1:2|", octets=answer, code=200)))
    assert [one.whole for one in made.media().values()] == [began]


def test_what_was_seen_for_another_order_before_is_not_told() -> None:
    """It may wait in the proxy's queue while the order comes; the call is told as one that stands."""
    made = board()
    second = (2, "x2")
    made.activate(second, Order("x2", ALICE), ("alice@a.example",), 100.5)
    begun = made.take(read_item("invite", item("invite", "c1:1|", octets=INVITE, at=100.0)))
    assert {one.token for one in begun} == {(1, "x1")}
    caller = {"tag": "tag", "contact": ""}
    up = [{"call-id": "c1", "state": 4, "from_uri": ALICE.value, "to_uri": "sip:bob@a.example", "caller": caller}]
    assert made.standing((1, "x1"), dialogs(up), (), 100.6) == []
    told = made.standing(second, dialogs(up), (), 100.6)
    assert [one.told.kind for one in told if isinstance(one.told, Event)] == [EventKind.SESSION_STANDING]
    ended = made.take(read_item("end", item("end", "c1:2|", code=7, at=101.0)))
    assert {one.token for one in ended} == {(1, "x1"), second}
    registered = item("register", "r1:3|", octets=b"REGISTER sip:a.example SIP/2.0\r\n\r\n", code=1, at=100.4)
    assert {one.token for one in made.take(read_item("register", registered))} == {(1, "x1")}


def test_what_is_of_no_order_is_nothing() -> None:
    made = board()
    assert made.take(read_item("invite", item("invite", "c9:1|", octets=INVITE))) == []
    made.deactivate((1, "x1"))
    assert made.take(read_item("invite", item("invite", "c1:1|", octets=INVITE))) == []
    assert made.sought() == {}


def test_a_gap_is_told_when_nothing_came_late() -> None:
    made = board()
    made.take(read_item("reply", item("reply", "c1:1|", code=180)))
    made.take(read_item("reply", item("reply", "c1:4|", code=180)))
    made.take(read_item("reply", item("reply", "c1:3|", code=180)))
    assert made.overdue(100.0) == []
    (lost,) = made.overdue(100.1 + LATE_S)
    assert isinstance(lost.told, Loss)
    assert lost.told.events == 1
    assert made.overdue(200.0) == []


def test_a_key_of_two_orders_outlives_one_of_them() -> None:
    made = board()
    made.activate((2, "y"), Order("y", ALICE), ("alice@a.example", "+491"))
    made.deactivate((1, "x1"))
    assert set(made.sought()) == {"alice@a.example", "+491", "on"}
    made.known_by((2, "y"), ("+491",))
    assert set(made.sought()) == {"+491", "on"}


def test_a_call_that_is_not_there_any_more_has_ended() -> None:
    made = board()
    made.take(read_item("invite", item("invite", "c1:1|", octets=INVITE)))
    assert made.gone([("c1", "tag")], 200.0, 200.0) == []
    (ended,) = made.gone([], 200.0, 200.0)
    assert isinstance(ended.told, Event)
    assert ended.told.kind is EventKind.SESSION_END


def test_identities_and_their_keys() -> None:
    lines = {"+493055501": "alice@a.example", "100": "alice@a.example", "+491": "bob@a.example"}
    assert account(Identity(IdentityKind.SIP_URI, "SIP:alice:secret@A.example:5070;user=phone")) == "alice@a.example"
    assert number(Identity(IdentityKind.TEL_URI, "tel:+49(30)555-01;phone-context=x")) == "+493055501"
    assert keys(ALICE, lines) == ("alice@a.example", "+493055501", "493055501", "100")
    assert keys(Identity(IdentityKind.TEL_URI, "tel:100"), lines)[0] == "alice@a.example"
    assert not matchable(Identity(IdentityKind.SIP_URI, "sip:a.example"))
    assert not matchable(Identity(IdentityKind.SUPI, "imsi-001010000000001"))


@given(st.text(max_size=80))
def test_any_text_is_an_identity_or_none(text: str) -> None:
    for kind in (IdentityKind.SIP_URI, IdentityKind.TEL_URI):
        found = keys(Identity(kind, text), {})
        assert bool(found) == matchable(Identity(kind, text))
        assert not any("|" in key or ";" in key for key in found)


@given(st.sampled_from(sorted(WORDS)), st.text(alphabet="cdr0123456789:|;=.<>nulA/+-", max_size=120))
def test_any_text_is_an_item_or_a_value_error(key: str, text: str) -> None:
    try:
        found = read_item(key, text)
    except ValueError:
        return
    board().take(found)


@given(st.binary(max_size=300))
def test_any_octets_are_stripped_and_read(octets: bytes) -> None:
    found = messages.stripped(octets)
    assert len(found) <= len(octets)
    messages.method(octets)
    messages.request_uri(octets)
    messages.uri_of(messages.header(octets, "from", "f"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
)


@given(JSON)
def test_any_answer_is_read(answer: object) -> None:
    list(dialogs(answer))  # type: ignore[arg-type]
    list(contacts(answer))  # type: ignore[arg-type]


def test_an_offer_of_copies_is_taken_where_it_is_plain() -> None:
    offer = (
        "v=0\r\no=a 1 1 IN IP4 192.0.2.9\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 30026 RTP/AVP 0 101\r\n"
        "a=rtpmap:0 PCMU/8000\r\na=sendonly\r\na=rtcp:30027\r\nm=image 30030 udptl t38\r\na=T38FaxVersion:0\r\n"
    )
    made = sdp.answer(offer, "192.0.2.1", [26000, 26002])
    assert "m=audio 26000 RTP/AVP 0 101\r\na=recvonly\r\na=rtpmap:0 PCMU/8000\r\n" in made
    assert "m=image 0 udptl t38\r\n" in made
    assert "sendonly" not in made
    with pytest.raises(ValueError, match="as many"):
        sdp.answer(offer, "192.0.2.1", [26000])


def test_what_another_process_was_told_is_its_successors() -> None:
    made = Board()
    assert made.inherit({"on": "1", "alice@a.example": "7", "gone@a.example": "8"}, {"c1|tag": "c7|"}, ["7", "8", "11"])
    assert made.sought() == {"on": "1", "alice@a.example": "7", "gone@a.example": "8"}
    assert made.calls() == {"c1|tag": "c7|"}
    made.activate((1, "x1"), Order("x1", ALICE), ("alice@a.example",))
    made.activate((1, "x2"), Order("x2", ALICE), ("493055501",))
    lost, calls = made.settle(50.0)
    assert [(one.token, one.told.events) for one in lost if isinstance(one.told, Loss)] == [((1, "x1"), None)]
    assert calls == {("c1", "tag"): {7: "c"}}
    assert made.sought() == {"on": "1", "alice@a.example": "7", "493055501": "12"}
    assert made.calls() == {}
    # What was told before is unknown; from the first on, counts are.
    made.take(read_item("request", item("request", "c7:31|", octets=INVITE)))
    assert made.overdue(100.0 + 2 * LATE_S) == []
    made.take(read_item("request", item("request", "c7:34|", octets=INVITE)))
    (late,) = made.overdue(100.0 + 2 * LATE_S)
    assert isinstance(late.told, Loss)
    assert late.told.events == 2


def test_of_an_order_that_has_ended_nothing_is_told() -> None:
    made = Board()
    made.activate((1, "x1"), Order("x1", ALICE, until=100.5), ("alice@a.example",))
    assert made.take(read_item("invite", item("invite", "c1:1|", octets=INVITE, at=100.4)))
    assert not made.take(read_item("end", item("end", "c1:2|", code=7, at=100.5)))
