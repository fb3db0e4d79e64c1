"""`up` and `down`: a topology made from namespaces, and every trace of it removed."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

from lab.native import network, state
from lab.native.processes import Process
from lab.native.start import MountedBind, NodeSpec, NodeStarter
from lab.native.state import FABRIC, MARKER, LabState, NodeState, Phase, require_root
from lab.topology import Bind, Node, Topology, expand
from nf.errors import DriverError, InputError, RefusedError

_DOWN_TIMEOUT_S = 60.0
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def up(topology: Topology, *, name: str | None = None, directory: Path | None = None) -> LabState:
    """Make the lab and start its nodes; all or nothing.

    `name` replaces the topology's own; `directory` holds the nodes' directories (/var/lib/nf-lab/NAME).
    Raises RefusedError when a lab of this name is there, DriverError when the kernel or a command refuses.
    """
    require_root()
    lab = name or topology.name
    with state.locked(lab):
        _refuse_if_there(lab)
        made = LabState(
            name=lab,
            topology=str(topology.file.resolve()),
            directory=(directory or state.DIRECTORY_ROOT / lab).resolve(),
            boot_id=state.boot_id(),
            created_at=time.time(),
            nodes={node.name: NodeState(node.kind, management=_text(node.management)) for node in topology.linux()},
        )
        made.nodes[FABRIC] = NodeState("fabric")
        _refuse_foreign_traces(made)
        state.save(made)
        try:
            _make(made, topology)
        except BaseException:
            _unmake(made, keep=False)
            raise
    return made


def down(name: str, *, keep: bool = False) -> bool:
    """Remove every trace of the lab, also of one that was half made. False when there was none.

    `keep` leaves the nodes' directories; the next `up` finds them. Raises BusyError, DriverError.
    """
    require_root()
    with state.locked(name):
        made = state.load(name)
        if made is None:
            return False
        _unmake(made, keep=keep)
    return True


def _refuse_if_there(lab: str) -> None:
    there = state.load(lab)
    if there is None:
        return
    if there.phase is Phase.STARTING:
        message = "a lab of this name is half made: its `up` did not come to its end"
    else:
        message = "a lab of this name is up"
    raise RefusedError(message, where=lab, remedy=f"`nf lab down {lab}`, or choose another name with --name")


def _refuse_foreign_traces(made: LabState) -> None:
    """What is there and not this lab's own is neither taken over nor removed later."""
    for node in made.nodes:
        path = made.namespace_name(node)
        if os.path.lexists(path):
            raise RefusedError(
                "this namespace name is taken",
                where=str(path),
                remedy=f"remove it, or give the lab {made.name} another name",
            )
    if made.directory.exists() and _owner(made.directory) != made.name and any(made.directory.iterdir()):
        raise RefusedError(
            "the directory is not empty and no directory of this lab",
            where=str(made.directory),
            remedy="choose an empty one with --dir",
        )


def _owner(directory: Path) -> str:
    try:
        return (directory / MARKER).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _make(made: LabState, topology: Topology) -> None:
    made.directory.mkdir(parents=True, exist_ok=True)
    (made.directory / MARKER).write_text(made.name + "\n", encoding="utf-8")
    specs = _specs(made, topology)
    with ExitStack() as stack:
        starters = {
            name: stack.enter_context(NodeStarter(spec, f"nf-lab:{made.name}:{name}")) for name, spec in specs.items()
        }
        inits = {name: starter.pid() for name, starter in starters.items()}
        for name, init in inits.items():
            made.nodes[name].init = init
        state.save(made)
        for starter in starters.values():
            starter.await_mounts()
        _name_namespaces(made, inits)
        network.make_bridges(topology, inits[FABRIC])
        network.make_links(topology, inits, inits[FABRIC])
        _configure(made, topology, starters)
        for starter in starters.values():
            starter.start()
    made.phase = Phase.UP
    state.save(made)


def _configure(made: LabState, topology: Topology, starters: Mapping[str, NodeStarter]) -> None:
    """Sysctls and `exec` of every node: in order inside a node, the nodes side by side."""

    def configure(node: Node) -> None:
        starters[node.name].set_sysctls(node.sysctls)
        for command in node.exec:
            words = [expand(word, node=node.name, directory=made.directory) for word in command]
            starters[node.name].run(words)

    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="nf-lab-exec") as pool:
        list(pool.map(configure, topology.linux()))


def _name_namespaces(made: LabState, inits: Mapping[str, Process]) -> None:
    """Names for `ip netns exec`. Links into /proc, no mounts: they keep nothing alive and copy nowhere."""
    state.NAMES.mkdir(parents=True, exist_ok=True)
    for name, init in inits.items():
        made.namespace_name(name).symlink_to(f"/proc/{init.pid}/ns/net")


def _specs(made: LabState, topology: Topology) -> dict[str, NodeSpec]:
    specs = {}
    for node in topology.linux():
        folder = made.directory / node.name
        folder.mkdir(exist_ok=True)
        environment = _environment(made, node)
        made.nodes[node.name].environment = environment
        specs[node.name] = NodeSpec(
            node=node.name,
            folder=str(folder),
            hosts=_hosts(made, topology, node),
            binds=tuple(_bind(made, topology, node, bind) for bind in node.binds),
            environment=environment,
            cmd=tuple(expand(word, node=node.name, directory=made.directory) for word in node.cmd),
            startup_delay_s=node.startup_delay_s,
            restart_policy=node.restart_policy,
            keep=_program_folders(),
        )
    folder = made.directory / f".{FABRIC}"
    folder.mkdir(exist_ok=True)
    specs[FABRIC] = NodeSpec(FABRIC, str(folder), "127.0.0.1 localhost\n", (), {})
    return specs


def _program_folders() -> tuple[str, ...]:
    """Where this interpreter and this code live: seen inside as they are outside, wherever that is."""
    return tuple(sorted({sys.prefix, str(Path(__file__).parents[2])}))


def _environment(made: LabState, node: Node) -> dict[str, str]:
    base = {
        "PATH": f"{Path(sys.executable).parent}:{_SYSTEM_PATH}",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "NF_LAB": made.name,
        "NF_NODE": node.name,
    }
    own = {key: expand(value, node=node.name, directory=made.directory) for key, value in node.env.items()}
    return base | own


def _hosts(made: LabState, topology: Topology, node: Node) -> str:
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    if node.management is None:
        lines.append(f"127.0.1.1 {node.name}")
    lines += [
        f"{other.management} {other.name} {topology.long_name(other.name, made.name)}"
        for other in topology.linux()
        if other.management is not None
    ]
    return "\n".join(lines) + "\n"


def _bind(made: LabState, topology: Topology, node: Node, bind: Bind) -> MountedBind:
    text = expand(bind.source, node=node.name, directory=made.directory)
    source = (topology.file.parent / Path(text).expanduser()).resolve()
    target = expand(bind.target, node=node.name, directory=made.directory)
    if source.is_relative_to(made.directory):
        if not source.exists():
            source.mkdir(parents=True)
    elif not source.exists():
        raise InputError(
            f"node {node.name} binds {source}, which does not exist",
            where=str(topology.file),
            remedy="create it, or correct the bind",
        )
    return MountedBind(str(source), target, bind.read_only)


def _text(address: IPv4Address | None) -> str:
    return "" if address is None else str(address)


def _unmake(made: LabState, *, keep: bool) -> None:
    """Take away what the state names; whatever is gone already is no error. The state itself goes last."""
    inits = [node.init for node in made.nodes.values() if node.init] if made.boot_id == state.boot_id() else []
    for init in inits:
        init.kill()
    late = [init.pid for init in inits if not init.kill_and_wait(_DOWN_TIMEOUT_S)]
    if late:
        raise DriverError(
            f"processes {late} do not end", where=made.name, remedy="see what they wait for, then `nf lab down` again"
        )
    for name, node in made.nodes.items():
        path = made.namespace_name(name)
        if node.init and path.is_symlink() and path.readlink() == Path(f"/proc/{node.init.pid}/ns/net"):
            path.unlink(missing_ok=True)
    if not keep:
        _remove_directory(made)
    folder = state.folder_of(made.name)
    for leftover in ("faults.json", "faults.new", "state.new", "state.json"):
        (folder / leftover).unlink(missing_ok=True)


def _remove_directory(made: LabState) -> None:
    if _owner(made.directory) == made.name:
        shutil.rmtree(made.directory)
    with contextlib.suppress(OSError):
        made.directory.rmdir()  # made, and the crash came before the marker
    with contextlib.suppress(OSError):
        state.DIRECTORY_ROOT.rmdir()
