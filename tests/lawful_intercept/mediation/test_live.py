"""From X2 and X3 to agencies, with X1 of an ADMF, over TLS on loopback; the process is killed, the disk is full."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lawful_intercept.handover.decoder import Content, Tri, decrypt
from lawful_intercept.handover.integrity import CheckType, IntegrityCheck, read_check
from lawful_intercept.handover.integrity import SignatureAlgorithm as HandedAlgorithm
from lawful_intercept.handover.values import DataType
from lawful_intercept.mediation.delivery import Pace
from lawful_intercept.timesync import ClockState, TimeSync
from lawful_intercept.x1 import exchange as x1
from lawful_intercept.x1.extensions import (
    Encryption,
    EncryptionAlgorithm,
    Integrity,
    Signature,
    SignatureAlgorithm,
    TimeForm,
)
from lawful_intercept.x1.faults import Code, X1Fault
from lawful_intercept.x1.messages import DeliveryStatus, HandoverType
from lawful_intercept.x2x3.codec import PayloadDirection
from nf.clock import RealClock
from tests.lawful_intercept.mediation.agency import Agency
from tests.lawful_intercept.mediation.site import Site
from tests.lawful_intercept.mediation.world import CALL, destination, rtp, task, warrant, with_settings

PACE = Pace(first_s=0.01, longest_s=0.1, answer_s=2.0, look_s=0.01)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with Site(tmp_path) as made:
        yield made


def octets_of(agency: Agency, liid: bytes, kind: str) -> list[bytes]:
    """Of the only session that there is, in the order of its numbers, which have no gap."""
    ((_, found),) = [(key, pdus) for key, pdus in agency.streams.items() if key[0] == liid and key[2] == kind]
    assert sorted(found) == list(range(len(found)))
    return [(found[n].iri or found[n].cc)[0].octets for n in sorted(found)]


def signing_key(path: Path) -> tuple[str, EllipticCurvePublicKey]:
    """Its reference, and what agencies check with."""
    key = generate_private_key(SECP256R1())
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return f"file:{path}", key.public_key()


def checks_of(agency: Agency, kind: CheckType) -> dict[tuple[DataType, int], IntegrityCheck]:
    """Those that came, by what they are about and their number, which stands for one alone."""
    pdus = {pdu.octets: pdu for c in agency.connections for pdu in c if pdu.tri is Tri.INTEGRITY_CHECK}
    read = [(pdu.sequence, read_check(pdu)) for pdu in pdus.values()]
    found = {(check.data_type, number): check for number, check in read if check.check_type is kind}
    assert len(found) == sum(check.check_type is kind for _, check in read)
    return found


def signed(agency: Agency) -> list[tuple[DataType, int]]:
    """The hashes that signatures name."""
    signatures = checks_of(agency, CheckType.SIGNATURE).values()
    return sorted((check.data_type, number) for check in signatures for number in check.numbers)


def check_signatures(agency: Agency, key: EllipticCurvePublicKey) -> None:
    """Each hash is under one signature, and each signature is this key's and of nothing else."""
    assert signed(agency) == sorted(checks_of(agency, CheckType.HASH))
    for check in checks_of(agency, CheckType.SIGNATURE).values():
        assert check.signature_algorithm is HandedAlgorithm.ECDSA
        assert check.is_signed_by(key)
        assert not check.is_signed_by(generate_private_key(SECP256R1()).public_key())
        assert not replace(check, numbers=(*check.numbers, 0)).is_signed_by(key)


async def test_two_agencies_with_settings_of_their_own(site: Site, tmp_path: Path) -> None:
    key = tmp_path / "payload"
    key.write_text("11" * 32)
    key.chmod(0o600)
    signing, public = signing_key(tmp_path / "signing")
    one, two = await site.agency("one"), await site.agency("two", acknowledges=True)
    await site.start(pace=PACE)
    here = destination(port=one.port)
    there = destination(
        with_settings(
            domain_version=40,
            time_form=TimeForm.GENERALIZED,
            acknowledgements=True,
            integrity=Integrity(pdus=4, after_ms=200, signature=Signature(SignatureAlgorithm.ECDSA, signing, 2, 200)),
            encryption=Encryption(EncryptionAlgorithm.AES_256_CBC, f"file:{key}"),
        ),
        port=two.port,
    )
    details = task(warrant("LIID-1", here.did), warrant("LIID-2", there.did))
    await site.task(details, here, there)
    point = await site.point(details.xid)
    await point.deliver(*map(point.x2, CALL[:4]))
    for number in range(20):
        way = PayloadDirection.TO_TARGET if number % 2 else PayloadDirection.FROM_TARGET
        await point.deliver(point.x3(rtp(number), direction=way))
    await point.deliver(*map(point.x2, CALL[4:]))
    await point.delivered()
    await one.has(26)
    await two.has(26)
    assert octets_of(one, b"LIID-1", "iri") == [*CALL]
    assert octets_of(one, b"LIID-1", "cc") == [rtp(number) for number in range(20)]
    opened = [decrypt(pdu, bytes.fromhex("11" * 32)) for connection in two.connections for pdu in connection]
    assert [pdu.iri[0].octets for pdu in opened if pdu.iri] == [*CALL]
    assert [pdu.cc[0].octets for pdu in opened if pdu.cc] == [rtp(number) for number in range(20)]
    assert {(pdu.liid, pdu.version) for pdu in opened if pdu.iri or pdu.cc} == {(b"LIID-2", 40)}
    covered = lambda: sum(len(check.numbers) for check in checks_of(two, CheckType.HASH).values())  # noqa: E731
    await two.until(lambda: covered() == 26 and signed(two) == sorted(checks_of(two, CheckType.HASH)))
    check_signatures(two, public)
    assert site.admf.reports == [next(iter(site.admf.reports))]  # that its database was empty, and nothing else


async def test_what_the_admf_asks_and_hears(site: Site) -> None:
    agency = await site.agency()
    await site.start(pace=PACE)
    here = destination(port=agency.port)
    details = task(warrant("LIID-1", here.did))
    admf = await site.task(details, here)
    with pytest.raises(X1Fault) as refused:
        await admf.remove_destination(here.did)
    assert refused.value.code == Code.DESTINATION_IN_USE
    nowhere = task(warrant("LIID-9", destination().did))
    with pytest.raises(X1Fault) as refused:
        await admf.activate_task(nowhere)
    assert refused.value.code == Code.DID_UNKNOWN
    point = await site.point(details.xid)
    numbered = [point.x3(rtp(number)) for number in range(5)]
    await point.deliver(*numbered[:2], numbered[4])
    await point.delivered()
    gap = await site.admf.hears("gap")
    assert isinstance(gap, x1.ReportTaskIssue)
    assert gap.xid == details.xid
    record = await admf.get_task_details(details.xid)
    assert record.status.x3_octets == 3 * len(rtp(0))
    await agency.stop()
    await point.deliver(point.x3(rtp(5)))
    away = await site.admf.hears("agency-away")
    assert isinstance(away, x1.ReportDestinationIssue)
    assert away.did == here.did
    assert (await admf.get_destination_details(here.did)).status.delivery is DeliveryStatus.FAULT
    await point.delivered()  # the point does not wait for the agency
    await agency.start()
    await agency.has(4)
    await admf.deactivate_task(details.xid)
    await point.deliver(point.x3(rtp(6)))
    await point.delivered()
    await site.admf.hears("unknown-task")
    assert len(agency.pdus) == 4


async def test_delivery_stops_with_the_warrant(site: Site) -> None:
    agency = await site.agency()
    await site.start(pace=PACE)
    here = destination(port=agency.port)
    details = task(warrant("LIID-1", here.did))
    admf = await site.task(details, here)
    point = await site.point(details.xid)
    await point.deliver(*map(point.x2, CALL[:4]), point.x3(rtp(0)))
    await agency.has(5)
    end = int(RealClock().now()) + 2
    await admf.modify_task(task(warrant("LIID-1", here.did, end=end), xid=details.xid))
    while RealClock().now() < end + 0.5:
        point.at_ms = int(RealClock().now() * 1000)
        await point.deliver(point.x3(rtp(point.numbers[3])))
        await asyncio.sleep(0.02)
    await point.deliver(*map(point.x2, CALL[4:]))
    await point.delivered()
    await site.admf.hears("outside-of-warrant")
    times = [pdu.at_ns or 0 for stream in agency.streams.values() for pdu in stream.values()]
    assert max(times) < end * 10**9
    assert octets_of(agency, b"LIID-1", "iri") == [*CALL[:4]]
    assert 0 < len(octets_of(agency, b"LIID-1", "cc")) < point.numbers[3]


async def test_no_task_while_the_clock_is_wrong(site: Site) -> None:
    right = False

    def read() -> ClockState:
        return ClockState(right, 0.001, 0.01, "test")

    agency = await site.agency()
    await site.start(timesync=TimeSync(read))
    here = destination(port=agency.port)
    details = task(warrant("LIID-1", here.did, delivery=HandoverType.HI2_ONLY))
    with pytest.raises(X1Fault) as refused:
        await site.task(details, here)
    assert refused.value.code == Code.ACTIVATE_FAILED
    await site.admf.hears("clock-not-synchronised")
    right = True
    await (await site.tasks()).activate_task(details)


async def test_who_is_no_point_delivers_nothing(site: Site) -> None:
    agency = await site.agency()
    await site.start()
    here = destination(port=agency.port)
    details = task(warrant("LIID-1", here.did))
    await site.task(details, here)
    other = await site.point(details.xid, "pop2")
    await other.deliver(other.x3(rtp(0)))
    await site.admf.hears("intake-closed")
    assert other.client.waiting == 1


async def test_a_call_that_two_points_deliver_is_handed_over_once(site: Site) -> None:
    """Both by spools and clients of their own; when the first falls silent the other's media follow, and it is told."""
    agency = await site.agency()
    site.points = ["pop1", "pop2"]
    await site.launch()
    here = destination(port=agency.port)
    details = task(warrant("LIID-1", here.did))
    await site.task(details, here)
    near, far = await site.point(details.xid), await site.point(details.xid, "pop2")
    await near.deliver(*map(near.x2, CALL[:4]), near.x3(rtp(0)))
    await near.delivered()
    for number in range(1, 200):
        await near.deliver(near.x3(rtp(number)))
        await far.deliver(far.x3(rtp(number)))
    await near.delivered()
    await far.deliver(far.x3(rtp(200)))  # which the first no longer has, and nobody knows yet
    await far.delivered()
    await agency.has(204)
    far.at_ms = near.at_ms + 2_000  # of the media's own time: nobody waits here
    await far.deliver(*(far.x3(rtp(number)) for number in range(300, 320)))
    await near.deliver(*map(near.x2, CALL[4:]))
    await far.delivered()
    await agency.has(226)
    assert octets_of(agency, b"LIID-1", "cc") == [rtp(number) for number in (*range(200), *range(300, 320))]
    assert octets_of(agency, b"LIID-1", "iri") == [*CALL]
    told = await site.admf.hears("gap: up to ")
    assert isinstance(told, x1.ReportTaskIssue)
    assert told.xid == details.xid


async def test_killed_again_and_again(site: Site, tmp_path: Path) -> None:
    """kill -9 at any moment: nothing is lost, and no number stands for two things."""
    signing, public = signing_key(tmp_path / "signing")
    agency, kept = await site.agency("one"), await site.agency("two", acknowledges=True)
    await site.launch()
    here = destination(port=agency.port)
    integrity = Integrity(pdus=7, after_ms=100, signature=Signature(SignatureAlgorithm.ECDSA, signing, 5, 300))
    there = destination(with_settings(acknowledgements=True, integrity=integrity), port=kept.port)
    details = task(warrant("LIID-1", here.did), warrant("LIID-2", there.did))
    await site.task(details, here, there)
    point = await site.point(details.xid)
    chance = random.Random(7)  # noqa: S311 - a test's
    await point.deliver(*map(point.x2, CALL[:4]))
    sent = 0
    for _ in range(3):
        for _ in range(chance.randrange(20, 60)):
            burst = [point.x3(rtp(sent + number)) for number in range(40)]
            sent += len(burst)
            await point.deliver(*burst)
            await asyncio.sleep(0.002)
        await site.kill()
        await point.deliver(point.x2(CALL[3]))
        await site.launch()
    await point.deliver(*map(point.x2, CALL[4:]))
    await point.delivered()
    await kept.until(lambda: kept.covered == sent)
    for one, liid in ((agency, b"LIID-1"), (kept, b"LIID-2")):
        await one.until(lambda one=one: len({o for o in one.pdus}) == sent + 9)  # type: ignore[misc] # noqa: C416
        assert octets_of(one, liid, "iri") == [*CALL[:4], *[CALL[3]] * 3, *CALL[4:]]
        assert octets_of(one, liid, "cc") == [rtp(number) for number in range(sent)]
        assert len({pdu.cin for connection in one.connections for pdu in connection if pdu.iri or pdu.cc}) == 1
        numbers = {(p.cin, bool(p.iri), p.sequence) for c in one.connections for p in c if p.iri or p.cc}
        assert len(numbers) == len({*one.pdus})  # whatever came twice was the same, octet by octet
    whole = [pdu for connection in kept.connections for pdu in connection]
    product = {pdu.sequence: pdu.octets for pdu in whole if pdu.cc}
    covered = [check for (kind, _), check in checks_of(kept, CheckType.HASH).items() if kind is DataType.CC]
    assert all(check.is_hash_of([product[number] for number in check.numbers]) for check in covered)
    assert sorted(number for check in covered for number in check.numbers) == list(range(sent))
    await kept.until(lambda: signed(kept) == sorted(checks_of(kept, CheckType.HASH)))
    check_signatures(kept, public)
    types = [pdu.iri[0].iri_type for c in agency.connections for pdu in c if pdu.iri]
    assert types[0] == 1
    assert types.count(2) >= 1
    assert {pdu.iri[0].content for c in agency.connections for pdu in c if pdu.iri} == {Content.SIP}


async def test_an_agency_that_is_away_beyond_the_warrants_end(site: Site, tmp_path: Path) -> None:
    """The task is gone with its keys, and mediation was killed since: what was intercepted in time is all there."""
    secret = tmp_path / "payload"
    secret.touch(mode=0o600)
    secret.write_text("22" * 32)
    signing, public = signing_key(tmp_path / "signing")
    agency = await site.agency(acknowledges=True)
    await site.launch()
    there = destination(
        with_settings(
            acknowledgements=True,
            integrity=Integrity(pdus=7, after_ms=60_000, signature=Signature(SignatureAlgorithm.ECDSA, signing)),
            encryption=Encryption(EncryptionAlgorithm.AES_256_CBC, f"file:{secret}"),
        ),
        port=agency.port,
    )
    details = task(warrant("LIID-1", there.did))
    admf = await site.task(details, there)
    await agency.stop()
    point = await site.point(details.xid)
    await point.deliver(*map(point.x2, CALL[:4]), *[point.x3(rtp(number)) for number in range(20)])
    await point.delivered()
    end = int(RealClock().now()) + 2
    await admf.modify_task(task(warrant("LIID-1", there.did, end=end), xid=details.xid))
    await asyncio.sleep(end - RealClock().now())
    point.at_ms = int(RealClock().now() * 1000)
    await point.deliver(*map(point.x2, CALL[4:]), point.x3(rtp(20)))
    await site.admf.hears("outside-of-warrant")
    await admf.deactivate_task(details.xid)
    for path in (secret, tmp_path / "signing"):
        path.unlink()
    await site.kill()
    await site.launch()
    await agency.start()
    hashed = lambda: sum(len(check.numbers) for check in checks_of(agency, CheckType.HASH).values())  # noqa: E731
    await agency.until(lambda: hashed() == 24 and signed(agency) == sorted(checks_of(agency, CheckType.HASH)))
    check_signatures(agency, public)
    opened = [decrypt(pdu, bytes.fromhex("22" * 32)) for connection in agency.connections for pdu in connection]
    product = {DataType.IRI: {one.sequence: one for one in opened if one.iri}}
    product[DataType.CC] = {one.sequence: one for one in opened if one.cc}
    assert [pdu.iri[0].octets for _, pdu in sorted(product[DataType.IRI].items())] == [*CALL[:4]]
    assert [pdu.cc[0].octets for _, pdu in sorted(product[DataType.CC].items())] == [rtp(n) for n in range(20)]
    for (kind, _), check in checks_of(agency, CheckType.HASH).items():
        assert check.is_hash_of([product[kind][number].octets for number in check.numbers])
    client = await site.tasks()
    assert (await client.get_all_details()).tasks == ()
    await client.remove_destination(there.did)  # nothing waits any more


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Six MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.root
async def test_a_full_disk(site: Site, disk: Path) -> None:
    """Points wait with what they have; when there is room again, everything arrives."""
    site.state = disk / "state"
    agency = await site.agency()
    await site.start(pace=PACE)
    here = destination(port=agency.port)
    details = task(warrant("LIID-1", here.did))
    await site.task(details, here)
    await agency.stop()
    filler = disk / "filler"
    filler.write_bytes(bytes(3 << 20))
    point = await site.point(details.xid)
    for start in range(0, 15_000, 100):
        await point.deliver(*[point.x3(rtp(number)) for number in range(start, start + 100)])
    await site.admf.hears("disk-full")
    assert point.client.waiting > 0
    filler.unlink()
    await agency.start()
    await point.delivered()
    await agency.has(15_000)
    assert octets_of(agency, b"LIID-1", "cc") == [rtp(number) for number in range(15_000)]
