"""What our configuration of Kamailio costs against a minimal one written by hand (kamailio-minimal.cfg).

Both run side by side on loopback, with the same relay, callers and called party (sipp), and are loaded in turns. What
is compared is the processor time that the scheduler accounts to the daemon's processes: wall time is noise here.
"""

from __future__ import annotations

import itertools
import os
import socket
import sqlite3
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sip.kamailio.paths import CALLS_DB, LOCATION_DB
from tests.bench.harness import Benchmark
from tests.sip.kamailio.daemon import DOMAIN, PASSWORD, Proxy, Relay, section, until

SCENARIOS: Final = Path(__file__).parents[1] / "sip" / "scenarios"
MINIMAL: Final = Path(__file__).parent / "kamailio-minimal.cfg"
OURS, PEER, RELAY, PHONES = "127.52.0.1", "127.52.0.2", "127.52.0.3", "127.52.0.4"
ROUNDS, CALLS, REGISTERS, PER_SECOND = 12, 400, 1500, 100
ATTEMPTS: Final = 3
_ports = itertools.count(6600)
"""Of callers: what comes late for one that is gone reaches no other."""


class Minimal(Proxy):
    """The same daemon, told less."""

    def write(self) -> None:
        words = {
            "DOMAIN": DOMAIN,
            "ADDRESS": PEER,
            "MODULES": self.paths.modules,
            "RPC_SOCKET": self.paths.rpc_socket,
            "LOCATION_DB": self.folder / LOCATION_DB,
            "CALLS_DB": self.folder / CALLS_DB,
            "RELAY": RELAY,
        }
        text = MINIMAL.read_text()
        for word, value in words.items():
            text = text.replace(word, str(value))
        head = "#!define WITH_TOPOH\n" if self.section.topology_hiding else ""
        (self.folder / "kamailio.cfg").write_text(head + text)
        with closing(sqlite3.connect(self.folder / CALLS_DB)) as database:
            database.executescript(
                "CREATE TABLE IF NOT EXISTS acc_cdrs (id INTEGER PRIMARY KEY NOT NULL, start_time VARCHAR(32),"
                " end_time VARCHAR(32), duration REAL, caller VARCHAR(99), dialled VARCHAR(99), call_id VARCHAR(99));"
                "INSERT OR REPLACE INTO version VALUES ('acc_cdrs', 2);"
            )

    def push(self, wanted: object = None) -> None:
        for key, value in self.tables().hashes["sub"].items():
            self.rpc("htable.sets", "sub", key, value)

    def start(self, *, opened: bool = True) -> None:
        super().start(opened=False)
        if opened:
            self.push()


def cpu_s(pid: int) -> float:
    """Of the process and all its children: seconds on a processor."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(int(Path(f"/proc/{one}/schedstat").read_text().split()[0]) for one in (pid, *children)) / 1e9


@dataclass(frozen=True)
class Load:
    """`count` runs of a scenario of sipp, so many a second."""

    scenario: str
    fields: str
    count: int
    per_second: int


def load(folder: Path, target: str, what: Load, port: int) -> None:
    """One sipp, to its end. Raises RuntimeError when anything failed: what fails costs something else."""
    data = folder / "fields.csv"
    data.write_text(f"SEQUENTIAL\n{what.fields}\n")
    argv = [
        "sipp",
        f"{target}:5060",
        "-sf",
        str(SCENARIOS / what.scenario),
        "-inf",
        str(data),
        "-i",
        PHONES,
        "-p",
        str(port),
    ]
    rate = ["-m", str(what.count), "-r", str(what.per_second), "-d", "100", "-l", "2000", "-timeout", "120", "-nostdin"]
    # Over UDP a 180 may come behind its 200, which is no reason to leave a call as it stands.
    rate += ["-default_behaviors", "all,-abortunexp"]
    done = subprocess.run([*argv, *rate], cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    if done.returncode:
        raise RuntimeError(f"sipp said {done.returncode}: {done.stdout[-1500:]}{done.stderr[-500:]}")


def used_ms(folder: Path, proxy: Proxy, address: str, what: Load) -> float:
    """Of processor, for each run of the scenario. What failed costs something else, and is measured anew; raises
    RuntimeError when it fails again and again."""
    for again in reversed(range(ATTEMPTS)):
        before = cpu_s(proxy.pid)
        try:
            load(folder, address, what, next(_ports))
        except RuntimeError:
            if not again:
                raise
            proxy.idle()
        else:
            break
    return (cpu_s(proxy.pid) - before) / what.count * 1e3


@contextmanager
def _both(*, hiding: bool) -> Iterator[tuple[Path, Proxy, Proxy]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("ours", "peer"):
            (folder / name).mkdir()
        relay = Relay(RELAY, folder)
        stack.callback(relay.stop)
        wanted = section(
            proxy={"id": "p1", "appliance": "pop1", "address": OURS, "listeners": [{"transport": "udp", "port": 5060}]},
            relays=[{"id": "r1", "appliance": "pop1", "address": RELAY}],
            topology_hiding=hiding,
            limits={"calls_per_subscriber": 1000, "rate": 10_000, "contacts": 100},
        )
        ours, peer = Proxy(folder / "ours", wanted), Minimal(folder / "peer", wanted)
        for one in (ours, peer):
            one.start()
            stack.callback(one.stop)
        answers = subprocess.Popen(
            ["sipp", "-sf", str(SCENARIOS / "answer.xml"), "-i", PHONES, "-p", "7000", "-nostdin"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(answers.wait)
        stack.callback(answers.kill)
        until(lambda: _bound(7000))
        for target in (OURS, PEER):
            load(folder, target, Load("register.xml", _fields("bob", "7000"), 1, 10), 6500)
            until(lambda target=target: _serves(folder, target), what="no call comes through")
        yield folder, ours, peer


def _serves(folder: Path, target: str) -> bool:
    """A proxy that missed its relay's first answer does not ask it for some seconds."""
    try:
        load(folder, target, Load("call.xml", _fields("alice", "bob"), 1, 1), next(_ports))
    except RuntimeError:
        return False
    return True


def _bound(port: int) -> bool:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        try:
            sock.bind((PHONES, port))
        except OSError:
            return True
    return False


def _fields(user: str, second: str) -> str:
    return f"{user};{second};[authentication username={user} password={PASSWORD}];{DOMAIN}"


def _ratio(name: str, what: Load, *, hiding: bool) -> float:
    ratios: list[float] = []
    each: list[tuple[float, float]] = []
    with _both(hiding=hiding) as (folder, ours, peer):
        sides = [(ours, OURS), (peer, PEER)]
        for turn in range(ROUNDS + 1):
            used: dict[str, float] = {}
            for proxy, address in sides if turn % 2 else sides[::-1]:
                used[address] = used_ms(folder, proxy, address, what)
            if turn:  # the first one warms both
                ratios.append(used[OURS] / used[PEER])
                each.append((used[OURS], used[PEER]))
    ratios.sort()
    low, high = ratios[1], ratios[-2]
    mine, theirs = (statistics.median(column) for column in zip(*each, strict=True))
    print(
        f"    {name}: {mine:.3f} ms against {theirs:.3f} ms of processor each; ratio {statistics.median(ratios):.3f},"
        f" of {ROUNDS} rounds all but the two outermost {low:.3f} to {high:.3f}; load average {os.getloadavg()[0]:.1f}"
    )
    return statistics.median(ratios)


def _calls() -> float:
    """The worse of two: without topology hiding, and with it on both sides."""
    what = Load("call.xml", _fields("alice", "bob"), CALLS, PER_SECOND)
    return max(_ratio("a call", what, hiding=False), _ratio("a call, topology hidden", what, hiding=True))


def _registers() -> float:
    return _ratio("a REGISTER", Load("register.xml", _fields("carol", "7001"), REGISTERS, 4 * PER_SECOND), hiding=False)


BENCHMARKS: Final = (
    Benchmark("sip.cpu_per_call", "a minimal configuration written by hand", "<=", 1.15, _calls, repeats=1),
    Benchmark("sip.cpu_per_register", "a minimal configuration written by hand", "<=", 1.15, _registers, repeats=1),
)
