from __future__ import annotations

from pathlib import Path

import pytest

from headend.satellite.documents import ReceivedCarrier
from headend.satellite.receiver.plan import CONFIGURE, REMOVE, differences, plan
from headend.satellite.receiver.units import Places, carrier_of, text_of
from nf.contracts.driver import State, Step
from tests.headend.satellite.receiver.samples import carrier, section, service


def have(*carriers: ReceivedCarrier, **altered: str) -> State:
    value = section(*carriers).to_json()
    return State({**value, "altered": dict(altered)} if altered else value)


def test_nothing_to_nothing_and_the_same_to_the_same_is_nothing_to_do() -> None:
    assert plan(State(None), None) == plan(State(None), section()) == ()
    assert plan(have(carrier()), section(carrier())) == ()
    assert differences(have(carrier()), section(carrier())) == ()


def test_a_new_carrier_costs_nobody_anything_and_waits_for_its_uplink() -> None:
    (step,) = plan(State(None), section(carrier()))
    assert (step.kind, step.id, step.disruption) == (CONFIGURE, "receive c1", "")
    assert step.requires == {"satellite.uplink=c1"}
    assert Step.from_json(step.to_json()) == step
    assert ReceivedCarrier.model_validate(step.arguments["carrier"]) == carrier()


def test_a_carrier_that_goes_names_the_channels_that_go_with_it() -> None:
    (step,) = plan(have(carrier()), None)
    assert (step.kind, step.arguments) == (REMOVE, {"carrier": "c1"})
    assert step.disruption == "ch1 from carrier c1 no longer sent at this PoP"
    assert differences(have(carrier()), None) == ("carrier c1 is still received",)


@pytest.mark.parametrize(
    ("new", "disruption"),
    [
        (carrier(services=[service(1), service(2)]), ""),
        (carrier(services=[service(1, outputs=["10.1.0.10", "10.1.0.11"])]), ""),
        (carrier(margins={"down": 0.7}), ""),
        (carrier(services=[]), "no longer sent at this PoP: ch1"),
        (carrier(services=[service(1, outputs=["10.1.0.11"])]), "no longer sent at this PoP: ch1"),
        (carrier(services=[service(1, service_id=5)]), "interrupted for a moment: ch1"),
        (carrier(transport_stream_id=8), "interrupted for a moment: ch1"),
        (carrier(input_port=5101), "everything received of carrier c1 stops until the receiver sends to the new input"),
    ],
)
def test_a_change_says_what_viewers_notice(new: ReceivedCarrier, disruption: str) -> None:
    (step,) = plan(have(carrier()), section(new))
    assert (step.kind, step.disruption) == (CONFIGURE, disruption)
    assert differences(have(carrier()), section(new)) == ("carrier c1 is received with other settings",)


def test_a_feed_that_is_not_as_its_file_says_is_set_right() -> None:
    (step,) = plan(have(carrier(), c1="its feed is failed exit 1"), section(carrier()))
    assert (step.kind, step.disruption) == (CONFIGURE, "")
    found = differences(have(carrier(), c1="its feed is failed exit 1"), section(carrier()))
    assert found == ("carrier c1: its feed is failed exit 1",)
    (removed,) = plan(have(c2="its file was changed by hand"), section())
    assert (removed.kind, removed.arguments) == (REMOVE, {"carrier": "c2"})


def test_files_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    places = Places.of(tmp_path / "run", tmp_path / "state")
    assert places.read() == {}
    places.write("c1", text_of(carrier()))
    places.write("c2", "{}")
    found = places.read()
    assert carrier_of(found["c1"]) == carrier()
    assert carrier_of(found["c2"]) is None
    places.remove("c1")
    places.remove("c1")
    assert places.read() == {"c2": "{}"}
