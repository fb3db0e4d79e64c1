"""What operators do beside commits, on the reference network: overrides, drift, two at once, a NOC that dies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.scenarios import bootstrap, demo, snapshot
from lab.scenarios.console import Console

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.timeout(900, func_only=True)]

NOTHING = '{"entries": []}'


def settle(network: Console) -> None:
    network.must(network.nf("lineup", "commit", str(demo.LINEUP)))
    network.wait("both channels up at every receiver", lambda: demo.all_up_now(network), 60.0)


@pytest.fixture(scope="module")
def sample(network: Console) -> Console:
    settle(network)
    return network


@pytest.fixture
def committed(sample: Console) -> Iterator[Console]:
    """The sample line-up is confirmed before the test, and again afterwards."""
    yield sample
    sample.host("lab", "fault", "clear", "--lab", sample.lab)
    sample.wait("every appliance back", lambda: bootstrap.all_current(sample), 60.0)
    settle(sample)


def gate(network: Console, node: str) -> str:
    return network.must(network.sh(node, "nft", "list", "set", "ip", "nf_multicast", "admitted")).stdout


def causes(network: Console) -> set[str]:
    return {alarm["cause"] for alarm in network.must(network.nf("alarms", "--json")).json()}


def test_an_override_closes_a_gate_and_its_end_opens_it_again(committed: Console) -> None:
    before = gate(committed, "pop1")
    assert "232.10.1.1" in before
    override = ("override", "add", "pop1", "multicast-tree", NOTHING, "--reason", "maintenance", "--ttl")
    committed.must(committed.nf(*override, "1h"))
    assert "232.10.1.1" not in gate(committed, "pop1")
    committed.wait("red at r1", lambda: demo.receivers(committed, "ch1")["r1"]["verdict"] != "up", 15.0)
    (standing,) = committed.must(committed.nf("override", "list", "--json")).json()
    committed.must(committed.nf("override", "end", "pop1", standing["id"]))
    assert gate(committed, "pop1") == before
    committed.must(committed.nf(*override, "3s"))
    committed.wait("it expires by itself", lambda: gate(committed, "pop1") == before, 20.0)
    assert committed.must(committed.nf("override", "list", "--json")).json() == []
    committed.wait("green again", lambda: demo.all_up_now(committed), 30.0)
    assert not {cause for cause in causes(committed) if cause.startswith(("override", "transaction"))}


def test_a_gate_that_somebody_emptied_by_hand_is_mended(committed: Console) -> None:
    before = gate(committed, "pop2")
    committed.must(committed.sh("pop2", "nft", "flush", "set", "ip", "nf_multicast", "admitted"))
    assert gate(committed, "pop2") != before
    committed.wait("mended", lambda: gate(committed, "pop2") == before, 40.0)
    committed.wait("the alarm is over", lambda: "configuration-drift" not in causes(committed), 20.0)


def test_a_second_commit_is_told_who_is_busy_and_a_held_one_is_taken_back_on_request(committed: Console) -> None:
    before = snapshot.snapshot(committed)
    committed.must(committed.nf("lineup", "commit", str(demo.LINEUP_THREE), "--confirm", "2m"))
    second = committed.nf("lineup", "commit", str(demo.LINEUP))
    assert second.code == 8
    assert "operator/demo is held" in second.stderr
    back = committed.must(committed.nf("lineup", "rollback"))
    assert back.stdout.startswith("undone as asked")
    committed.wait("as before", lambda: not snapshot.differences(before, snapshot.snapshot(committed)), 20.0)


def test_an_operator_who_is_made_while_the_noc_runs_counts_at_once_and_only_for_the_role(committed: Console) -> None:
    committed.must(committed.nf("operator", "add", "vic", "--role", "viewer", "--output", "/etc/nf/vic"))
    committed.must(committed.nf("appliance", "list", "--profile", "/etc/nf/vic"))
    denied = committed.nf("lineup", "commit", str(demo.LINEUP_THREE), "--profile", "/etc/nf/vic")
    assert denied.code == 6
    assert "needs the role engineer" in denied.stderr
    committed.must(committed.nf("operator", "remove", "vic"))
    assert committed.nf("appliance", "list", "--profile", "/etc/nf/vic").code == 6
    records = committed.must(committed.nf("audit", "show", "--json")).json()
    assert {"operator.add", "operator.remove"} <= {record["action"] for record in records}
    assert committed.must(committed.nf("audit", "verify", "--json")).json()["intact"]


def test_a_noc_killed_during_the_confirm_fan_out_is_bound_by_what_it_decided(committed: Console) -> None:
    """pop2 is deaf when the decision is told; the NOC dies with it half told; the split is an alarm until it heals."""
    before = _revision(committed, "pop1")
    committed.must(committed.nf("lineup", "commit", str(demo.LINEUP_THREE), "--confirm", "2m"))
    committed.fault("freeze", "pop2", "agent run")
    committed.detach("noc", "nf", "lineup", "confirm")
    committed.wait("pop1 has confirmed", lambda: _revision(committed, "pop1") > before, 30.0)
    assert _revision(committed, "pop2") == before
    committed.fault("kill", "noc", "noc run")
    bootstrap.noc_run(committed)
    committed.wait("the NOC answers", lambda: committed.nf("appliance", "list").code == 0, 30.0)
    committed.wait("the split is an alarm", lambda: "revision-split" in causes(committed), 30.0)
    committed.fault("thaw", "pop2", "agent run")
    committed.wait("pop2 has it too", lambda: bootstrap.all_current(committed), 90.0)
    assert len({entry["confirmed_revision"] for entry in bootstrap.appliances(committed).values()}) == 1
    committed.wait("no split any more", lambda: "revision-split" not in causes(committed), 30.0)
    committed.wait("three channels", lambda: demo.all_up_now(committed, (*demo.CHANNELS, "ch3")), 30.0)


def _revision(network: Console, appliance: str) -> int:
    revision: int = bootstrap.appliances(network)[appliance]["confirmed_revision"]
    return revision
