"""What the ADMF plans crosses X1 and is understood by mediation and points, each by its own rules."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from lawful_intercept.administration.tasking import Wanted, plan
from lawful_intercept.administration.warrants import Scope, Service
from lawful_intercept.handover.values import DataType
from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.mediation.products import nanoseconds, products_of, targets_of
from lawful_intercept.points.identities import DEFAULTS, planned
from lawful_intercept.x1 import codec
from lawful_intercept.x1 import exchange as e
from lawful_intercept.x1.messages import DestinationDetails, Header, TaskDetails
from tests.support.administration import HOUR, IMSI, NOON, NUMBER, POLICE, SIP, active, site

BOTH = frozenset({Service.VOICE, Service.DATA})


def crossed(wanted: Wanted) -> tuple[dict[UUID, DestinationDetails], dict[UUID, TaskDetails]]:
    """As the element has it, which was told over X1."""
    bodies: list[e.RequestBody] = [e.CreateDestination(one) for one in wanted.destinations.values()]
    bodies += [e.ActivateTask(one) for one in wanted.tasks.values()]
    header = Header("admf", "element", NOON, uuid4())
    read = codec.decode_requests(codec.encode_requests([e.Request(header, body) for body in bodies]))
    assert [one.body for one in read if isinstance(one, e.Request)] == bodies
    return wanted.destinations, wanted.tasks


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize(
    ("targets", "services"),
    [
        ((SIP,), {Service.VOICE}),
        ((SIP, IMSI), BOTH),
        ((NUMBER,), BOTH),
        ((TargetIdentifier("telUri", "tel:+491700000001"),), {Service.VOICE}),
        ((TargetIdentifier("peiImei", "35693803564380"),), {Service.DATA}),
    ],
)
def test_a_warrant_is_understood_everywhere(
    scope: Scope, targets: tuple[TargetIdentifier, ...], services: frozenset[Service]
) -> None:
    warrant = active(targets=targets, services=frozenset(services), scope=scope)
    wanted = plan([warrant], site(), NOON, timedelta())
    destinations, tasks = crossed(wanted["mdf1"])
    products = products_of(tasks[warrant.xid], destinations)
    kinds = {DataType.IRI} if scope is Scope.IRI else {DataType.IRI, DataType.CC}
    assert {product.kind for product in products} == kinds
    for product in products:
        assert (product.liid, product.settings, product.targets) == ("NZ-0001", POLICE.handover, targets)
        assert (product.start_ns, product.end_ns) == (nanoseconds(NOON), nanoseconds(NOON + HOUR))
        assert product.iri_only is (scope is Scope.IRI)
        assert product.header().liid == b"NZ-0001"
    for destination in destinations.values():
        assert {target.kind for target in targets_of(destination)} == set(DataType)
    for name in ("pop1", "pop2"):
        destinations, tasks = crossed(wanted[name])
        for task in tasks.values():
            assert task.mediation == ()
            assert set(task.destinations) <= destinations.keys()
            assert any(planned(task.targets, DEFAULTS).values())


def test_two_warrants_for_one_target_are_two_products() -> None:
    first, second = active(1), active(2, agency="customs", liid="NZ-0002")
    destinations, tasks = crossed(plan([first, second], site(), NOON, timedelta())["mdf1"])
    found = {product.liid: product.did for task in tasks.values() for product in products_of(task, destinations)}
    assert len(found) == len(set(found.values())) == 2
