"""CC of calls from X3 to an agency's spool: in one process, and from a point's spool over TLS to mediation's.

A call has two streams of G.711, 50 packets a second each: 1,000 calls are 100,000 CC/s. What is measured is CPU time of
all that it takes, kernel and syncs to disk included, so that it says how many cores so many calls need. The peers do
less: pycrate only encodes the PS-PDU; struct packing takes the X3 PDU apart and packs the same PS-PDU by hand, without
any framing of a stream, spool or TLS.
"""

from __future__ import annotations

import asyncio
import struct
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from lawful_intercept import pki, tls
from lawful_intercept.handover.ps_pdu import CcTemplate
from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.spool import Spool
from lawful_intercept.x2x3.attributes import address_attributes, point_attributes, target_attributes
from lawful_intercept.x2x3.client import Client
from lawful_intercept.x2x3.codec import Decoder, PayloadDirection, PayloadFormat, Pdu, PduType, x3_template
from lawful_intercept.x2x3.server import Server
from nf.clock import RealClock
from tests.bench.bench_li_ps_pdu import AT_NS, HEADER, RTP, _pycrates, _structs
from tests.bench.harness import Benchmark

CC_S = 100_000
FEW, MANY = 100, 1000
PACKETS = 20
"""Of each direction of a call, in one measurement."""
CHUNK = 1 << 19
DIRECTIONS = (PayloadDirection.FROM_TARGET, PayloadDirection.TO_TARGET)
ROUNDS = 3
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


@dataclass(slots=True)
class Session:
    encode: Callable[[int, int, int, bytes], bytes]
    sequence: int = 0


class Mediation:
    """CIN and counters by XID and correlation, and one agency's spool."""

    def __init__(self, spool: Spool, calls: int) -> None:
        self.spool = spool
        self.sessions = {(xid_of(call), call): Session(CcTemplate(HEADER, call + 1).encode) for call in range(calls)}
        self.way = {PayloadDirection.FROM_TARGET: 0, PayloadDirection.TO_TARGET: 1}

    async def take(self, _: str, pdus: Sequence[Pdu]) -> None:
        made = []
        for pdu in pdus:
            session = self.sessions[pdu.xid, pdu.correlation]
            at_ns = pdu.timestamp_ns
            assert at_ns is not None
            made.append(session.encode(session.sequence, at_ns, self.way[pdu.direction], pdu.payload))
            session.sequence += 1
        self.spool.append_many(made)
        await self.spool.sync()


def spool_in(folder: Path, name: str) -> Spool:
    return Spool(folder / name, bytes(32), name.encode(), limit_octets=4 << 30)


async def _to_spool(folder: Path, calls: int) -> float:
    """CPU seconds for one PDU."""
    streams = points(calls)
    octets = b"".join(pdu for packet in range(PACKETS) for pdu in produced(streams, packet))
    spool = spool_in(folder, "cc")
    mediation, decoder = Mediation(spool, calls), Decoder()
    begin = time.process_time()
    for start in range(0, len(octets), CHUNK):
        await mediation.take("", decoder.feed(octets[start : start + CHUNK]))
    spent = time.process_time() - begin
    assert spool.synced == len(streams) * PACKETS
    spool.close()
    return spent / (len(streams) * PACKETS)


async def _over_tls(folder: Path, calls: int) -> float:
    """CPU seconds for one PDU, of the point and mediation together."""
    authority = pki.create(folder / "ca", "li.example", RealClock())
    mdf, poi = (pki.issue(authority, pki.Who.ELEMENT, name, folder / "issued") for name in ("mdf", "poi"))
    streams = points(calls)
    spools = {kind: spool_in(folder, kind.name) for kind in (PduType.X2, PduType.X3)}
    spool = spool_in(folder, "cc")
    server = Server(
        ("127.0.0.1", 0),
        tls.server_context(mdf),
        Mediation(spool, calls).take,
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
        begin = time.process_time()
        for packet in range(PACKETS):
            client.put_many(PduType.X3, produced(streams, packet))
            await asyncio.sleep(0)
        await client.drained()
        spent = time.process_time() - begin
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert spool.synced == server.counts.pdus == len(streams) * PACKETS
    for one in (spool, *spools.values()):
        one.close()
    return spent / (len(streams) * PACKETS)


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


def _measured(name: str, way: Callable[[Path, int], object]) -> float:
    _pycrates(0, AT_NS, "toTarget", RTP)
    spent = {FEW: 0.0, MANY: 0.0}
    pycrate_s = struct_s = 0.0
    for _ in range(ROUNDS):
        for calls in spent:
            with tempfile.TemporaryDirectory() as folder:
                spent[calls] += asyncio.run(way(Path(folder), calls)) / ROUNDS  # type: ignore[arg-type]
        one, other = _peers()
        pycrate_s += one / ROUNDS
        struct_s += other / ROUNDS
    cores = {calls: calls / MANY * CC_S * seconds for calls, seconds in spent.items()}
    print(
        f"{name}: {spent[FEW] * 1e6:.2f} us of CPU for a CC with {FEW} calls, {spent[MANY] * 1e6:.2f} with {MANY}; "
        f"cores: {cores[FEW]:.3f} for {FEW} calls' {FEW * CC_S // MANY:,} CC/s, {cores[MANY]:.2f} for {MANY} calls' "
        f"{CC_S:,} ({cores[MANY] / cores[FEW]:.1f}x); pycrate {pycrate_s * 1e6:.0f} us "
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
