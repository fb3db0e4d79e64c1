"""Spools and connections of destinations: nothing goes silently, and names on disk tell nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from lawful_intercept.configuration import TlsFiles
from lawful_intercept.keys import SecretKey
from lawful_intercept.points.destinations import MediationLinks
from lawful_intercept.points.losses import Losses
from lawful_intercept.points.settings import Delivery
from lawful_intercept.spool import SpoolFullError
from lawful_intercept.tls import server_context
from lawful_intercept.x1.faults import Code, X1Fault
from lawful_intercept.x1.messages import DeliveryStatus, DeliveryType, DestinationDetails, SocketAddress, UriAddress
from lawful_intercept.x2x3.codec import PayloadDirection, PayloadFormat, PduType, x2_template, x3_template
from nf.clock import RealClock
from tests.lawful_intercept.points.live import Mediation, certificates, until
from tests.lawful_intercept.points.world import DID, FIRST

X2, X3 = PduType.X2, PduType.X3
_X2 = x2_template(FIRST.bytes, 1, PayloadFormat.SIP)
_X3 = x3_template(FIRST.bytes, 1, PayloadFormat.RTP)


def x2(number: int) -> bytes:
    return _X2.encode(number, 1, PayloadDirection.TO_TARGET, b"m")


def x3(number: int, octets: int = 100) -> bytes:
    rtp = bytes.fromhex("800004d2000000a0deadbeef")
    return _X3.encode(number, 1, PayloadDirection.TO_TARGET, rtp + os.urandom(octets - len(rtp)))


@dataclass
class Bench:
    links: MediationLinks
    mediation: Mediation
    losses: Losses
    reports: list[Any]

    def details(self, did: UUID = DID, port: int = 0) -> DestinationDetails:
        address = SocketAddress(ip_address("127.0.0.1"), port or self.mediation.port)
        return DestinationDetails(did, DeliveryType.X2_AND_X3, address)


@contextlib.asynccontextmanager
async def bench(folder: Path, *, names: tuple[str, ...] = ("mdf1",), spool_mib: int = 8) -> AsyncIterator[Bench]:
    made = certificates(folder) if not (folder / "ca").exists() else None
    files = {
        name: TlsFiles(certificate=folder / f"{name}.pem", key=folder / f"{name}.key", authority=folder / "ca.pem")
        for name in ("mdf1", "poi1")
    }
    assert made is None or made["poi1"].key == files["poi1"].key
    mediation, losses, reports = Mediation(server_context(files["mdf1"])), Losses(0.0), []
    await mediation.start()
    settings = Delivery(tls=files["poi1"], mediation=names, spool_mib=spool_mib)
    key = SecretKey(b"k" * 32)
    links = MediationLinks(
        settings, "li.example", folder / "state", key, told=losses, report=reports.append, clock=RealClock()
    )
    try:
        async with links:
            yield Bench(links, mediation, losses, reports)
    finally:
        await mediation.stop()
        key.wipe()


async def test_all_of_it_arrives_in_order(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        await made.links.put(made.details())
        for number in range(1000):
            await made.links.send(DID, X3, x3(number))
            if number % 100 == 0:
                await made.links.send(DID, X2, x2(number // 100))
        await until(lambda: len(made.mediation.of(X3)) == 1000)
        assert [pdu.sequence for pdu in made.mediation.pdus if pdu.kind is X3] == [*range(1000)]
        assert [pdu.sequence for pdu in made.mediation.pdus if pdu.kind is X2] == [*range(10)]
        await until(lambda: made.links.status(DID).delivery is DeliveryStatus.WORKING)
        assert not made.losses.reports(0.0)


async def test_what_was_not_delivered_is_there_for_the_next_life(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        await made.mediation.stop()
        await made.links.put(made.details())
        for number in range(10):
            await made.links.send(DID, X3, x3(number))
    written = list((tmp_path / "state" / "spool").rglob("*"))
    assert not any(str(DID) in str(path) or "127.0.0.1" in str(path) for path in written)
    assert all(path.stat().st_mode & 0o077 == 0 for path in written)
    assert not any(FIRST.bytes in path.read_bytes() for path in written if path.is_file())
    async with bench(tmp_path) as made:
        await made.links.put(made.details())
        await made.links.send(DID, X3, x3(10))
        await until(lambda: [pdu.sequence for pdu in made.mediation.of(X3)] == [*range(11)])


async def test_content_that_does_not_fit_pushes_out_the_oldest_and_is_counted(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        port = made.mediation.port
        await made.mediation.stop()
        await made.links.put(made.details(port=port))
        sent = 10_000  # of 1 KiB, in 6 MiB
        for number in range(sent):
            await made.links.send(DID, X3, x3(number, 1024))
        await asyncio.sleep(0)
        await made.links.send(DID, X2, x2(0))
        await made.mediation.start()
        await until(lambda: made.mediation.of(X3) and made.mediation.of(X3)[-1].sequence == sent - 1)
        found = [pdu.sequence for pdu in made.mediation.of(X3)]
        assert found == [*range(found[0] or 0, sent)]
        lost = sum(int(one.text.rpartition(": ")[2].split()[0]) for one in made.losses.reports(0.0))
        assert lost == found[0]
        assert len(made.mediation.of(X2)) == 1


async def test_signalling_that_does_not_fit_is_refused_to_its_task(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        await made.mediation.stop()
        await made.links.put(made.details())
        big = x2_template(FIRST.bytes, 1, PayloadFormat.SIP).encode(
            0, 1, PayloadDirection.TO_TARGET, os.urandom(60_000)
        )
        taken = 0
        with pytest.raises(SpoolFullError):  # noqa: PT012 - one of them
            for _ in range(100):
                await made.links.send(DID, X2, big)
                taken += 1
        assert 0 < taken < 100


async def test_a_peer_that_is_no_mediation_function_gets_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path, names=("mdf9",)) as made:
        await made.links.put(made.details())
        await made.links.send(DID, X3, x3(0))
        await until(lambda: made.mediation.connections >= 2)
        assert not made.mediation.pdus
        status = made.links.status(DID)
        assert status.delivery is DeliveryStatus.FAULT
        assert "127.0.0.1" not in status.faults[0].description


async def test_the_admf_hears_when_mediation_goes_and_comes(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        await made.links.put(made.details())
        await made.links.send(DID, X3, x3(0))
        await until(lambda: made.links.status(DID).delivery is DeliveryStatus.WORKING)
        await made.mediation.stop()
        await until(lambda: len(made.reports) == 1)
        await made.mediation.start()
        await made.links.send(DID, X3, x3(1))
        await until(lambda: len(made.reports) == 2)
        assert [report.code for report in made.reports] == [Code.NON_TERMINATING_FAULT, Code.FAULT_CLEARED]


async def test_another_address_takes_over_what_waits(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        await made.links.put(made.details(port=9))
        await made.links.send(DID, X3, x3(0))
        await made.links.put(made.details())
        await made.links.put(made.details())
        await until(lambda: len(made.mediation.of(X3)) == 1)
        await until(lambda: made.links._links[DID].client.waiting == 0)
        await made.links.remove(DID)
        await made.links.remove(DID)
        assert not list((tmp_path / "state" / "spool").iterdir())
        with pytest.raises(SpoolFullError):
            await made.links.send(DID, X3, x3(1))
        assert made.links.status(DID).delivery is DeliveryStatus.FAULT


async def test_an_address_that_is_none_of_a_socket_is_refused(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        with pytest.raises(X1Fault) as refused:
            await made.links.put(DestinationDetails(DID, DeliveryType.X2_ONLY, UriAddress("ftp://example.net")))
        assert refused.value.code == Code.ADDRESS_TYPE


async def test_spools_that_nobody_names_go_after_days(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        await made.mediation.stop()
        await made.links.put(made.details())
        await made.links.send(DID, X3, x3(0))
    spool = tmp_path / "state" / "spool"
    for path in spool.rglob("*"):
        os.utime(path, (1.0, 1.0))
    async with bench(tmp_path):
        assert not list(spool.iterdir())
