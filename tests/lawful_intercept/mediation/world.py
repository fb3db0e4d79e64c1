"""What tests of mediation have in common: tasks, destinations, PDUs of points, and a state in a directory."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID, uuid4

from lawful_intercept.handover.decoder import PsPdu, decode
from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.keys import SecretKey
from lawful_intercept.mediation.alarms import Alarms
from lawful_intercept.mediation.correlation import Counters, Numbers, Sessions, Sources, Tables, slots_of
from lawful_intercept.mediation.lines import Outlet, Secrets
from lawful_intercept.mediation.mediator import Mediator, Rules
from lawful_intercept.mediation.products import products_of
from lawful_intercept.mediation.state import State
from lawful_intercept.mediation.tasks import Products
from lawful_intercept.x1.extensions import HandoverSettings, handover_extension
from lawful_intercept.x1.messages import (
    DeliveryType,
    DestinationDetails,
    HandoverType,
    MediationDetails,
    SocketAddress,
    TaskDetails,
)
from lawful_intercept.x2x3.attributes import address_attributes, point_attributes
from lawful_intercept.x2x3.codec import (
    Attribute,
    Attributes,
    Decoder,
    PayloadDirection,
    PayloadFormat,
    Pdus,
    x2_template,
    x3_template,
)
from nf.clock import Clock, VirtualClock
from tests.lawful_intercept.wire import SEEN

KEY = bytes(range(32))
START = 1_700_000_000
SETTINGS = HandoverSettings("DE", "DE", "svnf", "mdf1")
POINT = point_attributes("svc-1", "sip")
TARGET = TargetIdentifier("sipUri", "sip:alice@example.net")


def destination(
    settings: HandoverSettings = SETTINGS, port: int = 9, delivery: DeliveryType = DeliveryType.X2_AND_X3
) -> DestinationDetails:
    address = SocketAddress(IPv4Address("127.0.0.1"), port)
    return DestinationDetails(uuid4(), delivery, address, extensions=(handover_extension(settings),))


def warrant(
    liid: str,
    *dids: UUID,
    delivery: HandoverType = HandoverType.HI2_AND_HI3,
    start: float | None = None,
    end: float | None = None,
    settings: HandoverSettings | None = None,
) -> MediationDetails:
    return MediationDetails(
        liid,
        delivery,
        None if start is None else datetime.fromtimestamp(start, UTC),
        None if end is None else datetime.fromtimestamp(end, UTC),
        dids,
        () if settings is None else (handover_extension(settings),),
    )


def task(
    *mediation: MediationDetails, xid: UUID | None = None, delivery: DeliveryType = DeliveryType.X2_AND_X3
) -> TaskDetails:
    return TaskDetails(xid or uuid4(), (TARGET,), delivery, (), mediation)


def sip(first: str, cseq: str, tags: str = "a", body: str = "", kind: str = "application/sdp") -> bytes:
    """`first`: request line's method, or a status and phrase. `tags`: of From, and of To where there are two."""
    line = f"SIP/2.0 {first}" if first[0].isdigit() else f"{first} sip:bob@example.net SIP/2.0"
    to_tag = f";tag={tags[1]}" if len(tags) > 1 else ""
    described = f"Content-Type: {kind}\r\n" if body else ""
    return (
        f"{line}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:alice@example.net>;tag={tags[0]}\r\n"
        f"To: <sip:bob@example.net>{to_tag}\r\nCall-ID: call-1\r\nCSeq: {cseq}\r\n{described}"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def rtp(number: int) -> bytes:
    return b"\x80\x00" + number.to_bytes(2, "big") + (160 * number).to_bytes(4, "big") + b"SSRC" + bytes(160)


class Point:
    """What one point delivers of one task, numbered as points do."""

    def __init__(self, xid: UUID, at: float = START, attributes: Attributes = POINT) -> None:
        self.xid = xid.bytes
        self.at_ms = round(at * 1000)
        self.attributes = attributes
        self.numbers: dict[int, int] = defaultdict(int)

    def x2(
        self,
        payload: bytes,
        *,
        correlation: int = 7,
        form: PayloadFormat = PayloadFormat.SIP,
        direction: PayloadDirection = PayloadDirection.FROM_TARGET,
        attributes: Attributes = (),
    ) -> bytes:
        where = address_attributes(IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2"), (5060, 5060), 17)
        template = x2_template(self.xid, correlation, form, (*self.attributes, *where, *attributes))
        return template.encode(self._next(2), self._at_ns(), direction, payload)

    def x3(
        self,
        payload: bytes,
        *,
        correlation: int = 7,
        form: PayloadFormat = PayloadFormat.RTP,
        direction: PayloadDirection = PayloadDirection.FROM_TARGET,
    ) -> bytes:
        template = x3_template(self.xid, correlation, form, self.attributes)
        return template.encode(self._next(3), self._at_ns(), direction, payload)

    def ended(self, correlation: int = 7) -> bytes:
        """Our points' word for a call that ended without signalling."""
        mark = ((int(Attribute.PROPRIETARY), b"StreamVerse"),)
        return self.x2(
            b'{"event":"session-end","code":486}',
            correlation=correlation,
            form=PayloadFormat.PROPRIETARY,
            direction=PayloadDirection.NOT_APPLICABLE,
            attributes=mark,
        )

    def _next(self, kind: int) -> int:
        number = self.numbers[kind]
        self.numbers[kind] += 1
        return number

    def _at_ns(self) -> int:
        self.at_ms += 1
        return self.at_ms * 1_000_000


def pdus(*octets: bytes) -> Pdus:
    return Decoder().read(b"".join(octets))


@dataclass
class Staged:
    staged: list[bytes]

    def stage(self, octets: bytes) -> int:
        self.staged.append(octets)
        SEEN.handed_over.append(octets)
        return len(self.staged) - 1


class Bench:
    """A mediator over a state on disk; what it stages is read back, by label."""

    def __init__(self, path: Path, clock: Clock | None = None, rules: Rules | None = None) -> None:
        self.path = path
        self.clock = clock or VirtualClock(float(START))
        self.rules = rules
        self.staged: dict[str, list[bytes]] = defaultdict(list)
        self.known: dict[UUID, DestinationDetails] = {}
        self.products = Products()
        self.open()

    def open(self) -> None:
        with SecretKey(KEY) as key:
            self.state = State(self.path / "state", key)
        counters = Counters(self.state, slots_of(self.state))
        self.tables = Tables(
            Sessions(self.state, counters, self.clock.monotonic()),
            Sources(self.state, counters),
            Numbers(self.state, counters),
            counters,
        )
        self.alarms = Alarms(self.state, self.clock)
        self.mediator = Mediator(
            self.products.of, self.tables, self._stage_of, alarms=self.alarms, clock=self.clock, rules=self.rules
        )

    def _stage_of(self, label: str) -> Staged:
        return Staged(self.staged[label])

    def commit(self) -> None:
        rows: dict[str, bytes | None] = {}
        for table in (self.tables.sessions, self.tables.sources, self.tables.numbers, self.alarms):
            rows |= table.collect()
        self.state.commit(rows, self.tables.counters.take())

    def again(self) -> None:
        """As after a crash: what was not committed is forgotten."""
        self.state.close()
        self.open()
        for details in list(self.products.tasks.values()):
            self.equip(details)

    def reach(self, *destinations: DestinationDetails) -> None:
        self.known |= {one.did: one for one in destinations}

    def equip(self, details: TaskDetails) -> None:
        products = products_of(details, self.known)
        self.products.put(details, products)
        self.mediator.strip(details.xid, forget=False)
        self.mediator.streams.equip(Outlet(product, Secrets(product.settings, START)) for product in products)

    def take(self, *octets: bytes, peer: str = "pop1") -> None:
        self.mediator.take(peer, pdus(*octets))

    def iri(self, did: UUID) -> list[PsPdu]:
        return [decode(octets) for octets in self.staged[f"{did}/1"]]

    def cc(self, did: UUID) -> list[PsPdu]:
        return [decode(octets) for octets in self.staged[f"{did}/2"]]


def with_settings(**changed: object) -> HandoverSettings:
    return replace(SETTINGS, **changed)  # type: ignore[arg-type]


CALL = (
    sip("INVITE", "1 INVITE", body="v=0\r\nm=audio 4000 RTP/AVP 0\r\n"),
    sip("180 Ringing", "1 INVITE", "ab"),
    sip("200 OK", "1 INVITE", "ab", body="v=0\r\nm=audio 5000 RTP/AVP 0\r\n"),
    sip("ACK", "1 ACK", "ab"),
    sip("BYE", "2 BYE", "ab"),
    sip("200 OK", "2 BYE", "ab"),
)
