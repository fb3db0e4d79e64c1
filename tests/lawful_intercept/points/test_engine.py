"""Tasks and what becomes of them: all that was asked for, for each task by itself, and of nobody else."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.points import losses
from lawful_intercept.x1.ending import ending_extension
from lawful_intercept.x1.exchange import ReportNEIssue, ReportTaskIssue
from lawful_intercept.x1.faults import Code, X1Fault
from lawful_intercept.x1.lost import Lost, lost_of
from lawful_intercept.x1.messages import DeliveryType, Extension, Provisioning, ServiceType
from lawful_intercept.x2x3.attributes import read_target
from lawful_intercept.x2x3.codec import PduType
from nf.contracts.interception import Event, EventKind, Identity, IdentityKind, Loss, LossPlace
from nf.errors import StorageError
from tests.lawful_intercept.points.world import (
    ADDRESS,
    ALICE,
    DID,
    FIRST,
    NUMBER,
    SECOND,
    SUPI,
    World,
    destination,
    task,
)

X2, X3 = PduType.X2, PduType.X3


async def test_a_task_is_orders_and_its_product_carries_its_xid() -> None:
    async with World("sip", "core5g") as world:
        await world.engine.activate(task(NUMBER))
        (order,) = world.points["sip"].orders.values()
        (other,) = world.points["core5g"].orders.values()
        assert (order.identity.value, order.content, order.events) == ("tel:+493055501", "media", True)
        assert (other.identity.value, other.content) == ("msisdn-493055501", "n6")
        await world.tell("sip", *world.points["sip"].about(order))
        (x2,), (x3,) = world.kept.pdus(X2), world.kept.pdus(X3)
        assert x2.xid == x3.xid == FIRST.bytes
        assert read_target(x2.attribute(17) or b"") == NUMBER
        status = world.engine.task_status(FIRST)
        assert status.provisioning is Provisioning.COMPLETE
        assert status.x2_octets == len(world.kept.octets[DID, X2][0])
        assert status.last_intercept is not None


async def test_a_task_by_an_address_is_asked_of_the_5g_core_alone() -> None:
    async with World("sip", "core5g") as world:
        await world.engine.activate(task(ADDRESS))
        assert not world.points["sip"].orders
        (order,) = world.points["core5g"].orders.values()
        assert (order.identity, order.content) == (Identity(IdentityKind.UE_ADDRESS, "10.45.0.2"), "n6")
        await world.tell("core5g", *world.points["core5g"].about(order))
        assert read_target(world.kept.pdus(X3)[0].attribute(17) or b"") == ADDRESS


async def test_numbers_are_expected_before_any_is_taken_and_a_disk_that_is_full_refuses_the_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World("sip") as world:
        await world.engine.activate(task(ALICE, delivery=DeliveryType.X2_ONLY))
        assert world.expected == {(FIRST, "sip", X2)}
        await world.engine.activate(task(ALICE, xid=SECOND, product=UUID(int=9)))
        assert world.expected == {(FIRST, "sip", X2), (UUID(int=9), "sip", X2), (UUID(int=9), "sip", X3)}

        def full(*_: object) -> None:
            raise StorageError("full")

        monkeypatch.setattr(world.engine, "_expect_numbers", full)
        with pytest.raises(X1Fault) as refused:
            await world.engine.activate(task(NUMBER, xid=UUID(int=3)))
        assert refused.value.code == Code.ACTIVATE_FAILED
        assert len(world.points["sip"].orders) == 2


async def test_tasks_on_one_target_are_independent() -> None:
    async with World("sip") as world:
        await world.engine.activate(task(ALICE))
        await world.engine.activate(task(ALICE, xid=SECOND))
        first, second = world.points["sip"].orders.values()
        await world.tell("sip", *world.points["sip"].about(first), *world.points["sip"].about(second))
        assert [pdu.xid for pdu in world.kept.pdus(X2)] == [FIRST.bytes, SECOND.bytes]
        assert [pdu.sequence for pdu in world.kept.pdus(X3)] == [0, 0]
        await world.engine.deactivate(task(ALICE))
        await world.tell("sip", *world.points["sip"].about(first), *world.points["sip"].about(second))
        assert [pdu.xid for pdu in world.kept.pdus(X2)] == [FIRST.bytes, SECOND.bytes, SECOND.bytes]
        assert list(world.points["sip"].orders) == [second.reference]


@pytest.mark.parametrize(
    ("delivery", "events", "content"),
    [(DeliveryType.X2_ONLY, True, ""), (DeliveryType.X3_ONLY, False, "media"), (DeliveryType.X2_AND_X3, True, "media")],
)
async def test_no_more_is_ordered_than_is_delivered(delivery: DeliveryType, events: bool, content: str) -> None:
    async with World("sip") as world:
        await world.engine.activate(task(delivery=delivery))
        (order,) = world.points["sip"].orders.values()
        assert (order.events, order.content) == (events, content)


async def test_each_destination_gets_its_kind() -> None:
    async with World("sip") as world:
        other = UUID(int=101)
        await world.engine.put_destination(destination(delivery=DeliveryType.X2_ONLY))
        await world.engine.put_destination(destination(other, DeliveryType.X3_ONLY))
        await world.engine.activate(task(destinations=(DID, other)))
        (order,) = world.points["sip"].orders.values()
        await world.tell("sip", *world.points["sip"].about(order))
        assert {key: len(value) for key, value in world.kept.octets.items()} == {(DID, X2): 1, (other, X3): 1}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"targets": (ALICE, TargetIdentifier("ipv4Address", "192.0.2.1"))}, Code.TARGET_TYPE),
        ({"targets": (SUPI,)}, Code.TARGET_TYPE),
        ({"services": (ServiceType.DATA,)}, Code.SERVICE_TYPE),
        ({"services": (ServiceType.VOICE, ServiceType.RCS)}, Code.SERVICE_TYPE),
        ({"extensions": (Extension("3GPP", (b"<x/>",)),)}, Code.COMBINATION),
    ],
)
async def test_what_cannot_be_done_whole_is_refused_whole(given: dict[str, object], code: Code) -> None:
    async with World("sip") as world:
        with pytest.raises(X1Fault) as refused:
            await world.engine.activate(task(**given))  # type: ignore[arg-type]
        assert refused.value.code == code
        assert world.points["sip"].calls == ["copies to 192.0.2.77"]


async def test_a_service_narrows_to_the_point_that_sees_it() -> None:
    async with World("sip", "core5g") as world:
        await world.engine.activate(task(NUMBER, services=(ServiceType.VOICE,)))
        assert len(world.points["sip"].orders) == 1
        assert not world.points["core5g"].orders


async def test_content_that_is_not_copied_here_is_refused() -> None:
    async with World("sip", content=False) as world:
        with pytest.raises(X1Fault):
            await world.engine.activate(task())
        await world.engine.activate(task(delivery=DeliveryType.X2_ONLY))
        assert len(world.points["sip"].orders) == 1


async def test_what_a_point_refuses_is_taken_back_everywhere() -> None:
    async with World("sip", "core5g") as world:
        world.points["core5g"].refuses.add("msisdn-493055501")
        with pytest.raises(X1Fault) as refused:
            await world.engine.activate(task(ALICE, NUMBER))
        assert refused.value.code == Code.TARGET_TYPE
        assert not world.points["sip"].orders
        assert not world.points["core5g"].orders
        assert not world.engine._by_reference
        world.points["core5g"].refuses.clear()
        await world.engine.activate(task(ALICE, NUMBER))
        assert len(world.points["sip"].orders) == 2


async def test_a_change_leaves_alone_what_stays() -> None:
    async with World("sip") as world:
        before, after = task(ALICE), task(ALICE, NUMBER)
        await world.engine.activate(before)
        (kept,) = world.points["sip"].orders.values()
        await world.engine.modify(before, after)
        first, second = world.points["sip"].orders
        assert world.points["sip"].calls[1:] == [f"+{first}", f"+{second}"]
        await world.engine.modify(after, task(NUMBER))
        assert world.points["sip"].calls[1:] == [f"+{first}", f"+{second}", f"-{first}"]
        assert kept.reference not in world.points["sip"].orders
        narrower = task(NUMBER, delivery=DeliveryType.X2_ONLY)
        await world.engine.modify(task(NUMBER), narrower)
        (order,) = world.points["sip"].orders.values()
        assert (order.reference, order.content) == (second, "")


async def test_a_change_that_is_refused_changes_nothing() -> None:
    async with World("sip") as world:
        before = task(ALICE)
        await world.engine.activate(before)
        world.points["sip"].refuses.add("tel:+493055501")
        orders = dict(world.points["sip"].orders)
        with pytest.raises(X1Fault):
            await world.engine.modify(before, task(ALICE, NUMBER, delivery=DeliveryType.X2_ONLY))
        assert world.points["sip"].orders == orders
        (order,) = orders.values()
        await world.tell("sip", *world.points["sip"].about(order))
        assert len(world.kept.pdus(X2)) == len(world.kept.pdus(X3)) == 1


async def test_orders_that_a_point_has_kept_stand_and_others_end() -> None:
    async with World("sip") as first:
        await first.engine.activate(task(ALICE))
        await first.engine.activate(task(NUMBER, xid=SECOND))
        kept = dict(first.points["sip"].orders)
    async with World("sip", started=False) as again:
        point = again.points["sip"]
        point.kept_for, point.orders = "word", dict(kept)
        await again.engine.activate(task(ALICE))
        again.start()
        await again.until_up("sip")
        stays, goes = kept
        assert point.calls == ["copies to 192.0.2.77", f"-{goes}"]
        assert point.settled == 1
        assert again.engine.task_status(FIRST).provisioning is Provisioning.COMPLETE
        await again.tell("sip", *point.about(kept[stays]))
        assert [pdu.xid for pdu in again.kept.pdus(X2)] == [FIRST.bytes]


async def test_where_copies_come_in_is_said_whether_anybody_is_a_target_or_not() -> None:
    async with World("sip", "core5g") as world:
        assert world.points["sip"].calls == ["copies to 192.0.2.77"]
        assert world.points["core5g"].calls == []


async def test_an_order_ends_when_its_task_does() -> None:
    async with World("sip") as world:
        end = datetime(2030, 1, 1, tzinfo=UTC)
        await world.engine.activate(task(ALICE, extensions=(ending_extension(end),)))
        (order,) = world.points["sip"].orders.values()
        assert order.until == end.timestamp()
        assert order.over(end.timestamp())
        assert not order.over(end.timestamp() - 0.001)


async def test_a_point_that_comes_back_is_given_all_orders_and_the_admf_hears_of_it() -> None:
    async with World("sip", "core5g") as world:
        await world.engine.activate(task(ALICE))
        await world.engine.activate(task(SUPI, xid=SECOND))
        world.losses.reports(0.0)
        world.points["sip"].go()
        await world.until_up("sip", up=False)
        assert world.engine.task_status(FIRST).provisioning is Provisioning.AWAITING
        assert world.engine.task_status(SECOND).provisioning is Provisioning.COMPLETE
        assert world.engine.status().faults
        told = world.losses.reports(1.0)
        assert {report.xid for report in told if isinstance(report, ReportTaskIssue)} == {FIRST}
        await world.engine.activate(task(NUMBER, xid=UUID(int=3)))
        world.points["sip"].away = False
        await world.until_up("sip")
        assert {order.identity.value for order in world.points["sip"].orders.values()} == {
            "sip:alice@example.net",
            "tel:+493055501",
        }
        assert world.engine.task_status(FIRST).provisioning is Provisioning.COMPLETE
        assert not world.engine.status().faults
        cleared = world.losses.reports(2.0)
        assert {report.code for report in cleared} >= {Code.FAULT_CLEARED}
        assert any(isinstance(report, ReportNEIssue) for report in cleared)


async def test_a_point_that_takes_an_order_no_more_is_a_fault_of_the_task() -> None:
    async with World("sip") as world:
        await world.engine.activate(task(ALICE))
        world.points["sip"].refuses.add(ALICE.value)
        world.points["sip"].go()
        await world.until_up("sip", up=False)
        world.points["sip"].away = False
        await world.until_up("sip")
        status = world.engine.task_status(FIRST)
        assert [fault.code for fault in status.faults] == [Code.TARGET_TYPE]
        assert any(losses.REFUSED in (report.text or "") for report in world.losses.reports(1.0))


async def test_no_loss_is_silent() -> None:
    async with World("sip") as world:
        await world.engine.activate(task(ALICE))
        (order,) = world.points["sip"].orders.values()
        await world.tell(
            "sip",
            Loss(order.reference, LossPlace.KERNEL, 1.0, copies=5),
            Loss(order.reference, LossPlace.QUEUE, 1.0, events=2, copies=3),
            Loss(order.reference, LossPlace.POINT, 1.0, events=None),
            Event(order.reference, EventKind.MESSAGE, 1.0, 0, 7, (), {"cut": 12_000}, b"x"),
        )
        world.kept.full.add(DID)
        await world.tell("sip", *world.points["sip"].about(order))
        reports = [one for one in world.losses.reports(1.0) if isinstance(one, ReportTaskIssue)]
        assert {(lost_of(one.extensions) or Lost()) for one in reports} == {
            Lost(cc=5),
            Lost(2, 3),
            Lost(uncounted=True),
            Lost(),
            Lost(1, 1),
        }
        assert {report.text for report in reports} == {
            "copies did not fit the kernel's buffer: 5 packets",
            "what was observed was not taken in time: 2 events, 3 packets",
            "what passed could not be observed: an unknown number",
            "messages were longer than can be observed, and are cut: 1 events",
            "what was observed did not fit the spool: 1 events, 1 packets",
        }


async def test_what_is_lost_is_missing_by_its_number() -> None:
    async with World("sip") as world:
        await world.engine.activate(task(ALICE, product=SECOND))
        (order,) = world.points["sip"].orders.values()
        about = world.points["sip"].about(order)
        await world.tell("sip", *about, Loss(order.reference, LossPlace.QUEUE, 1.0, events=2, copies=3), *about)
        assert [pdu.sequence for pdu in world.kept.pdus(X2)] == [0, 3]
        assert [pdu.sequence for pdu in world.kept.pdus(X3)] == [0, 4]
        await world.tell("sip", Loss(order.reference, LossPlace.POINT, 1.0, copies=None), *about)
        assert world.kept.pdus(X2)[-1].sequence == 4
        assert world.kept.pdus(X3)[-1].sequence == 6
        for up in (False, True):  # what was on the way nobody can count
            world.points["sip"].away = not up
            if not up:
                world.points["sip"].go()
            await world.until_up("sip", up=up)
        await world.tell("sip", *about)
        assert world.kept.pdus(X2)[-1].sequence == 6
        assert world.kept.pdus(X3)[-1].sequence == 8


async def test_what_is_too_large_for_a_pdu_is_told() -> None:
    async with World("sip") as world:
        await world.engine.activate(task(ALICE))
        (order,) = world.points["sip"].orders.values()
        await world.tell("sip", *world.points["sip"].about(order, bytes(70_000)))
        assert [report.text for report in world.losses.reports(1.0)] == [f"{losses.UNWRITABLE}: 1 events, 1 packets"]


async def test_products_and_correlations_of_x1_are_used() -> None:
    async with World("core5g") as world:
        await world.engine.activate(task(SUPI, product=SECOND, correlation=77))
        (order,) = world.points["core5g"].orders.values()
        await world.tell("core5g", *world.points["core5g"].about(order))
        (pdu,) = world.kept.pdus(X3)
        assert (pdu.xid, pdu.correlation) == (SECOND.bytes, 77)
