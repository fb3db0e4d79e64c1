"""What is read off ctnetlink and written to raw sockets, judged by scapy and by struct."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from core5g.steering.n6 import conntrack, probe, resets
from core5g.steering.n6.conntrack import Flow, TcpState
from core5g.steering.n6.documents import CacheHealth, N6Cache
from tests.core5g.steering.n6.tls import certificate


def flow(ue: str = "10.45.0.2", asked: str = "203.0.113.10", server: str = "10.9.0.1") -> Flow:
    ends = [ip_address(end) for end in (ue, asked, server)]
    return Flow(ends[0], 40_000, ends[1], 443, ends[2], 8443, TcpState.ESTABLISHED)


def attribute(kind: int, data: bytes, nested: int = 0) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind | nested) + data + bytes(-len(data) % 4)


def entry(one: Flow, protocol: int = 6) -> bytes:
    body = b""
    for kind, ends in (
        (1, (one.ue, one.ue_port, one.asked, one.asked_port)),
        (2, (one.server, one.server_port, one.ue, 1)),
    ):
        first = 1 if isinstance(one.ue, IPv4Address) else 3
        addresses = attribute(first, ends[0].packed) + attribute(first + 1, ends[2].packed)
        ports = attribute(2, struct.pack("!H", ends[1])) + attribute(3, struct.pack("!H", ends[3]))
        body += attribute(kind, attribute(1, addresses, 0x8000) + attribute(2, attribute(1, bytes([protocol])) + ports))
    body += attribute(4, attribute(1, attribute(1, bytes([one.state]))))
    return bytes([2, 0, 0, 0]) + body


@pytest.mark.parametrize("one", [flow(), flow("2001:db8::2", "2001:db8:cd::10", "2001:db8:9::1")])
def test_an_entry_is_read(one: Flow) -> None:
    assert conntrack.flow_of(entry(one)) == one
    assert conntrack.flow_of(entry(one, protocol=17)) is None


@given(st.binary(max_size=200), st.integers(min_value=0, max_value=150))
def test_octets_of_any_kind_are_read_or_refused(data: bytes, at: int) -> None:
    good = entry(flow())
    for octets in (data, good[:at] + data[:3] + good[at + 3 :]):
        with contextlib.suppress(ValueError):
            conntrack.flow_of(octets)
        with contextlib.suppress(ValueError):
            list(conntrack.messages(octets))


def test_a_nudge_is_a_segment_from_whom_the_ue_called_with_a_right_checksum() -> None:
    octets = resets.nudge_packet(flow(), 1 << 31)
    packet = IP(octets)
    assert (packet.src, packet.dst, packet[TCP].sport, packet[TCP].dport) == ("203.0.113.10", "10.45.0.2", 443, 40_000)
    assert (packet[TCP].seq, str(packet[TCP].flags), bytes(packet[TCP].payload)) == (1 << 31, "A", b"\0")
    written = packet[TCP].chksum
    del packet[TCP].chksum
    assert IP(bytes(packet))[TCP].chksum == written


def test_a_nudge_over_ipv6_likewise() -> None:
    octets = resets.nudge_packet(flow("2001:db8::2", "2001:db8:cd::10", "2001:db8:9::1"), 0)
    packet = IPv6(octets)
    assert (packet.src, packet.dst, packet.plen) == ("2001:db8:cd::10", "2001:db8::2", 21)
    written = packet[TCP].chksum
    del packet[TCP].chksum
    assert IPv6(bytes(packet))[TCP].chksum == written


def test_a_socket_is_named_by_its_own_end_first() -> None:
    octets = resets.destroy_request(flow())
    assert octets[16] == socket.AF_INET
    assert struct.unpack_from("!HH4s", octets, 24) == (8443, 40_000, IPv4Address("10.9.0.1").packed)
    assert len(octets) == 16 + 8 + 48
    assert (
        resets.destroy_request(flow("2001:db8::2", "2001:db8:cd::1", "2001:db8:9::1"))[28:44]
        == IPv6Address("2001:db8:9::1").packed
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"HTTP/1.1 200 OK\r\n", ""),
        (b"HTTP/1.0 304\r\n", ""),
        (b"HTTP/1.1 503 x\r\n", "the cache answers 503"),
        (b"", "the cache does not answer in HTTP"),
        (b"SSH-2.0\r\n", "the cache does not answer in HTTP"),
    ],
)
def test_a_cache_is_well_by_its_status_line(line: bytes, told: str) -> None:
    assert probe.verdict(line) == told


def test_the_probe_asks_for_the_health_path_of_the_cdns_host() -> None:
    health = {"host": "cdn.example.test", "path": "/health"}
    cache = N6Cache.model_validate({"address": "10.9.0.1", "local": True, "health": health})
    assert probe.request(cache).startswith(b"GET /health HTTP/1.1\r\nHost: cdn.example.test\r\n")


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def saying(octets: bytes) -> Handler:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read(100)
            writer.write(octets)
            await writer.drain()
        writer.close()

    return answer


async def test_a_cache_with_https_answers_a_handshake_too_if_only_by_an_alert(tmp_path: Path) -> None:
    web, refusal = b"HTTP/1.1 200 OK\r\n\r\n", bytes.fromhex("15030300020228")  # handshake_failure (RFC 8446, 6.2)

    async def told(answer: bytes, tls: ssl.SSLContext | None = None) -> str:
        async with (
            await asyncio.start_server(saying(web), "127.0.0.2", 0) as plain,
            await asyncio.start_server(saying(answer), "127.0.0.2", 0, ssl=tls) as secure,
        ):
            ports = [one.sockets[0].getsockname()[1] for one in (plain, secure)]
            health = CacheHealth(host="cdn.example.test", port=ports[0], tls_port=ports[1], timeout_ms=5000)
            place = N6Cache.model_construct(address=IPv4Address("127.0.0.2"), local=True, health=health)
            return await probe.probe(place)

    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate(tmp_path))
    assert await told(web, served) == ""
    assert await told(refusal) == "", "it has no certificate for this name"
    assert await told(web) == "the cache does not answer in TLS"
