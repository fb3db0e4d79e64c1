"""Steering's planner on the sample network: what each appliance gets, who proves it, and what is refused."""

from __future__ import annotations

import copy
import random
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core5g.pfcp.proxy.documents import MAX_SDF, ProxySection
from core5g.steering.explain import planned
from core5g.steering.n6.documents import N6Section
from nf.contracts.json import JsonObject
from nf.contracts.planner import Hop
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.errors import DocumentError
from nf.media.documents import HlsProbeArguments
from nf.planning.compiler import Compiled
from tests.core5g.steering.samples import (
    HOST,
    breakout,
    built,
    cdn,
    central,
    classifier,
    compiled,
    core_data,
    fleet_data,
    lineup_data,
    refused,
    tls,
    upf,
    with_part,
)

PATH = "spec.channels[0].delivery[1]"
CORE = "spec.equipment.core5g"
SENT = "what is meant for it would be sent to a cache"


def n6(found: Any, appliance: str) -> N6Section:
    section = found.configs[appliance].sections["n6-steering"]
    assert isinstance(section, N6Section)
    return section


def proxy(found: Any, appliance: str) -> ProxySection:
    section = found.configs[appliance].sections["pfcp-proxy"]
    assert isinstance(section, ProxySection)
    return section


def classified(**changes: Any) -> dict[str, Any]:
    return core_data(upfs=[upf(1), upf(2), central()], classifiers=[classifier()], **changes)


def test_a_upf_with_a_cache_of_its_own_sends_the_cdns_prefixes_to_it() -> None:
    found = compiled(lineup_data(breakout(prefixes=["203.0.113.0/25", "203.0.113.128/25"])))
    section = n6(found, "pop1")
    assert section.upf == "edge1"
    assert section.tuns == ("ogstun",)
    assert section.cache.local
    assert str(section.cache.address) == "10.255.0.3"
    assert section.cache.health.host == "config.nf.invalid"
    assert [str(prefix) for prefix in section.prefixes] == ["203.0.113.0/24"]
    assert section.ports == (80,)
    assert [(path.channel, path.path) for path in section.paths] == [("ch1", "mobile")]
    assert set(section.requires) == {"pop1.tun.ogstun", "cdn.edge=ch1/ott@pop1"}
    assert section.provides == ("core5g.steering=edge1",)


def test_https_is_steered_to_an_edge_that_has_it_and_to_its_port() -> None:
    fleet = with_part(fleet_data(), "cdn", edges=[tls("pop1"), tls(port=8443)])
    found = compiled(fleet=fleet)
    one, other = n6(found, "pop1"), n6(found, "pop2")
    assert (one.ports, one.quic, one.cache.forwards) == ((80, 443), "reject", ())
    assert (other.ports, other.quic, other.cache.port(443)) == ((80, 443), "reject", 8443)
    assert (one.cache.health.tls_port, other.cache.health.tls_port) == (443, 8443)
    plain = n6(compiled(fleet=with_part(fleet_data(), "cdn", edges=[tls("pop2")])), "pop1")
    assert (plain.ports, plain.quic, plain.cache.health.tls_port) == ((80,), "pass", None)


def test_a_front_before_the_edge_has_https_too() -> None:
    front = {"certificates": ["secret:cdn-tls"]}
    fleet = with_part(fleet_data(cdn_front=["pop1"]), "cdn-front", **front, port=8443)
    assert n6(compiled(fleet=fleet), "pop1").cache.port(443) == 8443
    assert n6(compiled(fleet=fleet), "pop2").ports == (80,)
    fleet = with_part(with_part(fleet, "cdn-front", **front), "cdn", edges=[tls("pop1", port=8443)])
    assert n6(compiled(fleet=fleet), "pop1").cache.forwards == (), "what listens on 443 itself is asked there"


def test_a_classifier_sends_https_to_an_edge_that_has_it() -> None:
    fleet = with_part(fleet_data(classified()), "cdn", edges=[tls("pop1", port=8443)])
    (rule,) = proxy(compiled(lineup_data(breakout(upfs=["central"])), fleet), "pop1").rules
    assert rule.ports == (80, 443)
    subnets = [str(net) for net in list(ip_network("198.18.0.0/16").subnets(new_prefix=24))[::2]]
    too_many = lineup_data(breakout(upfs=["central"], prefixes=subnets[: MAX_SDF // 2 + 1]))
    assert "a session takes" in refused(too_many, fleet)[f"{PATH}.prefixes"]


def test_every_fact_of_a_cache_that_is_required_is_provided_by_it() -> None:
    found = compiled(lineup_data(breakout(), breakout()))
    for appliance in ("pop1", "pop2"):
        edge = found.configs[appliance].sections["cdn-edge"].to_json()
        channels = edge["channels"]
        assert isinstance(channels, list)
        provided = {fact for channel in channels for fact in channel["provides"]}  # type: ignore[call-overload,index,union-attr]
        required = {fact for fact in n6(found, appliance).requires if fact.startswith("cdn.edge=")}
        assert required
        assert required <= provided


def test_sections_stand_without_channels_and_steer_nothing() -> None:
    found = compiled(lineup_data(), fleet_data(classified()))
    assert n6(found, "pop1").prefixes == ()
    relay = proxy(found, "pop1")
    assert relay.edge is not None
    assert relay.rules == ()
    assert not any(target.path == "mobile" for config in found.configs.values() for target in config.probes)


def test_without_a_core_there_is_nothing_and_a_path_is_refused() -> None:
    fleet = fleet_data()
    fleet["spec"]["equipment"] = {}
    assert "n6-steering" not in compiled(lineup_data(), fleet).configs["pop1"].sections
    assert refused(lineup_data(breakout()), fleet) == {f"{PATH}.type": "the fleet has no 5G core"}


VIPS = ["198.51.100.10", "198.51.100.11"]


def beside(*vips: str) -> dict[str, Any]:
    """The UPF edge1 on c1, whose site's cache is on pop1 and has these VIPs."""
    fleet = fleet_data(core_data(upfs=[upf(1, appliance="c1")], equipment=[]))
    for appliance in fleet["spec"]["appliances"]:
        if appliance["id"] == "c1":
            appliance["site"] = "pop1"
    shared = [{"address": vip, "appliances": ["pop1", "pop2"]} for vip in vips]
    return with_part(fleet, "anycast", vips=shared) if shared else fleet


def test_a_cache_beside_the_upf_is_reached_by_the_link_that_they_share() -> None:
    fleet = beside(*VIPS)
    section = n6(compiled(lineup_data(breakout(upfs=["edge1"], prefixes=["198.51.100.10/31"])), fleet), "c1")
    assert not section.cache.local
    assert section.cache.interface is not None
    assert str(section.cache.address) == "10.255.0.3"  # where the cache of pop1 listens
    via = section.cache.via
    pop1 = next(one for one in fleet["spec"]["appliances"] if one["id"] == "pop1")
    assert str(via) in {face["address"].split("/")[0] for face in pop1["interfaces"]}
    assert f"c1.interface.{section.cache.interface}" in section.requires
    assert "cdn.edge=ch1/ott@pop1" in section.requires


@pytest.mark.parametrize(
    ("vips", "known"),
    [
        ([], {"prefixes": ["203.0.113.0/24"]}),
        (VIPS, {"prefixes": ["198.51.100.10/32", "203.0.113.0/24"]}),
        (VIPS, {"prefixes": ["198.51.100.8/30"]}),
        (VIPS, {"prefixes": ["198.51.100.10/32"], "names": ["cdn.streamverse.test"]}),
    ],
)
def test_a_cache_beside_the_upf_answers_for_its_vips_alone(vips: list[str], known: dict[str, Any]) -> None:
    found = refused(lineup_data(breakout(upfs=["edge1"], **known)), beside(*vips))
    assert "its cache is on pop1, which takes no connections for" in found[f"{PATH}.upfs[0]"]


def test_a_upf_at_which_nothing_can_be_steered_is_told_before_there_is_a_path() -> None:
    assert [warning.key for warning in compiled(lineup_data(), beside()).warnings] == [f"{CORE}.upfs[0].steering"]
    assert compiled(lineup_data(), beside(*VIPS)).warnings == ()


def test_a_port_of_a_cache_beside_the_upf_is_not_translated() -> None:
    lineup = lineup_data(breakout(upfs=["edge1"], prefixes=["198.51.100.10/32"]))
    for port, ports in ((443, (80, 443)), (8443, (80,))):
        section = n6(compiled(lineup, with_part(beside(*VIPS), "cdn", edges=[tls("pop1", port=port)])), "c1")
        assert (section.ports, section.cache.forwards) == (ports, ())


def test_a_classifier_sends_to_the_edge_and_the_edge_to_its_cache() -> None:
    lineup = lineup_data(breakout(upfs=["central"], names=["cdn.streamverse.test"]), breakout(upfs=["central"]))
    found = compiled(lineup, fleet_data(classified()))
    section = proxy(found, "pop1")
    assert (str(section.listen), [str(smf) for smf in section.smfs]) == ("10.50.1.9", ["10.50.9.2"])
    assert section.upf.id == "central"
    assert section.edge is not None
    assert (section.edge.id, section.edge.gate) == ("edge1", True)
    (rule,) = section.rules  # both channels are of one CDN
    assert [str(prefix) for prefix in rule.prefixes] == ["203.0.113.0/24"]
    assert rule.id.startswith("to-cdn-streamverse-test-")
    assert rule.ports == (80,)
    assert section.requires == ("core5g.steering=edge1", "pop1.interface.eth8")
    assert [str(prefix) for prefix in n6(found, "pop1").prefixes] == ["203.0.113.0/24"]
    assert n6(found, "pop2").prefixes == ()
    assert [hop for hop in found.hops if hop.path == "mobile"] == [
        Hop(channel, "mobile", 0, "pop1", "n6-steering") for channel in ("ch1", "ch2")
    ]


def test_a_path_at_a_classifiers_upf_and_at_its_edge_is_steered_once_at_the_edge() -> None:
    fleet = fleet_data(core_data(upfs=[upf(1), central()], classifiers=[classifier()], equipment=[]))
    for upfs in (["central", "edge1"], ["edge1", "central"]):
        found = compiled(lineup_data(breakout(upfs=upfs)), fleet).configs["pop1"].sections["n6-steering"]
        assert isinstance(found, N6Section)
        assert [(path.channel, path.path) for path in found.paths] == [("ch1", "mobile")]


def test_a_classifier_of_a_upf_that_does_not_use_it_relays() -> None:
    core = core_data(upfs=[upf(1), upf(2), central(steering="none")], classifiers=[classifier()])
    section = proxy(compiled(fleet=fleet_data(core)), "pop1")
    assert section.edge is None
    assert section.rules == ()


def test_a_ue_plays_the_channel_by_the_cdns_own_address() -> None:
    found = compiled()
    (target,) = found.configs["ue1"].probes
    assert (target.id, target.kind, target.path, target.required) == ("ch1/mobile/ue1", "hls", "mobile", True)
    arguments = HlsProbeArguments.model_validate(dict(target.arguments))
    assert arguments.url == "http://203.0.113.1/ch1/master.m3u8"
    assert (arguments.host, arguments.segment_ms, arguments.rate_bps) == (HOST, 2000, 2_000_000)
    hops = [hop for hop in found.hops if hop.path == "mobile"]
    assert [(hop.order, hop.appliance, hop.point) for hop in hops] == [
        (0, "pop1", "n6-steering"),
        (0, "pop2", "n6-steering"),
        (1, "ue1", "receiver"),
    ]


@pytest.mark.parametrize(
    ("given_by", "address"),
    [
        ({"prefixes": ["203.0.113.10/32"]}, "203.0.113.10"),
        ({"prefixes": ["2001:db8:cd::/48", "203.0.113.0/24"]}, "203.0.113.1"),
        ({"prefixes": ["2001:db8:cd::/48"], "names": ["b.test", "a.test"]}, "a.test"),
    ],
)
def test_the_address_that_a_ue_asks_is_one_that_is_steered(given_by: dict[str, Any], address: str) -> None:
    fleet = fleet_data(core_data(resolvers=["10.45.0.1", "192.0.2.53"], upfs=[upf(1)]))
    (target,) = compiled(lineup_data(breakout(upfs=["edge1"], **given_by)), fleet).configs["ue1"].probes
    assert target.arguments["url"] == f"http://{address}/ch1/master.m3u8"


def test_names_are_steered_where_ues_are_given_a_resolver_of_ours() -> None:
    core = core_data(resolvers=["10.45.0.1", "192.0.2.53"])
    named = breakout(prefixes=[], names=["cdn.streamverse.test"])
    section = n6(compiled(lineup_data(named), fleet_data(core)), "pop1")
    assert section.names == ("cdn.streamverse.test",)
    assert section.resolver is not None
    assert [str(address) for address in section.resolver.listen] == ["10.45.0.1"]
    assert [str(address) for address in section.resolver.upstreams] == ["192.0.2.53"]


def test_names_that_nobody_learns_are_refused_and_beside_prefixes_only_told() -> None:
    named = breakout(prefixes=[], names=["cdn.streamverse.test"])
    assert "given no resolver of ours" in refused(lineup_data(named))[f"{PATH}.names"]
    alone = core_data(resolvers=["10.45.0.1"])
    assert "nobody to ask" in refused(lineup_data(named), fleet_data(alone))[f"{PATH}.names"]
    both = compiled(lineup_data(breakout(names=["cdn.streamverse.test"])))
    assert {warning.key for warning in both.warnings} == {f"{PATH}.names"}
    assert n6(both, "pop1").names == ()


def test_a_path_by_ipv6_alone_would_not_be_steered() -> None:
    path = breakout(prefixes=["2001:db8:cd::/48"])
    assert "leaves by the default exit" in refused(lineup_data(path))[f"{PATH}.prefixes"]
    named = breakout(prefixes=["2001:db8:cd::/48"], names=["cdn.streamverse.test"])
    assert "given no resolver of ours" in refused(lineup_data(named))[f"{PATH}.names"]


def test_what_a_path_may_not_be_all_at_once() -> None:
    core = core_data(upfs=[upf(1), upf(2), central(id="plain", steering="none")])
    path = breakout(
        upfs=["edge1", "nowhere", "plain", "edge1"],
        of="otto",
        prefixes=["203.0.113.0/24", "10.45.3.0/24", "2001:db8:45:1::/64", "10.3.1.0/25", "10.255.0.0/24"],
    )
    found = refused(lineup_data(path), fleet_data(core))
    assert found == {
        f"{PATH}.of": "no such path of type cdn of channel ch1",
        f"{PATH}.upfs[3]": f"the UPF is listed twice: {PATH}.upfs[0]",
        f"{PATH}.upfs[1]": "no such UPF in the fleet's equipment core5g",
        f"{PATH}.upfs[2]": "the UPF does not steer",
        f"{PATH}.prefixes[1]": f"overlaps the pool 10.45.0.0/16 of DNN internet: {SENT}",
        f"{PATH}.prefixes[2]": f"overlaps the pool 2001:db8:45::/48 of DNN internet: {SENT}",
        f"{PATH}.prefixes[3]": found[f"{PATH}.prefixes[3]"],
        f"{PATH}.prefixes[4]": found[f"{PATH}.prefixes[4]"],
    }
    assert found[f"{PATH}.prefixes[3]"].startswith("overlaps the subnet of pop1:")
    assert found[f"{PATH}.prefixes[4]"].startswith("overlaps the loopback of ")


def test_of_has_to_be_a_cdn_path_and_to_serve_the_site() -> None:
    lineup = lineup_data(breakout(of="mobile"))
    assert refused(lineup)[f"{PATH}.of"] == "this path is of type upf-breakout; caches serve paths of type cdn"
    found = refused(lineup_data(breakout(), cdns=({"sites": ["pop1"]},)))
    assert found == {f"{PATH}.upfs[1]": "it breaks out at the site pop2, whose cache does not serve ch1/ott"}


def test_what_the_fleet_may_not_be() -> None:
    nowhere = fleet_data(cdn_edge=["pop2"])
    lineup = lineup_data(cdns=({"sites": ["pop2"]}, {"sites": ["pop2"]}))
    assert refused(lineup, nowhere) == {f"{CORE}.upfs[0].steering": "the site pop1 has no cache to steer to"}
    twice = core_data(upfs=[upf(1), upf(2, appliance="pop1")])
    assert f"{CORE}.upfs[1].steering" in refused(lineup_data(), fleet_data(twice))
    wrong = core_data(
        upfs=[upf(1), upf(2, steering="none"), central(), central(id="other")],
        classifiers=[classifier(edge="edge2"), classifier(id="two", appliance="pop9", upf="centre", edge="centre")],
        equipment=[{"appliance": "pop2", "upf": "edge1"}, {"appliance": "ue9", "upf": "edge9"}],
        functions=[],
    )
    found = refused(lineup_data(), fleet_data(wrong))
    assert found[f"{CORE}.classifiers[0].edge"].endswith("the edge does not steer at its N6")
    assert "no SMF" in found[f"{CORE}.classifiers[0].upf"]
    assert found[f"{CORE}.classifiers[1].appliance"] == "no such appliance in the fleet"
    assert found[f"{CORE}.classifiers[1].edge"] == "the edge is the UPF itself"
    assert found[f"{CORE}.upfs[3].steering"] == "the UPF has no classifier"
    assert "its role is pop" in found[f"{CORE}.equipment[0].appliance"]
    assert found[f"{CORE}.equipment[1].upf"] == "no such UPF in the fleet's equipment core5g"


def test_the_proxy_has_an_address_of_its_own() -> None:
    core = core_data(upfs=[upf(1), upf(2), central()], classifiers=[classifier(address="10.50.1.10")])
    assert "does not have" in refused(lineup_data(), fleet_data(core))[f"{CORE}.classifiers[0].address"]
    core = core_data(upfs=[upf(1), upf(2), central(n4="10.50.1.9")], classifiers=[classifier()])
    assert "share" in refused(lineup_data(), fleet_data(core))[f"{CORE}.classifiers[0].address"]


def test_a_classifier_takes_so_many_prefixes_and_not_one_more() -> None:
    subnets = [str(net) for net in list(ip_network("198.18.0.0/16").subnets(new_prefix=24))[::2]]
    most = MAX_SDF
    fits = lineup_data(breakout(upfs=["central"], prefixes=subnets[:most]))
    assert len(proxy(compiled(fits, fleet_data(classified())), "pop1").rules[0].prefixes) == most
    too_many = lineup_data(breakout(upfs=["central"], prefixes=subnets[: most + 1]))
    assert "a session takes" in refused(too_many, fleet_data(classified()))[f"{PATH}.prefixes"]


def test_a_upf_takes_so_many_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core5g.steering.planner.MAX_PREFIXES", 2)
    many = breakout(upfs=["edge1"], prefixes=["198.18.0.0/24", "198.18.2.0/24", "198.18.4.0/24"])
    assert "it takes 2" in refused(lineup_data(many))[f"{PATH}.prefixes"]


WORDS = st.sampled_from(["edge1", "edge2", "central", "nowhere", "plain"])
ANY_PREFIX = st.one_of(
    st.ip_addresses(v=4).map(lambda address: str(ip_network((address, 24), strict=False))),
    st.ip_addresses(v=6).map(lambda address: str(ip_network((address, 48), strict=False))),
    st.sampled_from(["0.0.0.0/0", "10.45.0.0/16", "203.0.113.7/32", "::/0"]),
)


@given(
    upfs=st.lists(WORDS, min_size=1, max_size=4),
    prefixes=st.lists(ANY_PREFIX, max_size=60),
    names=st.lists(st.sampled_from(["cdn.streamverse.test", "other.test"]), max_size=2),
    of=st.sampled_from(["ott", "mobile", "gone"]),
    steering=st.tuples(*[st.sampled_from(["n6", "classifier", "none"])] * 3),
    proxies=st.lists(st.tuples(WORDS, WORDS, st.sampled_from(["pop1", "pop2", "pop9"])), max_size=3),
    resolvers=st.lists(st.sampled_from(["10.45.0.1", "192.0.2.53", "10.255.0.3"]), max_size=3),
    edges=st.sampled_from([["pop1"], ["pop2"], ["pop1", "pop2"]]),
)
@settings(max_examples=60, deadline=None)
def test_any_documents_are_compiled_or_refused_with_keys(
    *,
    upfs: list[str],
    prefixes: list[str],
    names: list[str],
    of: str,
    steering: tuple[str, str, str],
    proxies: list[tuple[str, str, str]],
    resolvers: list[str],
    edges: list[str],
) -> None:
    found = [upf(1, steering=steering[0]), upf(2, steering=steering[1]), central(steering=steering[2])]
    classifiers = [
        classifier(id=f"c{number}", upf=one, edge=edge, appliance=appliance)
        for number, (one, edge, appliance) in enumerate(proxies)
    ]
    core = core_data(upfs=found, classifiers=classifiers, resolvers=resolvers)
    path = breakout(upfs=upfs, prefixes=prefixes, names=names or ([] if prefixes else ["cdn.streamverse.test"]), of=of)
    lineup = lineup_data(path, cdns=({"sites": edges}, {"sites": edges}))
    try:
        compiled(lineup, fleet_data(core, cdn_edge=edges))
    except DocumentError as error:
        assert all(problem.key and problem.rule and problem.remedy for problem in error.problems)  # noqa: PT017


def test_a_classifier_does_not_go_by_names() -> None:
    lineup = lineup_data(breakout(upfs=["central"], prefixes=[], names=["cdn.streamverse.test"]))
    core = classified(resolvers=["10.45.0.1", "192.0.2.53"])
    assert "goes by prefix" in refused(lineup, fleet_data(core))[f"{PATH}.names"]


def test_a_classifier_sends_no_ipv6_to_a_cache_that_has_none() -> None:
    later = [str(net) for net in list(ip_network("2001:db8:c000::/35").subnets(new_prefix=44))[::2][: MAX_SDF + 1]]
    both = lineup_data(breakout(upfs=["central"], prefixes=["203.0.113.0/24", *later]))
    (rule,) = proxy(compiled(both, fleet_data(classified())), "pop1").rules
    assert [str(prefix) for prefix in rule.prefixes] == ["203.0.113.0/24"]
    named = breakout(upfs=["central"], prefixes=later[:1], names=["cdn.streamverse.test"])
    core = classified(resolvers=["10.45.0.1", "192.0.2.53"])
    assert "goes by prefix" in refused(lineup_data(named), fleet_data(core))[f"{PATH}.names"]


LATER = "2001:db8:cd::/48"


def with6(fleet: dict[str, Any], *appliances: str) -> dict[str, Any]:
    """Those have an IPv6 loopback."""
    for appliance in fleet["spec"]["appliances"]:
        if appliance["id"] in appliances:
            appliance["loopback6"] = f"2001:db8:ff::{appliance['id'].removeprefix('pop')}"
    return fleet


def test_ipv6_is_steered_to_a_cache_whose_appliance_has_it() -> None:
    found = compiled(lineup_data(breakout(prefixes=["203.0.113.0/24", LATER])), with6(fleet_data(), "pop1", "pop2"))
    assert found.warnings == ()
    section = n6(found, "pop1")
    assert (str(section.cache.address), str(section.cache.address6)) == ("10.255.0.3", "2001:db8:ff::1")
    assert [str(prefix) for prefix in section.prefixes] == ["203.0.113.0/24", LATER]
    edge = found.configs["pop1"].sections["cdn-edge"].to_json()
    assert edge["listen6"] == "2001:db8:ff::1", "where the cache is steered to it listens"
    fronted = with6(fleet_data(cdn_front=["pop1"]), "pop1")
    found = compiled(fleet=with_part(fronted, "cdn-front", certificates=["secret:cdn-tls"]))
    assert found.configs["pop1"].sections["cdn-front"].to_json()["listen6"] == "2001:db8:ff::1"
    assert n6(found, "pop1").ports == (80, 443)


def test_people_are_told_both_addresses_of_a_cache() -> None:
    fleet, lineup = built(Fleet, with6(fleet_data(), "pop1")), built(LineUp, lineup_data(breakout()))
    first, second = planned(lineup, fleet)
    assert first.cache == "10.255.0.3 and 2001:db8:ff::1 (pop1)"
    assert first.to_json()["cache"] == {"appliance": "pop1", "address": "10.255.0.3", "address6": "2001:db8:ff::1"}
    assert second.cache == "10.255.0.4 (pop2)"


def test_without_an_ipv6_loopback_nothing_is_said_of_ipv6() -> None:
    for config in compiled(lineup_data(breakout(prefixes=["203.0.113.0/24", LATER]))).configs.values():
        for section in config.sections.values():
            assert not {"address6", "cache6", "listen6", "loopback6"} & _keys(section.to_json())


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for one in value.values() for key in _keys(one)}
    return {key for one in value for key in _keys(one)} if isinstance(value, list) else set()


def test_a_path_by_ipv6_alone_is_steered_where_ues_and_cache_have_it() -> None:
    lineup = lineup_data(breakout(prefixes=[LATER]))
    found = compiled(lineup, with6(fleet_data(), "pop1", "pop2"))
    (target,) = found.configs["ue1"].probes
    assert HlsProbeArguments.model_validate(dict(target.arguments)).url == "http://[2001:db8:cd::1]/ch1/master.m3u8"
    assert refused(lineup, with6(fleet_data(), "pop1")) == {
        f"{PATH}.upfs[1]": "the cache on pop2 has no IPv6 address, and the path is known by IPv6 alone"
    }
    without = core_data(networks=[{"dnn": "internet", "pools": ["10.45.0.0/16"]}])
    assert refused(lineup, with6(fleet_data(without), "pop1", "pop2")) == {
        f"{PATH}.upfs[{number}]": "its UEs have no IPv6 addresses, and the path is known by IPv6 alone"
        for number in (0, 1)
    }


def test_a_ue_that_has_ipv6_alone_asks_by_it() -> None:
    core = core_data(networks=[{"dnn": "internet", "pools": ["2001:db8:45::/48"]}])
    both = lineup_data(breakout(prefixes=["203.0.113.0/24", LATER]))
    (target,) = compiled(both, with6(fleet_data(core), "pop1")).configs["ue1"].probes
    assert target.arguments["url"] == "http://[2001:db8:cd::1]/ch1/master.m3u8"
    (target,) = compiled(fleet=with6(fleet_data(core), "pop1")).configs["ue1"].probes
    assert target.arguments["url"] == "http://203.0.113.1/ch1/master.m3u8", "it tells that nothing comes"


def test_a_cache_without_ipv6_is_told_where_another_has_it() -> None:
    both = lineup_data(breakout(prefixes=["203.0.113.0/24", LATER]))
    (warning,) = compiled(both, with6(fleet_data(), "pop2")).warnings
    assert warning.key == f"{PATH}.prefixes[1]"
    assert warning.rule == "what UEs ask of it by IPv6 leaves by the default exit: no IPv6 is steered to pop1"


def test_a_cache_beside_the_upf_is_sent_no_ipv6() -> None:
    fleet = with6(beside(*VIPS), "c1", "pop1")
    both = breakout(upfs=["edge1"], prefixes=["198.51.100.10/32", LATER])
    found = compiled(lineup_data(both), fleet)
    assert n6(found, "c1").cache.address6 is None
    assert [warning.key for warning in found.warnings] == [f"{PATH}.prefixes[1]"]
    alone = refused(lineup_data(breakout(upfs=["edge1"], prefixes=[LATER])), fleet)
    assert "no cache that they are sent to has IPv6" in alone[f"{PATH}.prefixes"]


def test_a_prefix_overlaps_no_ipv6_loopback_of_the_fleet() -> None:
    found = refused(lineup_data(breakout(prefixes=["2001:db8:ff::/64"])), with6(fleet_data(), "pop1", "pop2"))
    assert found == {f"{PATH}.prefixes[0]": f"overlaps the IPv6 loopback of pop1: {SENT}"}


def test_a_classifier_sends_ipv6_to_an_edge_whose_cache_has_it() -> None:
    fleet = with6(fleet_data(classified()), "pop1", "pop2")
    section = proxy(
        compiled(lineup_data(breakout(upfs=["central"], prefixes=["203.0.113.0/24", LATER])), fleet), "pop1"
    )
    assert (str(section.cache), str(section.cache6), section.versions) == (
        "10.255.0.3",
        "2001:db8:ff::1",
        frozenset({4, 6}),
    )
    (rule,) = section.rules
    assert [str(prefix) for prefix in rule.prefixes] == ["203.0.113.0/24", LATER]
    later = [str(net) for net in list(ip_network("2001:db8:c000::/35").subnets(new_prefix=44))[::2][:MAX_SDF]]
    together = lineup_data(breakout(upfs=["central"], prefixes=["203.0.113.0/24", *later]))
    assert f"{MAX_SDF + 1} filters" in refused(together, fleet)[f"{PATH}.prefixes"], "a UE may have both"


def test_one_prefix_for_two_hosts_and_one_of_ipv6_are_told() -> None:
    lineup = lineup_data(
        breakout(), breakout(prefixes=["203.0.113.0/24", "2001:db8:cd::/48"]), cdns=({}, {"host": "other.test"})
    )
    other = "spec.channels[1].delivery[1].prefixes"
    assert {warning.key for warning in compiled(lineup).warnings} == {f"{other}[0]", f"{other}[1]"}
    same = lineup_data(breakout(), breakout())
    assert compiled(same).warnings == ()


def test_operators_may_ask_each_upf_and_all_and_an_influence_goes_to_the_edge_first() -> None:
    found = {(one.name, one.object): one for one in compiled(lineup_data(), fleet_data(classified())).operations}
    every = ("edge1", "edge2", "central")
    assert {key for key in found if key[0] == "steer-list"} == {("steer-list", name) for name in (*every, "*")}
    assert found["steer-explain", "*"].stages == (
        (("pop1", "n6-steering"), ("pop1", "pfcp-proxy"), ("pop2", "n6-steering")),
    )
    influence = found["influence", "central"]
    assert influence.made_good
    assert influence.stages == ((("pop1", "n6-steering"),), (("pop1", "pfcp-proxy"),))
    assert found["influence", "edge2"].stages == ((("pop2", "n6-steering"),),)


OURS = {"n6-steering", "pfcp-proxy"}
ORDERED = {"resolvers", "endpoints"}
"""Whose order says something: which resolver is asked first."""


def shuffled(value: Any, chance: random.Random, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: shuffled(one, chance, name) for name, one in value.items()}
    if isinstance(value, list) and key not in ORDERED:
        found = [shuffled(one, chance) for one in value]
        chance.shuffle(found)
        return found
    return value


def steering_of(found: Compiled) -> list[JsonObject]:
    """Its sections and probes: what other planners make of the order is their business."""
    return [
        {
            "sections": {name: part.to_json() for name, part in config.sections.items() if name in OURS},
            "probes": [target.to_json() for target in config.probes if target.path == "mobile"],
        }
        for config in found.configs.values()
    ]


NETWORKS = st.integers(0, 255).map(lambda n: f"198.51.{n}.0/24")


@given(
    first=st.lists(NETWORKS, min_size=1, max_size=5, unique=True),
    second=st.lists(NETWORKS, min_size=1, max_size=5, unique=True),
    upfs=st.lists(st.sampled_from(["edge1", "edge2", "central"]), min_size=1, max_size=3, unique=True),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_documents_says_nothing(
    first: list[str], second: list[str], upfs: list[str], seed: int
) -> None:
    lineup = lineup_data(breakout(prefixes=first, upfs=upfs), breakout(prefixes=second))
    fleet = fleet_data(classified())
    chance = random.Random(seed)  # noqa: S311 - it only shuffles
    one, other = compiled(lineup, fleet), compiled(shuffled(lineup, chance), shuffled(copy.deepcopy(fleet), chance))
    assert steering_of(one) == steering_of(other)
    assert one.hops == other.hops
    assert one.operations == other.operations


def test_the_document_of_a_path_is_read_back_as_it_was() -> None:
    lineup = built(LineUp, lineup_data(breakout(names=["cdn.streamverse.test"])))
    assert built(LineUp, lineup.to_json()) == lineup
    assert cdn("ch1")["id"] == breakout()["of"]
