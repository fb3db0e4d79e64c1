"""Which change is told to a proxy that runs, and which is a restart with its cost."""

from __future__ import annotations

from typing import Any

import pytest

from nf.contracts.driver import State
from nf.contracts.json import JsonObject
from sip.kamailio.plan import REMOVE, RUN, TELL, differences, plan
from tests.sip.kamailio.proxy import section


def have(calls: int | None = 12, **deviations: Any) -> State:
    value: JsonObject = {**section().to_json(), **deviations}
    return State(value | ({"calls": calls} if calls is not None else {}))


def test_what_is_there_is_left_alone() -> None:
    assert plan(have(), section()) == ()
    assert differences(have().value, section()) == ()


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"limits": {"calls": 5}}, "limits"),
        ({"accounts": "secret:others"}, "accounts"),
        ({"domains": ["other.test", "voice.streamverse.test"]}, None),
        ({"subscribers": []}, "numbers"),
        ({"relays": [{"id": "r1", "appliance": "k", "address": "10.77.0.2"}]}, "relays (rtpengine.reload)"),
        ({"media_servers": []}, "media servers and gateways (dispatcher.reload)"),
        ({"provides": ["k.other"]}, "what it was made of"),
    ],
)
def test_hot(changed: dict[str, Any], part: str | None) -> None:
    (step,) = plan(have(), section(**changed))
    if part is None:  # the first domain is that of what the proxy itself sends
        assert step.kind == RUN
        return
    assert (step.kind, step.disruption) == (TELL, "")
    assert part in step.summary
    assert differences(have().value, section(**changed))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"nat": False}, "nat"),
        ({"topology_hiding": False}, "topology hiding"),
        ({"protection": {"density": 100}}, "protection"),
        ({"virtual": ["10.0.0.9"]}, "virtual addresses"),
        (
            {"virtual": ["10.0.0.9"], "peers": [{"address": "10.0.0.2", "port": 5060}]},
            "virtual addresses, proxy behind the same virtual address",
        ),
        ({"emergency": None}, "emergency numbers"),
    ],
)
def test_restart(changed: dict[str, Any], reason: str) -> None:
    (step,) = plan(have(), section(**changed))
    assert step.kind == RUN
    assert reason in step.summary
    assert step.disruption == "restarting the proxy: 12 calls go on, signalling is away for ~1 s"


@pytest.mark.parametrize(
    ("calls", "told"), [(1, "1 call goes on"), (None, "calls go on"), (1204, "1,204 calls go on"), (0, "0 calls go on")]
)
def test_the_cost_counts(calls: int | None, told: str) -> None:
    (step,) = plan(have(calls), section(nat=False))
    assert told in step.disruption


@pytest.mark.parametrize(
    ("deviation", "kind"),
    [
        ({"unit": "failed exit 1"}, RUN),
        ({"live": "it does not answer: time"}, RUN),
        ({"files": ["kamailio.cfg"]}, RUN),
        ({"files": ["dispatcher.list"]}, TELL),
        ({"tables": ["sub"]}, TELL),
        ({"destinations": "others"}, TELL),
        ({"secrets": ["secret:voice-accounts"]}, TELL),
        ({"keeper": "absent"}, TELL),
    ],
)
def test_drift_has_a_step_and_is_told(deviation: dict[str, Any], kind: str) -> None:
    (step,) = plan(have(**deviation), section())
    assert step.kind == kind
    (line,) = differences(have(**deviation).value, section())
    assert line


def test_a_start_costs_nothing_and_a_removal_does() -> None:
    (step,) = plan(State(None), section())
    assert (step.kind, step.disruption) == (RUN, "")
    (step,) = plan(have(), None)
    assert step.kind == REMOVE
    assert "12 calls" in step.disruption
    assert plan(State(None), None) == ()


def test_what_cannot_be_read_is_made_anew() -> None:
    (step,) = plan(State({"files": ["section.json"]}), section())
    assert step.kind == RUN
    assert differences({"files": ["section.json"]}, section())
