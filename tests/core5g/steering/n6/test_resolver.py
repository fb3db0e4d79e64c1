"""The resolver of UEs: what is forwarded, what is learned before it is answered; fuzzed, and live on a device."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, ip_address

import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.steering.n6 import forwarding
from core5g.steering.n6.documents import IpAddress, N6Resolver
from core5g.steering.n6.forwarding import QueryError
from core5g.steering.n6.resolver import GRACE_S, Feed, Forwarder, serve_stream
from nf.errors import DriverError

NAME = "cdn.example.test"
QUERY = dns.message.make_query(NAME, "A", id=4711)


def answer_to(data: bytes, ttl: int = 60) -> bytes:
    answer = dns.message.make_response(dns.message.from_wire(data))
    name = answer.question[0].name
    answer.answer = [
        dns.rrset.from_text(name, ttl, "IN", "CNAME", "edge.example.test."),
        dns.rrset.from_text("edge.example.test.", ttl, "IN", "A", "203.0.113.7", "127.0.0.1"),
        dns.rrset.from_text(name, ttl, "IN", "HTTPS", "1 . ipv6hint=2001:db8:cd::7"),
    ]
    return answer.to_wire()


class Upstream(asyncio.DatagramProtocol):
    """Answers over UDP; a first datagram, that answers something else, is for the forwarder to pass over."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        forged = answer_to(dns.message.make_query("other.example.test", "A", id=1).to_wire())
        self.transport.sendto(forged, addr)
        self.transport.sendto(answer_to(data), addr)


@asynccontextmanager
async def upstream() -> AsyncIterator[int]:
    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError):
            data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            answer = answer_to(data, ttl=1_000_000)
            writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()

    loop = asyncio.get_running_loop()
    async with await asyncio.start_server(stream, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_datagram_endpoint(Upstream, local_addr=("127.0.0.1", port))
        try:
            yield port
        finally:
            transport.close()


def forwarder(
    port: int, learned: list[Mapping[IpAddress, int]], *, names: frozenset[str] = frozenset({NAME})
) -> Forwarder:
    async def learn(addresses: Mapping[IpAddress, int]) -> None:
        learned.append(addresses)

    section = {"listen": "10.45.0.1", "upstreams": ["127.0.0.1"], "upstream_port": port}
    return Forwarder(N6Resolver.model_validate(section), names, Feed(learn))


async def test_what_the_cdns_name_resolves_to_is_learned_before_it_is_answered() -> None:
    learned: list[Mapping[IpAddress, int]] = []
    async with upstream() as port:
        made = forwarder(port, learned)
        told = await made.answer(QUERY.to_wire(), tcp=False)
        assert told is not None
        assert learned == [{ip_address("203.0.113.7"): 60 + GRACE_S, ip_address("2001:db8:cd::7"): 60 + GRACE_S}]
        answer = dns.message.from_wire(told)
        assert (answer.id, answer.question) == (4711, QUERY.question)
        await made.answer(QUERY.to_wire(), tcp=False)
    assert len(learned) == 1, "the kernel is not asked for every answer"


async def test_other_names_are_forwarded_and_teach_nothing() -> None:
    learned: list[Mapping[IpAddress, int]] = []
    async with upstream() as port:
        told = await forwarder(port, learned, names=frozenset({"x.example.test"})).answer(QUERY.to_wire(), tcp=False)
    assert told is not None
    assert learned == []


async def test_over_tcp_a_ttl_beyond_what_is_steered_is_shortened() -> None:
    learned: list[Mapping[IpAddress, int]] = []
    async with upstream() as port:
        made = forwarder(port, learned)
        async with await asyncio.start_server(lambda r, w: serve_stream(made, r, w), "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            wire = QUERY.to_wire()
            writer.write(struct.pack("!H", len(wire)) + wire)
            told = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            writer.close()
            await writer.wait_closed()
    assert {rrset.ttl for rrset in dns.message.from_wire(told).answer} == {forwarding.MOST_LIFE_S}
    assert set(learned[0].values()) == {forwarding.MOST_LIFE_S + GRACE_S}


async def test_a_kernel_that_refuses_is_counted_and_the_ue_has_its_answer() -> None:
    async def refuse(addresses: Mapping[IpAddress, int]) -> None:
        raise DriverError("no such table")

    feed = Feed(refuse)
    await feed.take({IPv4Address("203.0.113.7"): 60})
    assert (feed.errors, feed.known) == (1, 0)


async def test_an_upstream_that_is_silent_is_told_to_the_ue() -> None:
    made = forwarder(1, [])
    told = await made.answer(QUERY.to_wire(), tcp=True)
    assert told is not None
    assert dns.message.from_wire(told).rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (dns.message.make_query(NAME, "AXFR"), dns.rcode.REFUSED),
        (dns.message.make_query(NAME, "ANY"), dns.rcode.REFUSED),
        (dns.message.make_query(NAME, "A", "CH"), dns.rcode.FORMERR),
    ],
)
def test_what_is_not_forwarded(query: dns.message.Message, code: dns.rcode.Rcode) -> None:
    with pytest.raises(QueryError) as caught:
        forwarding.read_query(query.to_wire())
    assert caught.value.answer is not None
    assert dns.message.from_wire(caught.value.answer).rcode() == code


def test_an_answer_is_never_answered() -> None:
    with pytest.raises(QueryError) as caught:
        forwarding.read_query(answer_to(QUERY.to_wire()))
    assert caught.value.answer is None


@given(st.binary(max_size=120), st.integers(0, 40))
def test_octets_of_any_kind_are_no_crash(data: bytes, at: int) -> None:
    wire = QUERY.to_wire()
    for octets in (data, wire[:at] + data[:4] + wire[at + 4 :], wire[:12] + data):
        with contextlib.suppress(QueryError):
            forwarding.read_query(octets)
    answer = answer_to(wire)
    for octets in (data, answer[: at * 3] + data[:4] + answer[at * 3 + 4 :], answer[:at]):
        read = forwarding.read_answer(octets, QUERY, 4711)
        if read is not None:
            forwarding.addresses_of(read, frozenset({NAME}))
