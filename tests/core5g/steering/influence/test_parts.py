"""The parts of the API without wire: its bodies, its states, its catalogue."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.steering.influence.api import Allowances
from core5g.steering.influence.catalogue import Catalogue
from core5g.steering.influence.engine import pause_s
from core5g.steering.influence.faults import ApiError
from core5g.steering.influence.resource import TABLE, Input, Resource, State, follow
from core5g.steering.influence.settings import TrafficInfluenceSettings
from core5g.steering.influence.wire import DeviceIntent, Intent, Patch, parse, parse_json, rfc3339
from core5g.steering.n6.documents import Influence
from nf.clock import VirtualClock
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.errors import IntegrityError
from tests.core5g.steering.influence.schema import STATES, check, error_info
from tests.core5g.steering.samples import (
    breakout,
    built,
    central,
    classifier,
    core_data,
    fleet_data,
    lineup_data,
    tls,
    upf,
    with_part,
)
from tests.core5g.steering.test_contract import JSON

APP = "6b29fc40-ca47-1067-b31d-00dd010662da"


def test_the_states_are_those_of_the_definition() -> None:
    assert [state.value for state in State] == STATES


def test_what_is_not_in_the_table_is_an_error_and_deleted_is_the_end() -> None:
    for state in State:
        for entered in Input:
            if (state, entered) in TABLE:
                assert follow(state, entered) is TABLE[state, entered]
            else:
                with pytest.raises(IntegrityError):
                    follow(state, entered)
    assert not any(state is State.DELETED for state, _ in TABLE)
    assert all((state, Input.DELETE) in TABLE for state in State if state not in {State.DELETING, State.DELETED})


@given(st.binary(max_size=300))
def test_any_octets_are_a_body_or_refused(body: bytes) -> None:
    try:
        assert isinstance(parse_json(body), dict)
    except ApiError as error:
        check(error_info(400), error.to_json())


NAMES = ("appId", "apiConsumerId", "device", "edgeCloudZoneId", "destinationTrafficFilters", "subscriptionRequest", "x")


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5), st.sampled_from([Intent, DeviceIntent, Patch]))
def test_any_json_is_an_intent_or_refused(body: dict[str, Any], model: type[Intent]) -> None:
    try:
        parse(model, body)
    except ApiError as error:
        check(error_info(400), error.to_json())


def test_what_is_ours_to_say_is_passed_over() -> None:
    body = {"apiConsumerId": "a", "appId": APP, "trafficInfluenceID": "mine", "state": "active"}
    assert parse(Intent, body)[1] == {"apiConsumerId": "a", "appId": APP}


def test_a_resource_is_kept_as_it_is() -> None:
    given_by = {"apiConsumerId": "a", "appId": APP, "device": {"ipv6Address": "2001:db8::1"}}
    one = Resource("r", "spiffe://x/operator/a", given_by, State.ORDERED, 1.5)
    one = one.after(Input.PREPARED, 2.5, at={"edge1": {"id": "r"}}, unsettled=frozenset({"edge1"}), instances=("i",))
    assert Resource.of_record(json.loads(json.dumps(one.to_record()))) == one
    assert isinstance(one.intent, DeviceIntent)
    with pytest.raises(IntegrityError):
        Resource.of_record({**one.to_record(), "state": "lost"})


def catalogue(**core: Any) -> Catalogue:
    return Catalogue(built(LineUp, lineup_data(breakout(), breakout())), built(Fleet, fleet_data(core_data(**core))))


def test_the_catalogue_is_the_same_everywhere_and_tells_applications_apart() -> None:
    one, other = catalogue(), catalogue()
    assert one.applications == other.applications
    assert len({application.id for application in one.applications}) == 2
    zones = {instance.zone_id for application in one.applications for instance in application.instances}
    assert len(zones) == 2


def test_without_a_core_it_is_nowhere_and_by_names_alone_it_is_none() -> None:
    fleet = fleet_data()
    fleet["spec"]["equipment"] = {}
    (bare,) = Catalogue(built(LineUp, lineup_data(breakout())), built(Fleet, fleet)).applications
    assert bare.instances == ()
    named = built(LineUp, lineup_data(breakout(prefixes=[], names=["cdn.streamverse.test"])))
    assert Catalogue(named, built(Fleet, fleet_data())).applications == ()


def test_a_classified_upf_belongs_to_the_zone_of_its_edge() -> None:
    found = catalogue(upfs=[upf(1), upf(2), central()], classifiers=[classifier()])
    upfs = {one.zone_name: one.upfs for one in found.applications[0].instances}
    assert upfs == {"pop1": ("central", "edge1"), "pop2": ("edge2",)}


def test_a_device_is_influenced_at_the_upfs_of_its_data_network_alone() -> None:
    networks = [{"dnn": "internet", "pools": ["10.45.0.0/16"]}, {"dnn": "iot", "pools": ["10.46.0.0/16"]}]
    found = catalogue(networks=networks, upfs=[upf(1), upf(2, dnns=["iot"])])
    body: dict[str, Any] = {"apiConsumerId": "a", "appId": str(found.applications[0].id)}
    body["device"] = {"ipv4Address": {"publicAddress": "10.46.0.9", "privateAddress": "10.46.0.9"}}
    orders = found.orders("r", parse(DeviceIntent, body)[0])
    assert [*orders.by_upf] == ["edge2"]
    assert len(orders.instances) == 1
    zone = next(one for one in found.applications[0].instances if one.upfs == ("edge1",))
    with pytest.raises(ApiError) as caught:
        found.orders("r", parse(DeviceIntent, {**body, "edgeCloudZoneId": str(zone.zone_id)})[0])
    assert caught.value.code == "SERVICE_NOT_APPLICABLE"


def test_a_port_narrows_it_to_the_instances_that_answer_there() -> None:
    fleet = with_part(fleet_data(), "cdn", edges=[tls("pop2", port=8443)])
    found = Catalogue(built(LineUp, lineup_data(breakout())), built(Fleet, fleet))
    (application,) = found.applications
    body: dict[str, Any] = {"apiConsumerId": "a", "appId": str(application.id)}
    body["destinationTrafficFilters"] = {"destinationPort": 443}
    orders = found.orders("r", parse(Intent, body)[0])
    assert {name: order.ports for name, order in orders.by_upf.items()} == {"edge2": (443,)}
    (secure,) = [one.id for one in application.instances if one.upfs == ("edge2",)]
    assert orders.instances == (secure,)
    (plain,) = [one.zone_id for one in application.instances if one.upfs == ("edge1",)]
    with pytest.raises(ApiError, match="the instances listen on 80"):
        found.orders("r", parse(Intent, {**body, "edgeCloudZoneId": str(plain)})[0])
    body["destinationTrafficFilters"] = {"destinationPort": 80}
    assert [*found.orders("r", parse(Intent, body)[0]).by_upf] == ["edge1", "edge2"]


def test_an_order_is_one_that_the_mechanism_at_n6_takes() -> None:
    found = catalogue()
    body: dict[str, Any] = {"apiConsumerId": "a", "appId": str(found.applications[0].id)}
    body["device"] = {"ipv6Address": "2001:db8:45:7::9"}
    order = found.orders("resource-1", parse(DeviceIntent, body)[0]).by_upf["edge1"].to_json()
    influence = Influence.model_validate({key: order[key] for key in ("id", "prefixes", "ues", "ports")})
    assert [str(ue) for ue in influence.ues] == ["2001:db8:45:7::/64"]


async def test_requests_are_allowed_at_a_rate_with_a_burst() -> None:
    clock = VirtualClock()
    allowances = Allowances(2.0, clock)
    assert [allowances.take("a") for _ in range(5)] == [True, True, True, True, False]
    assert allowances.take("b")
    await clock.advance(0.5)
    assert [allowances.take("a") for _ in range(2)] == [True, False]


def test_times_and_pauses() -> None:
    assert rfc3339(0.25) == "1970-01-01T00:00:00.250Z"
    assert [pause_s(n) for n in (0, 1, 2, 100)] == [5.0, 10.0, 20.0, 300.0]


@pytest.mark.parametrize(("address", "listen"), [("10.0.0.5:7480", ("10.0.0.5", 7480)), ("[::]:7480", ("::", 7480))])
def test_settings(address: str, listen: tuple[str, int]) -> None:
    assert TrafficInfluenceSettings(address=address).listen == listen
