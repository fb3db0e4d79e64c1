"""Deliveries of observation points as X2 and X3, judged by Wireshark and this product's own decoder."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.points.events import PROPRIETARY
from lawful_intercept.points.identities import Sought
from lawful_intercept.points.products import Place, Products
from lawful_intercept.x2x3.attributes import read_target
from lawful_intercept.x2x3.codec import Attribute, Decoder, PayloadDirection, PayloadFormat, Pdu, PduType
from nf.contracts.interception import (
    Content,
    ContentForm,
    Direction,
    Event,
    EventKind,
    Identity,
    IdentityKind,
)
from tests.lawful_intercept.points.judges import tshark, xiri
from tests.lawful_intercept.points.test_xiri import REGISTRATION, SESSION, SUBJECT

XID = UUID("29f28e1c-f230-486a-a860-f5a784ab9172")
ALICE = TargetIdentifier("sipUri", "sip:alice@example.net")
NUMBER = TargetIdentifier("telUri", "tel:+493055501")
SIP_ORDERS = {
    "1": Sought(ALICE, Identity(IdentityKind.SIP_URI, ALICE.value)),
    "2": Sought(NUMBER, Identity(IdentityKind.TEL_URI, NUMBER.value)),
}
PROXY = (ip_address("192.0.2.10"), 5060)
INVITE = (
    b"INVITE sip:bob@example.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK1\r\n"
    b"From: <sip:alice@example.net>;tag=a1\r\nTo: <sip:bob@example.net>\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def answer(code: int, method: str = "INVITE", tag: str = "a1") -> bytes:
    return (
        f"SIP/2.0 {code} X\r\nFrom: <sip:alice@example.net>;tag={tag}\r\nTo: <sip:bob@example.net>;tag=b1\r\n"
        f"Call-ID: c1\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def request(method: str, tag: str) -> bytes:
    return (
        f"{method} sip:x@192.0.2.1 SIP/2.0\r\nf: <sip:x@example.net> ;tag={tag}\r\nTo: <sip:y@example.net>;tag=z\r\n"
        f"Call-ID: c1\r\nCSeq: 2 {method}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def products(orders: dict[str, Sought] | None = None, **given: Any) -> Products:
    counts: Counter[PduType] = Counter()

    def take(kind: PduType) -> int:
        counts[kind] += 1
        return counts[kind] - 1

    here = Place("pop1", "sip", PROXY)
    return Products(here, XID.bytes, orders or {"1": SIP_ORDERS["1"]}, take, **given)


def sip(kind: EventKind, octets: bytes = b"", reference: str = "1", **details: Any) -> Event:
    about = (SIP_ORDERS["1"].identity, SIP_ORDERS["2"].identity)
    session = details.pop("session", 0xABCDEF)
    told = {"source": "udp:192.0.2.1:5070", **details} if octets else details
    return Event(reference, kind, 1_700_000_000.25, 0, session, about, told, octets)


def call(reference: str = "1", direction: str = "from-target") -> list[Event]:
    end = {"caller": "sip:alice@example.net", "called": "sip:bob@example.net", "call_id": "c1", "seconds": 3}
    return [
        sip(EventKind.SESSION_BEGIN, reference=reference, direction=direction, caller="sip:alice@example.net"),
        sip(EventKind.MESSAGE, INVITE, reference),
        sip(EventKind.MESSAGE, answer(200), reference),
        sip(EventKind.SESSION_CHANGE, reference=reference, state="answered"),
        sip(EventKind.MESSAGE, request("BYE", "b1"), reference),
        sip(EventKind.SESSION_END, reference=reference, **end),
        sip(EventKind.MESSAGE, answer(200, "BYE", "b1"), reference),
    ]


def decoded(octets: list[bytes]) -> list[Pdu]:
    return Decoder().feed(b"".join(octets))


def told(made: Products, events: list[Event]) -> list[Pdu]:
    return decoded([octets for event in events for octets in made.event(event)])


def test_a_call_is_its_messages() -> None:
    pdus = told(products(), call())
    assert [pdu.payload.partition(b" ")[0] for pdu in pdus] == [b"INVITE", b"SIP/2.0", b"BYE", b"SIP/2.0"]
    assert [pdu.sequence for pdu in pdus] == [0, 1, 2, 3]
    assert [pdu.direction.name for pdu in pdus] == ["FROM_TARGET", "TO_TARGET", "TO_TARGET", "FROM_TARGET"]
    first = pdus[0]
    assert (first.kind, first.form, first.xid, first.correlation) == (
        PduType.X2,
        PayloadFormat.SIP,
        XID.bytes,
        0xABCDEF,
    )
    assert first.timestamp_ns == 1_700_000_000_250_000_000
    where = first.addresses
    assert (str(where.source), where.source_port, str(where.destination), where.destination_port, where.protocol) == (
        "192.0.2.1",
        5070,
        "192.0.2.10",
        5060,
        17,
    )
    assert (first.attribute(6), first.attribute(7)) == (b"pop1", b"sip")
    assert read_target(first.attribute(17) or b"") == ALICE
    assert [read_target(one) for one in first.every(18)] == [NUMBER]


@pytest.mark.parametrize(
    ("direction", "names"),
    [
        ("to-target", ["TO_TARGET", "FROM_TARGET", "FROM_TARGET", "TO_TARGET"]),
        ("unknown", ["UNKNOWN"] * 4),
    ],
)
def test_directions_follow_who_the_target_is(direction: str, names: list[str]) -> None:
    assert [pdu.direction.name for pdu in told(products(), call(direction=direction))] == names


def test_an_end_that_no_message_tells_is_told() -> None:
    events = [event for event in call() if not event.octets.startswith(b"BYE") and b"BYE" not in event.octets]
    last = told(products(), events)[-1]
    assert (last.form, last.direction) == (PayloadFormat.PROPRIETARY, PayloadDirection.NOT_APPLICABLE)
    assert last.attribute(Attribute.PROPRIETARY) == PROPRIETARY
    assert json.loads(last.payload)["event"] == "session-end"
    assert json.loads(last.payload)["call_id"] == "c1"


def test_a_refusal_may_be_of_one_leg_and_the_end_is_told_too() -> None:
    refused = [call()[0], call()[1], sip(EventKind.MESSAGE, answer(486)), sip(EventKind.SESSION_END, code=486)]
    assert [pdu.form.name for pdu in told(products(), refused)] == ["SIP", "SIP", "PROPRIETARY"]


def test_a_call_that_was_up_begins_with_who_calls_whom() -> None:
    up = sip(EventKind.SESSION_STANDING, caller="sip:alice@example.net", called="tel:+4930", state="answered")
    pdus = told(products(), [up, sip(EventKind.MESSAGE, request("BYE", "b1"))])
    assert (pdus[0].form, pdus[0].correlation) == (PayloadFormat.TS_33_128, 0xABCDEF)
    assert b"sip:alice@example.net" in pdus[0].payload
    assert pdus[1].direction is PayloadDirection.UNKNOWN


def test_registrations_of_voice() -> None:
    register = request("REGISTER", "a1")
    events = [
        sip(EventKind.MESSAGE, register, session=0),
        sip(EventKind.REGISTRATION, contact="<sip:alice@192.0.2.1>", expires="600", session=0),
        sip(EventKind.DEREGISTRATION, contact="sip:alice@192.0.2.1", reason="expired", session=0),
        sip(EventKind.REGISTRATION_STANDING, contact="sip:alice@192.0.2.1", session=0),
    ]
    pdus = told(products(), events)
    assert [pdu.form.name for pdu in pdus] == ["SIP", "PROPRIETARY", "PROPRIETARY", "PROPRIETARY"]
    assert pdus[0].direction is PayloadDirection.FROM_TARGET
    assert [json.loads(pdu.payload)["event"] for pdu in pdus[1:]] == [
        "registration",
        "deregistration",
        "registration-standing",
    ]


def test_a_target_that_is_named_twice_is_one_product() -> None:
    made = products(SIP_ORDERS)
    both = [event for pair in zip(call("1"), call("2"), strict=True) for event in pair]
    assert len(told(made, both)) == 4
    copies = [
        Content(
            reference, 1_700_000_000_000_000_000 + at, at, 0xABCDEF, Direction.FROM_TARGET, ContentForm.RTP, b"r" * 32
        )
        for at, reference in itertools.product(range(50), ("1", "2"))
    ]
    found = [octets for copy in copies if (octets := made.content(copy)) is not None]
    assert [pdu.sequence for pdu in decoded(found)] == [*range(50)]
    # What came once comes once, whichever order tells it last; a later call is another one.
    assert len(told(made, [event for event in call("2") if event.octets][:1])) == 0
    again = [Event(e.reference, e.kind, e.at + 60, 0, e.session, e.identities, e.details, e.octets) for e in both]
    assert len(told(made, again)) == 4


def test_what_x1_says_of_product_and_correlation_is_in_it() -> None:
    pdu = told(products(correlation=77), call())[0]
    assert pdu.correlation == 77


def test_another_tasks_reference_makes_nothing() -> None:
    made = products()
    assert made.event(sip(EventKind.MESSAGE, INVITE, "9")) == []
    assert made.content(Content("9", 0, 0, 1, Direction.UNKNOWN, ContentForm.RTP, b"x")) is None


@pytest.mark.parametrize(
    ("form", "number"),
    [(ContentForm.IPV4, 5), (ContentForm.IPV6, 6), (ContentForm.RTP, 8), (ContentForm.OTHER, 16)],
)
def test_content_has_its_form_and_session(form: ContentForm, number: int) -> None:
    made = products()
    for direction, name in (
        (Direction.FROM_TARGET, "FROM_TARGET"),
        (Direction.TO_TARGET, "TO_TARGET"),
        (Direction.UNKNOWN, "UNKNOWN"),
    ):
        octets = made.content(Content("1", 1_700_000_000_123_456_789, 0, 5, direction, form, b"\x45abc"))
        assert octets is not None
        pdu = decoded([octets])[0]
        assert (pdu.kind, pdu.form, pdu.direction.name) == (PduType.X3, number, name)
        assert (pdu.correlation, pdu.timestamp_ns, pdu.payload) == (5, 1_700_000_000_123_456_789, b"\x45abc")
        assert read_target(pdu.attribute(17) or b"") == ALICE


@given(st.binary(max_size=300), st.text(max_size=40), st.sampled_from(EventKind))
def test_whatever_a_message_is_it_is_handed_on(octets: bytes, source: str, kind: EventKind) -> None:
    event = Event("1", kind, 1.0, 0, 1, (), {"source": source}, octets)
    begun = [call()[0], call()[1]]
    pdus = told(products(), [*begun, event])
    if kind is EventKind.MESSAGE:
        assert pdus[-1].payload == octets


def five_g(kind: EventKind, details: dict[str, Any], session: int = 0x99) -> Event:
    return Event("1", kind, 1_700_000_000.0, 0, session, SUBJECT, details)


def test_5g_events() -> None:
    target = TargetIdentifier("supiimsi", "001010000000001")
    made = products({"1": Sought(target, SUBJECT[0])})
    pdus = told(made, [five_g(EventKind.REGISTRATION, REGISTRATION, 0), five_g(EventKind.SESSION_BEGIN, SESSION)])
    assert [(pdu.form.name, pdu.direction.name) for pdu in pdus] == [("TS_33_128", "NOT_APPLICABLE")] * 2
    assert [pdu.correlation for pdu in pdus] == [0, 0x99]
    assert [xiri(pdu.payload)[0] for pdu in pdus] == ["registration", "pDUSessionEstablishment"]
    assert read_target(pdus[0].attribute(17) or b"") == target
    assert {one.form for value in pdus[0].every(18) if (one := read_target(value))} == {"gpsiMsisdn", "peiImeisv"}


ADDRESS = TargetIdentifier("ipv4Address", "10.45.0.2")
BY_ADDRESS = Identity(IdentityKind.UE_ADDRESS, "10.45.0.2")
SUPI = TargetIdentifier("supiimsi", "001010000000001")


def at_address(kind: EventKind, reference: str = "1", at: float = 0.0, session: int = 0x99) -> Event:
    return Event(reference, kind, 1_700_000_000.0 + at, 0, session, (*SUBJECT, BY_ADDRESS), SESSION)


def test_a_target_that_is_an_address_is_named_and_who_has_it_beside_it() -> None:
    made = products({"1": Sought(ADDRESS, BY_ADDRESS)})
    (pdu,) = told(made, [at_address(EventKind.SESSION_BEGIN)])
    assert pdu.attribute(17) == b"<ipv4Address>10.45.0.2</ipv4Address>"
    others = {(one.form, one.value) for octets in pdu.every(18) if (one := read_target(octets))}
    assert others == {
        ("supiimsi", "001010000000001"),
        ("gpsiMsisdn", "491700000001"),
        ("peiImeisv", "3535938300494715"),
    }
    name, found = xiri(pdu.payload)
    assert (name, found["sUPI"]) == ("pDUSessionEstablishment", ("iMSI", "001010000000001"))
    assert ("iPv4Address", bytes((10, 45, 0, 2))) in found["uEEndpoint"]
    octets = made.content(Content("1", 1, 0, 0x99, Direction.FROM_TARGET, ContentForm.IPV4, b"\x45abc"))
    assert octets is not None
    assert read_target(decoded([octets])[0].attribute(17) or b"") == ADDRESS


@pytest.mark.parametrize("references", [("1", "2"), ("2", "1")], ids=["subscriber first", "address first"])
def test_a_subscriber_and_an_address_in_one_task_are_one_product(references: tuple[str, str]) -> None:
    """A session that gives up the address goes on for the task: it is the subscriber's."""
    by_supi, by_address = references
    made = products({by_supi: Sought(SUPI, SUBJECT[0]), by_address: Sought(ADDRESS, BY_ADDRESS)})

    def both(kind: EventKind, at: float) -> list[Event]:
        found = {by_supi: five_g(kind, SESSION), by_address: at_address(kind, by_address)}
        return [replace(found[one], reference=one, at=1_700_000_000.0 + at) for one in sorted(references)]

    def only(reference: str, kind: EventKind, at: float) -> Event:
        return next(one for one in both(kind, at) if one.reference == reference)

    end, begin, change = EventKind.SESSION_END, EventKind.SESSION_BEGIN, EventKind.SESSION_CHANGE
    events = [*both(begin, 1), only(by_address, end, 2), only(by_supi, change, 2)]
    events += [only(by_address, begin, 3), *both(change, 4), *both(end, 5)]
    assert [xiri(pdu.payload)[0] for pdu in told(made, events)] == [
        "pDUSessionEstablishment",
        "pDUSessionModification",
        "pDUSessionModification",
        "pDUSessionRelease",
    ]
    other = [at_address(kind, by_address, at, 0x77) for kind, at in ((begin, 6), (end, 7))]
    assert len(told(made, other)) == 2, "the address at somebody else is a session of its own"


def test_who_follows_a_session_is_known_when_the_task_is_another_one() -> None:
    orders = {"1": Sought(SUPI, SUBJECT[0]), "2": Sought(ADDRESS, BY_ADDRESS)}
    before = products(orders)
    told(before, [five_g(EventKind.SESSION_BEGIN, SESSION), at_address(EventKind.SESSION_BEGIN, "2")])
    assert told(products(orders, before=before), [at_address(EventKind.SESSION_END, "2", 1)]) == []
    alone = products({"2": orders["2"]}, before=before)
    assert len(told(alone, [at_address(EventKind.SESSION_END, "2", 1)])) == 1


@pytest.mark.daemon
def test_wireshark_reads_it_too(tmp_path: Path, require_programs: Callable[..., None]) -> None:
    require_programs("tshark")
    rtp = bytes.fromhex("800004d2000000a0deadbeef") + b"\x55" * 160
    v4 = bytes.fromhex("450000140000000040110000") + ip_address("10.45.0.2").packed + ip_address("192.0.2.9").packed
    made = products()
    octets = [one for event in call() for one in made.event(event)]
    for form, packet in ((ContentForm.RTP, rtp), (ContentForm.IPV4, v4)):
        copy = made.content(Content("1", 1_700_000_000_123_456_789, 0, 5, Direction.TO_TARGET, form, packet))
        assert copy is not None
        octets.append(copy)
    fiveg = products({"1": Sought(TargetIdentifier("supiimsi", "001010000000001"), SUBJECT[0])})
    octets += fiveg.event(five_g(EventKind.SESSION_BEGIN, SESSION))
    found = [layers["5gli"] for layers in tshark(octets, tmp_path)]
    assert [layers["5gli_li5g_type"] for layers in found] == ["1"] * 4 + ["2"] * 2 + ["1"]
    assert [layers["5gli_li5g_pf"] for layers in found] == ["9"] * 4 + ["8", "5", "2"]
    assert all(layers["5gli_li5g_xid"] == str(XID) for layers in found)
    assert [layers["sip"].get("sip_sip_Method") for layers in found[:4]] == ["INVITE", None, "BYE", None]
    assert found[4]["rtp"]["rtp_rtp_seq"] == "1234"
    assert found[5]["ip"]["ip_ip_src"] == "10.45.0.2"
    assert "internet" in str(found[6])
