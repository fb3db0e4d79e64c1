"""Both paths on the reference network: adopted as they run, and a dead origin that keeps back nothing but itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.scenarios import bootstrap, cdn, demo
from lab.scenarios.console import Console

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.timeout(900, func_only=True)]

NOTHING = b"apiVersion: streamverse.nf/v1\nkind: LineUp\nmetadata: {name: nothing}\nspec: {sources: [], channels: []}\n"


@pytest.fixture(scope="module")
def both_paths(network: Console) -> Iterator[Console]:
    """Two channels by multicast and by CDN; afterwards there is no line-up again."""
    network.must(network.nf("lineup", "commit", str(demo.LINEUP), "--accept"))
    yield network
    network.host("lab", "fault", "clear", "--lab", network.lab)
    network.must(network.sh("noc", "sh", "-c", "cat > /etc/nf/nothing.yaml", stdin=NOTHING))
    network.wait("every appliance back", lambda: bootstrap.all_current(network), 60.0)
    network.must(network.nf("lineup", "commit", "/etc/nf/nothing.yaml", "--accept"))


def test_a_site_with_both_paths_is_adopted_and_committing_that_is_an_empty_plan(both_paths: Console) -> None:
    before = demo.confirmed(bootstrap.appliances(both_paths))
    answer = both_paths.must(both_paths.nf("lineup", "adopt", "--output", "/etc/nf/adopted", "--json")).json()
    assert answer["channels"] == 2
    files = ("/etc/nf/adopted/lineup.yaml", "--fleet", "/etc/nf/adopted/fleet.yaml")
    plan = both_paths.must(both_paths.nf("lineup", "plan", *files, "--json")).json()
    assert plan["empty"], plan
    committed = both_paths.must(both_paths.nf("lineup", "commit", *files, "--json")).json()
    assert committed["outcome"] in {"unchanged", "confirmed"}
    assert both_paths.must(both_paths.nf("lineup", "plan", str(demo.LINEUP), "--json")).json()["empty"]
    assert demo.confirmed(bootstrap.appliances(both_paths)).keys() == before.keys()


def test_a_dead_origin_refuses_what_touches_it_and_nothing_else(both_paths: Console) -> None:
    both_paths.fault("cut", "origin:eth1")
    both_paths.wait("the CDN path is down", lambda: not any(_up(both_paths, "ott")), 40.0)
    assert all(_up(both_paths, "iptv"))
    refused = both_paths.nf("lineup", "commit", str(cdn.LINEUP_OTT))
    assert refused.code == cdn.EXIT_REFUSED, refused.text()
    assert "the origin does not answer" in refused.stderr
    both_paths.must(both_paths.nf("lineup", "commit", str(demo.LINEUP_THREE)))
    assert all(_up(both_paths, "iptv", "ch3"))
    alarms = {alarm["cause"] for alarm in both_paths.must(both_paths.nf("alarms", "--json")).json()}
    assert "origin-unreachable" in alarms
    assert not alarms & {"configuration-drift", "function-unreadable"}
    both_paths.fault("clear")
    both_paths.wait("the CDN path is back", lambda: all(_up(both_paths, "ott")), 60.0)


def _up(network: Console, path: str, channel: str = "ch1") -> list[bool]:
    return [hop["verdict"] == "up" for hop in demo.receivers(network, channel, path).values()]
