"""A UE's own packets between the lab's MODELS of SMF and UPFs (no Open5GS): what it asks of the CDN is answered at the
edge, the rest by the default exit, through handover, idle, paging, a closed gate, the proxy's death and release."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from core5g.pfcp.ies import Cause
from core5g.pfcp.proxy.documents import ProxySection
from core5g.pfcp.proxy.driver import create
from core5g.pfcp.proxy.units import UNIT, ask, status_socket
from core5g.pfcp.wire import Ie, IeType, Message, MessageType, decode, encode, group, need
from tests.core5g.daemons import BIN, SMF_MODEL
from tests.headend.multicast.tree.network import Node, commit, connect, ip, nodes, until

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("labelled")]

SMF, UPF, PROXY, EDGE, GNB = "10.50.0.4", "10.50.0.7", "10.50.0.9", "10.50.1.2", "10.50.2.2"
UE, CDN, OTHER = "10.45.0.2", "203.0.113.10", "198.51.100.10"
SECTION = ProxySection.model_validate(
    {
        "listen": PROXY,
        "smfs": [SMF],
        "upf": {"id": "upf1", "address": UPF},
        "edge": {"id": "edge1", "n4": EDGE, "n3": EDGE},
        "rules": [{"id": "cdn", "prefixes": ["203.0.113.0/24"]}],
    }
)
ANSWERS = """
import http.server
http.server.SimpleHTTPRequestHandler.log_message = lambda *_: None
http.server.ThreadingHTTPServer(("", 8080), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def upf_config(address: str, log: Path) -> dict[str, Any]:
    session = {"subnet": "10.45.0.0/16", "gateway": "10.45.0.1", "dnn": "internet", "dev": "ogstun"}
    server = {"server": [{"address": address}]}
    return {
        "logger": {"file": {"path": str(log)}, "level": "info"},
        "upf": {"pfcp": server, "gtpu": server, "session": [session], "metrics": {"server": [{"address": address}]}},
    }


def smf_config(log: Path) -> dict[str, Any]:
    server = {"server": [{"address": SMF}]}
    return {
        "logger": {"file": {"path": str(log)}, "level": "info"},
        "smf": {
            "sbi": {"server": [{"address": SMF, "port": 7777}], "client": {"nrf": [{"uri": "http://10.50.0.10:7777"}]}},
            "pfcp": {**server, "client": {"upf": [{"address": PROXY, "dnn": "internet"}]}},
            "gtpc": server,
            "gtpu": server,
            "metrics": {"server": [{"address": SMF, "port": 9090}]},
            "session": [{"subnet": "10.45.0.0/16", "gateway": "10.45.0.1", "dnn": "internet"}],
            "dns": ["192.0.2.53"],
            "mtu": 1400,
        },
    }


class World:
    def __init__(self, made: dict[str, Node], folder: Path) -> None:
        self.core, self.edge, self.ran = made["core"], made["edge"], made["ran"]
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, node: Node, *argv: str, cwd: Path | None = None) -> None:
        command = ["nsenter", f"--net=/run/netns/{node.namespace}", *argv]
        environment = {**os.environ, "NF_PYTHON": sys.executable}
        output = (self.folder / "output").open("ab")
        self.running.append(subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=output))
        output.close()

    def close(self) -> None:
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait(90)

    def asked(self, address: str) -> str:
        """Who answered the UE there."""
        command = ("curl", "-s", "-m", "60", "--interface", UE, f"http://{address}:8080/who")
        return self.ran.shell(*command).strip()

    def act(self, what: str) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(90)
            sock.connect(str(self.folder / "ran.sock"))
            sock.sendall(json.dumps({"ue": "imsi-999700000000001", "act": what}).encode() + b"\n")
            told: dict[str, Any] = json.loads(sock.makefile().readline())
            assert "error" not in told
            return told

    def until(self, judge: Callable[[dict[str, Any]], bool]) -> None:
        """The proxy's status is so."""

        async def holds() -> bool:
            told = await ask(status_socket(self.core.run_dir))
            return told is not None and judge(told)

        self.core.call(until, holds)

    def steered(self, count: int) -> None:
        self.until(lambda told: told["steered"] == count)

    def own_requests(self) -> int:
        return int(self.core.call(ask, status_socket(self.core.run_dir))["counters"]["own-requests"])

    def counted(self, node: Node, upf: str, name: str) -> int:
        """By a UPF, in its metrics."""
        lines = node.shell("curl", "-s", "-m", "60", f"http://{upf}:9090/metrics").splitlines()
        return next(int(float(line.split()[-1])) for line in lines if line.split("{")[0].split()[:1] == [name])

    def healthy(self, *, value: bool) -> None:
        self.core.call(ask, status_socket(self.core.run_dir), {"command": "edge", "healthy": value, "why": "test"})


@pytest.fixture(scope="module")
def world(require_programs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    require_programs("ip", "curl", "nsenter", *(str(BIN / f"open5gs-{kind}d") for kind in ("upf", "smf")))
    folder = tmp_path_factory.mktemp("models")
    with ExitStack() as stack:
        made = stack.enter_context(nodes("core", "edge", "ran"))
        world = World(made, folder)
        stack.callback(world.close)
        connect(made["core"], "eth1", made["edge"], "eth1")
        connect(made["core"], "eth2", made["ran"], "eth1")
        for name, address, face in (
            *(("core", f"{address}/32", "lo") for address in (SMF, UPF, PROXY)),
            ("core", "10.50.1.1/24", "eth1"),
            ("core", "10.50.2.1/24", "eth2"),
            ("edge", f"{EDGE}/24", "eth1"),
            ("ran", f"{GNB}/24", "eth1"),
            *((name, f"{address}/32", "lo") for name in ("core", "edge") for address in (CDN, OTHER)),
        ):
            ip("-n", made[name].namespace, "address", "add", address, "dev", face)
            ip("-n", made[name].namespace, "link", "set", face, "up")
        for name, gateway in (("edge", "10.50.1.1"), ("ran", "10.50.2.1")):
            ip("-n", made[name].namespace, "route", "add", "10.50.0.0/24", "via", gateway)
        for name, node in made.items():
            (folder / name).mkdir()
            (folder / name / "who").write_text(name)
            world.start(node, sys.executable, "-c", ANSWERS, cwd=folder / name)
        for name, address in (("core", UPF), ("edge", EDGE)):
            for command in (
                ("tuntap", "add", "ogstun", "mode", "tun"),
                ("address", "add", "10.45.0.1/16", "dev", "ogstun"),
                ("link", "set", "ogstun", "up"),
            ):
                ip("-n", made[name].namespace, *command)
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(upf_config(address, folder / f"{name}.log")))
            world.start(made[name], str(BIN / "open5gs-upfd"), "-c", str(folder / f"{name}.yaml"))
        (folder / "smf.yaml").write_text(yaml.safe_dump(smf_config(folder / "smf.log")))
        made["core"].supervise()
        driver = create(made["core"].context())
        made["core"].call(commit, driver, SECTION)
        stack.callback(lambda: made["core"].call(commit, driver, None))
        world.start(made["core"], str(SMF_MODEL), "-c", str(folder / "smf.yaml"))
        made["core"].call(until, _associated(made["core"]))
        ready = folder / "ready"
        ran = ("--smf", f"http://{SMF}:9090", "--address", GNB, "--tun", "ue", "--page")
        files = ("--control", str(folder / "ran.sock"), "--ready", str(ready))
        world.start(made["ran"], sys.executable, "-m", "lab.mobile.ran", *ran, *files)
        made["core"].call(until, _there(ready))
        yield world


def _associated(node: Node) -> Callable[[], Any]:
    async def holds() -> bool:
        told = await ask(status_socket(node.run_dir))
        return told is not None and told["peers"] == {SMF: True} and told["open"] is True

    return holds


def _there(path: Path) -> Callable[[], Any]:
    async def holds() -> bool:
        return path.exists()  # noqa: ASYNC240 - a test's own folder

    return holds


def test_the_cdn_is_near_and_the_rest_where_it_was(world: World) -> None:
    world.steered(1)
    assert (world.asked(CDN), world.asked(OTHER)) == ("edge", "core")


@pytest.mark.parametrize("acts", [("handover",), ("idle", "active")])
def test_wherever_the_ue_goes(world: World, acts: tuple[str, ...]) -> None:
    for what in acts:
        world.act(what)
    assert (world.asked(CDN), world.asked(OTHER)) == ("edge", "core")


def test_when_the_upf_rejects_a_modification_its_rules_are_made_anew(world: World) -> None:
    far = group(IeType.UPDATE_FAR, (Ie(IeType.FAR_ID, b"\0\0\x77\x77"), Ie(IeType.APPLY_ACTION, b"\2\0")))
    answer = world.core.call(_modified, world, far)
    assert Cause.decode(need(answer.ies, IeType.CAUSE)) is not Cause.ACCEPTED
    world.until(lambda told: told["counters"].get("rejected-by-upf") == 1 and told["steered"] == 1)
    assert (world.asked(CDN), world.asked(OTHER)) == ("edge", "core")
    world.act("handover")  # what the SMF sends next is taken, and the proxy answers it where it is
    assert (world.asked(CDN), world.asked(OTHER)) == ("edge", "core")


async def _modified(world: World, change: Ie) -> Message:
    """What the UPF answers to a modification of the UE's session, from the address of the SMF."""
    told = await ask(status_socket(world.core.run_dir), {"command": "sessions"})
    assert told is not None
    (session,) = told["sessions"]
    request = Message(MessageType.SESSION_MODIFICATION_REQUEST, 0x7777, session["seid"], (change,))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(90)
        sock.bind((SMF, 0))
        sock.sendto(encode(request), (PROXY, 8805))
        return decode(await asyncio.to_thread(sock.recv, 65536))


def test_what_the_edge_has_for_an_idle_ue_pages_it(world: World) -> None:
    own, reports = world.own_requests(), world.counted(world.core, UPF, "fivegs_upffunction_sm_n4sessionreport")
    assert world.act("idle")["active"] is False
    world.until(lambda told: told["counters"]["own-requests"] > own)
    assert world.edge.shell("curl", "-s", "-m", "60", "--interface", CDN, f"http://{UE}:8080/who") == "ran"
    assert world.counted(world.core, UPF, "fivegs_upffunction_sm_n4sessionreport") > reports
    assert world.act("stats")["active"] is True
    assert (world.asked(CDN), world.asked(OTHER)) == ("edge", "core")


def test_a_sick_edge_is_left(world: World) -> None:
    world.healthy(value=False)
    world.steered(0)
    assert (world.asked(CDN), world.asked(OTHER)) == ("core", "core")
    world.healthy(value=True)
    world.steered(1)
    assert world.asked(CDN) == "edge"


def test_without_the_proxy_packets_flow_and_with_it_again_too(world: World) -> None:
    status = world.core.call(world.core.context().units.status, UNIT)
    assert status is not None
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)
    assert (world.asked(CDN), world.asked(OTHER)) == ("edge", "core")
    world.steered(1)
    world.act("handover")
    assert (world.asked(CDN), world.asked(OTHER)) == ("edge", "core")


def test_a_ue_that_leaves_leaves_nothing_at_either_upf(world: World) -> None:
    world.act("detach")
    world.until(lambda told: told["sessions"] == 0)
    for node, upf in ((world.core, UPF), (world.edge, EDGE)):

        async def none(node: Node = node, upf: str = upf) -> bool:
            return await asyncio.to_thread(world.counted, node, upf, "pfcp_sessions_active") == 0

        node.call(until, none)
