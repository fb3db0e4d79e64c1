from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.faults import Fault, Faults, Kind, parse_end
from lab.native import network
from lab.native.handle import Lab
from lab.native.processes import in_network_of
from nf.contracts.units import UnitSpec
from nf.errors import InputError, NotFoundError
from nf.supervisor.client import SupervisorClient

pytestmark = pytest.mark.root
NF = str(Path(sys.executable).with_name("nf"))


@pytest.fixture
def lab(make_lab: Callable[[], Lab], require_programs: Callable[..., None]) -> Lab:
    require_programs("nft", "mount")
    return make_lab()


def await_true(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 90
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def link(lab: Lab, node: str, name: str) -> dict[str, Any]:
    return next(dict(found) for found in network.interfaces(lab.init(node)) if found["name"] == name)


def start(lab: Lab, node: str, *argv: str) -> int:
    return lab.spawn(node, argv, log=lab.folder(node) / "test.log")


def test_a_silent_end_carries_nothing_and_keeps_its_carrier(lab: Lab, reaches: Any) -> None:
    faults = Faults(lab)
    assert reaches(lab, "a", "10.0.2.1")
    faults.silence("b", "eth1")
    assert not reaches(lab, "a", "10.0.2.1")
    assert reaches(lab, "a", "10.0.2.254")
    assert link(lab, "b", "eth1")["carrier"]
    assert link(lab, "router", "eth2")["carrier"]
    assert faults.standing() == (Fault(Kind.SILENCE, "b", "eth1"),)
    faults.silence("b", "eth1")
    faults.restore("b", "eth1")
    assert faults.standing() == ()
    assert lab.run("b", "nft", "list", "ruleset").stdout == ""
    assert reaches(lab, "a", "10.0.2.1")


def test_a_cut_end_takes_the_carrier_from_both(lab: Lab, reaches: Any) -> None:
    faults = Faults(lab)
    faults.cut("router", "eth2")
    assert await_true(lambda: not link(lab, "b", "eth1")["carrier"])
    faults.mend("router", "eth2")
    assert await_true(lambda: bool(link(lab, "b", "eth1")["carrier"]))
    assert await_true(lambda: reaches(lab, "b", "10.0.2.254"))


def received(lab: Lab, node: str, name: str) -> int:
    return int(lab.run(node, "cat", f"/sys/class/net/{name}/statistics/rx_packets").stdout)


def send_datagrams(lab: Lab, node: str, address: str, count: int) -> None:
    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(count):
                with contextlib.suppress(ConnectionRefusedError):
                    sock.sendto(b"x", (address, 9))

    in_network_of(lab.init(node), send)


def test_an_end_loses_its_share_of_what_it_sends_and_nothing_of_what_it_receives(lab: Lab, reaches: Any) -> None:
    faults = Faults(lab)
    assert reaches(lab, "b", "10.0.2.254")  # the neighbours know each other's Ethernet addresses
    faults.loss("b", "eth1", 100)
    own, far = received(lab, "b", "eth1"), received(lab, "router", "eth2")
    send_datagrams(lab, "router", "10.0.2.1", 50)
    send_datagrams(lab, "b", "10.0.2.254", 50)
    assert received(lab, "b", "eth1") >= own + 50
    assert received(lab, "router", "eth2") == far
    faults.loss("b", "eth1", 40)
    assert faults.standing() == (Fault(Kind.LOSS, "b", "eth1"),)
    send_datagrams(lab, "b", "10.0.2.254", 200)
    assert 80 < received(lab, "router", "eth2") - far < 160
    faults.clear()
    assert lab.run("b", "nft", "list", "ruleset").stdout == ""
    with pytest.raises(InputError, match="no share"):
        faults.loss("b", "eth1", 101)


def test_a_dead_node_is_dark_and_deaf_and_lives_again(lab: Lab, reaches: Any) -> None:
    start(lab, "b", "sleep", "1006")
    assert await_true(lambda: len(lab.processes("b")) == 1)
    faults = Faults(lab)
    assert "eth1" in faults.halt("b")
    assert faults.halt("b") == ()
    assert await_true(lambda: not link(lab, "router", "eth2")["carrier"])
    assert {process.state for process in lab.processes("b")} == {"T"}
    assert faults.standing() == (Fault(Kind.HALT, "b", "power"),)
    faults.clear()
    assert await_true(lambda: bool(link(lab, "router", "eth2")["carrier"]))
    assert await_true(lambda: reaches(lab, "b", "10.0.2.254"))
    assert {process.state for process in lab.processes("b")} == {"S"}
    assert faults.resume("b") == ()


def test_a_node_that_hangs_keeps_its_links_lit(lab: Lab, reaches: Any) -> None:
    faults = Faults(lab)
    assert reaches(lab, "a", "10.0.2.1")
    assert "eth1" in faults.halt("b", lit=True)
    assert link(lab, "router", "eth2")["carrier"]
    assert not reaches(lab, "a", "10.0.2.1")
    assert "eth1" in faults.resume("b")
    assert reaches(lab, "a", "10.0.2.1")
    assert lab.run("b", "nft", "list", "ruleset").stdout == ""


def test_processes_are_found_by_their_command_line(lab: Lab) -> None:
    start(lab, "a", "sleep", "1001")
    start(lab, "a", "sleep", "1002")
    assert await_true(lambda: len(lab.processes("a")) == 2)
    (victim,) = Faults(lab).kill("a", "sleep 1001")
    assert victim.argv == ("sleep", "1001")
    assert await_true(lambda: [p.argv[1:] for p in lab.processes("a")] == [("1002",)])
    with pytest.raises(NotFoundError, match="sleep 1001"):
        Faults(lab).kill("a", "sleep 1001")


def test_frozen_processes_stop_with_their_children(lab: Lab) -> None:
    start(lab, "a", "sh", "-c", "sleep 1003 & wait")
    assert await_true(lambda: len(lab.processes("a")) == 2)
    faults = Faults(lab)
    assert len(faults.freeze("a", "sh -c")) == 2
    assert await_true(lambda: {p.state for p in lab.processes("a")} == {"T"})
    faults.thaw("a", "sh -c")
    assert await_true(lambda: {p.state for p in lab.processes("a")} == {"S"})


def test_a_unit_is_found_by_its_supervisor(lab: Lab) -> None:
    start(lab, "a", "nf", "supervisor", "run")
    socket = lab.root("a") / "run/nf/supervisor.sock"
    assert await_true(socket.exists)

    async def define() -> None:
        client = SupervisorClient(socket)
        await client.define(UnitSpec("napper", ("sleep", "1004")))
        await client.start("napper")

    asyncio.run(define())
    start(lab, "a", "sh", "-c", "sleep 1005 # napper too")
    (victim,) = Faults(lab).kill("a", "napper")
    assert victim.argv == ("sleep", "1004")


def test_a_broken_program_fails_in_its_node_alone(lab: Lab) -> None:
    faults = Faults(lab)
    path = faults.break_program("a", "nft")
    assert faults.break_program("a", "nft") == path
    assert lab.run("a", "nft", "list", "ruleset").returncode == 1
    assert lab.run("b", "nft", "list", "ruleset").returncode == 0
    faults.silence("a", "eth1")
    faults.mend_program("a", "nft")
    assert lab.run("a", "nft", "list", "ruleset").returncode == 0
    with pytest.raises(NotFoundError):
        faults.break_program("a", "no-such-program")


def test_a_program_may_fail_with_some_arguments_only(lab: Lab) -> None:
    Faults(lab).break_program("b", "nft", when="-f", unless="-c")
    assert lab.run("b", "nft", "list", "ruleset").returncode == 0
    assert lab.run("b", "sh", "-c", "echo add table ip one | nft -c -f -").returncode == 0
    refused = lab.run("b", "sh", "-c", "echo add table ip one | nft -f -")
    assert (refused.returncode, refused.stderr) == (1, "broken by a fault of the lab\n")
    Faults(lab).clear()
    assert lab.run("b", "sh", "-c", "echo add table ip one | nft -f -").returncode == 0


def test_a_kill_point_is_armed_for_the_agent(lab: Lab) -> None:
    Faults(lab).killpoint("a", "effect:apply#2")
    assert lab.run("a", "cat", "/run/nf/killpoint").stdout.strip() == "effect:apply#2"
    with pytest.raises(InputError):
        Faults(lab).killpoint("a", "no-such-point")


def test_all_faults_are_taken_back_at_once(lab: Lab, reaches: Any) -> None:
    faults = Faults(lab)
    start(lab, "a", "sleep", "1006")
    start(lab, "b", "sleep", "1007")
    assert await_true(lambda: len(lab.processes("a")) == len(lab.processes("b")) == 1)
    faults.silence("a", "eth1")
    faults.cut("router", "eth2")
    faults.break_program("a", "nft")
    faults.freeze("a", "sleep")
    faults.freeze("b", "sleep")
    faults.kill("b", "sleep")
    assert await_true(lambda: lab.processes("b") == ())
    assert len(faults.clear()) == 5
    assert faults.standing() == ()
    assert await_true(lambda: {p.state for p in lab.processes("a")} == {"S"})
    assert await_true(lambda: reaches(lab, "a", "10.0.2.1"))


def test_what_is_not_there_is_named(lab: Lab) -> None:
    faults = Faults(lab)
    with pytest.raises(NotFoundError, match="eth7") as caught:
        faults.silence("a", "eth7")
    assert "eth1" in caught.value.remedy
    with pytest.raises(NotFoundError, match="zz"):
        faults.cut("zz", "eth1")
    with pytest.raises(InputError):
        parse_end("pop1")


def test_the_commands(lab: Lab, tmp_path: Path) -> None:
    def nf(*arguments: str) -> Any:
        done = subprocess.run([NF, "lab", *arguments], capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done

    chosen = ("--lab", lab.state.name)
    assert nf("fault", "silence", *chosen, "a:eth1").returncode == 0
    listed = json.loads(nf("fault", "list", *chosen, "--json").stdout)
    assert listed == {"faults": [{"kind": "silence", "node": "a", "target": "eth1"}]}
    assert nf("exec", *chosen, "--detach", "b", "--", "sleep", "1008").returncode == 0
    (shown,) = json.loads(nf("status", lab.state.name, "--json").stdout)["labs"]
    nodes = {node["name"]: node for node in shown["nodes"]}
    assert shown["faults"] == listed["faults"]
    assert [p["command"] for p in nodes["b"]["processes"]] == ["sleep 1008"]
    eth1 = next(link for link in nodes["b"]["interfaces"] if link["name"] == "eth1")
    assert "10.0.2.1/24" in eth1["addresses"]
    assert nodes["b"]["management"] == "172.20.20.3"
    assert lab.state.name in nf("status").stdout
    assert nf("fault", "clear", *chosen).returncode == 0
    again = nf("up", lab.state.topology, "--name", lab.state.name)
    assert (again.returncode, f"nf lab down {lab.state.name}" in again.stderr) == (3, True)
    bad = tmp_path / "bad.clab.yml"
    bad.write_text("name: x\ntopology:\n  nodes:\n    a: {kind: lunix}\n")
    refused = nf("up", str(bad))
    assert (refused.returncode, f"{bad}:4:15" in refused.stderr) == (2, True)
    down = nf("down", lab.state.name, "--json")
    assert json.loads(down.stdout) == {"removed": [lab.state.name]}
    assert json.loads(nf("down", lab.state.name, "--json").stdout) == {"removed": []}
