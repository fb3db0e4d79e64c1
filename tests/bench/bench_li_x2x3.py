"""CC of calls from X3 to an agency's spool: in one process, and from a point's spool over TLS to mediation's.

A call has two streams of G.711, 50 packets a second each: 1,000 calls are 100,000 CC/s. What is measured is CPU time of
all that it takes, kernel and syncs to disk included, so that it says how many cores so many calls need. It is the path
of mediation itself, with its journal and its state: each of its numbers is on the disk before a point is answered.
Both directions and both ends of the TLS connection count. The calls are under way; what the first packets of a call
cost more, when what stays the same is written and learned, is told apart.
The peers do less: pycrate only encodes the PS-PDU; struct packing takes the X3 PDU apart and packs the same PS-PDU by
hand, without any framing of a stream, spool or TLS.
"""

from __future__ import annotations

import asyncio
import math
import struct
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from lawful_intercept import pki, tls
from lawful_intercept.handover.values import DataType
from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.keys import SecretKey
from lawful_intercept.mediation.alarms import Alarms
from lawful_intercept.mediation.correlation import Counters, Numbers, Sessions, Sources, Tables
from lawful_intercept.mediation.journal import Journal
from lawful_intercept.mediation.lines import Outlet, Secrets
from lawful_intercept.mediation.mediator import Mediator
from lawful_intercept.mediation.products import Product, products_of
from lawful_intercept.mediation.state import State
from lawful_intercept.spool import Spool
from lawful_intercept.x1.extensions import HandoverSettings
from lawful_intercept.x2x3.attributes import address_attributes, point_attributes, target_attributes
from lawful_intercept.x2x3.client import Client
from lawful_intercept.x2x3.codec import Decoder, PayloadDirection, PayloadFormat, Pdus, PduType, x3_template
from lawful_intercept.x2x3.server import READ, Server
from nf.clock import RealClock
from tests.bench.bench_li_ps_pdu import AT_NS, RTP, _pycrates, _structs
from tests.bench.harness import Benchmark
from tests.lawful_intercept.mediation.world import destination, task, warrant

CC_S = 100_000
FEW, MANY = 100, 1000
FIRST, PACKETS = 3, 200
"""Packets of each direction of a call: when it begins; in one measurement."""
BEFORE = 1000
"""Sequence numbers that are handed over are of a call under way."""
DIRECTIONS = (PayloadDirection.FROM_TARGET, PayloadDirection.TO_TARGET)
SETTINGS = HandoverSettings("NZ", "NZ", "svnf", "pop1")
ROUNDS = 3
"""The least of them counts, on each side: others use the machine too."""
Encode = Callable[[int, int, PayloadDirection, bytes], bytes]


def xid_of(call: int) -> bytes:
    return call.to_bytes(16, "big")


def points(calls: int) -> list[tuple[Encode, PayloadDirection]]:
    """One for each direction of each call."""
    made: list[tuple[Encode, PayloadDirection]] = []
    for call in range(calls):
        for direction in DIRECTIONS:
            attributes = (
                *point_attributes("poi-1", "sip"),
                *address_attributes(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"), (30_000 + call, 40_000), 17),
                *target_attributes(TargetIdentifier("sipUri", f"sip:u{call}@d.test")),
            )
            made.append((x3_template(xid_of(call), call, PayloadFormat.RTP, attributes).encode, direction))
    return made


def produced(streams: Sequence[tuple[Encode, PayloadDirection]], packet: int) -> list[bytes]:
    """One packet of each stream."""
    at_ns = AT_NS + packet * 20_000_000
    return [encode(2 * packet + (index & 1), at_ns, way, RTP) for index, (encode, way) in enumerate(streams)]


def spool_in(folder: Path, name: str) -> Spool:
    return Spool(folder / name, bytes(32), name.encode(), limit_octets=4 << 30)


class Mediation:
    """What mediation's process makes of what its server takes; each call is of a warrant of its own."""

    def __init__(self, folder: Path, calls: int) -> None:
        clock = RealClock()
        self._state = State(folder / "state", SecretKey(bytes(range(32))))
        counters = Counters(self._state, ())
        numbers = Numbers(self._state, counters)
        products: dict[bytes, tuple[Product, ...]] = {}
        self._sessions, sources = Sessions(self._state, counters, clock.monotonic()), Sources(self._state, counters)
        alarms = Alarms(self._state, clock)
        collectors = [self._sessions.collect, sources.collect, numbers.collect, alarms.collect]

        def collect() -> dict[str, bytes | None]:
            return {name: value for one in collectors for name, value in one().items()}

        self._journal = Journal(self._state, counters, collect, alarms=alarms, clock=clock)
        tables = Tables(self._sessions, sources, numbers, counters)
        self._mediator = Mediator(
            lambda xid: products.get(xid, ()), tables, self._journal.stage_of, alarms=alarms, clock=clock
        )
        self._journal.holds = self._mediator.streams.holds
        agency = destination(SETTINGS)
        self.spools = {kind: spool_in(folder, kind.name) for kind in (DataType.IRI, DataType.CC)}
        for kind, spool in self.spools.items():
            self._journal.open(f"{agency.did}/{int(kind)}", spool, numbers)
        for call in range(calls):
            details = task(warrant("LIID-0001", agency.did), xid=UUID(bytes=xid_of(call)))
            made = products_of(details, {agency.did: agency})
            products[details.xid.bytes] = made
            self._mediator.streams.equip(Outlet(one, Secrets(one.settings, 0)) for one in made)

    async def __aenter__(self) -> Self:
        self._writing = asyncio.create_task(self._journal.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writing.cancel()
        await asyncio.gather(self._writing, return_exceptions=True)
        for spool in self.spools.values():
            spool.close()
        self._state.close()

    async def take(self, peer: str, pdus: Pdus) -> None:
        self._mediator.take(peer, pdus)
        await self._journal.durable()

    def under_way(self) -> None:
        for session in self._sessions.all():
            for counter in session.numbers.values():
                counter.value = BEFORE


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds: of one CC of calls under way, and of the first packets of one call."""

    cc: float
    begin: float


def _spent(begun: float, under_way: float, ended: float, calls: int) -> Spent:
    return Spent((ended - under_way) / (2 * calls * PACKETS), (under_way - begun) / calls)


async def _to_spool(folder: Path, calls: int) -> Spent:
    streams = points(calls)
    stream = [b"".join(produced(streams, packet)) for packet in range(FIRST + PACKETS)]
    begin, first, others = stream[0], b"".join(stream[1:FIRST]), b"".join(stream[FIRST:])
    decoder = Decoder()
    async with Mediation(folder, calls) as mediation:
        begun = time.process_time()
        await mediation.take("", decoder.read(begin))
        mediation.under_way()
        await mediation.take("", decoder.read(first))
        under_way = time.process_time()
        for start in range(0, len(others), READ):
            await mediation.take("", decoder.read(others[start : start + READ]))
        ended = time.process_time()
        assert mediation.spools[DataType.CC].synced == len(streams) * (FIRST + PACKETS)
    return _spent(begun, under_way, ended, calls)


async def _over_tls(folder: Path, calls: int) -> Spent:
    """Of the point and mediation together, which share a process here."""
    authority = pki.create(folder / "ca", "li.example", RealClock())
    mdf, poi = (pki.issue(authority, pki.Who.ELEMENT, name, folder / "issued") for name in ("mdf", "poi"))
    streams = points(calls)
    spools = {kind: spool_in(folder, kind.name) for kind in (PduType.X2, PduType.X3)}
    async with Mediation(folder, calls) as mediation:
        server = Server(
            ("127.0.0.1", 0),
            tls.server_context(mdf),
            mediation.take,
            peer=lambda writer: tls.require(writer, "li.example", "element", "poi").name,
        )
        async with server:
            client = Client(
                ("127.0.0.1", server.port),
                tls.client_context(poi),
                spools,
                check=lambda writer: tls.require(writer, "li.example", "element", "mdf"),
            )
            running = asyncio.ensure_future(client.run())
            while not server.counts.keepalives:  # noqa: ASYNC110 - a counter has no event
                await asyncio.sleep(0.001)
            begun = under_way = time.process_time()
            for packet in range(FIRST + PACKETS):
                if packet == 1:
                    await client.drained()
                    mediation.under_way()
                if packet == FIRST:
                    await client.drained()
                    under_way = time.process_time()
                client.put_many(PduType.X3, produced(streams, packet))
                await asyncio.sleep(0)
            await client.drained()
            ended = time.process_time()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert mediation.spools[DataType.CC].synced == server.counts.pdus == len(streams) * (FIRST + PACKETS)
    for one in spools.values():
        one.close()
    return _spent(begun, under_way, ended, calls)


def by_hand(octets: bytes) -> bytes:
    """An X3 PDU taken apart and a PS-PDU packed with the struct module alone."""
    _, _, header, _, _, direction, _, _ = struct.unpack_from("!HHIIHH16sQ", octets)
    sequence = at_ns = 0
    at = 40
    while at < header:
        kind, size = struct.unpack_from("!HH", octets, at)
        if kind == 8:
            (sequence,) = struct.unpack_from("!I", octets, at + 4)
        elif kind == 9:
            seconds, nanoseconds = struct.unpack_from("!II", octets, at + 4)
            at_ns = seconds * 1_000_000_000 + nanoseconds
        at += 4 + size
    return _structs(sequence, at_ns, 3 - direction, octets[header:])


def _peers() -> tuple[float, float]:
    """CPU seconds for one PDU: pycrate, struct packing."""
    pdus = [pdu for packet in range(10) for pdu in produced(points(50), packet)]
    begin = time.process_time()
    for pdu in pdus:
        by_hand(pdu)
    packing = (time.process_time() - begin) / len(pdus)
    begin = time.process_time()
    for number in range(100):
        _pycrates(number, AT_NS + number * 20_000_000, "toTarget", RTP)
    return (time.process_time() - begin) / 100, packing


Way = Callable[[Path, int], Coroutine[Any, Any, Spent]]


def _measured(name: str, way: Way) -> float:
    _pycrates(0, AT_NS, "toTarget", RTP)
    spent = dict.fromkeys((FEW, MANY), math.inf)
    begin = pycrate_s = struct_s = math.inf
    for _ in range(ROUNDS):
        for calls in spent:
            with tempfile.TemporaryDirectory() as folder:
                found = asyncio.run(way(Path(folder), calls))
            spent[calls], begin = min(spent[calls], found.cc), min(begin, found.begin)
            one, other = _peers()
            pycrate_s, struct_s = min(pycrate_s, one), min(struct_s, other)
    cores = {calls: calls / MANY * CC_S * seconds for calls, seconds in spent.items()}
    print(
        f"{name}: {spent[FEW] * 1e6:.2f} us of CPU for a CC with {FEW} calls, {spent[MANY] * 1e6:.2f} with {MANY}; "
        f"a call's beginning {begin * 1e6:.0f} us; cores: {cores[FEW]:.3f} for {FEW * CC_S // MANY:,} CC/s, "
        f"{cores[MANY]:.2f} for {CC_S:,} ({cores[MANY] / cores[FEW]:.1f}x); pycrate {pycrate_s * 1e6:.0f} us "
        f"({pycrate_s / spent[MANY]:.0f}x), struct packing alone {struct_s * 1e6:.2f} us "
        f"({struct_s / spent[MANY]:.1f}x)",
        flush=True,
    )
    return pycrate_s / spent[MANY]


def x3_to_spool() -> float:
    return _measured("li.x3_to_spool", _to_spool)


def over_tls() -> float:
    return _measured("li.tls", _over_tls)


BENCHMARKS = [
    Benchmark(
        "li.x3_to_spool",
        peer="pycrate's encoding of the PS-PDU alone, 1,000 calls",
        sense=">=",
        target=100,
        run=x3_to_spool,
    ),
    Benchmark("li.tls", peer="the same, point and mediation over TLS together", sense=">=", target=50, run=over_tls),
]
