from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.native import network, runner, state
from lab.native.handle import Lab
from lab.native.start import NodeStarter
from lab.native.state import FABRIC, Phase
from lab.native.status import lab_status
from lab.topology import parse_topology
from nf.errors import DriverError, InputError, NotFoundError, RefusedError

pytestmark = pytest.mark.root
NF = str(Path(sys.executable).with_name("nf"))


def traces(name: str) -> list[str]:
    """Everything of the lab that this machine still holds."""
    found = [str(path) for path in state.NAMES.glob(f"nf-{name}-*")] if state.NAMES.exists() else []
    found += [str(path) for path in (state.folder_of(name), state.DIRECTORY_ROOT / name) if path.exists()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"nf-lab:{name}:".encode() in (process / "cmdline").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found + [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"/{name}" in line]


def await_no_traces(name: str) -> list[str]:
    """Processes that die with their maker take an instant to do so."""
    deadline = time.monotonic() + 90
    while (left := traces(name)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def test_neighbours_reach_each_other_over_links_bridges_and_routes(make_lab: Any, reaches: Any) -> None:
    lab = make_lab()
    assert reaches(lab, "a", "10.0.1.254")
    assert reaches(lab, "a", "10.0.2.1")
    assert reaches(lab, "b", "172.20.20.2")
    assert not reaches(lab, "a", "10.0.1.77")


def test_a_node_is_a_machine_of_its_own(make_lab: Any, tmp_path: Path) -> None:
    (tmp_path / "motd").write_text("welcome\n")
    lab = make_lab(
        """\
name: one
topology:
  defaults: {kind: linux}
  nodes:
    n:
      binds: ["__clabNodeDir__/state:/var/lib/thing", "motd:/etc/motd:ro"]
      env: {GREETING: hello, WHERE: __clabNodeName__}
      sysctls: {net.ipv4.ip_forward: 1, net.ipv4.conf.eth1.rp_filter: 2}
    peer: {}
    alone: {network-mode: none}
  links:
    - endpoints: [{node: n, interface: eth1, mac: "02:00:00:00:00:07"}, "peer:eth1"]
      mtu: 1400
"""
    )

    def said(*argv: str, node: str = "n") -> str:
        return str(lab.run(node, *argv, check=True).stdout).strip()

    assert said("hostname") == said("cat", "/etc/hostname") == "n"
    assert said("cat", "/proc/1/comm").startswith("python")
    assert said("getent", "hosts", "peer").split() == ["172.20.20.3", "peer", f"clab-{lab.state.name}-peer"]
    assert said("sh", "-c", "echo $GREETING $WHERE $NF_NODE") == "hello n n"
    assert said("cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/conf/eth1/rp_filter") == "1\n2"
    assert said("cat", "/sys/class/net/eth1/mtu", "/sys/class/net/eth1/address") == "1400\n02:00:00:00:00:07"
    assert said("sh", "-c", "command -v nf") == NF
    assert said("ls", "/run") == "lock"
    assert said("ls", "/sys/class/net", node="alone") == "lo"
    assert said("cat", "/etc/motd") == "welcome"
    assert lab.run("n", "sh", "-c", "echo x > /etc/motd").returncode != 0
    said("sh", "-c", "echo kept > /var/lib/thing/file; echo gone > /etc/nf-lab-test; echo gone > /run/file")
    assert (lab.folder("n") / "state" / "file").read_text() == "kept\n"
    assert not Path("/etc/nf-lab-test").exists()
    assert not Path("/var/lib/thing").exists()
    assert lab.run("peer", "ls", "/etc/nf-lab-test", "/run/file").returncode != 0


def test_orphans_are_reaped_and_die_with_the_node(make_lab: Any) -> None:
    lab = make_lab()
    lab.run("a", "sh", "-c", "(setsid sleep 1000 & setsid true &) >/dev/null 2>&1", check=True)
    deadline = time.monotonic() + 90
    while len(lab.processes("a")) != 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    (orphan,) = lab.processes("a")
    assert orphan.argv == ("sleep", "1000")
    runner.down(lab.state.name)
    assert not Path(f"/proc/{orphan.pid}").exists()


def test_exec_runs_in_order_and_cmd_is_the_main_process(make_lab: Any) -> None:
    lab = make_lab(
        """\
name: cmd
topology:
  nodes:
    n:
      kind: linux
      exec: ["sh -c 'echo 1 >> /root-order'", "sh -c 'echo 2 >> /root-order'"]
      binds: ["__clabNodeDir__/order:/order"]
      cmd: sh -c 'echo began $NF_NODE; test -e /order/again && exec sleep 1000; touch /order/again; exit 3'
      restart-policy: on-failure
""".replace("/root-order", "/order/list")
    )
    status = lab_status(lab)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        (node,) = status["nodes"]  # type: ignore[misc]  # JSON
        main: Any = node["main"]  # type: ignore[index,call-overload]  # JSON
        if main["restarts"] == 1 and main["state"] == "running":
            break
        time.sleep(0.05)
        status = lab_status(lab)
    assert main["restarts"] == 1
    assert (lab.folder("n") / "order" / "list").read_text() == "1\n2\n"
    log = (lab.folder("n") / "cmd.log").read_text()
    assert log == "began n\n[nf lab] the main process ended: exit 3\nbegan n\n"
    assert [p.argv for p in lab.processes("n")] == [("sleep", "1000")]


@pytest.mark.parametrize(
    ("node", "error"),
    [
        ("{kind: linux, exec: ['sh -c \"echo no such thing; exit 4\"']}", "ended with 4: no such thing"),
        ("{kind: linux, exec: [no-such-program]}", "ended with 127"),
        ("{kind: linux, sysctls: {net.ipv4.nonsense: 1}}", "net.ipv4.nonsense"),
    ],
)
def test_what_fails_while_the_lab_is_made_leaves_nothing(tmp_path: Path, node: str, error: str) -> None:
    topology = parse_topology(f"name: x\ntopology: {{nodes: {{n: {node}}}}}", file=tmp_path / "x.clab.yml")
    name = f"t{os.getpid()}-broken"
    with pytest.raises(DriverError, match=error):
        runner.up(topology, name=name, directory=tmp_path / "d")
    assert await_no_traces(name) == []
    assert not (tmp_path / "d").exists()


def test_a_bind_without_source_is_refused(tmp_path: Path) -> None:
    text = "name: x\ntopology: {nodes: {n: {kind: linux, binds: ['absent:/x']}}}"
    name = f"t{os.getpid()}-bind"
    with pytest.raises(InputError, match="absent"):
        runner.up(parse_topology(text, file=tmp_path / "x.clab.yml"), name=name, directory=tmp_path / "d")
    assert await_no_traces(name) == []


def test_up_twice_is_refused_and_down_is_idempotent(make_lab: Any, tmp_path: Path) -> None:
    lab = make_lab()
    name = lab.state.name
    topology = parse_topology("name: x\ntopology: {nodes: {n: {kind: linux}}}", file=tmp_path / "y.clab.yml")
    with pytest.raises(RefusedError, match="is up") as refused:
        runner.up(topology, name=name, directory=tmp_path / "other")
    assert f"nf lab down {name}" in refused.value.remedy
    assert runner.down(name)
    assert not runner.down(name)
    assert await_no_traces(name) == []


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "precious").write_text("x")
    topology = parse_topology("name: x\ntopology: {nodes: {n: {kind: linux}}}", file=tmp_path / "x.clab.yml")
    with pytest.raises(RefusedError):
        runner.up(topology, name=f"t{os.getpid()}-dir", directory=theirs)
    assert (theirs / "precious").exists()


def test_directories_are_kept_on_request(make_lab: Any, tmp_path: Path) -> None:
    text = "name: x\ntopology: {nodes: {n: {kind: linux, binds: ['__clabNodeDir__/state:/var/lib/nf']}}}"
    lab = make_lab(text)
    lab.run("n", "touch", "/var/lib/nf/journal", check=True)
    runner.down(lab.state.name, keep=True)
    topology = parse_topology(text, file=tmp_path / "x.clab.yml")
    again = Lab(runner.up(topology, name=lab.state.name, directory=lab.state.directory))
    assert again.run("n", "ls", "/var/lib/nf").stdout == "journal\n"


ISOLATED = """
import json, subprocess, sys
from pathlib import Path
from lab.native import runner
from lab.topology import parse_topology
def snapshot():
    tables = [["ip", "-o", "link"], ["ip", "-o", "addr"], ["ip", "route", "show", "table", "all"], ["ip", "rule"]]
    read = [subprocess.run(table, capture_output=True, text=True, check=True).stdout for table in tables]
    return [*read, Path("/proc/self/mountinfo").read_text()]
file, name, directory = map(Path, sys.argv[1:])
before = snapshot()
runner.up(parse_topology(file.read_text(), file=file), name=name.name, directory=directory)
during = snapshot()
runner.down(name.name)
print(json.dumps([before, during, snapshot()]))
"""


def test_the_host_is_as_before_also_while_the_lab_is_up(tmp_path: Path, chain: str) -> None:
    """Judged in namespaces that nobody else works in."""
    file, name = tmp_path / "x.clab.yml", f"t{os.getpid()}-host"
    file.write_text(chain)
    isolated = ["unshare", "--net", "--mount", "--", sys.executable, "-c", ISOLATED]
    done = subprocess.run([*isolated, file, name, tmp_path / "d"], capture_output=True, text=True, check=True)
    before, during, after = json.loads(done.stdout)
    assert before == during == after
    assert await_no_traces(name) == []


def crash(name: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


CRASHES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "the state is written, nothing made": lambda patch: patch.setattr(runner, "_make", lambda *_: crash("")),
    "processes run that no state names": lambda patch: (
        patch.setattr(NodeStarter, "await_mounts", crash) or patch.setattr(state, "save", _only_first(state.save))
    ),
    "processes are written down": lambda patch: patch.setattr(NodeStarter, "await_mounts", crash),
    "half of the names stand": lambda patch: patch.setattr(network, "make_bridges", lambda *_: crash("")),
    "half of the links stand": lambda patch: patch.setattr(network, "_put_up", lambda *_: crash("")),
    "some nodes live by themselves": lambda patch: patch.setattr(NodeStarter, "start", _second(NodeStarter.start)),
    "while it is taken down": lambda patch: patch.setattr(runner, "_remove_directory", lambda *_: crash("")),
}


def _only_first(save: Callable[[Any], None]) -> Callable[[Any], None]:
    calls: list[int] = []

    def limited(made: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            save(made)

    return limited


def _second(start: Callable[[NodeStarter], None]) -> Callable[[NodeStarter], None]:
    calls: list[int] = []

    def limited(starter: NodeStarter) -> None:
        calls.append(1)
        if len(calls) == 2:
            crash("")
        start(starter)

    return limited


@pytest.mark.parametrize("where", CRASHES)
def test_down_leaves_no_trace_after_a_crash(
    tmp_path: Path, chain: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"t{os.getpid()}-crash"
    topology = parse_topology(chain, file=tmp_path / "x.clab.yml")
    child = os.fork()
    if child == 0:
        try:
            CRASHES[where](monkeypatch)
            runner.up(topology, name=name, directory=tmp_path / "d")
            runner.down(name)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    made = state.load(name)
    assert made is not None
    if made.phase is Phase.STARTING:
        with pytest.raises(RefusedError, match="half made"):
            runner.up(topology, name=name, directory=tmp_path / "d")
        with pytest.raises(RefusedError, match="half made"):
            Lab(made).init("a")
    assert runner.down(name)
    assert await_no_traces(name) == []
    assert not (tmp_path / "d").exists()


def test_two_labs_of_one_file_stand_side_by_side(make_lab: Any, reaches: Any) -> None:
    one, two = make_lab(), make_lab()
    one.run("b", "ip", "link", "set", "eth1", "down", check=True)
    assert not reaches(one, "a", "10.0.2.1")
    assert reaches(two, "a", "10.0.2.1")


def test_namespaces_have_names_for_ip_netns(make_lab: Any) -> None:
    lab = make_lab()
    shown = subprocess.run(
        ["ip", "netns", "exec", lab.state.namespace_name(FABRIC).name, "ip", "-d", "-j", "link", "show", "lan"],
        capture_output=True,
        text=True,
        check=True,
    )
    (bridge,) = json.loads(shown.stdout)
    data = bridge["linkinfo"]["info_data"]
    assert (data["mcast_snooping"], data["mcast_igmp_version"], data["mcast_querier"]) == (1, 3, 0)


def test_exec_passes_streams_and_code(make_lab: Any) -> None:
    lab = make_lab()
    command = [NF, "lab", "exec", "--lab", lab.state.name, "a", "--", "sh", "-c", "cat; echo oops >&2; exit 7"]
    done = subprocess.run(command, input="through\n", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "through\n", "oops\n")
    absent = subprocess.run([*command[:5], "zz", "true"], capture_output=True, text=True, check=False)
    assert (absent.returncode, "no node zz" in absent.stderr) == (7, True)


def test_exec_keeps_the_terminal(make_lab: Any) -> None:
    lab = make_lab()
    ours, theirs = pty.openpty()
    try:
        command = [NF, "lab", "exec", "--lab", lab.state.name, "a", "test", "-t", "0"]
        assert subprocess.run(command, stdin=theirs, check=False).returncode == 0
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_command_in_a_node_ends_with_who_asked_for_it(make_lab: Any) -> None:
    lab = make_lab()
    with lab.popen("a", "sh", "-c", "echo ready; exec sleep 1000", stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
    deadline = time.monotonic() + 90
    while lab.processes("a") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert lab.processes("a") == ()


def test_a_detached_command_goes_on_by_itself(make_lab: Any, tmp_path: Path) -> None:
    lab = make_lab()
    pid = lab.spawn("a", ["sh", "-c", "echo words; exec sleep 1000"], log=tmp_path / "out.log")
    deadline = time.monotonic() + 90
    while (tmp_path / "out.log").read_text() != "words\n" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (tmp_path / "out.log").read_text() == "words\n"
    assert [p.inner for p in lab.processes("a")] == [pid]


def test_find_names_what_is_missing(make_lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = make_lab(), make_lab()
    monkeypatch.delenv("NF_LAB", raising=False)
    with pytest.raises(InputError, match=one.state.name):
        Lab.find()
    monkeypatch.setenv("NF_LAB", two.state.name)
    assert Lab.find().state.name == two.state.name
    with pytest.raises(NotFoundError):
        Lab.find("no-such-lab")
