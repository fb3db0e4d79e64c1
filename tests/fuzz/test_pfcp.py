"""Octets that no SMF and no UPF ever sent: the codecs refuse them with their own error, and what they take stands."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core5g.pfcp import gtpu, ies
from core5g.pfcp.association import Association
from core5g.pfcp.ies import NodeId, RecoveryTimeStamp
from core5g.pfcp.proxy.rulebook import RuleBook, begun
from core5g.pfcp.transactions import Peer, Transactions
from core5g.pfcp.wire import MessageType, PfcpError, decode, encode, header
from tests.core5g.pfcp.opening import remade, walk
from tests.core5g.pfcp.recordings import gtpu as recorded_packets
from tests.core5g.pfcp.recordings import recorded

KINDS: list[Any] = [kind for kind in (getattr(ies, name) for name in ies.__all__) if hasattr(kind, "IE")]
PEER = Peer("10.0.0.1", 8805)


@cache
def sound(gtp: bool) -> st.SearchStrategy[bytes]:
    """What was on the wire, each message once."""
    return st.sampled_from(sorted(set(recorded_packets()) if gtp else {one.data for one in recorded()}))


@st.composite
def damaged(draw: st.DrawFn, *, gtp: bool = False) -> bytes:
    """A real datagram with octets changed, cut out, put in or cut off; its length is made to fit again or not."""
    data = bytearray(draw(sound(gtp)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0 if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case 1:
                del data[at : at + draw(st.integers(1, 8))]
            case 2:
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
            case _:
                del data[at:]
    head = 8 if gtp else 4
    if draw(st.booleans()) and len(data) >= head:
        data[2:4] = (len(data) - head).to_bytes(2, "big")
    return bytes(data)


datagrams = st.binary(max_size=80) | damaged()


@given(datagrams)
def test_any_datagram(data: bytes) -> None:
    try:
        message = decode(data)
    except PfcpError as error:
        assert error.reason in {"short", "version", "length", "follow-on", "type", "ie-length"}  # noqa: PT017
        return
    assert encode(message) == data
    assert header(data)[:3] == (message.type, message.seq, message.seid)
    with contextlib.suppress(PfcpError):
        assert remade(message.ies) == message.ies


@given(datagrams)
def test_any_values_in_any_datagram(data: bytes) -> None:
    with contextlib.suppress(PfcpError):
        for found in walk(decode(data).ies):
            for kind in KINDS:
                if found.type == kind.IE:
                    value = kind.decode(found.value)
                    assert kind.decode(value.encode()) == value


@given(st.sampled_from(KINDS), st.binary(max_size=40))
def test_any_value(kind: Any, octets: bytes) -> None:
    try:
        value = kind.decode(octets)
    except PfcpError as error:
        assert error.ie == kind.IE  # noqa: PT017
        return
    assert kind.decode(value.encode()) == value


@given(st.lists(datagrams, max_size=12))
def test_any_datagrams_at_an_endpoint(sent: list[bytes]) -> None:
    """Nothing is raised, and nothing but its answer ends a request."""
    made = Transactions(1.0, 3, 1)
    association = Association(NodeId("smf1.example"), RecoveryTimeStamp(1), heartbeat_s=10)
    (setup,) = association.start(0).requests
    request = made.send(setup, PEER, 0)
    for now, data in enumerate(sent):
        answered = made.receive(data, PEER)
        with contextlib.suppress(PfcpError):
            if answered is not None:
                assert decode(data).seq == answered.request.seq == request.seq
                association.answered(answered.request, answered.response, now)
            else:
                association.request(decode(data), now)


@given(st.lists(datagrams, max_size=12))
def test_any_messages_of_a_session(sent: list[bytes]) -> None:
    """Whatever a session's book takes, it is kept and read back as it was."""
    book = RuleBook()
    for data in sent:
        with contextlib.suppress(PfcpError):
            message = decode(data)
            if message.type is MessageType.SESSION_ESTABLISHMENT_REQUEST:
                book = RuleBook(begun(message.ies, ()))
            book.apply(message.ies)
            book.assigned(message.ies)
        assert RuleBook(book.octets()).octets() == book.octets()


@given(st.binary(max_size=80) | damaged(gtp=True))
def test_any_gtpu_packet(data: bytes) -> None:
    try:
        packet = gtpu.decode(data)
    except gtpu.GtpuError:
        return
    assert data.endswith(packet.payload)
