"""Spools, journal and delivery with real sockets and certificates; agencies that are away, slow, silent or others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lawful_intercept.configuration import TlsFiles
from lawful_intercept.handover.decoder import PsPdu, Tri, decode
from lawful_intercept.handover.ps_pdu import CcTemplate, IriTemplate
from lawful_intercept.keys import SecretKey
from lawful_intercept.mediation.agencies import Agencies
from lawful_intercept.mediation.alarms import Alarms, Code
from lawful_intercept.mediation.correlation import Counters, Numbers, slots_of
from lawful_intercept.mediation.delivery import Pace
from lawful_intercept.mediation.journal import Journal
from lawful_intercept.mediation.products import Product
from lawful_intercept.mediation.settings import AgencyLink, SpoolSettings
from lawful_intercept.mediation.state import State
from lawful_intercept.x1.faults import X1Fault
from lawful_intercept.x1.messages import DestinationDetails
from nf.clock import RealClock
from tests.lawful_intercept.mediation.agency import Agency, Certificates, agency_context
from tests.lawful_intercept.mediation.world import KEY, START, destination, rtp, with_settings

PACE = Pace(first_s=0.01, longest_s=0.1, answer_s=0.5, look_s=0.01)


class House:
    """Journal and agencies of one process."""

    def __init__(self, path: Path, links: tuple[AgencyLink, ...], spools: SpoolSettings) -> None:
        self.path, self.links, self.spools = path, links, spools

    async def start(self, pace: Pace = PACE) -> None:
        clock = RealClock()
        self.key = SecretKey(KEY)
        self.state = State(self.path / "state", self.key)
        counters = Counters(self.state, slots_of(self.state))
        numbers = Numbers(self.state, counters)
        self.alarms = Alarms(self.state, clock)
        self.journal = Journal(self.state, counters, self._rows, alarms=self.alarms, clock=clock)
        self.agencies = Agencies(
            self.path,
            self.key,
            self.state,
            journal=self.journal,
            numbers=numbers,
            alarms=self.alarms,
            clock=clock,
            links=self.links,
            spools=self.spools,
            pace=pace,
            plain=True,
        )
        self._collectors = [numbers.collect, self.alarms.collect, self.agencies.collect]
        self._running = asyncio.create_task(self.journal.run())

    def _rows(self) -> dict[str, bytes | None]:
        return {name: value for one in self._collectors for name, value in one().items()}

    async def stop(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self.agencies.close()
        self.state.close()
        self.key.wipe()

    async def until(self, good: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not good():  # noqa: ASYNC110 - nobody tells of all that is waited for
                await asyncio.sleep(0.01)

    def put(self, details: DestinationDetails, *numbers: int, kind: int = 2, cin: int = 5) -> None:
        from lawful_intercept.mediation.products import targets_of

        settings = targets_of(details)[0].settings
        product = Product(details.did, "LIID-1", details.did, targets_of(details)[0].kind, settings)
        for number in numbers:
            if kind == 2:
                octets = CcTemplate(product.header(), cin).encode(number, START * 10**9, 0, rtp(number % 65536))
            else:
                octets = IriTemplate(product.header(), cin).sip(
                    number, START * 10**9, 3, "192.0.2.1", "192.0.2.2", b"x"
                )
            self.journal.stage_of(f"{details.did}/{kind}").stage(octets)

    def waiting(self, details: DestinationDetails) -> int:
        return sum(self.agencies.waiting(f"{details.did}/{kind}") for kind in (1, 2))


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


@pytest.fixture
def link(certificates: Certificates) -> AgencyLink:
    made = certificates.issue("mdf")
    files = TlsFiles(certificate=made.certificate, key=made.key, authority=made.authority)
    return AgencyLink(address="127.0.0.1", domain=certificates.domain, peer="lemf", tls=files)


@pytest.fixture
async def house(tmp_path: Path, link: AgencyLink) -> AsyncIterator[House]:
    (tmp_path / "mdf").mkdir(mode=0o700)
    made = House(tmp_path / "mdf", (link,), SpoolSettings(iri_octets=1 << 20, cc_octets=4 << 20))
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def lemf(certificates: Certificates) -> AsyncIterator[Agency]:
    made = Agency(agency_context(certificates))
    await made.start()
    yield made
    await made.stop()


def sequences(agency: Agency, kind: str = "cc", cin: int = 5) -> list[int]:
    return list(agency.streams.get((b"LIID-1", cin, kind), {}))


async def test_in_order_and_once(house: House, lemf: Agency) -> None:
    there = destination(port=lemf.port)
    await house.agencies.put(there)
    house.put(there, *range(700))
    house.put(there, *range(5), kind=1)
    await house.journal.durable()
    await lemf.has(705)
    assert sequences(lemf) == list(range(700))
    assert sequences(lemf, "iri") == list(range(5))
    assert len(lemf.connections) == 2  # HI2 and HI3 have one each
    await house.until(lambda: not house.waiting(there))  # the kernel says that it has arrived
    assert not house.alarms.standing()


async def test_an_agency_that_goes_and_comes_back(house: House, lemf: Agency) -> None:
    there = destination(port=lemf.port)
    await house.agencies.put(there)
    house.put(there, *range(100))
    await house.journal.durable()
    await lemf.has(100)
    await lemf.stop()
    house.put(there, *range(100, 300))
    await house.journal.durable()
    await house.until(lambda: bool(house.alarms.standing(Code.AWAY)))
    assert house.waiting(there) >= 200
    await lemf.start()
    await lemf.until(lambda: len(sequences(lemf)) == 300)
    assert sequences(lemf) == list(range(300))
    await house.until(lambda: not house.waiting(there) and not house.alarms.standing())


async def test_what_was_in_flight_is_sent_again_from_a_whole_pdu(house: House, certificates: Certificates) -> None:
    """It dies with full buffers: the other side decodes each connection from its first octet on."""
    lemf = Agency(agency_context(certificates), acknowledges=True)
    await lemf.start()
    there = destination(with_settings(acknowledgements=True), port=lemf.port)
    await house.agencies.put(there)
    await lemf.until(lambda: sum(pdu.tri is Tri.OPTION_COMPLETE for one in lemf.connections for pdu in one) == 2)
    lemf.reading.clear()
    for start in range(0, 8000, 1000):
        house.put(there, *range(start, start + 1000))
        await house.journal.durable()
    await lemf.stop()
    lemf.reading.set()
    await lemf.start()
    await lemf.until(lambda: len(sequences(lemf)) == 8000)
    assert sequences(lemf) == list(range(8000))
    await lemf.stop()


async def test_acknowledgements(house: House, certificates: Certificates) -> None:
    lemf = Agency(agency_context(certificates), acknowledges=True)
    await lemf.start()
    there = destination(with_settings(acknowledgements=True), port=lemf.port)
    await house.agencies.put(there)
    house.put(there, *range(50))
    await house.journal.durable()
    await lemf.has(50)
    await house.until(lambda: not house.waiting(there))
    kinds = [pdu.tri for connection in lemf.connections for pdu in connection if pdu.tri is not None]
    assert kinds.count(Tri.OPTION_REQUEST) == kinds.count(Tri.OPTION_COMPLETE) == 2
    lemf.answers = False
    house.put(there, *range(50, 60))
    await house.journal.durable()
    await lemf.has(60)
    assert house.waiting(there) == 10  # it has arrived, and nobody says that it is kept
    await lemf.stop()
    lemf.answers = True
    await lemf.start()
    await house.until(lambda: not house.waiting(there))
    assert sequences(lemf) == list(range(60))
    assert len(lemf.pdus) == 70
    await lemf.stop()


async def test_an_agency_that_declines_acknowledgements(house: House, lemf: Agency) -> None:
    there = destination(with_settings(acknowledgements=True), port=lemf.port)
    await house.agencies.put(there)
    house.put(there, *range(50))
    await house.journal.durable()
    await house.until(lambda: len(lemf.pdus) == 50 and not house.waiting(there))


async def test_a_slow_agency_keeps_nobody_waiting(house: House, lemf: Agency, certificates: Certificates) -> None:
    slow = Agency(agency_context(certificates, "other"), holds=8192)
    await slow.start()
    slow.reading.clear()
    house.agencies._links[0].__dict__["peer"] = ""
    here, there = destination(port=lemf.port), destination(port=slow.port)
    await house.agencies.put(here)
    await house.agencies.put(there)
    for start in range(0, 4000, 500):  # more than sockets hold
        house.put(here, *range(start, start + 500))
        house.put(there, *range(start, start + 500))
        await house.journal.durable()
    await lemf.has(4000)
    assert slow.pdus == []
    assert house.waiting(there) > 0
    slow.reading.set()
    await slow.has(4000)
    assert sequences(slow) == list(range(4000))
    await slow.stop()


class Withholding(Agency):
    """Acknowledges nothing until it may; `order`: what came here and at others of the same list, IRI or CC."""

    def __init__(self, certificates: Certificates, order: list[str]) -> None:
        super().__init__(agency_context(certificates), acknowledges=True)
        self.may = asyncio.Event()
        self.asked = asyncio.Event()
        self.order = order

    async def _take(self, octets: bytes, mine: list[PsPdu], writer: asyncio.StreamWriter) -> None:
        pdu = decode(octets)
        if pdu.tri is Tri.ACKNOWLEDGEMENT_REQUEST:
            self.asked.set()
            await self.may.wait()
        elif pdu.iri or pdu.cc:
            self.order.append("iri" if pdu.iri else "cc")
        await super()._take(octets, mine, writer)


def agreed(agency: Agency) -> int:
    return sum(pdu.tri is Tri.OPTION_COMPLETE for one in agency.connections for pdu in one)


@pytest.fixture
async def apart(house: House, certificates: Certificates) -> AsyncIterator[tuple[Withholding, Withholding]]:
    """HI2 and HI3 of one agency, each on a port of its own; HI2 acknowledges nothing yet."""
    order: list[str] = []
    hi2, hi3 = Withholding(certificates, order), Withholding(certificates, order)
    hi3.may.set()
    for one in (hi2, hi3):
        await one.start()
    await house.stop()
    yield hi2, hi3
    for one in (hi2, hi3):
        await one.stop()


def of_both(hi2: Agency, hi3: Agency) -> DestinationDetails:
    settings = with_settings(acknowledgements=True, hi2_port=hi2.port, hi3_port=hi3.port)
    return destination(settings, port=hi2.port)


async def fill(house: House, there: DestinationDetails) -> None:
    """In groups, each of which is sent by itself."""
    for start in range(0, 100, 10):
        house.put(there, *range(start, start + 10), kind=1)
        house.put(there, *range(start, start + 10))
        await house.journal.durable()


async def test_iri_go_before_cc(house: House, apart: tuple[Withholding, Withholding]) -> None:
    """They were both away; HI2 is found by HI3, and slow: CC wait for the last of the IRI."""
    hi2, hi3 = apart
    await house.start(Pace(first_s=36_000, longest_s=36_000, answer_s=30.0, yield_s=60.0, batch=2048, window=1))
    there = of_both(hi2, hi3)
    for one in apart:
        await one.stop()
    await house.agencies.put(there)
    deliveries = [one.delivery for one in house.agencies._running.values()]
    for delivery in deliveries:
        await delivery.caught_up.wait()  # the first attempt has failed
    await fill(house, there)
    for one in apart:
        await one.start()
    deliveries[1].hurry()
    async with asyncio.timeout(30):
        await hi2.asked.wait()
    await hi3.until(lambda: agreed(hi3) == 1)
    assert 0 < hi2.order.count("iri") < 100
    hi2.may.set()
    await hi3.has(100)
    assert hi2.order == ["iri"] * 100 + ["cc"] * 100


async def test_cc_wait_no_longer_than_is_reasonable(house: House, apart: tuple[Withholding, Withholding]) -> None:
    hi2, hi3 = apart
    await house.start(replace(PACE, answer_s=30.0, yield_s=0.05, batch=2048, window=1))
    there = of_both(hi2, hi3)
    await house.agencies.put(there)
    await fill(house, there)
    await hi3.has(100)
    assert 0 < hi2.order.count("iri") < 100
    hi2.may.set()
    await hi2.has(100)


async def test_cc_do_not_wait_for_who_is_away(house: House, apart: tuple[Withholding, Withholding]) -> None:
    hi2, hi3 = apart
    await hi2.stop()
    await house.start(replace(PACE, answer_s=30.0, yield_s=3600.0))
    there = of_both(hi2, hi3)
    await house.agencies.put(there)
    await fill(house, there)
    await hi3.has(100)
    assert hi2.order == ["cc"] * 100


async def test_a_bound_is_hit(house: House, lemf: Agency) -> None:
    """What is oldest gives way, is counted and told; IRI have room of their own."""
    house.agencies._spools = SpoolSettings(iri_octets=1 << 20, cc_octets=1 << 20)
    dropped: list[tuple[str, int]] = []
    house.journal.dropped = lambda label, count: dropped.append((label, count))
    there = destination(port=lemf.port)
    await lemf.stop()
    await house.agencies.put(there)
    for start in range(0, 8000, 1000):
        house.put(there, *range(start, start + 1000))
        house.put(there, start // 1000, kind=1)
        await house.journal.durable()
    assert dropped
    assert {label for label, _ in dropped} == {f"{there.did}/2"}
    assert Code.DROPPED in {one.code for one in house.alarms.all()}
    await lemf.start()
    gone = sum(count for _, count in dropped)
    await lemf.has(8000 - gone + 8)
    assert sequences(lemf) == list(range(gone, 8000))
    assert sequences(lemf, "iri") == list(range(8))


async def test_a_changed_octet_of_a_spool_is_found(house: House, lemf: Agency) -> None:
    """What it was in is lost, and told; the rest is delivered."""
    lost: list[int] = []
    house.agencies.lost = lambda _label, count: lost.append(count)
    there = destination(port=lemf.port)
    await lemf.stop()
    await house.agencies.put(there)
    for start in range(0, 300, 100):
        house.put(there, *range(start, start + 100))
        await house.journal.durable()
    (segment,) = [
        path for path in (house.path / "spools").rglob("*") if path.is_file() and path.stat().st_size > 60_000
    ]
    with segment.open("r+b") as file:
        file.seek(segment.stat().st_size // 2)
        (octet,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([octet ^ 1]))
    await lemf.start()
    await lemf.has(200)
    assert sequences(lemf) == [*range(100), *range(200, 300)]
    assert lost == [100]
    assert Code.SPOOL in {one.code for one in house.alarms.all()}
    await house.until(lambda: not house.waiting(there))


async def test_after_a_restart_the_rest_is_delivered(house: House, lemf: Agency) -> None:
    there = destination(port=lemf.port)
    await house.agencies.put(there)
    house.put(there, *range(100))
    await house.journal.durable()
    await lemf.has(100)
    await house.until(lambda: not house.waiting(there))
    await lemf.stop()
    house.put(there, *range(100, 200))
    await house.journal.durable()
    # What a crash leaves behind: in the spool, and in no transaction of the state.
    house._running.cancel()
    house.put(there, *range(200, 210))
    outbox = house.journal.outboxes[f"{there.did}/2"]
    outbox.spool.append_many(outbox.staged)
    await house.stop()
    await house.start()
    await lemf.start()
    await house.agencies.put(there)
    house.put(there, *range(200, 210))
    await house.journal.durable()
    await lemf.has(210)
    await house.until(lambda: not house.waiting(there))
    assert sequences(lemf) == list(range(210))
    assert len(lemf.pdus) == 210
    await house.stop()
    await house.start()
    await house.agencies.put(there)
    house.put(there, 210)
    await house.journal.durable()
    await lemf.has(211)
    assert len(lemf.pdus) == 211


async def test_keep_alives(house: House, certificates: Certificates) -> None:
    lemf = Agency(agency_context(certificates))
    await lemf.start()
    there = destination(with_settings(keepalive_s=1), port=lemf.port)
    await house.agencies.put(there)
    await lemf.until(lambda: any(pdu.tri is Tri.KEEP_ALIVE for one in lemf.connections for pdu in one))
    lemf.answers = False
    before = len(lemf.connections)
    await lemf.until(lambda: len(lemf.connections) >= before + 2)  # who does not answer is called anew
    (alive, *_) = [pdu for one in lemf.connections for pdu in one if pdu.tri is Tri.KEEP_ALIVE]
    assert (alive.liid, alive.cin) == (b"-", None)
    await lemf.stop()


async def test_another_than_the_agency_gets_nothing(house: House, certificates: Certificates, tmp_path: Path) -> None:
    named = Agency(agency_context(certificates, "somebody"))
    foreign = Agency(agency_context(Certificates(tmp_path / "foreign")))
    for agency in (named, foreign):
        await agency.start()
        there = destination(port=agency.port)
        await house.agencies.put(there)
        house.put(there, *range(10))
        await house.journal.durable()
        await house.until(lambda did=str(there.did): bool(house.alarms.standing(Code.REFUSED, about=did)))  # type: ignore[misc]
        assert agency.pdus == []
        await agency.stop()


async def test_certificates_are_there_before_anything_is_tasked(house: House) -> None:
    house.agencies._links = ()
    with pytest.raises(X1Fault, match="no good certificates"):
        await house.agencies.put(destination())
    house.agencies._plain = False
    with pytest.raises(X1Fault, match="without TLS"):
        await house.agencies.put(destination(with_settings(tls=False)))


async def test_plain_where_it_is_allowed(house: House) -> None:
    lemf = Agency(None)
    await lemf.start()
    there = destination(with_settings(tls=False), port=lemf.port)
    await house.agencies.put(there)
    house.put(there, *range(10))
    await house.journal.durable()
    await lemf.has(10)
    await house.until(lambda: not house.waiting(there))
    await lemf.stop()


async def test_product_that_waits_keeps_its_destination(house: House) -> None:
    there = destination(port=9)
    await house.agencies.put(there)
    house.put(there, 1)
    await house.journal.durable()
    with pytest.raises(X1Fault, match="product waits"):
        await house.agencies.remove(there.did)
    outbox = house.journal.outboxes[f"{there.did}/2"]
    outbox.confirm(0)
    await house.agencies.remove(there.did)
    assert house.journal.outboxes == {}
    assert list((house.path / "spools").iterdir()) == []
