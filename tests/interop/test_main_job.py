"""The main job on the reference network, judged from outside: real daemons, real traffic, other people's decoders."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.scenarios import bootstrap, demo, snapshot
from lab.scenarios.console import Answer, Console, ScenarioError

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.timeout(900, func_only=True)]

R1 = "10.3.1.10"
GROUPS = {"ch1": "232.10.1.1", "ch2": "232.10.1.2"}


def settle(network: Console) -> None:
    network.must(network.nf("lineup", "commit", str(demo.LINEUP)))
    network.wait("both channels up at every receiver", lambda: demo.all_up_now(network), 30.0)
    network.wait("routes settled", lambda: bootstrap.routed(network), 60.0)


@pytest.fixture(scope="module")
def sample(network: Console) -> Console:
    """The sample line-up is confirmed. For tests that leave it as it is."""
    settle(network)
    return network


@pytest.fixture
def two_channels(sample: Console) -> Iterator[Console]:
    """The sample line-up, and again afterwards."""
    yield sample
    sample.host("lab", "fault", "clear", "--lab", sample.lab)
    sample.wait("every appliance back", lambda: bootstrap.all_current(sample), 60.0)
    settle(sample)


def assert_as_before(network: Console, before: dict[str, dict[str, Any]], timeout_s: float = 60.0) -> None:
    """Every box becomes what the snapshot says; if not, the failure names what differs."""
    with contextlib.suppress(ScenarioError):
        network.wait("as before", lambda: not snapshot.differences(before, snapshot.snapshot(network)), timeout_s)
    assert snapshot.differences(before, snapshot.snapshot(network)) == []


def confirmed(network: Console) -> dict[str, int]:
    return demo.confirmed(bootstrap.appliances(network))


def alarms(network: Console) -> set[str]:
    return {alarm["cause"] for alarm in network.must(network.nf("alarms", "--json")).json()}


def capture(network: Console, receiver: str, group: str, seconds: int) -> tuple[int, int]:
    """(TS packets, continuity drops) that tshark's MPEG-TS dissector saw in a capture taken at the receiver."""
    shot = network.sh(
        receiver, "sh", "-c",
        f"tshark -q -i eth1 -a duration:{seconds} -w /run/shot.pcap -f 'udp and dst host {group}' >/dev/null 2>&1; "
        "tshark -r /run/shot.pcap -d udp.port==5000,mp2t -T fields -e mp2t.cc -e mp2t.cc.drop; rm -f /run/shot.pcap",
        timeout_s=seconds + 40.0,
    )  # fmt: skip
    lines = [line.split("\t") for line in network.must(shot).stdout.splitlines()]
    packets = sum(len(line[0].split(",")) for line in lines if line[0])
    drops = sum(1 for line in lines if len(line) > 1 and line[1])
    return packets, drops


def watched(network: Console, channel: str, seconds: int) -> tuple[int, int, int]:
    """(TS packets, drops that tshark saw, errors that our probe counted) at r1, over the same time."""
    before = demo.receivers(network, channel)["r1"]["continuity_errors"]
    packets, drops = capture(network, "r1", GROUPS[channel], seconds)
    return packets, drops, demo.receivers(network, channel)["r1"]["continuity_errors"] - before


@pytest.mark.parametrize("channel", sorted(GROUPS))
def test_the_committed_channel_plays_and_tshark_agrees_that_nothing_is_lost(sample: Console, channel: str) -> None:
    codecs = demo.judged_by_ffprobe(sample, "r1", R1, GROUPS[channel])
    assert codecs == "aac h264"
    windows = [watched(sample, channel, 4) for _ in range(2)]
    assert all(packets > 500 for packets, _, _ in windows)
    assert all(errors for _, drops, errors in windows if drops), "tshark saw a loss that we did not"
    assert (0, 0) in {(drops, errors) for _, drops, errors in windows}


def test_no_stream_leaves_the_headend_that_is_not_committed(sample: Console) -> None:
    units = sample.must(sample.nf("appliance", "show", "headend", "--json")).json()["status"]["units"]
    assert {unit["name"] for unit in units if unit["name"].startswith("source-")} == {
        "source-ch1-iptv",
        "source-ch2-iptv",
    }
    seen = sample.sh(
        "headend", "sh", "-c", "tshark -q -i eth1 -a duration:2 -f 'udp and net 232.0.0.0/8' -z conv,ip 2>/dev/null"
    )
    assert set(re.findall(r"232\.\d+\.\d+\.\d+", seen.stdout)) == set(GROUPS.values())


def test_the_same_line_up_again_is_an_empty_plan(sample: Console) -> None:
    before = confirmed(sample)
    answer = sample.must(sample.nf("lineup", "commit", str(demo.LINEUP), "--json")).json()
    assert answer["outcome"] == "unchanged"
    assert confirmed(sample) == before


def test_a_line_up_that_does_not_fit_is_refused_with_file_and_line(sample: Console) -> None:
    before = snapshot.snapshot(sample)
    answer = sample.nf("lineup", "commit", str(demo.LINEUP_OVERLOAD))
    assert answer.code == 2
    assert re.search(r"lineup-overload\.yaml:\d+:\d+ .*rate = 9M", answer.stderr)
    assert "c1-pop1" in answer.stderr
    assert_as_before(sample, before)


def test_one_appliance_that_fails_in_apply_undoes_all(two_channels: Console) -> None:
    before = snapshot.snapshot(two_channels)
    demo.break_nft(two_channels, "pop2")
    answer = two_channels.nf("lineup", "commit", str(demo.LINEUP_THREE))
    assert answer.code == demo.EXIT_UNDONE
    assert "pop2" in answer.stderr
    two_channels.fault("clear")
    assert_as_before(two_channels, before)
    assert demo.all_up_now(two_channels)


@pytest.mark.parametrize(
    "point",
    [
        "effect:apply",
        "journal:decision",
        *(pytest.param(point, marks=pytest.mark.soak) for point in ("journal:undo-record", "journal:verified")),
    ],
)
def test_an_agent_killed_mid_commit_heals_and_the_commit_is_confirmed(two_channels: Console, point: str) -> None:
    restarts = demo.agent_restarts(two_channels, "pop1")
    two_channels.fault("killpoint", "pop1", point)
    two_channels.must(two_channels.nf("lineup", "commit", str(demo.LINEUP_THREE)))
    two_channels.wait("pop1 on the new revision", lambda: bootstrap.all_current(two_channels), 30.0)
    assert demo.agent_restarts(two_channels, "pop1") == restarts + 1
    two_channels.wait("three channels", lambda: demo.all_up_now(two_channels, (*demo.CHANNELS, "ch3")), 20.0)


def test_rollback_leaves_every_box_as_it_was(two_channels: Console) -> None:
    before = snapshot.snapshot(two_channels)
    two_channels.must(two_channels.nf("lineup", "commit", str(demo.LINEUP_THREE)))
    assert snapshot.differences(before, snapshot.snapshot(two_channels))
    two_channels.must(two_channels.nf("lineup", "rollback"))
    assert_as_before(two_channels, before)


def test_a_held_commit_that_nobody_confirms_is_taken_back(two_channels: Console) -> None:
    before = snapshot.snapshot(two_channels)
    held = two_channels.must(
        two_channels.nf("lineup", "commit", str(demo.LINEUP_THREE), "--confirm", "8s", "--json")
    ).json()
    assert held["outcome"] == "held"
    assert snapshot.differences(before, snapshot.snapshot(two_channels))
    assert_as_before(two_channels, before)


def _red(network: Console, channel: str, receiver: str) -> Callable[[], bool]:
    return lambda: demo.receivers(network, channel)[receiver]["verdict"] != "up"


@pytest.mark.parametrize("fault", ["silence", "cut"])
def test_a_dead_link_is_red_at_its_receiver_only(two_channels: Console, fault: str) -> None:
    two_channels.fault(fault, "pop1:eth3")
    two_channels.wait("ch1 red at r1", _red(two_channels, "ch1", "r1"), 15.0)
    assert two_channels.nf("channel", "show", "ch1").code == 9
    assert demo.receivers(two_channels, "ch1")["r2"]["verdict"] == "up"
    if fault != "cut":  # a link that is set down is set up again by its appliance, maybe before anybody is alarmed
        two_channels.wait("an alarm", lambda: "path-down" in alarms(two_channels), 10.0)
    two_channels.fault("clear")
    two_channels.wait("green again", lambda: demo.all_up_now(two_channels), 60.0)
    two_channels.wait("the alarm cleared", lambda: "path-down" not in alarms(two_channels), 20.0)


def test_a_dead_source_stage_is_red_everywhere(two_channels: Console) -> None:
    two_channels.fault("freeze", "headend", "source-ch1-iptv")
    two_channels.wait("ch1 red at r1", _red(two_channels, "ch1", "r1"), 15.0)
    assert demo.receivers(two_channels, "ch2")["r1"]["verdict"] == "up"
    two_channels.fault("clear")
    two_channels.wait("green again", lambda: demo.all_up_now(two_channels), 30.0)


def test_an_excluded_pop_returns_and_catches_up(two_channels: Console) -> None:
    for node in ("pop2", "r2", "r3"):
        two_channels.fault("cut", f"{node}:eth0")
    two_channels.wait("pop2 offline", lambda: not bootstrap.appliances(two_channels)["pop2"]["online"], 60.0)
    refused = two_channels.nf("lineup", "commit", str(demo.LINEUP_THREE))
    assert refused.code == demo.EXIT_REFUSED
    assert "--without pop2" in refused.stderr
    required = two_channels.nf("lineup", "commit", str(demo.LINEUP_THREE), "--without", "core")
    assert required.code in (2, demo.EXIT_REFUSED)
    two_channels.must(two_channels.nf("lineup", "commit", str(demo.LINEUP_THREE), "--without", "pop2"))
    two_channels.fault("clear")
    two_channels.wait("pop2 caught up", lambda: bootstrap.all_current(two_channels), 90.0)
    two_channels.wait("three channels", lambda: demo.all_up_now(two_channels, (*demo.CHANNELS, "ch3")), 30.0)


def test_a_noc_killed_while_it_applies_leaves_the_old_or_the_new(two_channels: Console) -> None:
    before = snapshot.snapshot(two_channels)
    two_channels.detach("noc", "nf", "lineup", "commit", str(demo.LINEUP_THREE))
    two_channels.wait("something in flight", lambda: _in_flight(two_channels), 20.0)
    two_channels.fault("kill", "noc", "noc run")
    bootstrap.noc_run(two_channels)
    two_channels.wait("the NOC answers", lambda: two_channels.nf("appliance", "list").code == 0, 30.0)
    two_channels.wait("settled", lambda: bootstrap.all_current(two_channels) and not _in_flight(two_channels), 90.0)
    channels = {channel["id"] for channel in two_channels.must(two_channels.nf("channel", "list", "--json")).json()}
    if "ch3" in channels:
        two_channels.wait("new", lambda: demo.all_up_now(two_channels, (*demo.CHANNELS, "ch3")), 30.0)
    else:
        assert_as_before(two_channels, before)
    audit = two_channels.must(two_channels.nf("audit", "verify", "--json")).json()
    assert audit["intact"]


def _in_flight(network: Console) -> bool:
    answer: Answer = network.nf("appliance", "list", "--json")
    return answer.code == 0 and any(one["transaction_state"] for one in answer.json())


def test_bad_documents_name_every_line_and_reach_no_appliance(sample: Console) -> None:
    text = demo.LINEUP.read_text()
    bad = (
        text.replace("lcn: 101", "lcn: 102")
        .replace(", rate: 1M", ", rate: 1MB", 1)
        .replace("pop1, pop2", "pop1, pop9", 1)
    )
    bad = bad.replace("      source: studio-ch2\n", "      source: studio-ch2\n      colour: red\n")
    sample.must(sample.sh("noc", "sh", "-c", "cat > /etc/nf/bad.yaml", stdin=bad.encode()))
    answer = sample.nf("lineup", "commit", "/etc/nf/bad.yaml", "--json")
    assert answer.code == 2
    problems: list[dict[str, Any]] = _error(answer)["problems"]
    assert {"spec.channels[0].delivery[0].rate", "spec.channels[1].colour"} <= {problem["key"] for problem in problems}
    assert all(problem["line"] and problem["column"] and problem["remedy"] for problem in problems)


def _error(answer: Answer) -> dict[str, Any]:
    error: dict[str, Any] = Answer(0, answer.stderr, "").json()
    return error.get("error", error)


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_sixty_seconds_without_a_continuity_error(sample: Console) -> None:
    for channel in GROUPS:
        packets, drops, errors = watched(sample, channel, 60)
        assert packets > 10_000, channel
        assert (drops, errors) == (0, 0), channel
