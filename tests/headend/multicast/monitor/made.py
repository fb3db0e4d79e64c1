"""Packets as a TPACKET_V3 ring holds them, and transport streams to put into them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

import numpy as np

from headend.multicast.monitor.packets import Classifier, FlowKey, Packets
from headend.multicast.monitor.ring import packet_headers
from headend.transport.packet import build_packet

SOURCE, GROUP, PORT = IPv4Address("10.1.0.10"), IPv4Address("232.1.1.1"), 5000
KEY = FlowKey(SOURCE, GROUP, PORT)
_NETWORK = 96  # tp_net, a multiple of 16


@dataclass(frozen=True)
class Datagram:
    at_ns: int
    payload: bytes
    source: IPv4Address = SOURCE
    group: IPv4Address = GROUP
    port: int = PORT
    options: bytes = b""
    captured: int | None = None


def frame(datagram: Datagram) -> bytes:
    """Ethernet, IPv4, UDP; no checksums."""
    udp = struct.pack("!HHHH", 4000, datagram.port, 8 + len(datagram.payload), 0) + datagram.payload
    words = 5 + len(datagram.options) // 4
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | words, 0, words * 4 + len(udp), 0, 0, 8, 17, 0,
                       datagram.source.packed, datagram.group.packed)  # fmt: skip
    return bytes(12) + b"\x08\x00" + head + datagram.options + udp


def ring(datagrams: Sequence[Datagram]) -> tuple[np.ndarray, np.ndarray]:
    """(words, word indexes of the headers) by way of the chain."""
    memory = bytearray(64)
    for number, datagram in enumerate(datagrams):
        content = frame(datagram)
        size = -(-(_NETWORK - 14 + len(content)) // 16) * 16
        captured = len(content) if datagram.captured is None else datagram.captured
        step = size if number + 1 < len(datagrams) else 0
        seconds, nanoseconds = divmod(datagram.at_ns, 10**9)
        head = struct.pack("=6IHH", step, seconds, nanoseconds, captured, len(content), 1, _NETWORK - 14, _NETWORK)
        memory += (head.ljust(_NETWORK - 14, b"\0") + content).ljust(size, b"\0")
    words = np.frombuffer(bytes(memory) + bytes(64), np.uint32)
    return words, packet_headers(words, 16, len(datagrams))


def packets(datagrams: Sequence[Datagram], flows: Sequence[FlowKey] = (KEY,), interface: int = 1) -> Packets:
    words, headers = ring(datagrams)
    return Classifier(flows).packets(words, headers, interface)


def ts(counters: Iterable[int], pid: int = 256, pcr: int | None = None) -> bytes:
    """Packets with these continuity counters; the first with `pcr`. Content differs by counter and PID alone."""
    parts = []
    for counter in counters:
        room = 176 if pcr is not None else 184
        parts.append(build_packet(pid, counter & 15, bytes([counter & 15, pid & 255]) * (room // 2), pcr=pcr))
        pcr = None
    return b"".join(parts)


def rtp(sequence: int, payload: bytes, *, csrc: int = 0, extension: bytes | None = None) -> bytes:
    first = 0x80 | csrc | (0x10 if extension is not None else 0)
    head = struct.pack("!BBHII", first, 33, sequence & 0xFFFF, 0, 7) + bytes(4 * csrc)
    if extension is not None:
        head += struct.pack("!HH", 0xBEDE, len(extension) // 4) + extension
    return head + payload
