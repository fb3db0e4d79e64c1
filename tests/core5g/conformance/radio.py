"""The gNB of the conformance tests: single packets into an N3 tunnel, and what comes back."""

from __future__ import annotations

import socket
import struct
import time
from ipaddress import ip_address

from lab.mobile import gtpu
from lab.mobile.gtpu import Encapsulation, Header
from tests.core5g.conformance.network import until
from tests.core5g.daemons import LIMIT_S

_ICMP, _ICMP6 = 1, 58
_DATA = b"x" * 32


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo(source: str, destination: str, *, reply: bool = False) -> bytes:
    """An IP packet with an ICMP echo, 60 octets of IPv4 as those recorded."""
    a, b = ip_address(source), ip_address(destination)
    version, kind = a.version, ((0 if reply else 8) if a.version == 4 else (129 if reply else 128))
    body = struct.pack("!BBHHH", kind, 0, 0, 1, 1) + _DATA
    if version == 6:
        pseudo = a.packed + b.packed + struct.pack("!IHBB", len(body), 0, 0, _ICMP6)
        body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
        return struct.pack("!IHBB", 0x60000000, len(body), _ICMP6, 64) + a.packed + b.packed + body
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, _ICMP, 0) + a.packed + b.packed
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


class Gnb:
    """At an address of ours, port 2152."""

    def __init__(self, address: str, upf: str) -> None:
        self.upf = (upf, gtpu.PORT)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, gtpu.PORT))

    def close(self) -> None:
        self.socket.close()

    def send(self, teid: int, packet: bytes, qfi: int = 1) -> None:
        self.socket.sendto(Encapsulation(teid, qfi, uplink=True).around(packet), self.upf)

    def receive(self, wait_s: float = LIMIT_S) -> tuple[Header, bytes, bytes]:
        """Header, what it carries, and all of it. Raises TimeoutError."""
        self.socket.settimeout(until(time.monotonic() + wait_s))
        data = self.socket.recv(65536)
        header = gtpu.header(data)
        assert header is not None
        return header, data[header.offset :], data

    def pending(self) -> list[tuple[Header, bytes, bytes]]:
        """What is here by now."""
        found = []
        while True:
            try:
                found.append(self.receive(0.001))
            except TimeoutError:
                return found

    def settled(self) -> list[tuple[Header, bytes, bytes]]:
        """What came before the answer to an echo request: the UPF takes what is sent to it in order."""
        self.socket.sendto(gtpu.echo_request(7), self.upf)
        found, deadline = [], time.monotonic() + LIMIT_S
        while True:
            got = self.receive(until(deadline))
            if got[0].type == gtpu.ECHO_RESPONSE:
                return found
            found.append(got)
