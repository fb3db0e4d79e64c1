"""Origin validation, the text of bgpd and back, and what a fleet may not say."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.bgp.documents import BgpEquipment, BgpSection, Neighbour, Roa, RpkiCache
from headend.multicast.bgp.planning import bgp_problems, bgp_sections
from headend.multicast.bgp.render import canonical, deviations, parse, render
from headend.multicast.bgp.sessions import SessionAlarms, sessions_up
from headend.multicast.bgp.validity import Validity, validity
from headend.multicast.frr.config import format_config, parse_config
from nf.documents.fleet import Fleet
from nf.telemetry.alarms import Severity
from tests.headend.multicast.networks import fleet_data
from tests.nf.planning.samples import built

PREFIX = IPv4Network("198.18.0.0/24")

addresses = st.integers(1, 2**32 - 2).map(IPv4Address)
prefixes = st.builds(
    lambda value, length: IPv4Network((value >> (32 - length) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    st.integers(8, 32),
)
numbers = st.integers(1, 23455)
sections = st.builds(
    BgpSection,
    router_id=addresses,
    as_number=numbers,
    neighbours=st.lists(
        st.builds(Neighbour, address=addresses, as_number=numbers), max_size=4, unique_by=lambda n: n.address
    ).map(tuple),
    originates=st.lists(prefixes, max_size=3).map(tuple),
    known=st.lists(prefixes, max_size=3).map(tuple),
    rpki=st.none() | st.builds(RpkiCache, address=addresses, port=st.integers(1, 65535)),
)


@given(sections)
def test_what_is_rendered_is_read_back(section: BgpSection) -> None:
    lines = parse_config(format_config(render(section)))
    assert parse(lines) == canonical(section)
    assert deviations(lines, canonical(section)) == ((), ())
    assert canonical(canonical(section)) == canonical(section)


def test_nothing_but_known_prefixes_goes_in_or_out() -> None:
    peer = Neighbour(address=IPv4Address("10.0.0.2"), as_number=64510)
    section = BgpSection(router_id=IPv4Address("10.0.0.1"), as_number=64500, neighbours=(peer,), known=(PREFIX,))
    text = format_config(render(section))
    assert "neighbor 10.0.0.2 route-map nf-in in" in text
    assert "neighbor 10.0.0.2 route-map nf-out out" in text
    assert "redistribute" not in text
    assert "rpki" not in text


@pytest.mark.parametrize(
    ("prefix", "origin", "expected"),
    [
        ("198.18.0.0/24", 64500, Validity.VALID),
        ("198.18.0.0/23", 64500, Validity.VALID),
        ("198.18.0.0/25", 64500, Validity.INVALID),  # longer than the ROA allows
        ("198.18.0.0/24", 64501, Validity.INVALID),
        ("198.18.4.0/24", 64500, Validity.NOT_FOUND),
        ("198.18.0.0/21", 64500, Validity.NOT_FOUND),  # no ROA covers all of it
        ("203.0.113.0/24", 0, Validity.INVALID),  # AS 0: nobody may
    ],
)
def test_origin_validation(prefix: str, origin: int, expected: Validity) -> None:
    roas = [
        Roa(prefix=IPv4Network("198.18.0.0/22"), as_number=64500, max_length=24),
        Roa(prefix=IPv4Network("203.0.113.0/24"), as_number=0),
    ]
    assert validity(IPv4Network(prefix), origin, roas) is expected


def fleet(**changed: Any) -> Fleet:
    """n0 and n1 with a wire between them; n1 originates."""
    data = fleet_data(2, [("n0", "n1", 10)], ["n0"])
    equipment = {
        "speakers": [
            {"appliance": "n0", "as": 64510, "neighbours": [{"address": "10.1.0.2", "as": 64500}]},
            {
                "appliance": "n1",
                "as": 64500,
                "neighbours": [{"address": "10.1.0.1", "as": 64510}],
                "originates": ["198.18.0.0/24"],
            },
        ],
        "roas": [{"prefix": "198.18.0.0/22", "max_length": 24, "as": 64500}],
        **changed,
    }
    data["spec"]["equipment"]["bgp"] = equipment
    return built(Fleet, data)


def test_every_speaker_gets_its_section() -> None:
    assert list(bgp_problems(fleet())) == []
    found = bgp_sections(fleet())
    assert sorted(found) == ["n0", "n1"]
    n0, n1 = found["n0"]["bgp"], found["n1"]["bgp"]
    assert isinstance(n0, BgpSection)
    assert isinstance(n1, BgpSection)
    assert (n0.originates, n0.known) == ((), (PREFIX,))
    assert (n1.originates, n1.known) == ((PREFIX,), (PREFIX,))
    assert canonical(n1) == n1


def speaker(**changed: Any) -> dict[str, Any]:
    base = {"appliance": "n1", "as": 64500, "neighbours": [{"address": "10.1.0.1", "as": 64510}]}
    return {**base, "originates": ["198.18.0.0/24"], **changed}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"roas": []}, "198.18.0.0/24 from AS 64500 is not found by the ROAs"),
        ({"roas": [{"prefix": "198.18.0.0/22", "as": 64500}]}, "is invalid by the ROAs"),
        ({"speakers": [speaker(appliance="n7")]}, "no such router with a loopback in the fleet"),
        ({"speakers": [speaker()]}, "10.1.0.1 is n0, which is no speaker"),
        ({"speakers": [speaker(neighbours=[{"address": "10.77.0.1", "as": 1}])]}, "a neighbour is one hop away"),
        ({"speakers": [speaker(neighbours=[{"address": "10.1.0.2", "as": 1}])]}, "it is n1 itself"),
        ({"speakers": [speaker(originates=["10.1.0.0/24"])]}, "has addresses of"),
        ({"speakers": [speaker(), speaker()]}, "is listed already"),
    ],
)
def test_what_a_fleet_may_not_say(changed: dict[str, Any], told: str) -> None:
    problems = list(bgp_problems(fleet(**changed)))
    assert any(told in problem.rule for problem in problems), problems
    assert all(problem.remedy and problem.key.startswith("spec.equipment.bgp") for problem in problems)


@pytest.mark.parametrize("number", [0, 23456, 65535, 2**32 - 1])
def test_reserved_numbers_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match=r"reserved|greater|less"):
        BgpEquipment.model_validate({"speakers": [speaker(**{"as": number})]})


def test_a_session_is_told_once_when_it_goes_and_when_it_comes() -> None:
    alarms = SessionAlarms("c1")
    down = sessions_up({"peers": {"10.0.0.2": {"state": "Active"}}})
    (raised,) = alarms.take(down, 1.0)
    assert (raised.severity, raised.object) == (Severity.MAJOR, "c1/bgp/10.0.0.2")
    assert alarms.take(down, 2.0) == ()
    (cleared,) = alarms.take({"10.0.0.2": True}, 3.0)
    assert cleared.severity is Severity.CLEARED
