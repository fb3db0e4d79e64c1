"""docs/operating.md, command by command, on the reference network; then the daemons are asked whether it is so."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from lab.native.handle import Lab
from lab.scenarios import bootstrap, cdn, demo, operations, satellite, snapshot
from lab.scenarios.console import Console
from tests.support.page import NOC, Bindings, Command, Task, read_page

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
TASKS = {task.number: task for task in read_page(PAGE.read_text())}
DESK = "/etc/nf/desk"
GROUPS = {"ch1": "232.10.1.1", "ch2": "232.10.1.2", "ch3": "232.10.1.3"}
PLANTED = {"zebra.log": "Zq7planted4word", "agent.log": "Rt9planted2token"}
ALL_DAY = {
    *("lineup.commit", "lineup.rollback", "lineup.schedule", "lineup.unschedule", "lineup.catch-up", "lineup.adopt"),
    *("maintenance.open", "maintenance.close", "alarm.acknowledge", "alarm.shelve", "alarm.unshelve", "site.drain"),
    *("site.return", "appliance.replace", "operation.purge", "backup.create", "backup.restore", "support.collect"),
}

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.timeout(900, func_only=True)]


@dataclass(slots=True)
class Day:
    """The page in the hands of the tests; what its ids were bound to goes from task to task."""

    network: Console
    lab: Lab
    bindings: Bindings = field(default_factory=Bindings)

    def task(self, number: int) -> Doing:
        return Doing(self, TASKS[number])

    def sh(self, node: str, command: str) -> str:
        """Its output; AssertionError when it failed."""
        done = self.lab.run(node, "sh", "-c", command, timeout=180)
        assert done.returncode == 0, f"{node}: {command}: {done.stdout}{done.stderr}"
        return str(done.stdout)

    def nf(self, *arguments: str) -> Any:
        return self.network.must(self.network.nf(*arguments, "--json")).json()

    def causes(self) -> set[str]:
        return {alarm["cause"] for alarm in self.nf("alarms")}

    def gate(self, node: str) -> set[str]:
        """The groups that may cross a router, as the kernel has them."""
        return set(re.findall(r"232\.\d+\.\d+\.\d+", self.sh(node, "nft list set ip nf_multicast admitted")))

    def put_right(self) -> None:
        """Whatever a task left half done: nothing that stands may fail those behind it."""
        network = self.network
        network.host("lab", "fault", "clear", "--lab", network.lab)
        if network.nf("noc", "status").code != 0:
            bootstrap.noc_run(network)
            network.wait("the NOC answers", lambda: network.nf("noc", "status").code == 0, 30.0)
        network.nf("maintenance", "close", "pop2")
        network.nf("appliance", "return", "pop1")

    def fetched(self, pop: str, name: str) -> str:
        """`CODE BODY` of an object, as a receiver of this PoP gets it."""
        receiver, command = cdn.fetch_command(pop, name)
        body, _, code = self.sh(receiver, command).rpartition("\n")
        return f"{code} {body.strip()}"


@dataclass(slots=True)
class Doing:
    """One task: its blocks in their order; leaving it before the last one was executed fails."""

    day: Day
    task: Task
    done: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.day.put_right()
        else:
            assert self.done == len(self.task.blocks), f"task {self.task.number}: not all of it was executed"

    def block(self) -> None:
        """Type the next block, and compare."""
        for command in self.task.blocks[self.done]:
            self._type(command)
        self.done += 1

    def _type(self, command: Command) -> None:
        day, node = self.day, command.node if command.node != NOC else "noc"
        text = day.bindings.command(command.text)
        if text.endswith(" &"):
            day.network.detach(node, "sh", "-c", f"cd {DESK} && exec {text[:-2]}")
            return
        script = f"mkdir -p {DESK} && cd {DESK} && export COLUMNS=400 PYTHONUNBUFFERED=1\nexec 2>&1\n{text}"
        answer = day.lab.run(node, "sh", "-c", script, timeout=400)
        day.bindings.compare(command, str(answer.stdout))
        assert answer.returncode == command.code, f"line {command.line}: exit {answer.returncode}: {answer.stdout}"


@pytest.fixture(scope="module")
def day(network: Console) -> Iterator[Day]:
    """The sample line-up runs, no alarm stands, and the documents are on the engineer's desk. Afterwards as before."""
    day = Day(network, Lab.find(network.lab))
    day.sh(
        "noc", f"mkdir -p {DESK} && cp {bootstrap.DOCUMENTS}/*.yaml {DESK}/ && cp -r {bootstrap.WARDEN} {DESK}/warden"
    )
    day.sh("noc", f"umask 077; echo a passphrase of the cupboard > {DESK}/passphrase")
    _settle(network)
    network.wait("no alarm", lambda: not day.causes(), 60.0)
    network.wait("the NOC has a copy", lambda: day.nf("noc", "status")["replica"]["copied_at"] > 0, 30.0)
    yield day
    day.put_right()
    day.sh("noc", f"rm -rf {DESK}")
    network.wait("every appliance back", lambda: bootstrap.all_current(network), 90.0)


def _settle(network: Console) -> None:
    network.must(network.nf("lineup", "commit", str(demo.LINEUP), "--accept"))
    satellite.on_the_air(network, demo.CHANNELS)
    network.wait("both channels up at every receiver", lambda: demo.all_up_now(network), 60.0)
    network.wait("routes settled", lambda: bootstrap.routed(network), 60.0)


def test_01_the_morning_look(day: Day) -> None:
    with day.task(1) as task:
        task.block()
    assert all(day.gate(pop) == {GROUPS["ch1"], GROUPS["ch2"]} for pop in cdn.EDGES)
    assert json.loads(day.sh("noc", f"cat {bootstrap.REPLICA}/replica.json"))["about"]["audit_records"] > 0


def test_02_a_new_channel_is_looked_at_before_it_is_kept(day: Day) -> None:
    with day.task(2) as task:
        task.block()
        assert demo.judged_by_ffprobe(day.network, "r1", "10.3.1.10", GROUPS["ch3"]) == "aac h264"
        for pop in cdn.EDGES:
            assert day.fetched(pop, "ch3/master.m3u8").startswith("200 #EXTM3U")
        revisions = {entry["confirmed_revision"] for entry in day.nf("appliance", "list")}
        task.block()
    (kept,) = {entry["confirmed_revision"] for entry in day.nf("appliance", "list")}
    assert kept > max(revisions)
    assert all(GROUPS["ch3"] in day.gate(pop) for pop in cdn.EDGES)


def test_03_what_cannot_be_brought_back_is_accepted_by_name(day: Day) -> None:
    with day.task(3) as task:
        task.block()
    assert GROUPS["ch3"] not in day.gate("pop1") | day.gate("pop2")
    day.network.wait("the objects of ch3 are gone", lambda: not _stored(day, "ch3"), 30.0)
    assert _stored(day, "ch1")
    assert not any(day.fetched(pop, "ch3/master.m3u8").startswith("200") for pop in cdn.EDGES)


def _stored(day: Day, channel: str) -> bool:
    """Whether the bucket has it."""
    code = day.sh("headend", f"curl -s -m 5 -o /dev/null -w '%{{http_code}}' {cdn.ORIGIN}/{channel}/.streamverse-nf")
    assert code in {"200", "403", "404"}
    return code == "200"


def test_04_a_commit_runs_at_its_time(day: Day) -> None:
    with day.task(4) as task:
        task.block()
        assert GROUPS["ch3"] not in day.gate("pop1")
        task.block()
        day.network.wait("it has run", lambda: day.nf("lineup", "scheduled") == [], 60.0)
        task.block()
    assert all(GROUPS["ch3"] in day.gate(pop) for pop in cdn.EDGES)
    assert day.nf("lineup", "history")[0]["author"].endswith("/operator/demo")


def test_05_under_maintenance_nothing_is_repaired_and_no_commit_comes_by(day: Day) -> None:
    with day.task(5) as task:
        task.block()
        assert day.gate("pop1") == {GROUPS["ch1"], GROUPS["ch2"]}
        assert day.gate("pop2") == set(GROUPS.values())
        day.sh("pop2", "nft flush set ip nf_multicast admitted")
        day.network.wait("the drift is told", lambda: _drifts(day) == ["held"], 30.0)
        assert day.gate("pop2") == set()
        task.block()
        day.network.wait("pop2 has caught up", lambda: bootstrap.all_current(day.network), 60.0)
        task.block()
    assert day.gate("pop2") == {GROUPS["ch1"], GROUPS["ch2"]}
    day.network.wait("up again", lambda: demo.all_up_now(day.network), 30.0)
    day.network.wait("no alarm", lambda: not day.causes(), 30.0)


def _drifts(day: Day) -> list[str]:
    found = [alarm for alarm in day.nf("alarms") if alarm["cause"] == "configuration-drift"]
    return [(alarm["handling"] or {}).get("state", "raised") for alarm in found]


def test_06_an_alarm_carries_who_has_it_and_why(day: Day) -> None:
    network = day.network
    network.fault("silence", "c1:eth2")
    network.wait("both ends have told", lambda: len(_of_the_fibre(day)) == 4, 30.0)
    with day.task(6) as task:
        task.block()
    alarms = _of_the_fibre(day)
    taken = alarms["c1:adjacency-down:c1/eth2/ospf"]["handling"]
    assert (taken["state"], taken["reason"]) == ("acknowledged", "fibre cut, carrier's ticket 4711")
    assert taken["author"].endswith("/operator/demo")
    assert alarms["c2:adjacency-down:c2/eth2/ospf"]["handling"] is None
    records = {record["action"]: record for record in day.nf("audit", "show")}
    assert "ticket 4711" in json.dumps(records["alarm.acknowledge"])


def _of_the_fibre(day: Day) -> dict[str, dict[str, Any]]:
    return {alarm["id"]: alarm for alarm in day.nf("alarms") if "/eth2/" in alarm["id"] and alarm["id"][0] == "c"}


def test_07_transit_leaves_a_drained_site_and_returns(day: Day) -> None:
    network = day.network
    if not _of_the_fibre(day):
        network.fault("silence", "c1:eth2")
    network.wait("transit by both PoPs", lambda: _hops(day) == {"pop1", "pop2"}, 30.0)
    day.sh("c1", "sysctl -qw net.ipv4.fib_multipath_hash_policy=1")  # each flow may take another way
    assert _carried(day) == {"pop1", "pop2"}
    with day.task(7) as task:
        task.block()
        assert _costs(day) == {"eth1": 65535, "eth2": 65535} | dict.fromkeys(("eth3", "eth4", "eth5"), 10)
        network.wait("transit by pop2 only", lambda: _hops(day) == {"pop2"}, 30.0)
        assert _carried(day) == {"pop2"}
        assert demo.all_up_now(network), "the receivers behind pop1 stay there"
        task.block()
    assert _costs(day) == dict.fromkeys(("eth1", "eth2", "eth3", "eth4", "eth5"), 10)
    network.wait("transit by both again", lambda: _hops(day) == {"pop1", "pop2"}, 30.0)
    assert _carried(day) == {"pop1", "pop2"}
    day.sh("c1", "sysctl -qw net.ipv4.fib_multipath_hash_policy=0")
    network.fault("restore", "c1:eth2")
    network.wait("routes settled", lambda: bootstrap.routed(network) and _hops(day) == {"c2"}, 60.0)
    network.wait("no alarm", lambda: not day.causes(), 30.0)


def _costs(day: Day) -> dict[str, int]:
    """OSPF costs of pop1, as its FRR says; nothing is said at eth6, which faces the internet."""
    shown = json.loads(day.sh("pop1", f"vtysh --vty_socket {snapshot.VTY} -c 'show ip ospf interface json'"))
    return {name: one["cost"] for name, one in shown["interfaces"].items() if name.startswith("eth")}


def _hops(day: Day) -> set[str]:
    """Who is next on the way from c1 to the loopback of c2, as the kernel has it."""
    names = {"10.2.0.1": "c2", "10.2.0.3": "pop1", "10.2.0.5": "pop2"}
    return {names[address] for address in re.findall(r"via (\S+)", day.sh("c1", "ip route show 10.255.0.2"))}


_FLOWS = """
import socket
for _ in range(32):
    flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    flow.sendto(b"transit", ("10.255.0.2", 9))
"""


def _carried(day: Day) -> set[str]:
    """Through which PoPs 32 flows from c1 to c2 went, by counters that stand there only meanwhile."""
    rule = "ip daddr 10.255.0.2 udp dport 9 counter"
    table = f"table ip watch {{ chain seen {{ type filter hook forward priority 0; {rule}; }}; }}"
    for pop in cdn.EDGES:
        day.sh(pop, f"nft '{table}'")
    day.sh("c1", f"python -c '{_FLOWS}'")
    found = {pop: day.sh(pop, "nft list table ip watch; nft delete table ip watch") for pop in cdn.EDGES}
    packets = {pop: int(re.findall(r"packets (\d+)", text)[0]) for pop, text in found.items()}
    assert sum(packets.values()) == 32, packets
    return {pop for pop, count in packets.items() if count}


# Takes everything from a machine that makes it this one; the supervisor of the node then starts on an empty disk.
_OTHER_MACHINE = """
kill -STOP -1
rm -rf /var/lib/nf/* /run/nf /etc/nf/enrolment.json
echo SV-POP2-0002 > /etc/nf/serial
nft flush ruleset
for link in eth1 eth2 eth3 eth4; do ip address flush dev $link; ip link set $link down; done
ip address flush dev lo
ip address add 127.0.0.1/8 dev lo
kill -KILL -1
"""


def test_08_another_machine_takes_the_name_and_the_old_one_is_refused(day: Day) -> None:
    network = day.network
    with day.task(8) as task:
        task.block()
        log = "cat /var/lib/nf/log/agent.log"
        network.wait("the old one is refused", lambda: "this identity is revoked" in day.sh("pop2", log), 30.0)
        assert not bootstrap.appliances(network)["pop2"]["online"]
        assert demo.receivers(network, "ch1")["r2"]["verdict"] == "up", "it is served as long as the old one runs"
        key = day.sh("pop2", "sha256sum < /var/lib/nf/device.key")
        day.lab.run("pop2", "sh", "-c", _OTHER_MACHINE)
        token = day.sh("noc", f"cat {DESK}/enrolment.json").encode()
        network.must(network.sh("pop2", "sh", "-c", "umask 077; cat > /etc/nf/enrolment.json", stdin=token))
        network.wait("pop2 is back", lambda: bootstrap.all_current(network), 90.0)
        task.block()
    assert day.sh("pop2", "sha256sum < /var/lib/nf/device.key") != key
    assert day.gate("pop2") == {GROUPS["ch1"], GROUPS["ch2"]}
    network.wait("r2 and r3 are served again", lambda: demo.all_up_now(network), 60.0)
    network.wait("routes settled", lambda: bootstrap.routed(network), 60.0)
    assert "denied" in {record["outcome"] for record in day.nf("audit", "show")}


def test_09_what_is_purged_is_asked_for_anew_at_every_cache(day: Day) -> None:
    for name in ("slate", "notice"):
        day.sh("headend", cdn.publish_command(f"ch1/{name}.txt", "wrong"))
        assert {day.fetched(pop, f"ch1/{name}.txt") for pop in cdn.EDGES} == {"200 wrong"}
        day.sh("headend", cdn.publish_command(f"ch1/{name}.txt", "right"))
        assert {day.fetched(pop, f"ch1/{name}.txt") for pop in cdn.EDGES} == {"200 wrong"}, "nothing was cached"
    with day.task(9) as task:
        task.block()
        assert {day.fetched(pop, "ch1/slate.txt") for pop in cdn.EDGES} == {"200 right"}
        assert {day.fetched(pop, "ch1/notice.txt") for pop in cdn.EDGES} == {"200 wrong"}, "one object was meant"
        task.block()
    assert {day.fetched(pop, "ch1/notice.txt") for pop in cdn.EDGES} == {"200 right"}
    assert demo.all_up_now(day.network)


def test_10_a_noc_that_is_lost_comes_back_and_the_next_commit_works(day: Day) -> None:
    network = day.network
    errors = _errors(network)
    with day.task(10) as task:
        task.block()
        _copied(day)
        operations.destroy_noc(network)
        task.block()
        network.wait("the fleet attached", lambda: operations.attached(network), 90.0)
        task.block()
        assert all(GROUPS["ch3"] in day.gate(pop) for pop in cdn.EDGES)
        operations.destroy_noc(network, with_copy=True)
        task.block()
        network.wait("the fleet attached, and is what the file says", lambda: operations.attached(network), 90.0)
        assert all(day.gate(pop) == {GROUPS["ch1"], GROUPS["ch2"]} for pop in cdn.EDGES)
        assert _errors(network) == errors, "nobody noticed"
        task.block()
    assert all(GROUPS["ch3"] in day.gate(pop) for pop in cdn.EDGES)
    assert demo.all_up_now(network)


def _errors(network: Console) -> dict[str, int]:
    network.wait("samples of every receiver", lambda: demo.all_up_now(network), 30.0)
    return {name: errors for name, (errors, _) in operations.continuity(network, demo.CHANNELS).items()}


def _copied(day: Day) -> None:
    newest = day.nf("audit", "show", "-n", "1")[0]["number"]
    read = f"cat {bootstrap.REPLICA}/replica.json"
    day.network.wait(
        "the copy has all", lambda: json.loads(day.sh("noc", read))["about"]["audit_records"] >= newest, 30.0
    )


def test_11_documents_come_from_what_runs(day: Day) -> None:
    network = day.network
    before = snapshot.snapshot(network)
    with day.task(11) as task:
        task.block()
    assert snapshot.differences(before, snapshot.snapshot(network)) == []
    text = day.sh("noc", f"cat {DESK}/adopted/lineup.yaml")
    assert set(re.findall(r"group: (232\.10\.\S+)", text)) == set(GROUPS.values())
    assert (text.count("type: cdn"), text.count("type: dvb-s2x")) == (2, 2)
    assert re.search(r"upfs: \[?\s*-?\s*anchor,?\s*-?\s*edge1", text), "what a classifier steers is of its UPF too"
    fleet = day.sh("noc", f"cat {DESK}/adopted/fleet.yaml")
    assert {"10.255.0.1", "10.255.0.2", "10.255.0.3", "10.255.0.4"} <= set(re.findall(r"loopback: (\S+)", fleet))


def test_12_the_bundle_has_no_secret_and_the_record_is_whole(day: Day) -> None:
    for log, word in PLANTED.items():
        day.sh("pop1", f"echo 'neighbor 10.2.0.2 password={word}' >> /var/lib/nf/log/{log}")
    with day.task(12) as task:
        task.block()
    data = (day.lab.root("noc") / DESK.lstrip("/") / "support.tar.gz").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as bundle:
        members = {one.name: file.read() for one in bundle.getmembers() if (file := bundle.extractfile(one))}
    secrets = [*PLANTED.values(), json.loads(bootstrap.ORIGIN_WRITER)["secret_key"], "passphrase of the cupboard"]
    leaks = {(word, name) for name, text in members.items() for word in secrets if word.encode() in text}
    assert not leaks
    planted = [text for text in members.values() if b"neighbor 10.2.0.2 " in text]
    assert len(planted) == len(PLANTED)
    assert all(b"[removed]" in text for text in planted)
    done = {record["action"] for record in day.nf("audit", "show", "-n", "1000")}
    assert done >= ALL_DAY, ALL_DAY - done
