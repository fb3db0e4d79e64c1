"""An element's tables: X1's rules, what survives a restart, and what ends when nobody is heard."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.keys import new_key
from lawful_intercept.x1 import exchange as e
from lawful_intercept.x1.element import Element, Report
from lawful_intercept.x1.extensions import HandoverSettings, handover_extension
from lawful_intercept.x1.faults import Code, X1Fault
from lawful_intercept.x1.messages import (
    DeliveryType,
    DestinationDetails,
    Extension,
    HandoverType,
    MediationDetails,
    ServiceType,
    SocketAddress,
    TaskDetails,
)
from lawful_intercept.x1.shelf import SealedFile
from nf.clock import VirtualClock
from nf.errors import IntegrityError, StorageError
from tests.lawful_intercept.x1.conftest import Owner

X2, X3, BOTH = DeliveryType.X2_ONLY, DeliveryType.X3_ONLY, DeliveryType.X2_AND_X3
ADDRESS = SocketAddress(ip_address("2001:db8::7"), 4000)
OURS = handover_extension(HandoverSettings("NZ", "NZ", "svnf"))


def destination(delivery: DeliveryType = BOTH) -> DestinationDetails:
    return DestinationDetails(uuid4(), delivery, ADDRESS)


def task(delivery: DeliveryType, *to: DestinationDetails, **more: object) -> TaskDetails:
    targets = (TargetIdentifier("imsi", "001010000000001"),)
    return TaskDetails(uuid4(), targets, delivery, tuple(each.did for each in to), **more)  # type: ignore[arg-type]


class Bench:
    def __init__(self, owner: Owner, **options: object) -> None:
        self.owner = owner
        self.clock = VirtualClock()
        self.reports: list[Report] = []
        known: dict[str, object] = {"mediation": False, "report": self.reports.append}
        self.element = Element(owner, self.clock, **(known | options))  # type: ignore[arg-type]


async def refused(code: int, call: Awaitable[object]) -> None:
    with pytest.raises(X1Fault) as caught:
        await call
    assert caught.value.code == code


@pytest.fixture
def bench(owner: Owner) -> Bench:
    return Bench(owner)


async def test_what_exists_and_what_does_not(bench: Bench) -> None:
    element, there, other = bench.element, destination(), destination()
    await refused(Code.DID_UNKNOWN, element.activate_task(task(BOTH, there)))
    await element.create_destination(there)
    await refused(Code.DID_EXISTS, element.create_destination(there))
    await refused(Code.DID_UNKNOWN, element.modify_destination(other))
    await refused(Code.DID_UNKNOWN, element.remove_destination(other.did))
    first = task(BOTH, there)
    await refused(Code.XID_UNKNOWN, element.modify_task(first))
    await refused(Code.XID_UNKNOWN, element.deactivate_task(first.xid))
    await element.activate_task(first)
    await refused(Code.XID_EXISTS, element.activate_task(first))
    await refused(Code.DESTINATION_IN_USE, element.remove_destination(there.did))
    await refused(Code.DID_UNKNOWN, element.modify_task(replace(first, destinations=(other.did,))))
    with pytest.raises(X1Fault):
        element.task(uuid4())
    with pytest.raises(X1Fault):
        element.destination(uuid4())
    await element.deactivate_task(first.xid)
    await element.remove_destination(there.did)
    assert (bench.owner.active, bench.owner.destinations) == ({}, {})


@pytest.mark.parametrize(
    ("wanted", "there", "good"),
    [
        (BOTH, [BOTH], True),
        (BOTH, [X2, X3], True),
        (BOTH, [X2], False),
        (X2, [X3], False),
        (X2, [BOTH], True),
        (X3, [X2, X3], True),
        (X3, [X2, X2], False),
        (X2, [], False),
    ],
)
async def test_what_is_delivered_has_a_destination(
    bench: Bench, wanted: DeliveryType, there: Iterable[DeliveryType], good: bool
) -> None:
    destinations = [destination(delivery) for delivery in there]
    for each in destinations:
        await bench.element.create_destination(each)
    if good:
        await bench.element.activate_task(task(wanted, *destinations))
    else:
        await refused(Code.DELIVERY_TYPE, bench.element.activate_task(task(wanted, *destinations)))
        assert bench.owner.active == {}


async def test_a_destination_that_is_needed_stays_what_it_is(bench: Bench) -> None:
    there = destination()
    await bench.element.create_destination(there)
    await bench.element.activate_task(task(X3, there))
    await refused(Code.DELIVERY_TYPE, bench.element.modify_destination(replace(there, delivery=X2)))
    moved = replace(there, address=SocketAddress(ip_address("192.0.2.1"), 9))
    await bench.element.modify_destination(moved)
    assert bench.owner.destinations[there.did] == moved == bench.element.destination(there.did).details


async def test_what_is_not_understood_is_not_passed_over(owner: Owner) -> None:
    bench, there = Bench(owner, services={ServiceType.VOICE}), destination()
    await bench.element.create_destination(there)
    voice = task(X2, there, services=(ServiceType.VOICE,))
    await bench.element.activate_task(voice)
    await refused(Code.SERVICE_TYPE, bench.element.activate_task(task(X2, there, services=(ServiceType.DATA,))))
    await refused(Code.COMBINATION, bench.element.activate_task(task(X2, there, extensions=(Extension("3GPP"),))))
    mediation = (MediationDetails("LIID", HandoverType.HI2_ONLY),)
    await refused(Code.COMBINATION, bench.element.activate_task(task(X2, there, mediation=mediation)))
    odd = Extension("StreamVerse", (b"<a></a>",))
    await refused(Code.SYNTAX, bench.element.create_destination(replace(destination(), extensions=(odd,))))


async def test_an_element_of_mediation_wants_to_know_whose_product_it_is(owner: Owner) -> None:
    bench, there, iri = Bench(owner, mediation=True), destination(), destination(X2)
    await bench.element.create_destination(there)
    await bench.element.create_destination(iri)

    def mediated(
        delivery: DeliveryType, *mediation: MediationDetails, to: Iterable[DestinationDetails] = ()
    ) -> TaskDetails:
        return task(delivery, *to, mediation=mediation)

    hi2 = MediationDetails("A", HandoverType.HI2_ONLY, destinations=(iri.did,), extensions=(OURS,))
    both = MediationDetails("B", HandoverType.HI2_AND_HI3, destinations=(there.did,))
    await bench.element.activate_task(mediated(BOTH, hi2, both))
    await bench.element.activate_task(mediated(X2, replace(hi2, destinations=()), to=[iri]))
    for code, bad in [
        (Code.COMBINATION, mediated(BOTH, to=[there])),
        (Code.DELIVERY_TYPE, mediated(X2, both)),
        (Code.DELIVERY_TYPE, mediated(BOTH, replace(both, destinations=(iri.did,)))),
        (Code.DELIVERY_TYPE, mediated(BOTH, replace(both, destinations=()))),
        (Code.DID_UNKNOWN, mediated(BOTH, replace(both, destinations=(uuid4(),)))),
        (Code.COMBINATION, mediated(BOTH, replace(both, extensions=(Extension("Another"),)))),
    ]:
        await refused(code, bench.element.activate_task(bad))
    await refused(Code.DESTINATION_IN_USE, bench.element.remove_destination(iri.did))
    narrowed = task(BOTH, mediation=(hi2,), services=(ServiceType.VOICE,))
    await refused(Code.SERVICE_TYPE, bench.element.activate_task(narrowed))


async def test_all_at_once_only_where_it_is_enabled(owner: Owner) -> None:
    bench = Bench(owner)
    await refused(Code.DEACTIVATE_ALL_DISABLED, bench.element.deactivate_all_tasks())
    await refused(Code.REMOVE_ALL_DISABLED, bench.element.remove_all_destinations())
    bench, there = Bench(owner, bulk=True), destination()
    await bench.element.create_destination(there)
    await bench.element.activate_task(task(X2, there))
    await refused(Code.REMOVE_ALL_IN_USE, bench.element.remove_all_destinations())
    await bench.element.deactivate_all_tasks()
    await bench.element.remove_all_destinations()
    assert (owner.active, owner.destinations) == ({}, {})


async def test_what_the_owner_refuses_has_changed_nothing(bench: Bench) -> None:
    element, there = bench.element, destination()
    bench.owner.fails = X1Fault(Code.TARGET_TYPE)
    await refused(Code.TARGET_TYPE, element.create_destination(there))
    bench.owner.fails = None
    await element.create_destination(there)
    first = task(BOTH, there)
    bench.owner.fails = X1Fault(Code.TARGET_TYPE)
    await refused(Code.TARGET_TYPE, element.activate_task(first))
    assert (element.tasks(), len(element.destinations())) == ([], 1)
    bench.owner.fails = None
    await element.activate_task(first)
    bench.owner.fails = X1Fault(Code.TARGET_TYPE)
    await refused(Code.TARGET_TYPE, element.modify_task(replace(first, delivery=X2)))
    await refused(Code.TARGET_TYPE, element.deactivate_task(first.xid))
    assert element.task(first.xid).details == first


async def test_without_keepalives_the_tasks_end_and_the_admf_is_told(owner: Owner) -> None:
    bench, there = Bench(owner, keepalive_s=60.0), destination()
    await bench.element.create_destination(there)
    watching = asyncio.create_task(bench.element.watch())
    await bench.clock.advance(300)
    assert bench.reports == []
    bench.element.keepalive()
    await bench.element.activate_task(task(BOTH, there))
    for _ in range(5):
        await bench.clock.advance(59)
        bench.element.keepalive()
    assert len(owner.active) == 1
    await bench.clock.advance(61)
    assert owner.active == {}
    assert [report.code for report in bench.reports] == [Code.KEEPALIVES_MISSING]
    await bench.clock.advance(600)
    assert len(bench.reports) == 1
    assert len(bench.element.destinations()) == 1
    watching.cancel()


async def test_an_end_that_fails_is_tried_again(owner: Owner) -> None:
    bench, there = Bench(owner, keepalive_s=60.0), destination()
    await bench.element.create_destination(there)
    await bench.element.activate_task(task(BOTH, there))
    watching = asyncio.create_task(bench.element.watch())
    owner.fails = OSError()
    await bench.clock.advance(61)
    assert [report.code for report in bench.reports] == [Code.DEACTIVATE_ALL_FAILED]
    owner.fails = None
    await bench.clock.advance(10)
    assert owner.active == {}
    assert bench.reports[-1].code == Code.KEEPALIVES_MISSING
    watching.cancel()


async def test_tasks_survive_a_restart(tmp_path: Path) -> None:
    shelf = SealedFile(tmp_path / "x1.tables", new_key())
    first = Bench(Owner(), shelf=shelf)
    await first.element.start()
    assert [report.code for report in first.reports] == [Code.DATABASE_CLEARED]
    there = destination()
    kept, gone = task(BOTH, there), task(X2, there)
    await first.element.create_destination(there)
    for each in (kept, gone):
        await first.element.activate_task(each)
    await first.element.deactivate_task(gone.xid)
    octets = (tmp_path / "x1.tables").read_bytes()
    assert (tmp_path / "x1.tables").stat().st_mode & 0o777 == 0o600
    assert str(kept.xid).encode() not in octets
    assert b"0010100" not in octets
    second = Bench(Owner(), shelf=shelf)
    await second.element.start()
    assert second.reports == []
    assert second.owner.active == {kept.xid: kept}
    assert second.owner.destinations == {there.did: there}
    assert second.owner.told == ["put", "activate"]


@pytest.mark.parametrize("at", [0, 5, 20, -1])
async def test_a_changed_file_is_no_table_and_the_admf_is_told(tmp_path: Path, at: int) -> None:
    path, key = tmp_path / "x1.tables", new_key()
    first = Bench(Owner(), shelf=SealedFile(path, key))
    await first.element.start()
    await first.element.create_destination(destination())
    octets = bytearray(path.read_bytes())
    octets[at] ^= 1
    path.write_bytes(octets)
    with pytest.raises(IntegrityError):
        SealedFile(path, key).load()
    second = Bench(Owner(), shelf=SealedFile(path, key))
    await second.element.start()
    assert [report.code for report in second.reports] == [Code.DATABASE_CLEARED]
    assert second.element.destinations() == []
    assert len(SealedFile(path, key).load() or ()) == 1, "the time of the last keepalive"


async def test_a_file_of_another_name_or_key_does_not_open(tmp_path: Path) -> None:
    key = new_key()
    SealedFile(tmp_path / "a", key).save([b"x"])
    (tmp_path / "a").rename(tmp_path / "b")
    for shelf in (SealedFile(tmp_path / "b", key), SealedFile(tmp_path / "b", new_key())):
        with pytest.raises(IntegrityError):
            shelf.load()


async def test_what_cannot_be_taken_up_is_told_by_its_name(tmp_path: Path) -> None:
    shelf = SealedFile(tmp_path / "x1.tables", new_key())
    first, there = Bench(Owner(), shelf=shelf), destination()
    await first.element.start()
    await first.element.create_destination(there)
    lost = task(BOTH, there)
    await first.element.activate_task(lost)
    second = Bench(Owner(fails=OSError()), shelf=shelf)
    await second.element.start()
    assert [report.code for report in second.reports] == [Code.CREATE_DESTINATION_FAILED, Code.ACTIVATE_FAILED]
    assert isinstance(second.reports[1], e.ReportTaskIssue)
    assert second.reports[1].xid == lost.xid


class FullDisk:
    """A shelf that takes nothing more from `full` on."""

    def __init__(self) -> None:
        self.full = False
        self.records: tuple[bytes, ...] | None = None

    def load(self) -> tuple[bytes, ...] | None:
        return self.records

    def save(self, records: Iterable[bytes]) -> None:
        if self.full:
            raise StorageError("full")
        self.records = tuple(records)

    def clear(self) -> None:
        self.records = None


async def test_a_full_disk_refuses_what_is_new_and_stops_what_ends(owner: Owner) -> None:
    shelf, there = FullDisk(), destination()
    bench = Bench(owner, shelf=shelf)
    await bench.element.create_destination(there)
    first = task(BOTH, there)
    await bench.element.activate_task(first)
    shelf.full = True
    with contextlib.suppress(StorageError):
        await bench.element.activate_task(task(BOTH, there))
    with contextlib.suppress(StorageError):
        await bench.element.modify_task(replace(first, delivery=X2))
    with contextlib.suppress(StorageError):
        await bench.element.create_destination(destination())
    with contextlib.suppress(StorageError):
        await bench.element.modify_destination(replace(there, name="other"))
    assert owner.active == {first.xid: first}
    assert owner.destinations == {there.did: there}
    assert [record.details for record in bench.element.tasks()] == [first]
    await bench.element.deactivate_task(first.xid)
    assert owner.active == {}
    # What cannot be written is removed: after a restart the task does not come back.
    assert shelf.records is None


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("cdmramx"), st.integers(0, 2), st.integers(0, 2)), max_size=25))
async def test_the_owner_holds_what_the_tables_say_whatever_is_asked(steps: list[tuple[str, int, int]]) -> None:
    owner = Owner()
    bench = Bench(owner, shelf=FullDisk())
    destinations = [destination(), destination(X2), destination(X3)]
    tasks = [task(each, *destinations[:2]) for each in (BOTH, X2, X3)]
    calls = {
        "c": lambda n, _: bench.element.create_destination(destinations[n]),
        "d": lambda n, _: bench.element.remove_destination(destinations[n].did),
        "m": lambda n, k: bench.element.modify_destination(replace(destinations[n], delivery=destinations[k].delivery)),
        "a": lambda n, _: bench.element.activate_task(tasks[n]),
        "r": lambda n, k: bench.element.modify_task(replace(tasks[n], destinations=(destinations[k].did,))),
        "x": lambda n, _: bench.element.deactivate_task(tasks[n].xid),
    }
    for what, number, other in steps:
        with contextlib.suppress(X1Fault):
            await calls[what](number, other)
    assert {record.details.xid: record.details for record in bench.element.tasks()} == owner.active
    assert {record.details.did: record.details for record in bench.element.destinations()} == owner.destinations
    assert {did for each in owner.active.values() for did in each.destinations} <= owner.destinations.keys()
