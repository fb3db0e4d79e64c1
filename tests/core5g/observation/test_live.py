"""The process on real interfaces: copies of a target's packets at N6 and N3, and of nobody else's.

The test is the UPF: it holds the TUN's other side, and sends and receives GTP-U on N3.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pwd
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from core5g.observation.client import connect
from core5g.observation.documents import InfoApi, N3Point, ObservationSection
from core5g.observation.filters import by_ue
from core5g.observation.sessions import ue_addresses
from core5g.observation.taps import Tap
from core5g.observation.units import alive_path, directory, socket_path
from nf.contracts.interception import (
    Content,
    ContentForm,
    Direction,
    Event,
    IdentityKind,
    InterceptionPoint,
    Loss,
    LossPlace,
)
from nf.errors import DeniedError, InputError, NfError
from tests.core5g.observation.world import (
    GNB,
    LIMIT_S,
    OTHER,
    OTHER_IP,
    TARGET,
    TARGET_IP,
    UPF,
    InfoServer,
    Taker,
    fragments,
    gtpu,
    order,
    pdu_info,
    udp,
    ue_info,
    until,
)

pytestmark = pytest.mark.root

TUN, N3, FAR = "ogstun", "n3a", "n3b"
TARGET_IP6, OTHER_IP6 = "2001:db8:cafe:1::5", "2001:db8:cafe:2::5"
TUNSETIFF = 0x400454CA


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass
class Net:
    """The UPF's side of everything. `tun`: its descriptor of the TUN; `wire`: frames of the gNB on N3."""

    tun: int
    wire: socket.socket
    mac: bytes

    def uplink(self, packet: bytes) -> None:
        os.write(self.tun, packet)

    def downlink(self, ue: str, payload: bytes) -> None:
        family = socket.AF_INET6 if ":" in ue else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.sendto(payload, (ue, 5000))

    def from_gnb(self, packet: bytes) -> None:
        self.wire.send(self.mac + self.mac + b"\x08\x00" + packet)


def make_tun() -> int:
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", TUN.encode(), 0x1001))  # IFF_TUN | IFF_NO_PI
    ip("address", "add", "10.45.0.1/16", "dev", TUN)
    ip("-6", "address", "add", "2001:db8:cafe::1/48", "dev", TUN, "nodad")
    ip("link", "set", TUN, "up", "txqueuelen", "5000")
    return tun


@pytest.fixture
def net() -> Iterator[Net]:
    tun = make_tun()
    ip("link", "add", N3, "type", "veth", "peer", "name", FAR)
    for name in (N3, FAR):
        ip("link", "set", name, "up")
    ip("address", "add", f"{UPF}/24", "dev", N3)
    ip("neighbour", "add", str(GNB), "lladdr", "02:00:00:00:00:02", "dev", N3)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((FAR, 0))
        mac = bytes.fromhex(Path(f"/sys/class/net/{N3}/address").read_text().strip().replace(":", ""))
        made = Net(tun, wire, mac)
        try:
            yield made
        finally:
            os.close(made.tun)
            for name in (N3, TUN):
                subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


@dataclass
class Lab:
    net: Net
    smf: InfoServer
    amf: InfoServer
    run_dir: Path
    process: asyncio.subprocess.Process

    async def point(self) -> InterceptionPoint:
        return await connect(self.run_dir)

    async def known(self) -> None:
        """The SMF has been asked since this was called."""
        before = self.smf.asked
        await until(lambda: self.smf.asked >= before + 2)


@asynccontextmanager
async def lab(net: Net, tmp_path: Path) -> AsyncIterator[Lab]:
    smf, amf = InfoServer(), InfoServer()
    await smf.start()
    await amf.start()
    smf.answers["/pdu-info"] = pdu_info(
        {"supi": TARGET, "ipv4": TARGET_IP, "ipv6": TARGET_IP6, "teid": 0x11, "gnb_teid": 0x1011},
        {"supi": OTHER, "ipv4": OTHER_IP, "ipv6": OTHER_IP6, "teid": 0x22, "gnb_teid": 0x1022},
    )["items"]
    amf.answers["/ue-info"] = [ue_info(TARGET), ue_info(OTHER, msisdn=[], pei="imeisv-1111111111111111")]
    amf.answers["/gnb-info"] = [{"gnb_id": 100, "ng": {"sctp": {"peer": f"[{GNB}]:38412"}}}]
    section = ObservationSection(
        smfs=(InfoApi(address="127.0.0.1", port=smf.port, local=True),),
        amfs=(InfoApi(address="127.0.0.1", port=amf.port, local=True),),
        anchors=(UPF,),
        n6=(TUN,),
        n3=(N3Point(address=UPF, interfaces=(N3,)),),
    )
    run_dir = tmp_path / "run"
    directory(run_dir).mkdir(parents=True)
    words = ("-m", "core5g.observation.process", "--section", section.model_dump_json(), "--run-dir", str(run_dir))
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, "--caller", "nf-intercept-test", "--poll", "0.1", stdout=log, stderr=log
        )
        try:
            await until(alive_path(run_dir).exists)
            yield Lab(net, smf, amf, run_dir, process)
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.wait(), LIMIT_S)
            await smf.close()
            await amf.close()


def datagrams(taker: Taker) -> list[Content]:
    """Without what the kernel itself tells the UE, such as that a destination is unreachable."""
    return [one for one in taker.of(Content) if one.octets[9 if one.form is ContentForm.IPV4 else 6] == 17]


async def test_a_thousand_of_a_target_are_a_thousand_copies_and_of_another_none(net: Net, tmp_path: Path) -> None:
    async with lab(net, tmp_path) as made:
        point = await made.point()
        taker = Taker(point)
        await point.activate(order(content="n6"))
        await until(lambda: any(one.kind.value.startswith("session-") for one in taker.of(Event)))
        for number in range(250):
            for ue, mark in ((TARGET_IP, b"t"), (OTHER_IP, b"o"), (TARGET_IP6, b"t"), (OTHER_IP6, b"o")):
                payload = mark + b"%04d" % number
                net.uplink(udp(ue, "2001:db8:1::9" if ":" in ue else "192.0.2.9", b"u" + payload))
                net.downlink(ue, b"d" + payload)
        await until(lambda: len(datagrams(taker)) >= 1000)
        await made.known()
        copies = datagrams(taker)
        assert len(copies) == 1000
        assert [one.sequence for one in taker.of(Content)] == [*range(len(taker.of(Content)))]
        assert {(one.direction, one.octets[-6:-4]) for one in copies} == {
            (Direction.FROM_TARGET, b"ut"),
            (Direction.TO_TARGET, b"dt"),
        }
        assert sum(one.form is ContentForm.IPV6 for one in copies) == 500
        assert len({one.octets[-6:] + one.form.value.encode() for one in copies}) == 1000
        assert all(one.at_ns > 1_600_000_000 * 10**9 for one in copies)
        (begun,) = (one for one in taker.of(Event) if one.kind.value.startswith("session-"))
        assert {one.session for one in copies} == {begun.session}
        assert not taker.of(Loss)
        await taker.stop()
        await point.close()
    assert (tmp_path / "log").read_bytes() == b""


@pytest.mark.parametrize(
    ("target", "point_name"), [(TARGET_IP, "n6"), (TARGET_IP6, "n6"), (TARGET_IP, "n3")], ids=["v4", "v6", "n3"]
)
async def test_an_address_is_copied_and_its_subscribers_other_session_is_not(
    net: Net, tmp_path: Path, target: str, point_name: str
) -> None:
    """N packets of the session are N copies; of the same subscriber's other session, and of others, there are none."""
    second, count = "10.45.0.9", 200
    async with lab(net, tmp_path) as made:
        other = pdu_info({"supi": TARGET, "ipv4": second, "psi": 2, "teid": 0x33, "gnb_teid": 0x1033})["items"][0]
        made.smf.answers["/pdu-info"][0]["pdu"] += other["pdu"]
        await made.known()
        point = await made.point()
        taker = Taker(point)
        await point.activate(order(target, IdentityKind.UE_ADDRESS, content=point_name))
        await until(lambda: bool(taker.of(Event)))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(UPF), 2152))
            for number in range(count):
                for ue, mark, teid in ((TARGET_IP, b"t", 0x11), (second, b"s", 0x33), (OTHER_IP, b"o", 0x22)):
                    up, down = udp(ue, "192.0.2.9", b"u" + mark), udp("192.0.2.9", ue, b"d" + mark)
                    if point_name == "n6":
                        net.uplink(up)
                        net.downlink(ue, b"d%s%04d" % (mark, number))
                    else:
                        net.from_gnb(udp(str(GNB), str(UPF), gtpu(teid, up, qfi=1), 2152))
                        sock.sendto(gtpu(teid + 0x1000, down), (str(GNB), 2152))
        await until(lambda: len(datagrams(taker)) >= 2 * count)
        made.amf.answers["/ue-info"][0] = ue_info(TARGET, tac=2)  # where its subscriber is, is not asked
        await made.known()
        copies = datagrams(taker)
        assert len(copies) == 2 * count
        assert {one.octets[28:30] for one in copies} == {b"ut", b"dt"}
        ours, theirs = made.smf.answers["/pdu-info"]
        passed = {key: ours["pdu"][0].pop(key) for key in ("ipv4", "ipv6")}
        ours["pdu"][0] |= {"ipv4": "10.45.0.77"}
        theirs["pdu"][0] |= passed
        await until(lambda: len(taker.of(Event)) >= 3)
        assert [(one.kind.value, one.details["supi"]) for one in taker.of(Event)] == [
            ("session-standing", TARGET),
            ("session-end", TARGET),
            ("session-begin", OTHER),
        ]
        if point_name == "n6":
            net.uplink(udp("10.45.0.77", "192.0.2.9", b"no"))
            net.uplink(udp(TARGET_IP, "192.0.2.9", b"now another's"))
            await until(lambda: len(datagrams(taker)) > 2 * count)
            assert datagrams(taker)[-1].octets[28:] == b"now another's"
            assert len(datagrams(taker)) == 2 * count + 1
        assert not taker.of(Loss)
        await taker.stop()
        await point.close()
    assert (tmp_path / "log").read_bytes() == b""


async def test_fragments_of_both_versions_are_copied_as_they_are(net: Net, tmp_path: Path) -> None:
    async with lab(net, tmp_path) as made:
        point = await made.point()
        taker = Taker(point)
        await point.activate(order(content="n6"))
        await until(lambda: any(one.kind.value.startswith("session-") for one in taker.of(Event)))
        sent = fragments(udp(TARGET_IP, "192.0.2.9", b"x" * 3000, identifier=5), 1000)
        six = udp(TARGET_IP6, "2001:db8:1::9", b"y" * 2000)
        for at in (0, 1000):
            part = six[40 + at : 40 + at + 1000]
            extension = struct.pack("!BBHI", 17, 0, at | (at + 1000 < len(six) - 40), 9)
            head = six[:4] + struct.pack("!HB", len(extension) + len(part), 44) + six[7:40]
            sent.append(head + extension + part)
        for packet in sent:
            net.uplink(packet)

        def copied() -> list[bytes]:
            return [one.octets for one in taker.of(Content) if one.direction is Direction.FROM_TARGET]

        await until(lambda: len(copied()) >= len(sent))
        assert copied() == sent
        await taker.stop()
        await point.close()


async def test_what_a_caller_does_not_take_in_time_is_counted_and_told(net: Net, tmp_path: Path) -> None:
    async with lab(net, tmp_path) as made:
        point = await made.point()
        first = Taker(point)
        await point.activate(order(content="n6"))
        await until(lambda: any(one.kind.value.startswith("session-") for one in first.of(Event)))
        await first.stop()
        # More than the socket, the client and 64 MiB hold, in few packets.
        packet, sent = udp(TARGET_IP, "192.0.2.9", bytes(60_000)), 2500
        for number in range(sent):
            net.uplink(packet)
            if number % 100 == 0:
                await asyncio.sleep(0)
        taker = Taker(point)

        def counted() -> bool:
            lost = sum(one.copies or 0 for one in taker.of(Loss))
            return len(taker.of(Content)) + lost == sent

        await until(counted)
        assert {one.place for one in taker.of(Loss)} <= {LossPlace.QUEUE, LossPlace.KERNEL}
        assert taker.of(Loss)
        await taker.stop()
        await point.close()


async def test_n3_is_copied_by_teid_without_its_tunnel(net: Net, tmp_path: Path) -> None:
    async with lab(net, tmp_path) as made:
        point = await made.point()
        taker = Taker(point)
        await point.activate(order(content="n3"))
        await until(lambda: any(one.kind.value.startswith("session-") for one in taker.of(Event)))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(UPF), 2152))
            for number in range(200):
                for ue, teid in ((TARGET_IP, 0x11), (OTHER_IP, 0x22)):
                    up = udp(ue, "192.0.2.9", b"u%04d" % number)
                    outer = udp(str(GNB), str(UPF), gtpu(teid, up, qfi=1), 2152)
                    made.net.from_gnb(outer)
                    sock.sendto(gtpu(teid + 0x1000, udp("192.0.2.9", ue, b"d%04d" % number)), (str(GNB), 2152))
            # Only the first fragment has a TEID; each comes after the other.
            long = udp(TARGET_IP, "192.0.2.9", b"long" * 600)
            for part in reversed(fragments(udp(str(GNB), str(UPF), gtpu(0x11, long, qfi=1), 2152, 77), 1000)):
                made.net.from_gnb(part)
            # The UPF's TEID at another node's address is somebody else's.
            made.net.from_gnb(udp(str(GNB), "10.70.0.9", gtpu(0x11, up), 2152))
        await until(lambda: len(taker.of(Content)) >= 401)
        await made.known()
        copies = taker.of(Content)
        assert len(copies) == 401
        assert {(one.direction, one.octets[28:29]) for one in copies[:-1]} == {
            (Direction.FROM_TARGET, b"u"),
            (Direction.TO_TARGET, b"d"),
        }
        assert copies[-1].octets == long
        assert all(one.octets[12:16] == socket.inet_aton(TARGET_IP) for one in copies if one.octets[28:29] == b"u")
        assert not taker.of(Loss)
        made.net.from_gnb(udp(str(GNB), str(UPF), gtpu(0x11, up, qfi=1)[:-1], 2152))  # ends before it says so
        await until(lambda: bool(taker.of(Loss)))
        assert [(one.place, one.copies) for one in taker.of(Loss)] == [(LossPlace.POINT, 1)]
        assert len(taker.of(Content)) == 401
        await taker.stop()
        await point.close()


async def test_events_of_the_smf_and_the_amf(net: Net, tmp_path: Path) -> None:
    async with lab(net, tmp_path) as made:
        await made.known()
        point = await made.point()
        taker = Taker(point)
        await point.activate(order("msisdn-491700000001", kind=order().identity.kind.__class__.GPSI))
        await until(lambda: {"session-standing", "registration-standing"} <= {e.kind.value for e in taker.of(Event)})
        standing = next(one for one in taker.of(Event) if one.kind.value == "session-standing")
        assert standing.details["ue_ip"] == [TARGET_IP, "2001:db8:cafe:1::/64"]
        assert (standing.details["pdu_session_id"], standing.details["source"]) == (1, "smf")
        registered = next(one for one in taker.of(Event) if one.kind.value == "registration-standing")
        assert registered.details["location"]["gnb_address"] == str(GNB)
        made.amf.answers["/ue-info"][0] = ue_info(TARGET, tac=2)
        await until(lambda: any(one.kind.value == "location" for one in taker.of(Event)))
        del made.smf.answers["/pdu-info"][0]
        await until(lambda: any(one.kind.value == "session-end" for one in taker.of(Event)))
        del made.amf.answers["/ue-info"][0]
        await until(lambda: any(one.kind.value == "deregistration" for one in taker.of(Event)))
        events = taker.of(Event)
        assert [one.sequence for one in events] == list(range(len(events)))
        assert {one.details["supi"] for one in events} == {TARGET}
        await taker.stop()
        await point.close()


async def test_a_new_address_is_followed_and_the_old_one_is_nobodys(net: Net, tmp_path: Path) -> None:
    async with lab(net, tmp_path) as made:
        point = await made.point()
        taker = Taker(point)
        await point.activate(order(content="n6"))
        await until(lambda: any(one.kind.value.startswith("session-") for one in taker.of(Event)))
        entries = made.smf.answers["/pdu-info"]
        entries[0]["pdu"][0] = {**entries[0]["pdu"][0], "ipv4": "10.45.0.99"}
        entries[1]["pdu"][0] = {**entries[1]["pdu"][0], "ipv4": TARGET_IP}
        await until(lambda: any(one.kind.value == "session-change" for one in taker.of(Event)))
        await made.known()
        for number in range(50):
            net.uplink(udp(TARGET_IP, "192.0.2.9", b"other%02d" % number))
            net.uplink(udp("10.45.0.99", "192.0.2.9", b"target%02d" % number))
        await until(lambda: len(taker.of(Content)) >= 50)
        await point.deactivate("x1")
        net.uplink(udp("10.45.0.99", "192.0.2.9", b"after"))
        await made.known()
        copies = taker.of(Content)
        assert len(copies) == 50
        assert all(one.octets[28:34] == b"target" for one in copies)
        await taker.stop()
        await point.close()


async def test_an_interface_that_was_away_is_told_as_a_loss_and_tapped_anew(net: Net, tmp_path: Path) -> None:
    async with lab(net, tmp_path) as made:
        point = await made.point()
        taker = Taker(point)
        await point.activate(order(content="n6"))
        await until(lambda: any(one.kind.value.startswith("session-") for one in taker.of(Event)))
        os.close(net.tun)
        await until(lambda: any(one.place is LossPlace.POINT and one.copies is None for one in taker.of(Loss)))
        assert (await point.status()).copies == {"n3:n3a": True, "n6:ogstun": False}
        net.tun = make_tun()

        async def there() -> bool:
            return (await point.status()).copies["n6:ogstun"]

        await until(there)
        net.uplink(udp(TARGET_IP, "192.0.2.9", b"again"))
        await until(lambda: len(taker.of(Content)) == 1)
        await taker.stop()
        await point.close()


async def test_orders_end_with_their_connection_and_wrong_ones_are_refused_without_a_word_of_them(
    net: Net, tmp_path: Path
) -> None:
    async with lab(net, tmp_path) as made:
        point, second = await made.point(), await made.point()
        await point.activate(order())
        assert ((await point.status()).orders, (await second.status()).orders) == (1, 0)
        assert point.copies == {"n3", "n6"}
        for wrong in (order("somebody"), order(content="n9")):
            with pytest.raises(InputError) as caught:
                await point.activate(wrong)
            assert "somebody" not in str(caught.value)
            assert TARGET not in str(caught.value)
        await point.close()
        third = await made.point()
        assert (await third.status()).orders == 0
        made.process.kill()
        await made.process.wait()
        taker = Taker(third)
        with pytest.raises(NfError):
            await third.status()
        await third.deactivate("x1")
        await taker.stop()
        await second.close()
        await third.close()


async def test_nobody_but_the_caller_is_let_in(net: Net, tmp_path: Path) -> None:
    """Root neither: a child of another user's is refused by the socket's mode, and by its credentials where root is."""
    nobody = pwd.getpwnam("nobody").pw_uid
    code = (
        "import asyncio, os, socket, sys\n"
        "os.setuid(int(sys.argv[2])) if sys.argv[2] != '0' else None\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "try:\n    s.connect(sys.argv[1])\n    print(len(s.recv(100)))\n"
        "except PermissionError:\n    print('refused')\n"
    )

    async def tried(path: Path, uid: int) -> str:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(path), str(uid), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(child.communicate(), LIMIT_S)
        return out.decode().strip()

    async with lab(net, tmp_path) as made:
        for path in (tmp_path, *tmp_path.parents):
            path.chmod(path.stat().st_mode | 0o011)
        path = socket_path(made.run_dir)
        assert path.stat().st_mode & 0o777 == 0o600
        assert await tried(path, nobody) == "refused"
        path.chmod(0o666)
        assert await tried(path, nobody) == "0"
        assert int(await tried(path, 0)) > 0


async def test_root_is_refused_where_the_caller_is_somebody_else(net: Net, tmp_path: Path) -> None:
    from core5g.observation.service import Observation, listen
    from nf.clock import RealClock

    path = socket_path(tmp_path)
    directory(tmp_path).mkdir()
    server = await listen(Observation(ObservationSection(), tmp_path, RealClock()), path, pwd.getpwnam("nobody").pw_uid)
    assert path.stat().st_uid == pwd.getpwnam("nobody").pw_uid
    with pytest.raises(DeniedError):
        await connect(tmp_path)
    server.close()
    await server.wait_closed()


def test_what_the_kernel_drops_it_counts(net: Net) -> None:
    tap = Tap(TUN, buffer=1)
    tap.want(by_ue(ue_addresses([TARGET_IP])))
    tap.refresh()
    for number in range(2000):
        net.uplink(udp(TARGET_IP, "192.0.2.9", b"%04d" % number * 50))
        net.uplink(udp(OTHER_IP, "192.0.2.9", b"%04d" % number * 50))
    copies, drops = len(list(tap.read(5000))), tap.drops()
    assert drops > 0
    assert copies + drops == 2000
    assert tap.drops() == 0
    tap.close()
