"""Generic rules: each broken one with its key, value, rule and remedy."""

from __future__ import annotations

from typing import Any

from tests.nf.planning.samples import fleet_data, lineup_data, problems, shown


def test_the_samples_break_no_rule() -> None:
    assert problems() == []


def test_ids_numbers_and_uids_of_channels_are_unique() -> None:
    data = lineup_data()
    first, second = data["spec"]["channels"]
    second |= {"id": first["id"], "lcn": first["lcn"], "uid": first["uid"]}
    assert shown(problems(data)) == [
        ("spec.channels[1].id", "ch1", "this id is taken by spec.channels[0].id", "give every channel its own id"),
        (
            "spec.channels[1].lcn",
            "101",
            "this logical channel number is taken by spec.channels[0].lcn",
            "give every channel its own lcn",
        ),
        (
            "spec.channels[1].uid",
            "tag:streamverse.test,2026:ch1",
            "this uid is taken by spec.channels[0].uid",
            "give every channel its own uid",
        ),
    ]


def test_sources_are_unique_and_resolve() -> None:
    data = lineup_data()
    sources = data["spec"]["sources"]
    sources[1]["port"] = 6001
    sources.append({"id": "studio-ch1", "appliance": "headend", "port": 7000, "bitrate": "1M"})
    sources.append({"id": "other", "appliance": "headnd", "port": 7001, "bitrate": "1M"})
    sources.append({"id": "another", "appliance": "pop1", "port": 7001, "bitrate": "1M"})
    data["spec"]["channels"][1]["source"] = "studio-ch3"
    assert shown(problems(data)) == [
        (
            "spec.sources[2].id",
            "studio-ch1",
            "this id is taken by spec.sources[0].id",
            "give every source its own id",
        ),
        (
            "spec.sources[1].port",
            "6001",
            "this port of the appliance is taken by spec.sources[0].port",
            "give every source on an appliance its own port",
        ),
        ("spec.sources[3].appliance", "headnd", "no such appliance in the fleet", "did you mean headend?"),
        (
            "spec.sources[4].appliance",
            "pop1",
            "the appliance does not have the function ingest",
            "add it to spec.placement of the fleet, or choose one of: headend",
        ),
        ("spec.channels[1].source", "studio-ch3", "no such source in spec.sources", "did you mean studio-ch2?"),
    ]


def test_paths_of_a_channel_have_ids_of_their_own() -> None:
    data = lineup_data()
    delivery = data["spec"]["channels"][0]["delivery"]
    delivery.append({**delivery[0], "group": "232.10.1.9"})
    assert (
        "spec.channels[0].delivery[1].id",
        "iptv",
        "this id is taken by spec.channels[0].delivery[0].id",
        "give every delivery path of a channel its own id",
    ) in shown(problems(data))


def test_appliances_are_unique_and_stand_on_a_site() -> None:
    data = fleet_data()
    appliances: list[dict[str, Any]] = data["spec"]["appliances"]
    appliances[6] |= {"serial": "SV-R1-0001", "management": "172.20.20.16", "site": "pop3"}
    appliances[7]["id"] = "r1"
    found = shown(problems(fleet=data))
    assert (
        "spec.appliances[7].id",
        "r1",
        "this id is taken by spec.appliances[5].id",
        "give every appliance its own id",
    ) in found
    assert (
        "spec.appliances[6].serial",
        "SV-R1-0001",
        "this serial number is taken by spec.appliances[5].serial",
        "enter the serial number on the appliance's own label",
    ) in found
    assert ("spec.appliances[6].site", "pop3", "no such site in spec.sites", "did you mean pop2?") in found
    assert (
        "spec.appliances[6].management",
        "172.20.20.16",
        "this address is taken by spec.appliances[5].management",
        "give every interface, loopback and management port its own address",
    ) in found


def test_sites_links_and_interfaces_are_listed_once() -> None:
    data = fleet_data()
    data["spec"]["sites"].append({"id": "hub"})
    data["spec"]["links"][1]["id"] = "hl"
    data["spec"]["appliances"][0]["interfaces"].append({"name": "eth1", "address": "10.77.0.1/24"})
    found = {key: rule for key, _, rule, _ in shown(problems(fleet=data))}
    assert found["spec.sites[4].id"] == "this id is taken by spec.sites[0].id"
    assert found["spec.links[1].id"] == "this id is taken by spec.links[0].id"
    assert (
        found["spec.appliances[0].interfaces[2].name"]
        == "this interface is listed at spec.appliances[0].interfaces[0].name already"
    )


def test_endpoints_resolve_and_are_on_one_link() -> None:
    data = fleet_data()
    data["spec"]["links"][6]["endpoints"] = ["pop1:eth2", "r1:eth9"]
    assert shown(problems(fleet=data))[:2] == [
        (
            "spec.links[6].endpoints[0]",
            "pop1:eth2",
            "this interface is on a link already: spec.links[4].endpoints[1]",
            "an interface is on one link; list a segment with several interfaces as one link",
        ),
        ("spec.links[6].endpoints[1]", "r1:eth9", "no such interface of an appliance", "did you mean r1:eth1?"),
    ]


def test_placement_resolves() -> None:
    data = fleet_data()
    data["spec"]["placement"][0]["appliances"].append("headend2")
    assert shown(problems(fleet=data)) == [
        (
            "spec.placement[0].appliances[1]",
            "headend2",
            "no such appliance in spec.appliances",
            "did you mean headend?",
        )
    ]
