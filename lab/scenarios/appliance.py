"""An appliance image in its place: the network of appliance.clab.yml, whose PoP is a machine in qemu.

Everything is done as its users would: the NOC's operator with `nf`, the technician with a factory seed and the serial
console. There is no other way into an appliance.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.machine import taps
from lab.machine.driven import DrivenMachine
from lab.machine.spec import Card, Direct, MachineSpec, card_address
from lab.native.handle import Lab
from lab.scenarios import bootstrap
from lab.scenarios.console import Console, ScenarioError

TOPOLOGY = bootstrap.HERE / "topologies" / "appliance.clab.yml"
FLEET = bootstrap.DOCUMENTS / "appliance-fleet.yaml"
LINEUP = bootstrap.DOCUMENTS / "appliance-lineup.yaml"
POP = "pop1"
SERIAL = "SV-POP1-0001"
INTERFACES = ("eth0", "eth1", "eth2")  # of the node, and of the appliance behind them
MANAGEMENT = "172.20.20.14/24"
NOC = "172.20.20.10:7443"  # an address: an appliance in its rack has no resolver
NEIGHBOURS = ("headend", "r1")
SLOWNESS = float(os.environ.get("NF_SLOWNESS", "1"))
"""By how much longer than usual everything in a machine may take here."""

_MISSED_S = 60.0 * SLOWNESS
PANIC = r"Kernel panic|Give root password|emergency mode"


@dataclass(frozen=True, slots=True)
class Place:
    """A lab that is up, with a NOC and enrolled neighbours, waiting for the machine at pop1."""

    console: Console

    def node(self) -> Lab:
        return Lab.find(self.console.lab).native()

    def cards(self) -> tuple[Card, ...]:
        return tuple(Card(card_address(POP, index), taps.tap_name(name)) for index, name in enumerate(INTERFACES))

    def attach(self) -> None:
        """From now on the node's interfaces are the machine's."""
        taps.attach(self.node().init(POP), INTERFACES)

    def seed(self, volume: Path, *, token: bool = True) -> None:
        """The factory seed of pop1 as a volume: identity, management network, names of interfaces, enrolment."""
        seed: dict[str, Any] = {
            "serial": SERIAL,
            "hostname": POP,
            "management": {"mac": card_address(POP, 0), "address": MANAGEMENT},
            "interfaces": {name: {"mac": card_address(POP, index)} for index, name in enumerate(INTERFACES)},
        }
        if token:
            told = self.console.must(self.console.nf("appliance", "enroll", POP, "--profile", bootstrap.WARDEN))
            seed["enrolment"] = json.loads(told.stdout)
        make_volume(volume, {"seed.json": json.dumps(seed, indent=2).encode()})

    @contextmanager
    def machine(
        self,
        folder: Path,
        *,
        disk: Path,
        seed: Path,
        variables: Path | None = None,
        direct: Direct | None = None,
        memory_mib: int = 3072,
    ) -> Iterator[DrivenMachine]:
        """pop1, off; cut off from power at the end. `folder` keeps what lasts of it."""
        self.attach()
        spec = MachineSpec(
            POP,
            disk=disk,
            disk_mib=8192,
            volumes=(seed,),
            cards=self.cards(),
            memory_mib=memory_mib,
            variables=variables,
            direct=direct,
        )
        with DrivenMachine(spec, folder, node=self.node().init(POP)) as machine:
            yield machine

    def shown(self) -> dict[str, Any]:
        """What the NOC says of pop1."""
        found: dict[str, Any] = self.console.must(self.console.nf("appliance", "show", POP, "--json")).json()
        return found

    def image(self) -> dict[str, Any]:
        """What pop1 runs from, as it said last: version, slot, its last update. Empty texts: it never said."""
        nothing = {"version": "", "slot": "", "update": "", "fell_back": ""}
        return nothing | (self.shown().get("image") or {})

    def online(self) -> bool:
        return bool(bootstrap.appliances(self.console)[POP]["online"])

    def current(self) -> bool:
        entry = bootstrap.appliances(self.console)[POP]
        return bool(entry["online"] and entry["current"])

    def hops(self) -> dict[str, str]:
        """`PATH POINT` -> verdict, of ch1 at pop1 and r1."""
        shown = self.console.nf("channel", "show", "ch1", "--json").json()
        return {f"{hop['path']} {hop['appliance']} {hop['point']}": hop["verdict"] for hop in shown["hops"]}

    def probes_up(self) -> bool:
        """Both paths, at the receiver."""
        found = self.hops()
        return all(found.get(f"{path} r1 receiver") == "up" for path in ("iptv", "ott"))


def place_up(console: Console) -> Place:
    """The lab, its NOC, its people, and everybody but pop1 enrolled."""
    console.must(console.host("lab", "up", str(TOPOLOGY), "--name", console.lab))
    init = ("noc", "init", "--fleet", str(FLEET), "--domain", "streamverse.test", "--address", NOC)
    console.must(console.nf(*init))
    bootstrap.noc_run(console)
    console.must(console.nf("operator", "add", "demo", "--role", "engineer", "--output", "/etc/nf/operator"))
    console.must(console.nf("operator", "add", "warden", "--role", "security", "--output", bootstrap.WARDEN))
    console.wait("the NOC answers", lambda: console.nf("appliance", "list", "--json").code == 0, 60.0)
    bootstrap.secret(console, "headend", "origin-writer", bootstrap.ORIGIN_WRITER)
    for name in NEIGHBOURS:
        bootstrap.enrol_one(console, name)
    console.wait("the neighbours online", lambda: _all_online(console, NEIGHBOURS), 120.0)
    return Place(console)


def await_online(place: Place, machine: DrivenMachine, patience_s: float, *, again: bool = False) -> float:
    """Seconds since power on at which the NOC had pop1's agent.

    `again`: the NOC had it before the power cut, and has to miss it first. Raises ScenarioError, also at once when the
    machine ends.
    """
    if again:
        place.console.wait("pop1 is missed", lambda: not place.online(), _MISSED_S)
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if place.online():
            return machine.age_s()
        if not machine.running:
            raise ScenarioError(f"the machine ended\n{machine.tail()}")
        time.sleep(1.0)
    raise ScenarioError(f"pop1 not online within {patience_s:.0f} s\n{machine.tail(40)}")


def make_volume(volume: Path, files: dict[str, bytes], *, label: str = "NFSEED") -> None:
    """A small FAT volume with these files in its root."""
    volume.parent.mkdir(parents=True, exist_ok=True)
    volume.unlink(missing_ok=True)
    with volume.open("wb") as file:
        file.truncate(4 << 20)
    _run(["mkfs.vfat", "-n", label, str(volume)], b"")
    for name, content in files.items():
        _run(["mcopy", "-i", str(volume), "-", f"::{name}"], content)


def _run(argv: list[str], given: bytes) -> None:
    done = subprocess.run(argv, input=given, capture_output=True, check=False)
    if done.returncode != 0:
        raise ScenarioError(f"{argv[0]}: {done.stderr.decode(errors='replace').strip()}")


def _all_online(console: Console, names: tuple[str, ...]) -> bool:
    found = bootstrap.appliances(console)
    return all(found[name]["online"] for name in names)
