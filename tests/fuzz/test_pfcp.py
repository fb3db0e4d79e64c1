"""Octets that no SMF and no UPF ever sent: the codecs refuse them with their own error, and what they take stands."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core5g.pfcp import gtpu, ies, rules
from core5g.pfcp.association import Association
from core5g.pfcp.ies import NodeId, RecoveryTimeStamp
from core5g.pfcp.session import Change, Phase, SessionView
from core5g.pfcp.transactions import Peer, Received, Transactions
from core5g.pfcp.wire import PfcpError, bundle, decode, encode, expand, fold, header, walk
from tests.core5g.pfcp.recordings import gtpu as recorded_packets
from tests.core5g.pfcp.recordings import recorded

KINDS: list[Any] = [kind for kind in (getattr(ies, name) for name in ies.__all__) if hasattr(kind, "IE")]
RULES: list[Any] = [
    rules.Pdi, rules.CreatePdr, rules.UpdatePdr, rules.RemovePdr, rules.CreatedPdr, rules.CreateFar, rules.UpdateFar,
    rules.RemoveFar, rules.Forwarding,
]  # fmt: skip
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
        assert fold(expand(message.ies)) == message.ies
    with contextlib.suppress(PfcpError):
        bundle(data)


@given(datagrams)
def test_any_values_in_any_datagram(data: bytes) -> None:
    with contextlib.suppress(PfcpError):
        for found in walk(expand(decode(data).ies)):
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


@given(st.sampled_from(RULES), st.binary(max_size=60))
def test_any_rule(kind: Any, octets: bytes) -> None:
    with contextlib.suppress(PfcpError):
        kind.decode(octets)


@given(st.lists(datagrams, max_size=12))
def test_any_datagrams_at_an_endpoint(sent: list[bytes]) -> None:
    """Nothing is raised, everything is counted, and no answer is longer than what it answers."""
    made = Transactions()
    association = Association(NodeId("upf1.example"), RecoveryTimeStamp(1), initiates=False)
    for now, data in enumerate(sent):
        for event in made.receive(data, PEER, now):
            if isinstance(event, Received):
                with contextlib.suppress(PfcpError):
                    outcome = association.request(event.request, now)
                    if outcome.response is not None:
                        made.answer(event, outcome.response, now)
    assert made.counters["received"] >= sum(1 for data in sent if data)
    assert all(len(answer) <= 80 for answer, _ in made.data_to_send())


@given(st.lists(datagrams, max_size=12))
def test_any_messages_of_a_session(sent: list[bytes]) -> None:
    view = SessionView()
    for data in sent:
        before = view.phase
        try:
            changed = view.apply(decode(data))
        except PfcpError:
            assert view.phase is before
            continue
        assert (changed is Change.NOTHING) <= (view.phase is before)
        with contextlib.suppress(PfcpError):
            assert len(view.ue_ips) >= (view.ue_ip is not None)
            assert None not in (*view.fteids, *view.access_tunnels)
            assert view.supi is None or view.user_id is not None
            assert {type(view.dnn), type(view.s_nssai)} <= {str, ies.SNssai, type(None)}
        with contextlib.suppress(PfcpError):
            view.establishment()
    assert view.phase in Phase


@given(st.binary(max_size=80) | damaged(gtp=True))
def test_any_gtpu_packet(data: bytes) -> None:
    try:
        packet = gtpu.decode(data)
    except gtpu.GtpuError:
        return
    again = gtpu.encode(packet)
    assert gtpu.decode(again) == packet
    with contextlib.suppress(gtpu.GtpuError):
        session = packet.pdu_session
        assert session is None or gtpu.PduSession.decode(session.extension().content) == session
    with contextlib.suppress(gtpu.GtpuError):
        gtpu.read_error_indication(packet)
    with contextlib.suppress(gtpu.GtpuError):
        gtpu.read_error_indication(packet._replace(type=gtpu.GtpuType.ERROR_INDICATION))
