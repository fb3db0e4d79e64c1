"""What each appliance is given, whatever the order of the document."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sip.documents import Voice
from sip.kamailio.adopter import VoiceAdopter
from sip.kamailio.documents import KamailioSection, VoiceAddressSection
from sip.kamailio.planner import KamailioPlanner
from tests.sip.kamailio.fleets import fleet, lineup, voice

UNORDERED = ("domains", "proxies", "relays", "media_servers", "services", "trunks", "plan", "subscribers")


def sections(core: Voice) -> dict[str, Any]:
    found = KamailioPlanner().plan(lineup(), fleet(core))
    assert found.problems == ()
    return {name: {key: value.to_json() for key, value in one.items()} for name, one in found.sections.items()}


def test_each_proxy_has_its_own() -> None:
    found = KamailioPlanner().plan(lineup(), fleet(voice()))
    first = found.sections["core1"]["kamailio"]
    assert isinstance(first, KamailioSection)
    assert first.proxy.id == "p1"
    assert first.requires == ("core1.interface.eth1",)
    assert first.provides == ("core1.voice.proxy",)
    assert [str(one.address) for one in first.siblings] == ["10.0.0.2"]
    assert [str(one) for one in first.virtual] == ["10.0.0.9"]
    assert [(str(one.address), one.port) for one in first.peers] == [("10.0.0.2", 5060)]
    assert [(one.name, one.object) for one in found.operations] == [("voice-drain", "p1"), ("voice-drain", "p2")]
    address = found.sections["core2"]["voice-address"]
    assert isinstance(address, VoiceAddressSection)
    (instance,) = address.instances
    assert (instance.first, instance.peer, address.transport) == (False, "core1", "udp")


def test_without_a_virtual_address_there_is_no_such_section() -> None:
    assert sections(voice(virtual_addresses=[]))["core1"].keys() == {"kamailio"}


def test_registrations_are_shared_by_two_behind_one_address_that_take_datagrams() -> None:
    assert sections(voice(virtual_addresses=[]))["core1"]["kamailio"]["peers"] == []
    listeners = [{"transport": "tcp", "port": 5060}]
    proxies = [
        {"id": "p1", "appliance": "core1", "address": "10.0.0.1"},
        {"id": "p2", "appliance": "core2", "address": "10.0.0.2", "listeners": listeners},
    ]
    found = sections(voice(proxies=proxies))
    assert [found[name]["kamailio"]["peers"] for name in ("core1", "core2")] == [[], []]


def test_problems_are_all_that_is_told() -> None:
    core = voice(services=[{"number": "1", "kind": "echo"}], media_servers=[])
    found = KamailioPlanner().plan(lineup(), fleet(core))
    assert found.problems
    assert not found.sections


@given(st.data())
def test_the_order_of_the_document_means_nothing(data: st.DataObject) -> None:
    core = voice()
    shuffled = {name: tuple(data.draw(st.permutations(getattr(core, name)))) for name in UNORDERED}
    assert sections(core.model_copy(update=shuffled)) == sections(core)


def test_sections_are_read_back_as_they_were_written() -> None:
    for one in sections(voice()).values():
        assert KamailioSection.model_validate(one["kamailio"]).to_json() == one["kamailio"]


def test_adoption_keeps_what_is_written_and_tells_a_core_that_is_nowhere() -> None:
    observed = sections(voice())
    assert VoiceAdopter().adopt(observed, fleet(voice())).problems == ()
    bare = fleet(voice())
    bare = bare.model_copy(update={"spec": bare.spec.model_copy(update={"equipment": {}})})
    (problem,) = VoiceAdopter().adopt(observed, bare).problems
    assert "core1: kamailio, voice-address" in problem
