"""The IPTV tree on the reference network: a protected channel, dead and lossy cores, what-if, trace, admission."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.scenarios import bootstrap, demo, multicast, snapshot
from lab.scenarios.console import Answer, Console

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.timeout(900, func_only=True)]


@pytest.fixture(scope="module")
def protected(network: Console) -> Iterator[Console]:
    """The protected line-up; afterwards the sample one again."""
    network.must(network.nf("lineup", "commit", str(multicast.LINEUP), "--accept"))
    network.wait("the protected path", lambda: multicast.receivers_up(network, multicast.PROTECTED), 60.0)
    yield network
    network.host("lab", "fault", "clear", "--lab", network.lab)
    network.wait("every appliance back", lambda: bootstrap.all_current(network), 90.0)
    network.must(network.nf("lineup", "commit", str(demo.LINEUP), "--accept"))
    network.wait("both channels up", lambda: demo.all_up_now(network), 60.0)
    network.wait("routes settled", lambda: bootstrap.routed(network), 60.0)


def test_two_trees_share_no_core_and_the_pop_gives_out_one_stream(protected: Console) -> None:
    legs = multicast.cores_by_leg(protected, multicast.PROTECTED)
    assert sorted(legs) == ["a", "b"]
    assert all(len(cores) == 1 for cores in legs.values())
    assert legs["a"] != legs["b"]
    assert multicast.played(protected, multicast.joined_groups(protected)[multicast.PROTECTED]) == "aac h264"


def test_what_if_says_what_a_cut_then_does(protected: Console) -> None:
    asked = protected.must(protected.nf("tree", "whatif", "--link", "c1:pop1", "--json")).json()
    then = {(move["path"], move["leg"]): move["then"] for move in asked["moves"] if move["channel"] == "ch1"}
    assert then["iptv", None] == ["headend", "c2", "pop1"]
    assert asked["does_not_fit"] == []
    protected.fault("cut", "c1:eth3")
    protected.wait("what was told", lambda: multicast.cores_by_leg(protected, multicast.PLAIN) == {"": {"c2"}}, 60.0)
    protected.wait("still up", lambda: multicast.receivers_up(protected, multicast.PLAIN), 30.0)
    protected.fault("clear")
    protected.wait("routes settled", lambda: bootstrap.routed(protected), 60.0)
    protected.wait("both legs", lambda: all(multicast.cores_by_leg(protected, multicast.PROTECTED).values()), 60.0)


@pytest.mark.parametrize("lit", [True, False], ids=["hangs", "loses-power"])
def test_a_core_dies_and_the_protected_channel_loses_nothing(protected: Console, lit: bool) -> None:
    death = multicast.core_dies(protected, lit=lit)
    twin = death.seen[multicast.PROTECTED]
    assert twin.datagrams > 100
    assert (twin.drops, death.errors[multicast.PROTECTED]) == (0, 0)
    assert death.seen[multicast.PLAIN].datagrams > 100
    print(f"{death.core} died: {death}")


@pytest.mark.parametrize(
    "fault",
    [
        # How a tree heals from these is in test_ring.py, what merging does without a leg in output/test_live.py.
        pytest.param(("kill", "{core}", "pimd"), id="pimd-killed", marks=pytest.mark.soak),
        pytest.param(("cut", "{core}:eth3"), id="carrier-lost", marks=pytest.mark.soak),
        pytest.param(("silence", "{core}:eth3"), id="silent-link"),
    ],
)
def test_what_befalls_one_leg_costs_the_protected_channel_nothing(protected: Console, fault: tuple[str, ...]) -> None:
    ((core, *_),) = multicast.cores_by_leg(protected, multicast.PLAIN).values()
    groups = multicast.joined_groups(protected)
    before = {path: multicast.errors(protected, path) for path in (multicast.PROTECTED, multicast.PLAIN)}
    multicast.start_capture(protected, [groups[path] for path in before])
    protected.fault(*(word.format(core=core) for word in fault))
    protected.wait("the plain path again", lambda: multicast.settled(protected), 60.0)
    multicast.end_capture(protected)
    seen = {path: multicast.read_capture(protected, groups[path]) for path in before}
    print(f"{fault[0]} at {core}: {seen}")
    assert seen[multicast.PROTECTED].datagrams > 100
    assert seen[multicast.PROTECTED].drops == 0
    assert multicast.errors(protected, multicast.PROTECTED) == before[multicast.PROTECTED]
    protected.fault("clear")
    protected.wait("routes settled", lambda: bootstrap.routed(protected), 60.0)
    protected.wait("both legs", lambda: all(multicast.cores_by_leg(protected, multicast.PROTECTED).values()), 60.0)


def test_a_lossy_direction_of_a_link_is_named(protected: Console) -> None:
    ((core, *_),) = multicast.cores_by_leg(protected, multicast.PLAIN).values()
    link = multicast.LINKS[core]
    before = multicast.errors(protected, multicast.PROTECTED)
    protected.fault("loss", link.partition(" ")[0], "--percent", "20")
    protected.wait("it is named", lambda: multicast.vanishing(protected) == [link], 60.0)
    assert multicast.errors(protected, multicast.PROTECTED) == before
    protected.fault("clear")
    protected.wait("nothing vanishes", lambda: multicast.vanishing(protected) == [], 60.0)


def test_a_rollback_leaves_no_trace_of_the_protection(protected: Console) -> None:
    protected.must(protected.nf("lineup", "commit", str(demo.LINEUP)))
    before = snapshot.snapshot(protected)
    protected.must(protected.nf("lineup", "commit", str(multicast.LINEUP)))
    protected.wait("the protected path", lambda: multicast.receivers_up(protected, multicast.PROTECTED), 60.0)
    assert snapshot.differences(before, snapshot.snapshot(protected))
    protected.must(protected.nf("lineup", "rollback"))
    protected.wait("as before", lambda: not snapshot.differences(before, snapshot.snapshot(protected)), 60.0)
    protected.must(protected.nf("lineup", "commit", str(multicast.LINEUP)))
    protected.wait("the protected path", lambda: multicast.receivers_up(protected, multicast.PROTECTED), 60.0)


def test_too_much_for_a_link_is_refused_with_its_channels(protected: Console) -> None:
    text = multicast.LINEUP.read_text()
    big = text.replace("hot-hot\n          rate: 1M", "hot-hot\n          rate: 8M")
    assert big != text
    protected.must(protected.sh("noc", "sh", "-c", "cat > /etc/nf/big.yaml", stdin=big.encode()))
    answer = protected.nf("lineup", "commit", "/etc/nf/big.yaml", "--json")
    assert answer.code == 2
    rules = [problem["rule"] for problem in Answer(0, answer.stderr, "").json()["error"]["problems"]]
    assert any("link c1-pop1 from c1 to pop1 is full" in rule and "ch1/twin 8M" in rule for rule in rules), rules


_ZAPPER = """
import signal, socket, struct
sockets = []
for last in range(1, 7):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    addresses = [socket.inet_aton(text) for text in (f"232.99.1.{last}", "10.3.1.10", "10.1.0.10")]
    sock.setsockopt(socket.IPPROTO_IP, 39, struct.pack("4s4s4s", *addresses))  # IP_ADD_SOURCE_MEMBERSHIP
    sockets.append(sock)
signal.pause()
"""


def test_a_subscriber_port_has_its_limit_and_who_came_first_keeps_watching(protected: Console) -> None:
    """r1's probes have joined five channels; six more are too many for a port of eight."""
    port = "access:\n        - {appliance: pop1, lans: [{ports: [{name: eth3, max_channels: 8}]}]}\n"
    fleet = (bootstrap.DOCUMENTS / "fleet.yaml").read_text().replace("multicast:\n", f"multicast:\n      {port}", 1)
    protected.must(protected.sh("noc", "sh", "-c", "cat > /etc/nf/fleet-access.yaml", stdin=fleet.encode()))
    protected.must(protected.nf("lineup", "commit", str(multicast.LINEUP), "--fleet", "/etc/nf/fleet-access.yaml"))
    before = multicast.errors(protected, multicast.PROTECTED)
    protected.detach("r1", "python", "-c", _ZAPPER)
    protected.wait("the alarm of the port", lambda: ("channel-limit", "pop1") in alarms(protected), 30.0)
    passed = protected.must(protected.sh("pop1", "nft", "list", "set", "netdev", "nf_access", "pass_eth3")).stdout
    assert passed.count(" . ") - 1 == 8  # one of them in the type of the set
    assert multicast.receivers_up(protected, multicast.PROTECTED)
    assert multicast.errors(protected, multicast.PROTECTED) == before
    protected.fault("kill", "r1", "IP_ADD_SOURCE_MEMBERSHIP")
    protected.wait("the alarm cleared", lambda: ("channel-limit", "pop1") not in alarms(protected), 30.0)
    back = str(bootstrap.DOCUMENTS / "fleet.yaml")
    protected.must(protected.nf("lineup", "commit", str(multicast.LINEUP), "--fleet", back))
    assert protected.sh("pop1", "nft", "list", "table", "netdev", "nf_access").code != 0


def alarms(console: Console) -> set[tuple[str, str]]:
    listed = console.must(console.nf("alarms", "--json")).json()
    return {(alarm["cause"], alarm["appliance"]) for alarm in listed}
