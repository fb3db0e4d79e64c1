"""The output stage behind two routers: legs that lose or fall silent, a process that reloads or dies, a silent way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from headend.datapath import tell
from headend.multicast.documents import OutputSection
from nf.errors import DriverError
from tests.headend.multicast.output import network as lab
from tests.headend.multicast.output.network import Network
from tests.headend.multicast.tree.network import context, take_back, until

pytestmark = [pytest.mark.root, pytest.mark.daemon]


@pytest.fixture(scope="module")
def network(require_programs: Callable[..., None]) -> Iterator[Network]:
    require_programs("ip", "nft", "zebra", "ospfd", "pimd", "bfdd", "nsenter", "tcpdump", "tshark")
    with lab.network() as found:
        yield found


def wait(network: Network, condition: Callable[..., bool], timeout_s: float = 120.0) -> None:
    """Until it is true of the stage's status."""

    async def holds() -> bool:
        status = await network.status()
        return status is not None and condition(status)

    network.pop.call(until, holds, timeout_s)


def legs_received(network: Network, more: int, *which: int) -> None:
    """Until each of these legs has brought so many packets more."""
    before = [leg.received for leg in network.now().outputs[0].legs]
    wait(network, lambda found: all(found.outputs[0].legs[n].received >= before[n] + more for n in which))


def test_no_packet_is_lost_while_one_leg_is_silent_and_then_the_other(network: Network, tmp_path: Path) -> None:
    network.commit(lab.output("merge", *lab.legs()))
    with lab.playing(network, *lab.PROTECTED), lab.capturing(network.nodes["r"], "eth1", tmp_path / "out.pcap"):
        wait(network, lambda found: all(leg.received > 50 for leg in found.outputs[0].legs))
        with lab.watching(network, lab.GROUP_OUT) as seen:
            legs_received(network, 100, 0, 1)
            for dead, alive in (("a", 1), ("b", 0)):
                network.silence(dead)
                legs_received(network, 400, alive)
                network.heal(dead)
                legs_received(network, 100, 0, 1)
        status = network.now().outputs[0]
    network.commit()
    assert len(seen.numbers) > 7 * 1000
    assert (seen.lost, seen.in_order) == (0, True)
    assert (status.continuity_errors, status.send_errors) == (0, 0)
    assert all(leg.lost > 300 for leg in status.legs)
    captured = lab.tshark(tmp_path / "out.pcap", "-d", f"udp.port=={lab.PORT},mp2t", "-Y", "mp2t.cc.drop")
    assert captured == ""
    marked = lab.tshark(tmp_path / "out.pcap", "-T", "fields", "-e", "ip.dsfield.dscp", "-e", "ip.src")
    assert set(marked.split("\n")) == {f"34\t{lab.POP}", ""}


def test_no_packet_is_lost_while_one_leg_drops_a_twentieth_and_the_process_reloads(
    network: Network, tmp_path: Path
) -> None:
    first, other = lab.output("merge", *lab.legs()), lab.output("merge", *lab.legs(), channel="ch9", group="232.62.9.1")
    network.commit(first)
    with lab.playing(network, *lab.PROTECTED):
        wait(network, lambda found: all(leg.received > 50 for leg in found.outputs[0].legs))
        files = {name: tmp_path / f"{name}.pcap" for name in ("out", "tap")}
        with (
            lab.capturing(network.nodes["r"], "eth1", files["out"]),
            lab.capturing(network.pop, lab.TAP, files["tap"]),
            lab.watching(network, lab.GROUP_OUT) as seen,
        ):
            before = network.now().outputs[0]
            network.silence("a", "numgen random mod 100 < 5 drop")
            for outputs in ((first, other), (first,), (first, other), (first,)):
                legs_received(network, 250, 0, 1)
                network.commit(*outputs)
            assert tell(network.pop.run_dir / "output", reload=True)
            legs_received(network, 250, 0, 1)
            network.heal("a")
            legs_received(network, 20, 0, 1)
            status = network.now().outputs[0]
    network.commit()
    assert len(seen.numbers) > 7 * 1000
    assert (seen.lost, seen.in_order) == (0, True)
    assert status.continuity_errors == 0
    ours = [after.lost - leg.lost for after, leg in zip(status.legs, before.legs, strict=True)]
    theirs = lab.rtp_lost(files["tap"])
    assert theirs[lab.GROUP_B] == 0 == ours[1]
    assert 0 < theirs[lab.GROUP_A] == ours[0]
    captured = lab.tshark(files["out"], "-d", f"udp.port=={lab.PORT},mp2t", "-Y", "mp2t.cc.drop")
    assert captured == ""


def test_a_killed_process_comes_back_with_its_outputs(network: Network) -> None:
    network.commit(lab.output("merge", *lab.legs()))
    with lab.playing(network, *lab.PROTECTED):
        wait(network, lambda found: found.outputs[0].packets > 100)
        before = network.now().pid
        os.kill(before, signal.SIGKILL)
        wait(network, lambda found: found.pid != before and found.outputs[0].packets > 100)
        want = OutputSection(tap=lab.TAP, outputs=(lab.output("merge", *lab.legs()),))
        assert network.pop.call(network.driver.verify, want, context(20.0)).differences == ()
        state = network.pop.call(network.driver.observe)
        assert state.facts == {"output ch1"}
        assert OutputSection.model_validate(state.value) == want
    network.commit()
    assert network.pop.call(network.driver.observe).value is None


def test_what_was_set_is_taken_back_and_the_machine_is_as_it_was(network: Network) -> None:
    before = network.pop.snapshot()
    first, other = (
        lab.output("merge", *lab.legs()),
        lab.output("switch", *lab.legs(), channel="ch9", group="232.62.9.1"),
    )
    made = network.commit(first)
    pid = network.now().pid
    more = network.commit(first, other)
    absent = first.model_copy(update={"addresses": (IPv4Address("10.62.77.1"),)})
    with pytest.raises(DriverError, match=r"cannot send from 10\.62\.77\.1"):
        network.commit(absent, other)
    network.commit(first, other)
    network.pop.call(take_back, network.driver, more)
    assert [output.key for output in network.now().outputs] == ["ch1/iptv"]
    assert network.now().pid == pid
    network.pop.call(take_back, network.driver, made)
    assert network.pop.call(network.driver.observe).value is None
    assert [line for line in network.pop.changes(before) if not line.startswith("multicast:")] == []


def test_a_source_that_starts_anew_is_followed(network: Network) -> None:
    network.commit(lab.output("merge", *lab.legs()))
    with lab.playing(network, *lab.PROTECTED):
        wait(network, lambda found: found.outputs[0].packets > 100)
    with lab.playing(network, *lab.PROTECTED), lab.watching(network, lab.GROUP_OUT) as seen:
        legs_received(network, 200, 0, 1)
        status = network.now().outputs[0]
    network.commit()
    assert status.resets == 1
    assert (seen.lost, seen.in_order) == (0, True)


def test_separate_encoders_are_switched_and_the_first_is_taken_again_when_it_is_sound(network: Network) -> None:
    feeds = [{**leg, "encapsulation": "ts"} for leg in lab.legs()]
    network.commit(lab.output("switch", *feeds, channel="ch3"))
    first, second = lab.ENCODERS
    with lab.playing(network, *first), lab.playing(network, *second, port=6002):
        wait(network, lambda found: all(leg.received > 50 for leg in found.outputs[0].legs))
        wait(network, lambda found: found.outputs[0].active == 0)
        with lab.watching(network, lab.GROUP_OUT) as seen:
            network.silence("a")
            wait(network, lambda found: found.outputs[0].active == 1)
            legs_received(network, 100, 1)
            network.heal("a")
            wait(network, lambda found: found.outputs[0].active == 0)
        status = network.now().outputs[0]
    network.commit()
    assert status.send_errors == 0
    assert len(seen.at) > 100
    print(f"switched to the other encoder: {seen.gap_ms:.0f} ms")


def test_a_single_feed_is_taken_from_another_neighbour_when_it_is_silent(network: Network) -> None:
    feed = {"source": lab.SINGLE, "group": lab.GROUP_SINGLE, "port": lab.PORT}
    feed["alternates"] = [lab.NEIGHBOURS["a"], lab.NEIGHBOURS["b"]]
    network.commit(lab.output("single", feed, channel="ch2", group=lab.GROUP_PLAIN))
    with lab.playing(network, *lab.PLAIN), lab.watching(network, lab.GROUP_PLAIN) as seen:
        legs_received(network, 100, 0)
        way = network.way(lab.SINGLE, lab.GROUP_SINGLE)
        other = {"a": "b", "b": "a"}[way]
        network.silence(way)
        wait(network, lambda found: found.sources[0].via == lab.NEIGHBOURS[other])
        legs_received(network, 200, 0)
        routes = network.pop.shell("ip", "route", "show", "proto", "78")
        assert routes.split() == f"{lab.SINGLE} via {lab.NEIGHBOURS[other]} dev eth{1 + 'ab'.index(other)}".split()
        assert network.way(lab.SINGLE, lab.GROUP_SINGLE) == other
        network.heal(way)
    lost = seen.lost // 7
    assert 0 < lost < 30.0 / lab.INTERVAL_S  # a second where nothing else runs
    print(f"moved from {way} to {other}: {lost} datagrams, {seen.gap_ms:.0f} ms")
    # Nothing comes by any way now: the route goes home, and rests there.
    wait(network, lambda found: found.sources[0].state == "resting" and found.sources[0].via is None)
    network.commit()
    assert network.pop.shell("ip", "route", "show", "proto", "78") == ""
