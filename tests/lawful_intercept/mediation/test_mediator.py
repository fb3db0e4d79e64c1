from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lawful_intercept.handover.decoder import Content, Tri, byte_counter, decrypt
from lawful_intercept.handover.integrity import read_check
from lawful_intercept.handover.threegpp import iri_from_xiri
from lawful_intercept.handover.tri import read_operator_message
from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.mediation.alarms import Code
from lawful_intercept.mediation.mediator import Rules
from lawful_intercept.points.xiri import active_session
from lawful_intercept.x1.extensions import (
    Encryption,
    EncryptionAlgorithm,
    Integrity,
    TimeForm,
)
from lawful_intercept.x1.lost import Lost
from lawful_intercept.x1.messages import HandoverType
from lawful_intercept.x2x3.attributes import point_attributes
from lawful_intercept.x2x3.codec import Attribute, PayloadDirection, PayloadFormat
from nf.clock import VirtualClock
from tests.lawful_intercept.mediation.world import (
    CALL,
    START,
    Bench,
    Point,
    destination,
    rtp,
    sip,
    task,
    warrant,
    with_settings,
)

XIRI = bytes.fromhex(
    "304081050413100501a237a635a111810f303031303130303030303030303031850105a60a8102123482040a0100018701018c08"
    "696e7465726e65748f0101910101"
)
"""pDUSessionEstablishment; the same with tag 7 and 8 is a modification and a release."""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def kinds(found: list) -> str:  # type: ignore[type-arg]
    return "".join("?BECR"[pdu.iri[0].iri_type] for pdu in found if pdu.iri)


def test_a_call_by_two_warrants_is_two_products(bench: Bench) -> None:
    one, two = destination(), destination(with_settings(operator="other", time_form=TimeForm.GENERALIZED))
    details = task(warrant("LIID-1", one.did), warrant("LIID-2", two.did))
    bench.reach(one, two)
    bench.equip(details)
    point = Point(details.xid)
    bench.take(*[point.x2(message) for message in CALL[:4]])
    bench.take(*[point.x3(rtp(number), direction=PayloadDirection.TO_TARGET) for number in range(3)])
    bench.take(*[point.x2(message) for message in CALL[4:]])
    for did, liid, operator in ((one.did, b"LIID-1", b"svnf"), (two.did, b"LIID-2", b"other")):
        iri, cc = bench.iri(did), bench.cc(did)
        assert kinds(iri) == "BCCCCE"
        assert [pdu.iri[0].octets for pdu in iri] == [*CALL]
        assert [pdu.sequence for pdu in iri] == [0, 1, 2, 3, 4, 5]
        assert [pdu.sequence for pdu in cc] == [0, 1, 2]
        assert [pdu.cc[0].octets for pdu in cc] == [rtp(number) for number in range(3)]
        assert {pdu.cc[0].direction for pdu in cc} == {1}
        assert {(pdu.liid, pdu.operator, pdu.qualifier) for pdu in iri + cc} == {(liid, operator, 1)}
        assert len({pdu.cin for pdu in iri + cc}) == 1
        assert (iri[0].iri[0].source, iri[0].iri[0].destination) == ("192.0.2.1", "192.0.2.2")
        assert iri[0].at_ns == START * 10**9 + 10**6


def test_iri_only_has_no_content(bench: Bench) -> None:
    there = destination()
    details = task(warrant("LIID-1", there.did, delivery=HandoverType.HI2_ONLY))
    bench.reach(there)
    bench.equip(details)
    point = Point(details.xid)
    text = sip("MESSAGE", "1 MESSAGE", body="secret", kind="text/plain")
    bench.take(point.x2(CALL[0]), point.x2(text, correlation=0), point.x3(rtp(1)))
    found = bench.iri(there.did)
    assert kinds(found) == "BR"
    assert {pdu.iri[0].content for pdu in found} == {Content.SIP_IRI_ONLY}
    assert found[0].iri[0].octets == CALL[0]
    assert found[1].iri[0].octets == text[: -len("secret")]
    assert found[0].cin != found[1].cin
    assert bench.cc(there.did) == []


def test_what_came_before_is_dropped_and_what_is_missing_is_told(bench: Bench) -> None:
    there = destination()
    details = task(warrant("LIID-1", there.did))
    bench.reach(there)
    bench.equip(details)
    point = Point(details.xid)
    packets = [point.x3(rtp(number)) for number in range(6)]
    bench.take(*packets[:3])
    bench.take(*packets[1:3])  # sent again, as after a reconnection
    bench.take(packets[5])
    assert [pdu.sequence for pdu in bench.cc(there.did)] == [0, 1, 2, 3]
    (message,) = [pdu for pdu in bench.iri(there.did) if pdu.tri is Tri.OPERATOR_MESSAGE]
    assert read_operator_message(message) == (1, "up to 2 CC units were lost before mediation")
    assert [(one.code, one.about, one.lost) for one in bench.alarms.all()] == [(Code.GAP, str(details.xid), Lost(cc=2))]
    assert (bench.mediator.counted.duplicates, bench.mediator.counted.missing) == (2, 2)
    anew = Point(details.xid, at=START + 60.0)
    bench.take(anew.x3(rtp(9)))  # the point has lost its numbers
    assert len(bench.cc(there.did)) == 5
    bench.take(Point(details.xid, at=START + 63).x3(rtp(1)), peer="pop2")  # another point has its own numbers
    assert len(bench.cc(there.did)) == 6


def test_a_call_that_two_points_see_is_handed_over_once(bench: Bench) -> None:
    there = destination()
    details = task(warrant("LIID-1", there.did))
    bench.reach(there)
    bench.equip(details)
    near, far = Point(details.xid), Point(details.xid, attributes=point_attributes("svc-2", "sip"))
    for number in range(4):
        bench.take(near.x3(rtp(number)), peer="pop1")
        bench.take(far.x3(rtp(number)), peer="pop2")
    assert [pdu.cc[0].octets for pdu in bench.cc(there.did)] == [rtp(number) for number in range(4)]
    assert bench.mediator.counted.elsewhere == 4
    bench.take(far.x3(rtp(4)), peer="pop2")  # the near one is gone; nobody knows yet
    far.at_ms += 2_000
    bench.take(far.x3(rtp(5)), far.x3(rtp(6)), peer="pop2")
    assert [pdu.cc[0].octets for pdu in bench.cc(there.did)][4:] == [rtp(5), rtp(6)]
    (message,) = [pdu for pdu in bench.iri(there.did) if pdu.tri is Tri.OPERATOR_MESSAGE]
    assert read_operator_message(message) == (1, "up to 2 CC units were lost before mediation")
    near.at_ms = far.at_ms
    bench.take(near.x3(rtp(7)), peer="pop1")  # it is back, and one is enough
    assert len(bench.cc(there.did)) == 6


def test_two_points_of_a_data_session_have_each_their_own(bench: Bench) -> None:
    there = destination()
    details = task(warrant("LIID-1", there.did))
    bench.reach(there)
    bench.equip(details)
    packet = b"\x45" + bytes(27)
    for name in ("svc-1", "svc-2"):
        point = Point(details.xid, attributes=point_attributes(name, "core5g"))
        bench.take(point.x3(packet, form=PayloadFormat.IPV4), peer=name)
    assert len(bench.cc(there.did)) == 2


def test_a_warrants_time(tmp_path: Path) -> None:
    clock = VirtualClock(float(START))
    bench = Bench(tmp_path, clock, Rules(late_s=30.0))
    there = destination()
    details = task(warrant("LIID-1", there.did, start=START, end=START + 60))
    bench.reach(there)
    bench.equip(details)
    early, point = Point(details.xid, at=START - 1.0), Point(details.xid, at=START - 0.001)
    bench.take(early.x3(rtp(0), correlation=8), peer="pop2")
    bench.take(point.x3(rtp(0)))
    point.at_ms = START * 1000 + 59_998
    bench.take(point.x3(rtp(1)), point.x3(rtp(2)), point.x3(rtp(3)), point.x2(CALL[0]))
    assert [pdu.cc[0].octets for pdu in bench.cc(there.did)] == [rtp(0), rtp(1)]
    assert bench.iri(there.did) == []
    assert [one.code for one in bench.alarms.all()] == [Code.OUTSIDE]


async def test_what_is_late(tmp_path: Path) -> None:
    """It happened in time, and comes after the end by this machine's clock."""
    clock = VirtualClock(float(START))
    bench = Bench(tmp_path, clock, Rules(late_s=30.0))
    there = destination()
    details = task(warrant("LIID-1", there.did, end=START + 10))
    bench.reach(there)
    bench.equip(details)
    point = Point(details.xid)
    await clock.advance(39.0)
    bench.take(point.x3(rtp(0)), point.x2(CALL[0]))
    await clock.advance(2.0)
    bench.take(point.x3(rtp(1)), point.x2(CALL[1]))
    assert len(bench.cc(there.did)) == len(bench.iri(there.did)) == 1


def test_numbers_go_on_after_a_restart(bench: Bench) -> None:
    there = destination()
    details = task(warrant("LIID-1", there.did))
    bench.reach(there)
    bench.equip(details)
    point = Point(details.xid)
    bench.take(*[point.x2(message) for message in CALL[:3]], point.x3(rtp(0)))
    bench.commit()
    resent = [point.x3(rtp(1)), point.x2(CALL[3])]
    bench.take(*resent)  # never committed
    before = {label: list(found) for label, found in bench.staged.items()}
    for found in bench.staged.values():
        found.pop()
    bench.again()
    bench.take(*resent)
    assert before == bench.staged  # octet by octet: the same numbers again
    bench.take(*[point.x2(message) for message in CALL[4:]])
    assert kinds(bench.iri(there.did)) == "BCCCCE"
    assert [pdu.sequence for pdu in bench.iri(there.did)] == [0, 1, 2, 3, 4, 5]
    assert len({pdu.cin for pdu in bench.iri(there.did) + bench.cc(there.did)}) == 1


async def test_calls_that_end_without_a_word(tmp_path: Path) -> None:
    clock = VirtualClock(float(START))
    bench = Bench(tmp_path, clock)
    there = destination()
    details = task(warrant("LIID-1", there.did))
    bench.reach(there)
    bench.equip(details)
    point = Point(details.xid)
    bench.take(*[point.x2(message) for message in CALL[:4]], point.x3(rtp(0)))
    bench.take(*[point.x2(message, correlation=8) for message in CALL[:4]])  # no media came
    bench.take(point.x2(CALL[0], correlation=9), point.ended(correlation=9), point.ended(correlation=9))
    assert kinds(bench.iri(there.did)) == "BCCCBCCCBE"
    await clock.advance(1799.0)
    bench.mediator.tick()
    assert kinds(bench.iri(there.did))[10:] == ""
    await clock.advance(6.0)
    bench.mediator.tick()
    bench.mediator.tick()
    assert kinds(bench.iri(there.did))[10:] == "E"
    last = bench.iri(there.did)[-1]
    assert (last.iri[0].octets, last.qualifier) == (b"", 2)
    assert last.cin == bench.iri(there.did)[0].cin
    point.at_ms += 2_000_000
    bench.take(point.x2(CALL[5]))
    assert kinds(bench.iri(there.did))[11:] == "R"


def test_the_5g_core(bench: Bench) -> None:
    there = destination()
    details = task(warrant("LIID-1", there.did))
    bench.reach(there)
    bench.equip(details)
    point = Point(details.xid)
    say = {"form": PayloadFormat.TS_33_128, "direction": PayloadDirection.NOT_APPLICABLE}
    modification, release = XIRI.replace(b"\xa6\x35", b"\xa7\x35", 1), XIRI.replace(b"\xa6\x35", b"\xa8\x35", 1)
    packet = b"\x45\x00\x00\x14" + bytes(16)
    bench.take(point.x2(XIRI, **say), point.x2(modification, **say))  # type: ignore[arg-type]
    bench.take(point.x3(packet, form=PayloadFormat.IPV4))
    bench.take(point.x2(release, **say), point.x2(XIRI, **say))  # type: ignore[arg-type]
    found = bench.iri(there.did)
    assert kinds(found) == "BCEB"
    assert found[0].cin == found[2].cin != found[3].cin
    assert {pdu.iri[0].content for pdu in found} == {Content.THREEGPP}
    (content,) = bench.cc(there.did)
    assert (content.cc[0].octets, content.cc[0].frame_type) == (packet, None)
    bench.take(point.x2(b"nothing", **say))  # type: ignore[arg-type]
    assert [one.code for one in bench.alarms.all()] == [Code.UNREADABLE]
    assert bench.iri(there.did)[-1].tri is Tri.OPERATOR_MESSAGE


def test_a_warrant_about_an_address_names_it_in_its_iri(bench: Bench) -> None:
    there, address = destination(), TargetIdentifier("ipv4Address", "10.45.0.2")
    details = replace(task(warrant("LIID-1", there.did)), targets=(address,))
    bench.reach(there)
    bench.equip(details)
    point = Point(details.xid)
    bench.take(point.x2(XIRI, form=PayloadFormat.TS_33_128, direction=PayloadDirection.NOT_APPLICABLE))
    bench.take(point.x3(b"\x45\x00\x00\x14" + bytes(16), form=PayloadFormat.IPV4))
    (pdu,) = bench.iri(there.did)
    assert pdu.iri[0].octets == iri_from_xiri(XIRI, [address])
    assert bytes.fromhex("88040a2d0002") in pdu.iri[0].octets  # iPv4Address [8]
    assert len(bench.cc(there.did)) == 1


def test_encryption_and_integrity(bench: Bench, tmp_path: Path) -> None:
    key = tmp_path / "payload"
    key.write_text("00" * 24)
    key.chmod(0o600)
    there = destination(
        with_settings(
            encryption=Encryption(EncryptionAlgorithm.AES_192_CBC, f"file:{key}"), integrity=Integrity(pdus=2)
        )
    )
    details = task(warrant("LIID-1", there.did))
    bench.reach(there)
    bench.equip(details)
    point = Point(details.xid)
    bench.take(*[point.x3(rtp(number)) for number in range(3)])
    found = bench.cc(there.did)
    assert [decrypt(pdu, bytes(24)).cc[0].octets for pdu in found if pdu.encrypted] == [rtp(n) for n in range(3)]
    (check,) = [read_check(pdu) for pdu in found if pdu.tri is Tri.INTEGRITY_CHECK]
    assert check.numbers == (0, 1)
    assert check.is_hash_of([found[0].octets, found[1].octets])
    assert bench.mediator.streams.holds() == {f"{there.did}/2": 3}
    bench.mediator.strip(details.xid, forget=True)
    (_, check) = [read_check(pdu) for pdu in bench.cc(there.did) if pdu.tri is Tri.INTEGRITY_CHECK]
    assert check.numbers == (2,)
    assert bench.mediator.streams.holds() == {}


def test_what_a_point_says_in_its_own_words(bench: Bench, tmp_path: Path) -> None:
    """To the agencies of IRI, in clear or encrypted as each has it, and never left out."""
    keys = {name: bytes([number]) * 32 for number, name in enumerate(("one", "two"), 1)}
    for name, key in keys.items():
        (tmp_path / name).write_text(key.hex())
        (tmp_path / name).chmod(0o600)
    encryption = Encryption(EncryptionAlgorithm.AES_256_CBC, f"file:{tmp_path / 'one'}")
    another = with_settings(encryption=Encryption(EncryptionAlgorithm.AES_256_CBC, f"file:{tmp_path / 'two'}"))
    clear, sealed, content = destination(), destination(with_settings(encryption=encryption)), destination()
    details = task(
        warrant("LIID-1", clear.did),
        warrant("LIID-2", sealed.did),
        warrant("LIID-3", sealed.did, settings=another),
        warrant("LIID-4", content.did, delivery=HandoverType.HI3_ONLY),
    )
    bench.reach(clear, sealed, content)
    bench.equip(details)
    point = Point(details.xid)
    words = [f'{{"event":"registration-{what}"}}' for what in ("standing", "gone", "expired")]
    mark = ((int(Attribute.PROPRIETARY), b"StreamVerse"),)
    say = {"form": PayloadFormat.PROPRIETARY, "direction": PayloadDirection.NOT_APPLICABLE, "attributes": mark}
    bench.take(*[point.x2(text.encode(), correlation=0, **say) for text in words])  # type: ignore[arg-type]
    said = [(2, text) for text in words]
    assert [read_operator_message(pdu) for pdu in bench.iri(clear.did)] == said
    for liid, key in ((b"LIID-2", keys["one"]), (b"LIID-3", keys["two"])):
        found = [pdu for pdu in bench.iri(sealed.did) if pdu.liid == liid]
        assert not any(text.encode() in pdu.octets for pdu in found for text in words)
        assert [read_operator_message(decrypt(pdu, key)) for pdu in found] == said
        counters = [byte_counter(pdu, key) for pdu in found]
        assert counters == [START << 32, *(counters[n] + len(found[n].octets) for n in range(2))]
    assert bench.iri(content.did) == bench.cc(content.did) == []
    assert (bench.mediator.counted.unreadable, bench.alarms.all()) == (0, [])


def test_nobodys(bench: Bench) -> None:
    bench.take(Point(uuid4()).x3(rtp(0)))
    assert bench.staged == {}
    assert bench.mediator.counted.unknown == 1
    assert [one.code for one in bench.alarms.all()] == [Code.UNKNOWN_TASK]


def test_a_call_that_was_up_when_its_order_came(bench: Bench) -> None:
    there = destination()
    details = task(warrant("LIID-1", there.did))
    bench.reach(there)
    bench.equip(details)
    point = Point(details.xid)
    octets = active_session({"caller": "sip:alice@example.net", "called": "sip:bob@example.net", "state": "answered"})
    say = {"form": PayloadFormat.TS_33_128, "direction": PayloadDirection.NOT_APPLICABLE}
    bench.take(point.x2(octets, **say), point.x3(rtp(0)))  # type: ignore[arg-type]
    bench.take(*[point.x2(message) for message in CALL[4:]])
    assert kinds(bench.iri(there.did)) == "BCE"
    assert bench.iri(there.did)[0].iri[0].content is Content.THREEGPP
    assert {pdu.cin for pdu in bench.iri(there.did)} == {pdu.cin for pdu in bench.cc(there.did)}


_FORMS = [PayloadFormat.SIP, PayloadFormat.TS_33_128, PayloadFormat.PROPRIETARY, PayloadFormat.MIME, PayloadFormat.IPV4]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(_FORMS), st.binary(max_size=80), st.integers(0, 3)), max_size=8))
def test_whatever_a_point_says_is_handed_over_or_told(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[PayloadFormat, bytes, int]]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("bench"))
    there = destination()
    details = task(warrant("LIID-1", there.did))
    bench.reach(there)
    bench.equip(details)
    point = Point(details.xid)
    bench.take(*[point.x2(octets, form=form, correlation=correlation) for form, octets, correlation in said])
    handed = [pdu for pdu in bench.iri(there.did) if pdu.iri]
    told = [pdu for pdu in bench.iri(there.did) if pdu.tri is Tri.OPERATOR_MESSAGE]
    assert len(handed) + len(told) == len(said) == bench.mediator.counted.taken
    bench.state.close()
