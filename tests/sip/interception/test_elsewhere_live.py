"""A relay on another machine: its copies come by interception's own network, or not at all, and that is told."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nf.clock import RealClock
from nf.contracts.interception import LossPlace
from nf.errors import NfError
from sip.interception.board import Media, Party
from sip.interception.content import Copier, is_here
from sip.rtpengine.client import NgClient
from sip.rtpengine.messages import Flags, answer, offer
from tests.headend.multicast.tree.network import Node, connect, ip, nodes
from tests.sip.interception.test_content_live import media_port, rtp
from tests.sip.interception.world import observed, until

pytestmark = [pytest.mark.root, pytest.mark.daemon]

HERE, THERE = {"data0": "10.88.1.1", "li0": "10.88.2.1"}, {"data0": "10.88.1.2", "li0": "10.88.2.2"}
PARTY = Party((1, "x1"), 7, "c")
PACKETS = 100
CONTROL = 60
"""Packets to and from a relay's control port while so much is said, on a machine that is busy."""


@pytest.fixture(scope="module")
def machines(
    require_root: Callable[[], None],
    require_programs: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Node, Node]]:
    """The proxy's, and the relay's: a network that everybody counts between them, and interception's own."""
    require_root()
    require_programs("rtpengine")
    with nodes("p", "r") as made:
        here, there = made["p"], made["r"]
        for name in HERE:
            connect(here, name, there, name)
            for node, addresses in ((here, HERE), (there, THERE)):
                ip("-n", node.namespace, "address", "add", f"{addresses[name]}/24", "dev", name)
                ip("-n", node.namespace, "link", "set", name, "up")
                node.shell("sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=2")
        relay = _relay(there, tmp_path_factory.mktemp("r") / "relay.log")
        try:
            yield here, there
        finally:
            relay.kill()
            relay.wait()


def _relay(node: Node, log: Path) -> subprocess.Popen[bytes]:
    address = THERE["data0"]
    options = ("--config-file=none", "-f", "-E", "-L", "4", "--table=-1", f"--interface={address}", "--delete-delay=0")
    ports = (f"--listen-ng={address}:2223", "--port-min=30000", "--port-max=30999", "--no-redis-required")
    inside = ("nsenter", f"--net=/run/netns/{node.namespace}")
    with log.open("ab") as out:
        return subprocess.Popen([*inside, "rtpengine", *options, *ports], stdout=out, stderr=out)


def _received(node: Node) -> dict[str, int]:
    """By interface: packets."""
    found = json.loads(node.shell("ip", "-s", "-j", "link", "show"))
    return {one["ifname"]: one["stats64"]["rx"]["packets"] for one in found if one["ifname"] in HERE}


@dataclass
class Seen:
    heard: int = 0
    copies: int = 0
    losses: list[tuple[LossPlace, int | None]] = field(default_factory=list)


async def _call(name: str, copies_to: str) -> Seen:
    """Both parties speak until so much is heard, and copied where it can be."""
    seen = Seen()
    parties = [_bound(port) for port in (7500, 7502)]
    section = observed(
        address=HERE["data0"],
        ports=[26000, 26019],
        relays=[{"group": 1, "address": THERE["data0"], "control": 2223}],
    )

    def copied(*_: object) -> None:
        seen.copies += 1

    async with NgClient(THERE["data0"], 2223) as ng:
        await until(lambda: _answers(ng))
        plain = Flags(("ICE=remove",), items={"transport-protocol": "RTP/AVP"})
        offered = await ng.ask(offer(name, "a", _sdp(7500), plain))
        answered = await ng.ask(answer(name, "a", "b", _sdp(7502)))
        ports = [media_port(answered["sdp"]), media_port(offered["sdp"])]
        copier = Copier(section, copied, lambda _, place, count: seen.losses.append((place, count)), RealClock())
        if copies_to:
            copier.receive(copies_to)
        copier.want({(name, "a"): Media(1, (PARTY,))})
        number = 0
        while seen.heard < PACKETS or (seen.copies < PACKETS if copies_to else not seen.losses):
            number += 1
            for sock, port in zip(parties, ports, strict=True):
                sock.sendto(rtp(number, bytes(160)), (THERE["data0"], port))
            await asyncio.sleep(0.02)
            seen.heard += sum(_waiting(sock) for sock in parties)
        copier.want({})
        await copier.close()
    for sock in parties:
        sock.close()
    return seen


async def _answers(ng: NgClient) -> bool:
    try:
        await ng.ask({"command": "ping"})
    except NfError:
        return False
    return True


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HERE["data0"], port))
    sock.setblocking(False)
    return sock


def _waiting(sock: socket.socket) -> int:
    found = 0
    try:
        while sock.recv(2048):
            found += 1
    except BlockingIOError:
        pass
    return found


def _sdp(port: int) -> str:
    head = ("v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", f"c=IN IP4 {HERE['data0']}", "t=0 0", f"m=audio {port} RTP/AVP 0")
    return "\r\n".join((*head, "a=rtpmap:0 PCMU/8000")) + "\r\n"


def test_copies_come_by_the_network_that_nobody_counts(machines: tuple[Node, Node]) -> None:
    here, _ = machines
    before = _received(here)
    seen = here.call(_call, "with", HERE["li0"])
    gained = {name: count - before[name] for name, count in _received(here).items()}
    assert seen.losses == []
    assert gained["li0"] >= seen.copies >= PACKETS
    assert gained["data0"] - seen.heard <= CONTROL, "calls and control, and no copies"


def test_without_it_nothing_is_copied_nor_asked_and_that_is_told(machines: tuple[Node, Node]) -> None:
    here, there = machines
    before = _received(here)
    seen = here.call(_call, "without", "")
    gained = {name: count - before[name] for name, count in _received(here).items()}
    assert seen.copies == 0
    assert seen.losses == [(LossPlace.POINT, None)], "once"
    assert gained["li0"] <= CONTROL / 10
    assert gained["data0"] - seen.heard <= CONTROL / 4
    assert here.call(_is_here, HERE["data0"])
    assert there.call(_is_here, THERE["li0"])
    assert not here.call(_is_here, THERE["data0"])


async def _is_here(address: str) -> bool:
    return is_here(address)


def test_an_address_for_copies_is_one_of_the_proxys_version() -> None:
    async def run() -> None:
        copier = Copier(observed(ports=[27000, 27003]), lambda *_: None, lambda *_: None, RealClock())
        with pytest.raises(ValueError, match="version"):
            copier.receive("2001:db8::1")
        with pytest.raises(ValueError, match="address"):
            copier.receive("li0")
        copier.receive("192.0.2.77")  # it may come later
        await copier.close()

    asyncio.run(run())
