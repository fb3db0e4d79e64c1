"""From the fleet's voice core to sections of its media servers."""

from __future__ import annotations

from typing import Any

import pytest

from nf.contracts.planner import Contribution, FleetOperation
from sip.freeswitch.documents import FreeswitchSection
from sip.freeswitch.operations import DRAIN, LIVE
from sip.freeswitch.planner import FreeswitchPlanner
from tests.sip.freeswitch.samples import SERVICES, fleet, lineup, section, voice_data

SERVER = {"id": "media1", "appliance": "pop1", "address": "10.1.0.1", "password": "secret:event-socket"}


def planned(**changes: Any) -> Contribution:
    return FreeswitchPlanner().plan(lineup(), fleet(voice_data(**changes)))


def only(contribution: Contribution) -> FreeswitchSection:
    (found,) = contribution.sections["pop1"].values()
    assert isinstance(found, FreeswitchSection)
    return found


def test_a_media_server_is_given_what_it_needs() -> None:
    found = planned()
    made = only(found)
    assert [str(one) for one in made.callers] == ["10.1.0.1", "10.2.0.1"]
    assert [(str(one.address), one.port, one.transport) for one in made.ways_out] == [
        ("10.1.0.1", 5060, "udp"),
        ("10.2.0.1", 5070, "tcp"),
    ]
    assert (made.accounts, made.rate) == ("secret:voice-accounts", 500)
    assert (made.requires, made.provides) == (("pop1.interface.eth1",), ("pop1.voice.media-server",))
    assert found.operations == tuple(
        FleetOperation(name, "media1", ((("pop1", "freeswitch"),),)) for name in (DRAIN, LIVE)
    )


def test_the_order_of_the_document_changes_nothing() -> None:
    data = voice_data()
    turned = {key: value[::-1] if isinstance(value, list) else value for key, value in data.items()}
    assert planned(**turned) == planned()


def test_an_address_that_two_proxies_share_may_call_too_and_a_loopbacks_is_waited_for() -> None:
    shared = {"id": "vip", "address": "10.1.0.9/24", "interface": "eth1", "proxies": ["proxy1", "proxy2"], "vrid": 9}
    made = only(planned(virtual_addresses=[shared], media_servers=[{**SERVER, "address": "10.255.0.1"}]))
    assert [str(one) for one in made.callers] == ["10.1.0.1", "10.1.0.9", "10.2.0.1"]
    assert made.requires == ("pop1.interface.lo",)


def test_without_voicemail_nobodys_name_is_asked_for() -> None:
    assert only(planned(services=SERVICES[:3])).accounts is None


def test_without_media_servers_there_is_nothing() -> None:
    assert planned(media_servers=[]) == Contribution()


@pytest.mark.parametrize(
    ("changes", "key", "rule"),
    [
        (
            {"media_servers": [{**SERVER, "sessions": 5001}]},
            "spec.equipment.voice.media_servers[0].sessions",
            "it has ports for 5,000 calls, two for each",
        ),
        (
            {
                "proxies": [
                    {
                        "id": "proxy1",
                        "appliance": "pop1",
                        "address": "10.1.0.1",
                        "listeners": [{"transport": "tls", "port": 5061}],
                    }
                ]
            },
            "spec.equipment.voice.services[2].options.2",
            "no service has this number, and no proxy takes SIP by udp or tcp, by which a call could leave",
        ),
    ],
)
def test_what_cannot_be_is_said(changes: dict[str, Any], key: str, rule: str) -> None:
    found = planned(**changes)
    assert not found.sections
    assert [(one.key, one.rule) for one in found.problems] == [(key, rule)]


def test_what_the_proxies_planner_says_is_not_said_twice() -> None:
    found = planned(media_servers=[{**SERVER, "appliance": "nowhere"}, SERVER, {**SERVER, "id": "media2"}])
    assert only(found) == section()
    assert not found.problems
