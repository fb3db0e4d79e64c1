"""The points beside the 5G core's observation process, on real interfaces: a target's product is at mediation."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from lawful_intercept.identifiers import TargetIdentifier, address_of
from lawful_intercept.x1.client import supervise
from lawful_intercept.x1.faults import Code, X1Fault
from lawful_intercept.x2x3.attributes import read_target
from lawful_intercept.x2x3.codec import Pdu, PduType, encode
from nf.clock import RealClock
from tests.core5g.observation import test_live as upf
from tests.core5g.observation.world import OTHER_IP, TARGET_IP, pdu_info, udp, ue_info
from tests.lawful_intercept.points.judges import tshark, xiri
from tests.lawful_intercept.points.live import Network, network, until

pytestmark = [pytest.mark.root, pytest.mark.daemon]

core = upf.net
"""The fixture: the UPF's side of a TUN and of N3."""
NUMBER = TargetIdentifier("gpsiMsisdn", "491700000001")
SUPI = TargetIdentifier("supiimsi", "001010000000001")
OTHER_SUPI = TargetIdentifier("supiimsi", "001010000000002")
FIRST, SECOND, THIRD = UUID(int=1), UUID(int=2), UUID(int=3)
X2, X3 = PduType.X2, PduType.X3
POINTS = "{core5g: {content: n6}}"


def names(net: Network, xid: UUID) -> list[str]:
    return [xiri(pdu.payload)[0] for pdu in net.mediation.of(X2, xid)]


def datagrams(net: Network, xid: UUID) -> list[Pdu]:
    """Without what the kernel itself tells the UE."""
    return [pdu for pdu in net.mediation.of(X3, xid) if pdu.payload[9 if pdu.form.name == "IPV4" else 6] == 17]


async def test_a_targets_events_and_packets_and_of_another_none(
    core: upf.Net, tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    require_programs("tshark")
    async with upf.lab(core, tmp_path) as made, network(tmp_path / "li", made.run_dir, POINTS) as net:
        await made.known()
        await net.ready(1)
        await net.activate(NUMBER, FIRST)
        await net.activate(SUPI, SECOND)
        standing = {"startOfInterceptionWithRegisteredUE", "startOfInterceptionWithEstablishedPDUSession"}
        for xid in (FIRST, SECOND):
            await until(lambda xid=xid: standing <= set(names(net, xid)), lambda: names(net, FIRST))
        for number in range(250):
            for ue, mark in ((TARGET_IP, b"t"), (OTHER_IP, b"o"), (upf.TARGET_IP6, b"t"), (upf.OTHER_IP6, b"o")):
                payload = mark + b"%04d" % number
                core.uplink(udp(ue, "2001:db8:1::9" if ":" in ue else "192.0.2.9", b"u" + payload))
                core.downlink(ue, b"d" + payload)
        for xid in (FIRST, SECOND):
            await until(lambda xid=xid: len(datagrams(net, xid)) >= 1000, lambda: len(datagrams(net, FIRST)))
        await made.known()
        (session,) = {pdu.correlation for pdu in net.mediation.of(X2, FIRST) if pdu.correlation}
        for xid, target in ((FIRST, NUMBER), (SECOND, SUPI)):
            copies = datagrams(net, xid)
            assert len(copies) == 1000
            assert {(pdu.direction.name, pdu.payload[-6:-4]) for pdu in copies} == {
                ("FROM_TARGET", b"ut"),
                ("TO_TARGET", b"dt"),
            }
            assert sum(pdu.form.name == "IPV6" for pdu in copies) == 500
            assert {pdu.correlation for pdu in copies} == {session}
            assert {read_target(pdu.attribute(17) or b"") for pdu in copies} == {target}
            numbers = [pdu.sequence for pdu in net.mediation.of(X3, xid)]
            assert numbers == [*range(len(numbers))]
        read = [
            layers["5gli"]
            for layers in await asyncio.to_thread(tshark, [*map(encode, net.mediation.of(X3, FIRST)[:50])], tmp_path)
        ]
        assert {one["5gli_li5g_pf"] for one in read} <= {"5", "6"}
        assert all("udp" in one or "icmpv6" in one or "icmp" in one for one in read)
        made.amf.answers["/ue-info"][0] = ue_info(upf.TARGET, tac=2)
        await until(lambda: "locationUpdate" in names(net, FIRST))
        del made.smf.answers["/pdu-info"][0]
        await until(lambda: "pDUSessionRelease" in names(net, FIRST))
        del made.amf.answers["/ue-info"][0]
        await until(lambda: "deregistration" in names(net, FIRST))
        established = next(
            xiri(pdu.payload)[1]
            for pdu in net.mediation.of(X2, FIRST)
            if xiri(pdu.payload)[0] == "startOfInterceptionWithEstablishedPDUSession"
        )
        assert established["gTPTunnelID"] == {"tEID": 0x11, "iPv4Address": upf.UPF.packed}
        assert established["uEEndpoint"][0] == ("iPv4Address", ipaddress.ip_address(TARGET_IP).packed)
        assert {pdu.direction.name for pdu in net.mediation.of(X2)} == {"NOT_APPLICABLE"}
        assert not net.admf.reports[1:], "nothing was lost"
        assert net.process.running is not None
        shown = Path(f"/proc/{net.process.running.pid}")
        assert (shown / "cmdline").read_bytes().strip(b"\0") == b"nf-process"
        assert (shown / "mem").stat().st_uid == 0


@pytest.mark.parametrize(
    "target",
    [TargetIdentifier("ipv4Address", TARGET_IP), address_of(upf.TARGET_IP6)],
    ids=["ipv4Address", "ipv6Address"],
)
async def test_a_task_by_an_address_is_its_sessions_product_and_nobody_elses(
    core: upf.Net, tmp_path: Path, target: TargetIdentifier
) -> None:
    second = "10.45.0.9"
    async with upf.lab(core, tmp_path) as made, network(tmp_path / "li", made.run_dir, POINTS) as net:
        other = pdu_info({"supi": upf.TARGET, "ipv4": second, "psi": 2, "teid": 0x33})["items"][0]
        made.smf.answers["/pdu-info"][0]["pdu"] += other["pdu"]
        await made.known()
        await net.ready(1)
        await net.activate(target, FIRST)
        await until(lambda: names(net, FIRST))
        for number in range(250):
            for ue, mark in ((TARGET_IP, b"t"), (second, b"s"), (OTHER_IP, b"o")):
                core.uplink(udp(ue, "192.0.2.9", b"u%s%04d" % (mark, number)))
                core.downlink(ue, b"d%s%04d" % (mark, number))
        await until(lambda: len(datagrams(net, FIRST)) >= 500, lambda: len(datagrams(net, FIRST)))
        made.amf.answers["/ue-info"][0] = ue_info(upf.TARGET, tac=2)
        del made.smf.answers["/pdu-info"][0]
        await until(lambda: "pDUSessionRelease" in names(net, FIRST))
        assert names(net, FIRST) == ["startOfInterceptionWithEstablishedPDUSession", "pDUSessionRelease"]
        assert len(datagrams(net, FIRST)) == 500
        assert {pdu.payload[28:30] for pdu in datagrams(net, FIRST)} == {b"ut", b"dt"}
        product = [*net.mediation.of(X2, FIRST), *net.mediation.of(X3, FIRST)]
        assert {read_target(pdu.attribute(17) or b"") for pdu in product} == {target}
        assert len({pdu.correlation for pdu in product}) == 1
        (begun, _) = net.mediation.of(X2, FIRST)
        assert SUPI in [read_target(octets) for octets in begun.every(18)]


async def test_a_session_that_begins_is_told_from_its_beginning(core: upf.Net, tmp_path: Path) -> None:
    async with upf.lab(core, tmp_path) as made, network(tmp_path / "li", made.run_dir, POINTS) as net:
        entry = made.smf.answers["/pdu-info"].pop(0)
        await made.known()
        await made.known()
        await net.ready(1)
        await net.activate(SUPI, FIRST)
        await until(lambda: names(net, FIRST))
        made.smf.answers["/pdu-info"].append(entry)
        await until(lambda: "pDUSessionEstablishment" in names(net, FIRST))
        core.uplink(udp(TARGET_IP, "192.0.2.9", b"first"))
        await until(lambda: datagrams(net, FIRST))
        await net.end(FIRST)
        count = len(net.mediation.pdus)
        core.uplink(udp(TARGET_IP, "192.0.2.9", b"after"))
        await net.activate(OTHER_SUPI, SECOND)
        core.uplink(udp(OTHER_IP, "192.0.2.9", b"other"))
        await until(lambda: datagrams(net, SECOND))
        assert all(pdu.xid == SECOND.bytes for pdu in net.mediation.pdus[count:])


async def test_what_is_not_matched_here_is_refused(core: upf.Net, tmp_path: Path) -> None:
    async with upf.lab(core, tmp_path) as made, network(tmp_path / "li", made.run_dir, POINTS) as net:
        await net.ready(1)
        for target in (TargetIdentifier("sipUri", "sip:alice@example.net"), address_of("0.0.0.0")):
            with pytest.raises(X1Fault) as refused:
                await net.activate(target, FIRST)
            assert refused.value.code == Code.TARGET_TYPE


async def test_an_observation_process_that_dies_is_a_fault_until_it_is_back(core: upf.Net, tmp_path: Path) -> None:
    async with network(tmp_path / "li", tmp_path / "run", POINTS) as net:
        async with upf.lab(core, tmp_path) as made:
            await made.known()
            await net.ready(1)
            await net.activate(SUPI, FIRST)
            await until(lambda: names(net, FIRST))
            made.process.kill()
            await until(lambda: any(getattr(report, "xid", None) == FIRST for report in net.admf.reports))
            assert (await net.admf.client.get_ne_status()).faults
        (tmp_path / "run" / "core5g-observation" / "alive.sock").unlink(missing_ok=True)
        (tmp_path / "run" / "core5g-observation").rename(tmp_path / "gone")
        before = len(net.mediation.of(X2))
        async with upf.lab(core, tmp_path):
            await until(lambda: len(net.mediation.of(X2)) >= before + 2, lambda: names(net, FIRST))
            await until(lambda: any(report.code == Code.FAULT_CLEARED for report in net.admf.reports))
            assert not (await net.admf.client.get_ne_status()).faults


async def test_without_keepalives_all_tasks_end(core: upf.Net, tmp_path: Path) -> None:
    async with (
        upf.lab(core, tmp_path) as made,
        network(tmp_path / "li", made.run_dir, POINTS, extra="keepalive_s: 5\n") as net,
    ):
        await net.ready(1)
        await net.activate(SUPI, FIRST)
        await until(lambda: any(report.code == Code.KEEPALIVES_MISSING for report in net.admf.reports))
        assert not (await net.admf.client.list_all_details()).xids
        count = len(net.mediation.of(X3))
        living = asyncio.create_task(supervise(net.admf.client, RealClock(), every_s=0.5, told=lambda _: None))
        try:
            core.uplink(udp(TARGET_IP, "192.0.2.9", b"after"))
            await net.admf.client.keepalive()
            await net.activate(OTHER_SUPI, SECOND)
            core.uplink(udp(OTHER_IP, "192.0.2.9", b"other"))
            await until(lambda: datagrams(net, SECOND))
            assert len(net.mediation.of(X3, FIRST)) == count
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
