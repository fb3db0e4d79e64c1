"""A headend LAN with two routers, a PoP behind both, and a receiver: the PoP's output stage on live daemons.

    h (br0: S, S_A, S_B) --+-- a --+-- p --- r
                           +-- b --+

Everything of one leg is lost where `silence` or `lose` says so: on a router between the headend and the PoP.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path
from typing import Any

from headend.multicast.documents import (
    FrrInterface,
    FrrSection,
    Output,
    OutputSection,
)
from headend.multicast.frr.client import open_vty
from headend.multicast.frr.daemons import Daemons
from headend.multicast.frr.driver import create as create_frr
from headend.multicast.output.client import StageStatus, ask
from headend.multicast.output.driver import MulticastOutput, create
from headend.transport.packet import build_packet
from nf.contracts.driver import Undo
from tests.headend.multicast.tree.network import Node, commit, connect, ip, joined, nodes, until

ROOT = Path(__file__).parents[4]
SINGLE, LEG_A, LEG_B = "10.62.1.10", "10.62.1.11", "10.62.1.12"
NEIGHBOURS = {"a": "10.62.3.0", "b": "10.62.4.0"}
"""The routers as the PoP sees them."""
POP, RECEIVER = "10.62.5.1", "10.62.5.10"
GROUP_A, GROUP_B, GROUP_SINGLE, GROUP_OUT, GROUP_PLAIN = (f"232.62.{n}.1" for n in range(1, 6))
PORT = 5000
TAP, NEAR = "nfout1", "nfout0"
INTERVAL_S = 0.004


def _router(loopback: str, *ports: FrrInterface) -> FrrSection:
    return FrrSection(router_id=IPv4Address(loopback), interfaces=ports)


def _links(name: str, *, passive: bool = False, igmp: bool = False) -> FrrInterface:
    return FrrInterface(name=name, passive=passive, igmp=igmp, bfd=not passive)


ADDRESSES = {
    "a": {"lo": "10.62.255.1/32", "eth1": "10.62.1.1/24", "eth2": "10.62.3.0/31"},
    "b": {"lo": "10.62.255.2/32", "eth1": "10.62.1.2/24", "eth2": "10.62.4.0/31"},
    "p": {
        "lo": "10.62.255.3/32",
        "eth1": "10.62.3.1/31",
        "eth2": "10.62.4.1/31",
        "eth3": f"{POP}/24",
        NEAR: "169.254.255.0/31",
        TAP: "169.254.255.1/31",
    },
    "r": {"eth1": f"{RECEIVER}/24"},
}
ROUTERS = {
    "a": _router("10.62.255.1", _links("eth1", passive=True), _links("eth2")),
    "b": _router("10.62.255.2", _links("eth1", passive=True), _links("eth2")),
    "p": _router(
        "10.62.255.3",
        _links("eth1"),
        _links("eth2"),
        _links("eth3", passive=True, igmp=True),
        _links(NEAR, passive=True, igmp=True),
    ),
}


@dataclass
class Network:
    nodes: dict[str, Node]
    driver: MulticastOutput
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def pop(self) -> Node:
        return self.nodes["p"]

    def commit(self, *outputs: Output) -> list[Undo]:
        """The undo records, last first."""
        want = OutputSection(tap=TAP, outputs=outputs) if outputs else None
        return self.pop.call(commit, self.driver, want)

    async def status(self) -> StageStatus | None:
        return await ask(self.pop.run_dir / "output")

    def now(self) -> StageStatus:
        found = asyncio.run(self.status())
        assert found is not None
        return found

    def way(self, source: str, group: str) -> str:
        """The router from which the PoP takes a stream, as its kernel has it."""
        lines = self.pop.shell("ip", "mroute").splitlines()
        (line,) = (line for line in lines if line.startswith(f"({source},{group})"))
        return "a" if "Iif: eth1" in line else "b"

    def silence(self, router: str, rule: str = "drop") -> None:
        """All streams, while OSPF, PIM and BFD go on. `rule`: what is done with them."""
        node = self.nodes[router]
        node.shell("nft", "add", "table", "ip", "quiet")
        node.shell("nft", "add chain ip quiet forward { type filter hook forward priority 0; }")
        node.shell("nft", f"add rule ip quiet forward ip daddr 232.0.0.0/8 {rule}")

    def heal(self, router: str) -> None:
        self.nodes[router].shell("nft", "delete", "table", "ip", "quiet")


def _bridge(node: Node) -> None:
    """The headend's LAN, flooded: its routers are its only hosts."""
    name = node.namespace
    ip("-n", name, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
    for port in ("eth1", "eth2"):
        ip("-n", name, "link", "set", port, "master", "br0", "up")
    for address in (SINGLE, LEG_A, LEG_B):
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "br0")
    ip("-n", name, "link", "set", "br0", "up")


def _tap(node: Node) -> None:
    """The pair by which the output stage asks its own router: both ends have addresses of this host, so each must
    take what comes from the other."""
    name = node.namespace
    ip("-n", name, "link", "add", NEAR, "type", "veth", "peer", "name", TAP)
    for end in (NEAR, TAP):
        node.shell("sh", "-c", f"echo 1 > /proc/sys/net/ipv4/conf/{end}/accept_local")


def _address(node: Node, addresses: dict[str, str], *, forwarding: bool) -> None:
    """What the driver `interfaces` sets on such an appliance."""
    switches = {"ip_forward": int(forwarding), "conf/all/rp_filter": 2 if forwarding else 0}
    for name, address in addresses.items():
        switches[f"conf/{name}/rp_filter"] = 2 if forwarding else 0
        ip("-n", node.namespace, "addr", "add", address, "dev", name)
        ip("-n", node.namespace, "link", "set", name, "up")
    for name, value in switches.items():
        node.shell("sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{name}")


@contextmanager
def network() -> Iterator[Network]:
    with nodes("h", "a", "b", "p", "r") as made:
        for left, left_name, right, right_name in (
            ("h", "eth1", "a", "eth1"),
            ("h", "eth2", "b", "eth1"),
            ("a", "eth2", "p", "eth1"),
            ("b", "eth2", "p", "eth2"),
            ("p", "eth3", "r", "eth1"),
        ):
            connect(made[left], left_name, made[right], right_name)
        _bridge(made["h"])
        _tap(made["p"])
        for name, addresses in ADDRESSES.items():
            _address(made[name], addresses, forwarding=name != "r")
        for name, router in ROUTERS.items():
            made[name].supervise()
            made[name].call(commit, create_frr(made[name].context()), router)
        for address, router in ((LEG_A, "a"), (LEG_B, "b")):  # what static RPF does in the field
            ip("-n", made["p"].namespace, "route", "add", f"{address}/32", "via", NEIGHBOURS[router])
        driver = create(made["p"].context())
        found = Network(made, driver)
        made["p"].call(until, _converged(made["p"]))
        yield found


def _converged(node: Node) -> Any:
    daemons = Daemons(node.run_dir, node.context().units)

    async def both_ways() -> bool:
        async with open_vty(daemons.vty_path("zebra")) as vty:
            routes = await vty.show_json("show ip route ospf json")
        hops = [hop for route in routes.get("10.62.1.0/24", ()) for hop in route.get("nexthops", ())]
        async with open_vty(daemons.vty_path("pimd")) as vty:
            neighbours = await vty.show_json("show ip pim neighbor json")
        return len(hops) >= 2 and {"eth1", "eth2"} <= {name for name, seen in neighbours.items() if seen}

    return both_ways


# -- traffic --------------------------------------------------------------------------------------------------------


def feed(port: int) -> None:
    """An unbroken stream of one PID to 127.0.0.1:`port`, seven numbered packets a datagram, until it is killed. A
    program of its own, run before others: a pause of 30 ms is a silence."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        number, due = 0, time.monotonic()
        while True:
            packets = (build_packet(256, n & 15, n.to_bytes(4, "big") + bytes(180)) for n in range(number, number + 7))
            with contextlib.suppress(ConnectionRefusedError):  # nobody listens now
                sock.send(b"".join(packets))
            number += 7
            due += INTERVAL_S
            time.sleep(max(0.0, due - time.monotonic()))


@contextmanager
def playing(network: Network, *options: str, port: int = 6001) -> Iterator[None]:
    """A stage of the headend with these options, and its contribution on `port`."""
    head = network.nodes["h"]
    status = head.run_dir / f"stage{port}.sock"
    inside = ["nsenter", f"--net=/run/netns/{head.namespace}", "nice", "-n", "-10", sys.executable]
    fixed = ["--listen", f"127.0.0.1:{port}", "--rate", "20000000", "--status", str(status), "--port", str(PORT)]
    children = [subprocess.Popen([*inside, "-m", "headend.multicast.source.stage", *fixed, *options], cwd=ROOT)]

    async def answers() -> bool:
        return status.exists()

    try:
        head.call(until, answers, 20)
        children.append(subprocess.Popen([*inside, "-m", __name__, str(port)], cwd=ROOT))
        yield
    finally:
        for child in reversed(children):
            child.terminate()
            child.wait(20)


PROTECTED = (
    *("--channel", "ch1", "--path", "iptv", "--source", LEG_A, "--group", GROUP_A),
    *("--encapsulation", "rtp", "--second", f"{LEG_B},{GROUP_B}:{PORT}"),
)
ENCODERS = (
    ("--channel", "ch3", "--path", "iptv", "--source", LEG_A, "--group", GROUP_A),
    ("--channel", "ch3", "--path", "iptv", "--source", LEG_B, "--group", GROUP_B),
)
PLAIN = ("--channel", "ch2", "--path", "iptv", "--source", SINGLE, "--group", GROUP_SINGLE)


@dataclass
class Seen:
    """Numbers of the TS packets that a receiver has got, in order, and when each datagram came."""

    numbers: list[int] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    def take(self, datagram: bytes, at: float) -> None:
        assert len(datagram) == 7 * 188
        self.numbers += [int.from_bytes(datagram[place + 4 : place + 8], "big") for place in range(0, 1316, 188)]
        self.at.append(at)

    @property
    def lost(self) -> int:
        return self.numbers[-1] - self.numbers[0] + 1 - len(set(self.numbers)) if self.numbers else 0

    @property
    def in_order(self) -> bool:
        return self.numbers == sorted(set(self.numbers))

    @property
    def gap_ms(self) -> float:
        return max((b - a for a, b in pairwise(self.at)), default=0.0) * 1000


@contextmanager
def watching(network: Network, group: str) -> Iterator[Seen]:
    """A receiver of (PoP, group) from its first packet on."""
    node, seen = network.nodes["r"], Seen()
    first = asyncio.Event()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        with joined(RECEIVER, POP, group) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            while True:
                datagram = await loop.sock_recv(sock, 2048)
                seen.take(datagram, time.monotonic())
                first.set()

    async def begun() -> None:
        async with asyncio.timeout(90):
            await first.wait()

    task = node.start(run)
    try:
        node.call(begun)
        yield seen
    finally:
        task.cancel()


@contextmanager
def capturing(node: Node, interface: str, file: Path) -> Iterator[None]:
    """tcpdump of the streams on an interface."""
    command = ["nsenter", f"--net=/run/netns/{node.namespace}", "tcpdump", "-i", interface, "-U", "--immediate-mode"]
    child = subprocess.Popen(
        [*command, "-B", "16384", "-w", str(file), "udp and dst net 232.0.0.0/8"], stderr=subprocess.PIPE
    )
    assert child.stderr is not None
    while b"listening on" not in (line := child.stderr.readline()):
        assert line, "tcpdump has ended"
    try:
        yield
    finally:
        child.terminate()
        child.communicate(timeout=90)


def tshark(file: Path, *options: str) -> str:
    done = subprocess.run(["tshark", "-r", str(file), *options], check=True, capture_output=True, text=True)
    return done.stdout


def output(mode: str, *feeds: dict[str, object], channel: str = "ch1", group: str = GROUP_OUT) -> Output:
    data = {"channel": channel, "path": "iptv", "mode": mode, "feeds": feeds, "addresses": [POP], "group": group}
    return Output.model_validate({**data, "port": PORT, "rate": "20M", "dscp": 34, "provides": [f"output {channel}"]})


def legs() -> Sequence[dict[str, object]]:
    pairs = ((LEG_A, GROUP_A), (LEG_B, GROUP_B))
    return [{"source": s, "group": g, "port": PORT, "encapsulation": "rtp"} for s, g in pairs]


def rtp_lost(file: Path, port: int = PORT) -> dict[str, int]:
    """group -> packets that tshark finds missing in the RTP stream to it."""
    text = tshark(file, "-d", f"udp.port=={port},rtp", "-T", "json", "-e", "ip.dst", "-e", "rtp.seq")
    numbers: dict[str, list[int]] = {}
    for packet in json.loads(text):
        layers = packet["_source"]["layers"]
        if "rtp.seq" in layers:
            numbers.setdefault(layers["ip.dst"][0], []).append(int(layers["rtp.seq"][0]))
    return {group: _missing(found) for group, found in numbers.items()}


def _missing(numbers: list[int]) -> int:
    expected = sum(((b - a + 0x8000) & 0xFFFF) - 0x8000 for a, b in pairwise(numbers)) + 1
    return expected - len(numbers)


if __name__ == "__main__":
    feed(int(sys.argv[1]))
