"""From warrants to tasks: to every element that can match, complete, or not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address
from uuid import UUID

import pytest

from lawful_intercept.administration import warrants
from lawful_intercept.administration.agencies import Agency
from lawful_intercept.administration.elements import ElementSettings, Kind
from lawful_intercept.administration.tasking import Site, plan, require_own_key, tasks_of
from lawful_intercept.administration.warrants import Scope, Service
from lawful_intercept.identifiers import address_of
from lawful_intercept.x1 import codec
from lawful_intercept.x1.exchange import ActivateTask, CreateDestination, Request
from lawful_intercept.x1.extensions import handover_of
from lawful_intercept.x1.messages import DeliveryType, HandoverType, Header, ServiceType
from nf.errors import InputError, RefusedError
from tests.support.administration import (
    ADDRESS,
    AES,
    HOUR,
    IMSI,
    MDF1,
    NOON,
    NUMBER,
    POLICE,
    SECRETS,
    SIP,
    active,
    approved,
    content,
    encrypted,
    site,
)

BOTH = frozenset({Service.VOICE, Service.DATA})
LINGER = timedelta(minutes=10)


def test_each_point_gets_what_it_can_match_and_mediation_all() -> None:
    tasks = tasks_of(active(targets=(SIP, NUMBER, IMSI), services=BOTH), site())
    assert tasks.keys() == {"pop1", "pop2", "mdf1"}
    assert tasks["pop1"].targets == (SIP, NUMBER, IMSI)
    assert tasks["pop2"].targets == (SIP, NUMBER)
    assert tasks["mdf1"].targets == (SIP, NUMBER, IMSI)
    assert len({task.xid for task in tasks.values()}) == 1
    assert tasks["pop1"].services == tasks["pop2"].services == ()


def test_a_point_of_two_services_is_told_which_one_is_ordered() -> None:
    tasks = tasks_of(active(targets=(SIP, NUMBER)), site())
    assert tasks["pop1"].services == (ServiceType.VOICE,)
    assert tasks["pop2"].services == ()


def test_addresses_are_for_points_of_data_and_mediation_knows_them_too() -> None:
    six = address_of("2001:db8:cafe:1::5")
    tasks = tasks_of(active(targets=(ADDRESS, six), services=frozenset({Service.DATA})), site())
    assert tasks.keys() == {"pop1", "mdf1"}
    for task in tasks.values():
        assert task.targets == (ADDRESS, six)


def test_mediation_knows_the_warrant_and_points_do_not() -> None:
    tasks = tasks_of(active(), site())
    (details,) = tasks["mdf1"].mediation
    assert (details.liid, details.start, details.end) == ("NZ-0001", NOON, NOON + HOUR)
    assert details.delivery is HandoverType.HI2_AND_HI3
    assert handover_of(details.extensions) == POLICE.handover
    for name in ("pop1", "pop2"):
        assert tasks[name].mediation == ()
        assert tasks[name].delivery is DeliveryType.X2_AND_X3


@pytest.mark.parametrize(
    ("liid", "name"),
    [("NZ-0001", "NZ-0001"), ("NZ/1", "NZ%2F1"), ("NZ%2F1", "NZ%252F1"), ("..", "%2E."), ("a" * 50, "a" * 50)],
)
def test_each_liid_has_a_payload_key_of_its_own(liid: str, name: str) -> None:
    """Its name is that of one file, and of no other LIID."""
    there = site()
    there = Site(there.elements, {"police": Agency(UUID(int=1), UUID(int=51), encrypted())})
    (details,) = tasks_of(active(liid=liid), there)["mdf1"].mediation
    handover = handover_of(details.extensions)
    assert handover is not None
    assert handover == replace(POLICE.handover, encryption=replace(AES, key=f"file:/etc/nf-li/{name}.key"))


def test_one_payload_key_is_for_one_liid() -> None:
    one_key, keys = encrypted("file:/etc/nf-li/police.key"), encrypted()
    first, second = active(1), approved(2, liid="NZ-0002")
    over = warrants.expire(first, NOON + HOUR)
    require_own_key(one_key, [first, active(3, agency="customs", liid="NZ-0003")], "NZ-0001")
    require_own_key(keys, [first, second])
    require_own_key(POLICE, [first, second])
    for standing, more in (([first, second], ()), ([first], ("NZ-0002",)), ([over], ("NZ-0002",))):
        with pytest.raises(RefusedError, match="more than one LIID"):
            require_own_key(one_key, standing, *more)
    never = warrants.reject(
        warrants.submit(warrants.create(UUID(int=9), UUID(int=9), content(), "anna", NOON), "anna", NOON), "bob", NOON
    )
    require_own_key(one_key, [never], "NZ-0002")


def test_iri_alone() -> None:
    tasks = tasks_of(active(scope=Scope.IRI), site())
    assert {task.delivery for task in tasks.values()} == {DeliveryType.X2_ONLY}
    assert len(tasks["pop1"].destinations) == 1
    assert tasks["mdf1"].mediation[0].delivery is HandoverType.HI2_ONLY


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"targets": (SIP, ADDRESS)}, "can match ipv4Address"),
        ({"targets": (IMSI,)}, "for voice"),
        ({"targets": (SIP,), "services": BOTH}, "for data"),
        ({"targets": (SIP, IMSI)}, "can match supiimsi"),
        ({"agency": "nobody"}, "agency is not known"),
    ],
)
def test_what_cannot_be_done_as_ordered_is_refused(other: dict[str, object], message: str) -> None:
    with pytest.raises(RefusedError, match=message) as caught:
        tasks_of(approved(**other), site())
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


def test_content_that_one_point_cannot_copy_is_refused() -> None:
    deaf = ElementSettings("pop3", Kind.POINT, "https://h/X1/NE", frozenset({Service.VOICE}), content=False)
    with pytest.raises(RefusedError, match="no content can be copied at pop3"):
        tasks_of(approved(), site(deaf))
    assert "pop3" in tasks_of(approved(scope=Scope.IRI), site(deaf))


def test_mediation_that_cannot_be_told() -> None:
    second = ElementSettings(
        "mdf2", Kind.MEDIATION, "https://h/X1/NE", address=IPv4Address("10.0.0.9"), x2_port=1000, x3_port=1000
    )
    with pytest.raises(RefusedError, match="more than one mediation"):
        tasks_of(approved(), site(second))
    points = {name: one for name, one in site().elements.items() if name != "mdf1"}
    with pytest.raises(RefusedError, match="is not there"):
        tasks_of(approved(), Site(points, site().agencies))


def test_the_plan_over_a_life() -> None:
    there = site()
    warrant = approved()
    tasks = lambda at, one: {name: len(two.tasks) for name, two in plan([one], there, at, LINGER).items()}  # noqa: E731
    assert tasks(NOON, warrant) == {"pop1": 0, "pop2": 0, "mdf1": 0}
    begun = warrants.activate(warrant, NOON)
    assert tasks(NOON, begun) == {"pop1": 1, "pop2": 1, "mdf1": 1}
    assert tasks(NOON + HOUR, begun) == {"pop1": 0, "pop2": 0, "mdf1": 1}  # over, even where nobody could write it down
    over = warrants.expire(begun, NOON + HOUR)
    assert tasks(NOON + HOUR, over) == {"pop1": 0, "pop2": 0, "mdf1": 1}
    assert tasks(NOON + HOUR + LINGER, over) == {"pop1": 0, "pop2": 0, "mdf1": 0}


def test_a_revocation_moves_the_end_at_mediation() -> None:
    revoked = warrants.revoke(active(), "anna", NOON + HOUR / 2)
    wanted = plan([revoked], site(), NOON + HOUR / 2, LINGER)
    assert wanted["pop1"].tasks == {}
    (task,) = wanted["mdf1"].tasks.values()
    assert task.mediation[0].end == NOON + HOUR / 2
    never = warrants.revoke(approved(), "anna", NOON)
    assert plan([never], site(), NOON, LINGER)["mdf1"].tasks == {}


def test_destinations_do_not_tell_whether_there_is_a_warrant() -> None:
    quiet, busy = plan([], site(), NOON, LINGER), plan([active()], site(), NOON, LINGER)
    assert {name: one.destinations for name, one in quiet.items()} == {n: one.destinations for n, one in busy.items()}
    assert len(quiet["pop1"].destinations) == 2
    assert len(quiet["mdf1"].destinations) == 2


def test_two_warrants_of_two_agencies_are_two_tasks() -> None:
    both = [active(1), active(2, agency="customs", liid="NZ-0002")]
    wanted = plan(both, site(), NOON, LINGER)
    assert {name: len(one.tasks) for name, one in wanted.items()} == {"pop1": 2, "pop2": 2, "mdf1": 2}


def test_x1_can_say_all_of_it() -> None:
    wanted = plan([active(targets=(SIP, NUMBER, IMSI), services=BOTH)], site(), NOON, LINGER)
    header = Header("admf1", "ne1", NOON, active().xid)
    for one in wanted.values():
        bodies = [CreateDestination(d) for d in one.destinations.values()]
        requests = [Request(header, body) for body in (*bodies, *map(ActivateTask, one.tasks.values()))]
        assert list(codec.decode_requests(codec.encode_requests(requests))) == requests


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "http://h/X1/NE"},
        {"services": frozenset()},
        {"forms": frozenset({"nothing"})},
        {"name": "Not A Name"},
        {"kind": Kind.MEDIATION},
    ],
)
def test_elements_that_are_none(fields: dict[str, object]) -> None:
    good = {"name": "pop9", "kind": Kind.POINT, "url": "https://h/X1/NE", "services": frozenset({Service.VOICE})}
    with pytest.raises(InputError):
        ElementSettings(**{**good, **fields})  # type: ignore[arg-type]


def test_one_port_for_x2_and_x3_is_one_destination() -> None:
    one = site().elements["mdf1"]
    assert [each.delivery for each in one.destinations] == [DeliveryType.X2_ONLY, DeliveryType.X3_ONLY]
    same = type(one)(MDF1, one.x2_did, one.x2_did)
    assert [each.delivery for each in same.destinations] == [DeliveryType.X2_AND_X3]
