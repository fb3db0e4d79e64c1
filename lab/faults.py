"""Faults that a person, a test or a demonstration puts into a running lab, and takes away again.

Each one is what the field knows: a daemon dies or hangs, a fibre is cut, a link goes on shining but carries nothing,
a program fails, the agent dies at a named point of a transaction, it rains, a headend device misbehaves.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from lab import device_faults
from lab.native import network, state
from lab.native.handle import Lab
from lab.native.processes import NodeProcess, Process
from nf.contracts.json import JsonObject
from nf.errors import DriverError, InputError, IntegrityError, NfError, NotFoundError, RefusedError
from nf.supervisor.client import SupervisorClient
from nf.transaction import killpoints

RUN_DIR = Path("run/nf")
_SOCKET = "supervisor.sock"
_NO_LINKS = ("lo", "pimreg")  # the kernel's own
_REFUSAL = """#!/bin/sh
# Fails when the argument WHEN is given (always, if that is empty), but not when UNLESS is.
when=%s unless=%s whole=%s hit=
[ -n "$when" ] || hit=1
for word; do
    [ -z "$unless" ] || [ "$word" != "$unless" ] || exec "$whole" "$@"
    [ "$word" != "$when" ] || hit=1
done
[ -n "$hit" ] || exec "$whole" "$@"
echo 'broken by a fault of the lab' >&2
exit 1
"""


class Kind(Enum):
    SILENCE = "silence"  # the end drops all it sends and receives; the carrier stays
    CUT = "cut"  # the end is down; both ends lose the carrier
    LOSS = "loss"  # some of what the end sends is lost at random
    HALT = "halt"  # a whole node is dead: its processes are stopped, its links are dark, or lit and silent
    FREEZE = "freeze"  # a unit's processes are stopped (SIGSTOP)
    BREAK = "break"  # a program of the node fails whenever it is run
    FADE = "fade"  # rain between the node and the satellite
    DEVICE = "device"  # a simulated headend device misbehaves


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that lasts until it is taken away. `target`: an interface, a unit, a program's path, a link, a kind."""

    kind: Kind
    node: str
    target: str
    detail: str = field(default="", compare=False)

    def to_json(self) -> JsonObject:
        said: JsonObject = {"kind": self.kind.value, "node": self.node, "target": self.target}
        return said | {"detail": self.detail} if self.detail else said


def parse_end(text: str) -> tuple[str, str]:
    """`pop1:eth1` as node and interface. Raises InputError."""
    node, _, interface = text.partition(":")
    if not node or not interface:
        raise InputError(f"{text} is not an end of a link", where="nf lab fault", remedy="write it like pop1:eth1")
    return node, interface


class Faults:
    """The faults of one lab. Every method raises NotFoundError for what is not there."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab.native()
        self._file = state.folder_of(lab.state.name) / "faults.json"

    def standing(self) -> tuple[Fault, ...]:
        """Raises IntegrityError when the file of faults cannot be read."""
        try:
            data = json.loads(self._file.read_bytes())
            return tuple(
                Fault(Kind(item["kind"]), item["node"], item["target"], item.get("detail", "")) for item in data
            )
        except FileNotFoundError:
            return ()
        except (ValueError, KeyError, TypeError) as error:
            text = f"the list of faults cannot be read: {error}"
            raise IntegrityError(text, where=str(self._file), remedy="remove the file") from None

    def kill(self, node: str, what: str) -> tuple[NodeProcess, ...]:
        """SIGKILL a unit's process, or every process whose command line has `what` in it. Returns who died."""
        victims = self._victims(node, what)
        for victim in victims:
            _signal(victim, signal.SIGKILL)
        return victims

    def freeze(self, node: str, unit: str) -> tuple[NodeProcess, ...]:
        """SIGSTOP a unit's process and all that it started."""
        victims = self._with_children(node, self._victims(node, unit))
        self._remember(Fault(Kind.FREEZE, node, unit))
        for victim in victims:
            _signal(victim, signal.SIGSTOP)
        return victims

    def thaw(self, node: str, unit: str) -> tuple[NodeProcess, ...]:
        """Take back `freeze`."""
        self._forget(Fault(Kind.FREEZE, node, unit))
        victims = self._with_children(node, self._victims(node, unit))
        for victim in victims:
            _signal(victim, signal.SIGCONT)
        return victims

    def silence(self, node: str, interface: str) -> None:
        """Drop both ways at this end, below everything that the node does; the carrier stays."""
        self._require_interface(node, interface)
        self._remember(Fault(Kind.SILENCE, node, interface))
        _nft(self._lab.init(node), _silence_rules(interface))

    def restore(self, node: str, interface: str) -> None:
        """Take back `silence`; nothing when the end is not silent."""
        self._require_interface(node, interface)
        _nft(self._lab.init(node), _no_rules(interface))
        self._forget(Fault(Kind.SILENCE, node, interface))

    def cut(self, node: str, interface: str) -> None:
        """Put the end down: both ends see it at once."""
        self._require_interface(node, interface)
        self._remember(Fault(Kind.CUT, node, interface))
        network.set_link(self._lab.init(node), interface, up=False)

    def mend(self, node: str, interface: str) -> None:
        """Take back `cut`."""
        self._require_interface(node, interface)
        network.set_link(self._lab.init(node), interface, up=True)
        self._forget(Fault(Kind.CUT, node, interface))

    def loss(self, node: str, interface: str, percent: float) -> None:
        """Lose so much of what this end sends, at random; 0 loses nothing any more. Raises InputError."""
        if percent and not 0.01 <= percent <= 100:
            remedy = "give 0.01 to 100 percent, or 0 for none"
            raise InputError(f"{percent:g} is no share", where="nf lab fault loss", remedy=remedy)
        self._require_interface(node, interface)
        fault = Fault(Kind.LOSS, node, interface, f"{percent:g} %")
        self._forget(fault)
        if percent:
            self._remember(fault)
        _nft(self._lab.init(node), _loss_rules(interface, percent))

    def halt(self, node: str, *, lit: bool = False) -> tuple[str, ...]:
        """A whole node dies: every process stops (SIGSTOP), every link goes dark, as when its power fails.

        `lit`: the links go on shining and carry nothing, as when it hangs. The links that it had.
        """
        init = self._lab.init(node)
        if self._halted(node) is not None:
            return ()
        up = [str(link["name"]) for link in network.interfaces(init) if link["up"]]
        names = [name for name in up if not name.startswith(_NO_LINKS)]
        self._remember(Fault(Kind.HALT, node, "hang" if lit else "power", " ".join(names)))
        for process in self._lab.processes(node):
            _signal(process, signal.SIGSTOP)
        if lit:
            _nft(init, "".join(map(_silence_rules, names)))
        else:
            network.set_links(init, names, up=False)
        return tuple(names)

    def resume(self, node: str) -> tuple[str, ...]:
        """Take back `halt`: the links carry and the processes go on where they stood. The links."""
        fault = self._halted(node)
        if fault is None:
            return ()
        init, names = self._lab.init(node), fault.detail.split()
        if fault.target == "hang":
            _nft(init, "".join(map(_no_rules, names)))
        else:
            network.set_links(init, names, up=True)
        for process in self._lab.processes(node):
            _signal(process, signal.SIGCONT)
        self._forget(fault)
        return tuple(names)

    def _halted(self, node: str) -> Fault | None:
        return next((found for found in self.standing() if found.kind is Kind.HALT and found.node == node), None)

    def break_program(self, node: str, program: str, *, when: str = "", unless: str = "") -> str:
        """From now on `program` ends with code 1 inside the node. Its path.

        `when`: only if this is among its arguments; `unless`: not if that is. So a tool can pass its own check and
        fail at the change itself.
        """
        path = self._which(node, program)
        if Fault(Kind.BREAK, node, path) in self.standing():
            return path
        self._remember(Fault(Kind.BREAK, node, path))
        folder = f"/run/nf-lab.broken/{program}"
        refusal = _REFUSAL % (shlex.quote(when), shlex.quote(unless), f"{folder}/whole")
        script = 'mkdir -p "$1" && cp -p "$2" "$1/whole" && printf %s "$3" > "$1/broken" && chmod 755 "$1/broken" && '
        script += 'exec mount --bind "$1/broken" "$2"'
        self._lab.run(node, "sh", "-c", script, "sh", folder, path, refusal, check=True)
        return path

    def mend_program(self, node: str, program: str) -> str:
        """Take back `break_program`; nothing when the program is whole."""
        path = self._which(node, program)
        if Fault(Kind.BREAK, node, path) in self.standing():
            self._lab.run(node, "umount", "--", path, check=True)
            self._forget(Fault(Kind.BREAK, node, path))
        return path

    def killpoint(self, node: str, name: str) -> None:
        """Let the node's agent die at this point of its next transaction. Raises InputError for an unknown name."""
        run_dir = self._lab.root(node) / RUN_DIR
        run_dir.mkdir(parents=True, exist_ok=True)
        killpoints.arm(run_dir, name)

    def fade(self, site: str | None, db: float, slope_db_s: float) -> tuple[str, ...]:
        """Rain on the uplink, or on the downlink of `site`: from what it is now to `db`. The nodes under it.

        At `slope_db_s`, or at once when that is 0; 0 dB is the clear sky again. Raises InputError.
        """
        nodes = device_faults.fading_nodes(self._lab, site)
        for node in nodes:
            device_faults.fade(self._lab, node, db, slope_db_s)
            fault = Fault(Kind.FADE, node, site or device_faults.UPLINK, f"{db:g} dB at {slope_db_s:g} dB/s")
            self._forget(fault)
            if db:
                self._remember(fault)
        return nodes

    def disturb(self, node: str, kind: str, *, seconds: float | None = None) -> bool:
        """Let a simulated device misbehave. Whether that lasts; a reboot does not. Raises InputError.

        `seconds`: how late the answers of a slow one come.
        """
        lasting = device_faults.put(self._lab, node, kind, seconds)
        if lasting:
            self._remember(Fault(Kind.DEVICE, node, kind))
        return lasting

    def mend_device(self, node: str, kind: str | None = None) -> tuple[str, ...]:
        """Take back `disturb`, of this kind or all. The kinds that stood."""
        device_faults.control(self._lab, node)
        stood = [f for f in self.standing() if f.kind is Kind.DEVICE and f.node == node and kind in (None, f.target)]
        for fault in stood:
            self._take_back(fault)
        return tuple(fault.target for fault in stood)

    def clear(self) -> tuple[Fault, ...]:
        """Take back every standing fault. Those taken back."""
        cleared = self.standing()
        for fault in cleared:
            self._take_back(fault)
        return cleared

    def _take_back(self, fault: Fault) -> None:
        if fault.kind is Kind.SILENCE:
            self.restore(fault.node, fault.target)
        elif fault.kind is Kind.CUT:
            self.mend(fault.node, fault.target)
        elif fault.kind is Kind.LOSS:
            self.loss(fault.node, fault.target, 0)
        elif fault.kind is Kind.HALT:
            self.resume(fault.node)
        elif fault.kind is Kind.BREAK:
            self.mend_program(fault.node, fault.target)
        elif fault.kind is Kind.FADE:
            device_faults.clear_sky(self._lab, fault.node)
            self._forget(fault)
        elif fault.kind is Kind.DEVICE:
            device_faults.take_away(self._lab, fault.node, fault.target)
            self._forget(fault)
        else:
            try:
                self.thaw(fault.node, fault.target)
            except NotFoundError:
                self._forget(fault)  # what was frozen is gone

    def _victims(self, node: str, what: str) -> tuple[NodeProcess, ...]:
        """The process of the unit of that name; without such a unit, processes by command line."""
        running = self._lab.processes(node)
        pid = self._unit_pid(node, what)
        if pid is not None:
            victims = tuple(process for process in running if process.inner == pid)
        else:
            victims = tuple(process for process in running if what in " ".join(process.argv))
        if not victims:
            remedy = "`nf lab status` lists the processes of each node"
            raise NotFoundError(f"no unit and no process {what}", where=node, remedy=remedy)
        return victims

    def _unit_pid(self, node: str, unit: str) -> int | None:
        socket = self._lab.root(node) / RUN_DIR / _SOCKET
        if not socket.exists():
            return None
        try:
            status = asyncio.run(SupervisorClient(socket).status(unit))
        except NfError:
            return None  # the supervisor itself may be what hangs: the command line still names its units
        return None if status is None else status.pid

    def _with_children(self, node: str, victims: tuple[NodeProcess, ...]) -> tuple[NodeProcess, ...]:
        chosen = {victim.pid: victim for victim in victims}
        running = self._lab.processes(node)
        grown = True
        while grown:
            children = {p.pid: p for p in running if p.parent in chosen and p.pid not in chosen}
            grown = bool(children)
            chosen |= children
        return tuple(chosen.values())

    def _require_interface(self, node: str, interface: str) -> None:
        present = [str(link["name"]) for link in network.interfaces(self._lab.init(node))]
        if interface not in present:
            remedy = f"it has {', '.join(present)}"
            raise NotFoundError(f"no interface {interface}", where=node, remedy=remedy)

    def _which(self, node: str, program: str) -> str:
        if program.startswith("/"):
            return program
        done = self._lab.run(node, "sh", "-c", 'readlink -f -- "$(command -v -- "$1")"', "sh", program)
        path = done.stdout.strip()
        if done.returncode != 0 or not path.startswith("/"):
            raise NotFoundError(f"no program {program}", where=node, remedy="name one that the node can run")
        return path

    def _remember(self, fault: Fault) -> None:
        self._write(tuple(dict.fromkeys((*self.standing(), fault))))

    def _forget(self, fault: Fault) -> None:
        self._write(tuple(other for other in self.standing() if other != fault))

    def _write(self, faults: tuple[Fault, ...]) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps([fault.to_json() for fault in faults]), encoding="utf-8")
        fresh.replace(self._file)


def _signal(victim: NodeProcess, number: signal.Signals) -> None:
    process = Process.of(victim.pid)
    if process is not None:
        process.kill(number)


def _table(interface: str, what: str = "") -> str:
    return f"nf_lab_{what}" + "".join(letter if letter.isalnum() else "_" for letter in interface)


def _chain(interface: str, hook: str, rest: str) -> str:
    return f'  chain {hook} {{ type filter hook {hook} device "{interface}" priority -500; {rest} }}\n'


def _anew(table: str, chains: str) -> str:
    """The table with just these chains; hooks nearest to the wire, so that nothing of the node sees the frames."""
    made = f"table netdev {table} {{\n{chains}}}\n" if chains else ""
    return f"table netdev {table}\ndelete table netdev {table}\n{made}"


def _silence_rules(interface: str) -> str:
    return _anew(_table(interface), "".join(_chain(interface, hook, "policy drop;") for hook in ("ingress", "egress")))


def _no_rules(interface: str) -> str:
    return _anew(_table(interface), "")


def _loss_rules(interface: str, percent: float) -> str:
    lost = f"policy accept; numgen random mod 10000 <= {round(percent * 100) - 1} drop;"
    return _anew(_table(interface, "loss_"), _chain(interface, "egress", lost) if percent else "")


def _nft(init: Process, rules: str) -> None:
    """Raises DriverError, RefusedError without nft. The host's own program: the node's may be broken on purpose."""
    nft, nsenter = (shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin") for name in ("nft", "nsenter"))
    if nft is None or nsenter is None:
        raise RefusedError("nft is missing", where="nf lab fault", remedy="install the package nftables")
    command = [nsenter, "--target", str(init.pid), "--net", "--", nft, "-f", "-"]
    done = subprocess.run(command, input=rules, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise DriverError(f"nft refuses: {done.stderr.strip()}", where="nf lab fault")
