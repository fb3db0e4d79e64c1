"""The driver and its process on live packets: source - router that loses a known share - PoP.

Judges: nftables' counter of what was lost, and tshark's own analysis of what arrived.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headend.multicast.documents import MonitorSection, Watch
from headend.multicast.monitor.client import FlowStatus, MonitorStatus, ask
from headend.multicast.monitor.driver import MonitorDriver, create
from nf.contracts.driver import Context
from nf.telemetry.alarms import AlarmEvent, Severity
from tests.headend.multicast.monitor.made import rtp, ts
from tests.headend.multicast.tree.cache import cache
from tests.headend.multicast.tree.network import Node, commit, connect, context, ip, nodes, take_back, until

pytestmark = [pytest.mark.root, pytest.mark.daemon]

SOURCE, PLAIN, RTP, PORT = "10.61.1.10", "232.61.1.1", "232.61.1.2", 5000
DATAGRAMS, INTERVAL_S = 1500, 0.002
LOSS_EVERY = 21  # odd, since the two groups take turns


def watch(group: str, encapsulation: str) -> Watch:
    return Watch.model_validate(
        {"channel": "ch1", "path": encapsulation, "source": SOURCE, "group": group, "port": PORT, "rate": 6_000_000,
         "encapsulation": encapsulation}
    )  # fmt: skip


SECTION = MonitorSection(interfaces=("eth1",), flows=(watch(PLAIN, "ts"), watch(RTP, "rtp")))


@pytest.fixture(scope="module")
def network(require_programs: Callable[..., None]) -> Iterator[dict[str, Node]]:
    require_programs("ip", "nsenter", "nft", "tshark", "dumpcap")
    with nodes("s", "a", "r") as made:
        connect(made["s"], "eth1", made["a"], "eth1")
        connect(made["a"], "eth2", made["r"], "eth1")
        for name, interface, address in (
            ("s", "eth1", f"{SOURCE}/24"),
            ("a", "eth1", "10.61.1.1/24"),
            ("a", "eth2", "10.61.2.1/24"),
            ("r", "eth1", "10.61.2.10/24"),
        ):
            ip("-n", made[name].namespace, "address", "add", address, "dev", interface)
            ip("-n", made[name].namespace, "link", "set", interface, "up")
        made["a"].shell("sysctl", "-qw", "net.ipv4.ip_forward=1")
        made["r"].supervise()
        yield made


async def _flow(count: int) -> None:
    """Both groups, each TS packet with its counter and each datagram with a PCR, evenly in time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(SOURCE))
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
        begin = time.monotonic()
        for number in range(count):
            content = ts(range(7 * number, 7 * number + 7), pcr=round(number * INTERVAL_S * 27e6))
            out.sendto(content, (PLAIN, PORT))
            out.sendto(rtp(number, content), (RTP, PORT))
            await asyncio.sleep(max(0.0, begin + (number + 1) * INTERVAL_S - time.monotonic()))


@contextmanager
def forwarded(router: Node) -> Iterator[None]:
    """The router forwards both groups. Its thread holds the table."""
    held: list[object] = []

    async def fill() -> None:
        table = cache(("eth1", "eth2"))
        entries = table.__enter__()
        held.append(table)
        for group in (PLAIN, RTP):
            entries.add(SOURCE, group)

    async def empty() -> None:
        held.pop().__exit__(None, None, None)  # type: ignore[attr-defined]

    router.call(fill)
    try:
        yield
    finally:
        router.call(empty)


@contextmanager
def capture(node: Node, file: Path) -> Iterator[None]:
    argv = ["nsenter", f"--net=/run/netns/{node.namespace}", "dumpcap", "-q", "-i", "eth1", "-w", str(file)]
    dumpcap = subprocess.Popen([*argv, "-f", f"udp port {PORT}", "-B", "32"], stderr=subprocess.PIPE, text=True)
    assert dumpcap.stderr is not None
    for line in dumpcap.stderr:
        if "File:" in line:  # said once it listens
            break
    try:
        yield
    finally:
        dumpcap.send_signal(signal.SIGINT)
        dumpcap.communicate(timeout=90)


def _by_path(status: MonitorStatus) -> dict[str, FlowStatus]:
    return {flow.path: flow for flow in status.flows}


def _driver(node: Node) -> MonitorDriver:
    return create(node.context())


def test_figures_are_those_of_nftables_and_tshark(network: dict[str, Node], tmp_path: Path) -> None:
    receiver, router = network["r"], network["a"]
    driver = _driver(receiver)
    undos = receiver.call(commit, driver, SECTION)
    router.shell("nft", "add table ip lossy; add chain ip lossy f { type filter hook forward priority 0; }; "
                 f"add rule ip lossy f numgen inc mod {LOSS_EVERY} 7 counter drop")  # fmt: skip
    file = tmp_path / "arrived.pcapng"
    path = receiver.run_dir / "monitor"

    async def settled() -> bool:
        status = await ask(path)
        return status is not None and sum(flow.packets for flow in status.flows) == 2 * DATAGRAMS - dropped

    with forwarded(router), capture(receiver, file):
        sending = network["s"].start(_flow, DATAGRAMS)
        raised = receiver.call(_alarms, driver, {"loss:ch1/ts", "loss:ch1/rtp"})
        sending.result(180)
        counter = router.shell("nft", "list", "chain", "ip", "lossy", "f")
        dropped = int(re.search(r"counter packets (\d+)", counter)[1])  # type: ignore[index]
        receiver.call(until, settled)
        status = receiver.call(ask, path)
    router.shell("nft", "delete", "table", "ip", "lossy")
    assert raised == {"loss:ch1/ts": Severity.MAJOR, "loss:ch1/rtp": Severity.MAJOR}
    assert status is not None
    assert status.dropped == 0
    flows = _by_path(status)
    assert dropped == len(range(7, 2 * DATAGRAMS, LOSS_EVERY))
    assert flows["ts"].packets + flows["rtp"].packets == 2 * DATAGRAMS - dropped
    lost_at_ends = DATAGRAMS - flows["rtp"].packets - flows["rtp"].lost
    assert 0 <= lost_at_ends <= 1  # a last datagram that is lost is missed by no receiver
    assert (flows["rtp"].reordered, flows["rtp"].duplicates) == (0, 0)
    told = _tshark(file)
    assert flows["rtp"].lost == told["lost"]
    assert flows["ts"].continuity_errors == told[PLAIN]
    assert flows["rtp"].continuity_errors == told[RTP]
    assert flows["ts"].continuity_errors > 0
    receiver.call(take_back, driver, undos)
    assert receiver.call(driver.observe).value is None


async def _alarms(driver: MonitorDriver, wanted: set[str]) -> dict[str, Severity]:
    """The first severity of each."""
    raised: dict[str, Severity] = {}
    async with asyncio.timeout(90):
        async for event in driver.events():
            if isinstance(event, AlarmEvent) and event.severity is not Severity.CLEARED:
                raised[f"{event.cause}:{event.object}"] = event.severity
            if wanted <= raised.keys():
                return raised
    raise AssertionError("the driver's events ended")


def _tshark(file: Path) -> dict[str, int]:
    """Lost by the RTP analysis; for each group the continuity errors that the TS dissector marks."""
    decode = ("-d", f"udp.port=={PORT},rtp")
    streams = subprocess.run(["tshark", "-r", file, "-Y", f"ip.dst=={RTP}", *decode, "-qz", "rtp,streams"],
                             check=True, capture_output=True, text=True).stdout  # fmt: skip
    line = next(line for line in streams.splitlines() if RTP in line)
    found = {"lost": int(re.search(r"(-?\d+) \(-?[\d.]+%\)", line)[1])}  # type: ignore[index]
    for group, how in ((PLAIN, "mp2t"), (RTP, "rtp")):
        argv = ["tshark", "-2", "-r", file, "-R", f"ip.dst=={group}", "-d", f"udp.port=={PORT},{how}", "-T", "json",
                "-J", "mp2t", "-Y", "mp2t.cc.drop"]  # fmt: skip
        text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        found[group] = len(re.findall(r'"mp2t\.cc\.drop"', text))
    return found


def test_a_monitor_that_dies_comes_back_and_one_altered_is_put_right(network: dict[str, Node]) -> None:
    receiver = network["r"]
    driver = _driver(receiver)
    undos = receiver.call(commit, driver, SECTION)
    units = receiver.context().units
    status = receiver.call(units.status, "multicast-monitor")
    assert status is not None
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)

    async def anew() -> bool:
        now = await units.status("multicast-monitor")
        return now is not None and now.pid not in {None, status.pid} and not await driver.verify(SECTION, _now())

    receiver.call(until, anew)
    file = receiver.state_dir / "multicast-monitor" / "section.json"
    altered = json.loads(file.read_text())
    altered["flows"] = []
    file.write_text(json.dumps(altered))
    assert receiver.call(driver.verify, SECTION, _now()).differences
    receiver.call(commit, driver, SECTION)
    other = SECTION.model_copy(update={"flows": SECTION.flows[:1]})
    more = receiver.call(commit, driver, other)
    receiver.call(take_back, driver, more)
    assert not receiver.call(driver.verify, SECTION, _now())
    receiver.call(take_back, driver, undos)


def _now() -> Context:
    return context(0.0)


def test_an_interface_that_comes_later_is_listened_on(network: dict[str, Node]) -> None:
    receiver = network["r"]
    driver = _driver(receiver)
    undos = receiver.call(commit, driver, MonitorSection(interfaces=("late0",), flows=SECTION.flows))
    path = receiver.run_dir / "monitor"
    assert any("late0" in problem for problem in receiver.call(ask, path).problems)  # type: ignore[union-attr]
    receiver.shell("ip", "link", "add", "late0", "type", "veth", "peer", "name", "late1")
    receiver.shell("ip", "link", "set", "late0", "up")

    async def open_now() -> bool:
        status = await ask(path)
        return status is not None and not status.problems

    receiver.call(until, open_now)
    receiver.call(take_back, driver, undos)
    receiver.shell("ip", "link", "del", "late0")
