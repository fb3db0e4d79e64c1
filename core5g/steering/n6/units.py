"""The units of steering at N6: the gate and the resolver; how they are read back and asked."""

from __future__ import annotations

import sys
from pathlib import Path

from core5g.sockets import ask
from core5g.steering.n6.documents import N6Section
from nf.contracts.json import JsonObject
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec

GATE, RESOLVER = "n6-gate", "n6-resolver"
_MODULES = {GATE: "core5g.steering.n6.gate", RESOLVER: "core5g.steering.n6.resolver"}


def directory(run_dir: Path) -> Path:
    return run_dir / "n6-steering"


def socket_path(run_dir: Path, unit: str) -> Path:
    return directory(run_dir) / f"{unit.removeprefix('n6-')}.sock"


def told(section: N6Section) -> N6Section:
    """Without the prefixes: they are in the kernel, and too many for an argument of a process."""
    return section.model_copy(update={"prefixes": ()})


def gate_spec(section: N6Section, run_dir: Path, influences: Path) -> UnitSpec:
    argv = (*_argv(GATE, section, run_dir), "--influences", str(influences))
    sandbox = Sandbox(
        # nftables, routes and the ends of connections; segments in the cache's place
        capabilities=("CAP_NET_ADMIN", "CAP_NET_RAW"),
        families=("AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"),
        writable=(directory(run_dir),),
        readable=(influences,),
    )
    return _spec(GATE, argv, run_dir, sandbox)


def resolver_spec(section: N6Section, run_dir: Path) -> UnitSpec:
    sandbox = Sandbox(
        capabilities=("CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"),  # nftables, port 53, one device alone
        families=("AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"),
        writable=(directory(run_dir),),
    )
    return _spec(RESOLVER, _argv(RESOLVER, section, run_dir), run_dir, sandbox)


def _argv(unit: str, section: N6Section, run_dir: Path) -> tuple[str, ...]:
    status = str(socket_path(run_dir, unit))
    return (sys.executable, "-m", _MODULES[unit], "--section", told(section).model_dump_json(), "--status", status)


def _spec(unit: str, argv: tuple[str, ...], run_dir: Path, sandbox: Sandbox) -> UnitSpec:
    ready = Readiness(ReadyKind.UNIX_SOCKET, str(socket_path(run_dir, unit)), 20.0)
    return UnitSpec(name=unit, argv=argv, ready=ready, backoff_last_s=1.0, stop_timeout_s=2.0, sandbox=sandbox)


def section_of(spec: UnitSpec | None) -> N6Section | None:
    """What a unit was started for; None when it is none of ours."""
    if spec is None or _MODULES.get(spec.name, "") not in spec.argv:
        return None
    try:
        return N6Section.model_validate_json(spec.option("--section") or "")
    except ValueError:
        return None


async def ask_gate(run_dir: Path, command: str = "") -> JsonObject | None:
    """None when nothing answers within a second."""
    return await ask(socket_path(run_dir, GATE), command, 1.0)


async def ask_resolver(run_dir: Path) -> JsonObject | None:
    """None when nothing answers within a second."""
    return await ask(socket_path(run_dir, RESOLVER), timeout_s=1.0)
