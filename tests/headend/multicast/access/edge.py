"""A PoP's access edge in namespaces: its ports, a host behind each, and streams with sequence numbers."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from headend.multicast.access.documents import AccessLan, AccessPort, AccessSection
from headend.multicast.access.driver import AccessDriver, create
from headend.multicast.igmp import ALL_IGMPV3_ROUTERS, GroupRecord, RecordType, build_report
from headend.multicast.ipv4 import IGMP, ROUTER_ALERT, build
from tests.headend.multicast.tree.network import Node, connect, ip, nodes

POP, PORT = "10.3.9.1", 5000
SUBNET = "10.3.9"


def group(number: int) -> str:
    return f"232.77.{number >> 8}.{number & 255}"


def access_port(name: str, **given: object) -> AccessPort:
    return AccessPort.model_validate({"name": name, **given})


def bridged(*ports: AccessPort, bridge: str = "bracc") -> AccessSection:
    return AccessSection(lans=(AccessLan(bridge=bridge, ports=ports),))


def plain(*ports: AccessPort) -> AccessSection:
    return AccessSection(lans=tuple(AccessLan(ports=(port,)) for port in ports))


@dataclass
class Edge:
    pop: Node
    hosts: list[Node]
    driver: AccessDriver

    def host_address(self, number: int) -> str:
        return f"{SUBNET}.{10 + number}"

    def port_of(self, number: int) -> str:
        return f"eth{number}"


@contextmanager
def edge(hosts: int) -> Iterator[Edge]:
    """Ports eth1, eth2, ... of the PoP `p`, each to a host h1, h2, ... that has an address; nothing is bridged yet."""
    names = [f"h{number}" for number in range(1, hosts + 1)]
    with nodes("p", *names) as made:
        pop = made["p"]
        for number, name in enumerate(names, start=1):
            connect(pop, f"eth{number}", made[name], "eth1")
            ip("-n", made[name].namespace, "address", "add", f"{SUBNET}.{10 + number}/24", "dev", "eth1")
            ip("-n", made[name].namespace, "link", "set", "eth1", "up")
        pop.supervise()
        yield Edge(pop, [made[name] for name in names], create(pop.context()))


# -- traffic --------------------------------------------------------------------------------------------------------


async def stream(groups: Sequence[str], interval_s: float = 0.01, source: str = POP) -> None:
    """Numbered packets of 200 octets to each group, as the output stage of a PoP sends them, until cancelled."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.bind((source, 0))
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
        out.setblocking(False)
        loop = asyncio.get_running_loop()
        due, number = loop.time(), 0
        while True:
            for address in groups:
                out.sendto(struct.pack("!I", number) + bytes(196), (address, PORT))
            number += 1
            due += interval_s
            await asyncio.sleep(max(0.0, due - loop.time()))


@dataclass
class Heard:
    """Sequence numbers by group, of everything that reached the interface, asked for or not."""

    numbers: dict[str, list[int]] = field(default_factory=dict)

    def groups(self) -> set[str]:
        return set(self.numbers)

    def lost(self, address: str) -> int:
        numbers = self.numbers[address]
        return numbers[-1] - numbers[0] + 1 - len(numbers)


class Tap:
    """Reads all multicast UDP off the wire of a host. Open it in the host's thread."""

    def __init__(self, interface: str = "eth1") -> None:
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._sock.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        self._sock.setsockopt(
            263, 1, struct.pack("iHH8s", socket.if_nametoindex(interface), 2, 0, bytes(8))
        )  # ALLMULTI
        self._sock.bind((interface, 0x0800))
        self._sock.setblocking(False)
        self.heard = Heard()

    def read(self) -> None:
        while True:
            try:
                data, (_, _, kind, *_) = self._sock.recvfrom(2048)
            except BlockingIOError:
                return
            if kind != 4 and data[9] == socket.IPPROTO_UDP and data[16] == 232:
                address = socket.inet_ntoa(data[16:20])
                self.heard.numbers.setdefault(address, []).append(struct.unpack_from("!I", data, 28)[0])

    def close(self) -> None:
        self._sock.close()


async def open_tap() -> Tap:
    return Tap()


async def listen(tap: Tap, seconds: float) -> Heard:
    """What comes in a time, from now on."""
    tap.read()
    tap.heard = Heard()
    await asyncio.sleep(seconds)
    tap.read()
    return tap.heard


async def until_heard(tap: Tap, *addresses: str, timeout_s: float = 90.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not set(addresses) <= tap.heard.groups():
            await asyncio.sleep(0.02)
            tap.read()


class Reporter:
    """Sends IGMPv3 reports as any number of hosts, with their own addresses. Open it in the host's thread."""

    def __init__(self, interface: str = "eth1") -> None:
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._target = (interface, 0x0800, 0, 0, bytes.fromhex("01005e000016"))

    def report(self, host: str, *records: GroupRecord) -> None:
        self.datagram(host, ALL_IGMPV3_ROUTERS, build_report(records))

    def datagram(self, host: str, destination: int, payload: bytes, protocol: int = IGMP) -> None:
        packet = build(int(IPv4Address(host)), destination, protocol, payload, options=ROUTER_ALERT, tos=0xC0)
        self._sock.sendto(packet, self._target)

    def close(self) -> None:
        self._sock.close()


async def open_reporter() -> Reporter:
    return Reporter()


def record(kind: int, address: str, source: str = POP) -> GroupRecord:
    return GroupRecord(RecordType(kind), int(IPv4Address(address)), (int(IPv4Address(source)),))
