"""A unit's definition as text for systemd (systemd.unit(5), systemd.service(5), systemd.exec(5)). Pure.

Everything is closed, and `Sandbox` opens what the unit names. What differs from the lab's supervisor:

- systemd before 254 has one delay for all restarts instead of a doubling one: the mean of the first and the last on
  the scale on which it would double. From 254 on it doubles (RestartSteps=).
- A unit that is started starts those that it comes after (Wants=), where the supervisor waits for somebody to do so.
"""

from __future__ import annotations

import math
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nf.contracts.units import ReadyKind, Sandbox, UnitSpec
from nf.errors import InputError
from nf.supervisor.readiness import tcp_address
from nf.supervisor.systemd import wait
from nf.supervisor.systemd.names import service

SLICE = "nf-units.slice"

_START_GRACE_S = 30.0  # a backstop only: what waits for readiness has its own limit
_LEAST_S = 0.001  # 0 would mean for ever
_STEPS_SINCE = 254
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CAPABILITY = re.compile(r"CAP_[A-Z_]+")
_FAMILY = re.compile(r"AF_[A-Z0-9]+")
_CALL = re.compile(r"@?[a-z0-9_-]+")
_DEVICE = re.compile(r"(/dev/[A-Za-z0-9/_.-]+|char-[a-z0-9*]+)( [rwm]{1,3})?")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_LETTERS = {"\\": "\\\\", '"': '\\"', "%": "%%", "\n": "\\n", "\t": "\\t"}
_WITH_CAPABILITY = {
    frozenset({"CAP_SETUID", "CAP_SETGID"}): "@setuid",
    frozenset({"CAP_CHOWN"}): "@chown",
    frozenset({"CAP_SYS_NICE"}): "setpriority sched_setscheduler sched_setparam sched_setattr",
    frozenset({"CAP_SYS_RESOURCE"}): "setrlimit",
}
"""System calls of @privileged and @resources that go with a capability."""

_CLOSED = """\
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
ProtectHome=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
UMask=0077
PrivateMounts=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources @obsolete
LimitCORE=0
LimitNOFILE=65536
LimitMEMLOCK=96M
"""


def quoted(text: str) -> str:
    """One word of a unit file: quotes and C-style escapes, and % that is no specifier."""
    return f'"{"".join(map(_letter, text))}"'


def _letter(letter: str) -> str:
    if letter in _LETTERS:
        return _LETTERS[letter]
    return f"\\x{ord(letter):02x}" if ord(letter) < 32 or ord(letter) == 127 else letter


def _plain(path: Path, unit: str) -> str:
    """A path for a list of paths. Raises InputError."""
    text = str(path)
    if not path.is_absolute() or any(c in text for c in " \t\n\"'\\:;") or ".." in path.parts or not text.isprintable():
        raise InputError(f"{text!r} is no plain absolute path", where=f"unit {unit}", remedy="choose another place")
    return text.replace("%", "%%")


def seconds(value: float) -> str:
    """As systemd.time(7) reads it."""
    return f"{value:.6f}".rstrip("0").rstrip(".") or "0"


def command(argv: Sequence[str], unit: str) -> str:
    """A line for ExecStart=. `:` keeps $ as it is. Raises InputError for a program that systemd cannot name."""
    program = argv[0]
    named = program.startswith("/") or re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", program)
    if not named or any(c in program for c in "\"'\\") or not program.isprintable():
        raise InputError(f"{program!r} is no name of a program", where=f"unit {unit}", remedy="write its whole path")
    return " ".join(quoted(word) for word in (f":{program}", *argv[1:]))


def restart_delay(spec: UnitSpec) -> float:
    """Seconds, where there can be one only."""
    first, last = max(spec.backoff_first_s, _LEAST_S), max(spec.backoff_last_s, _LEAST_S)
    return math.sqrt(first * max(first, last))


def _restart(spec: UnitSpec, version: int) -> Iterator[str]:
    if not spec.restart:
        yield "Restart=no"
        return
    yield "Restart=always"
    if version < _STEPS_SINCE or spec.backoff_last_s <= spec.backoff_first_s:
        yield f"RestartSec={seconds(restart_delay(spec))}"
        return
    first = max(spec.backoff_first_s, _LEAST_S)
    yield f"RestartSec={seconds(first)}"
    yield f"RestartMaxDelaySec={seconds(spec.backoff_last_s)}"
    yield f"RestartSteps={max(1, math.ceil(math.log2(spec.backoff_last_s / first)))}"


def _ready_family(spec: UnitSpec) -> tuple[str, ...]:
    match spec.ready.kind:
        case ReadyKind.UNIX_SOCKET:
            return ("AF_UNIX",)
        case ReadyKind.TCP:
            return ("AF_INET6" if ":" in tcp_address(spec.ready.target)[0] else "AF_INET",)
        case _:
            return ()


def _checked(words: Iterable[str], shape: re.Pattern[str], what: str, unit: str) -> tuple[str, ...]:
    found = tuple(words)
    for word in found:
        if shape.fullmatch(word) is None:
            raise InputError(f"{word!r} is no {what}", where=f"unit {unit}", remedy="see systemd.exec(5)")
    return found


def _rights(spec: UnitSpec, sandbox: Sandbox) -> Iterator[str]:
    unit = spec.name
    capabilities = _checked(sandbox.capabilities, _CAPABILITY, "capability", unit)
    families = sorted({*_checked(sandbox.families, _FAMILY, "address family", unit), *_ready_family(spec)})
    devices = _checked(sandbox.devices, _DEVICE, "device", unit)
    for key, name in (("User", sandbox.user), ("Group", sandbox.group)):
        if name:
            yield f"{key}={_checked((name,), _USER, 'user', unit)[0]}"
    yield f"CapabilityBoundingSet={' '.join(capabilities)}"
    yield f"AmbientCapabilities={' '.join(capabilities if sandbox.user else ())}"
    # Root of a user namespace of its own: what it owns stays its own, and no capability counts outside.
    yield f"PrivateUsers={'no' if capabilities or sandbox.user else 'yes'}"
    yield f"RestrictAddressFamilies={' '.join(families) or 'none'}"
    if not {"AF_INET", "AF_INET6", "AF_PACKET", "AF_NETLINK"} & set(families):
        yield "PrivateNetwork=yes"
        yield "IPAddressDeny=any"
    yield f"ProcSubset={'all' if sandbox.kernel_files else 'pid'}"
    yield f"RestrictRealtime={'no' if sandbox.real_time else 'yes'}"
    yield f"MemoryDenyWriteExecute={'no' if sandbox.write_execute else 'yes'}"
    yield f"PrivateDevices={'no' if devices else 'yes'}"
    yield "DevicePolicy=closed"
    yield from (f"DeviceAllow={device}" for device in devices)
    calls = [calls for needed, calls in _WITH_CAPABILITY.items() if needed & set(capabilities)]
    calls += _checked(sandbox.system_calls, _CALL, "system call", unit)
    if calls:
        yield f"SystemCallFilter={' '.join(calls)}"
    if sandbox.nice:
        yield f"Nice={sandbox.nice}"


def _paths(spec: UnitSpec, hidden: Sequence[Path]) -> Iterator[str]:
    """What is hidden is so as a whole, or empty but for what the unit names below it."""
    unit, sandbox = spec.name, spec.sandbox
    bound: set[Path] = set()
    for place in hidden:
        inside = [path for path in (*sandbox.readable, *sandbox.writable) if path.is_relative_to(place)]
        bound |= set(inside)
        yield f"TemporaryFileSystem={_plain(place, unit)}:ro" if inside else f"InaccessiblePaths=-{_plain(place, unit)}"
    for path in sandbox.readable:
        if path in bound:
            yield f"BindReadOnlyPaths={_plain(path, unit)}"
    for path in sandbox.writable:
        yield f"{'BindPaths' if path in bound else 'ReadWritePaths'}={_plain(path, unit)}"
    for path in sandbox.executable:
        yield f"ExecPaths={_plain(path, unit)}"


def render(spec: UnitSpec, *, hidden: Sequence[Path] = (), version: int = 252, python: str = sys.executable) -> str:
    """The file `nf-<name>.service`.

    hidden   what only the agent may see, such as keys; `Sandbox.readable` and `writable` open parts of it
    version  of systemd
    python   runs what waits for readiness

    Raises InputError for what systemd cannot be told.
    """
    unit = spec.name
    for name, value in spec.environment:
        if _VARIABLE.fullmatch(name) is None or any(ord(c) < 32 and c not in "\t\n" for c in value):
            raise InputError(f"systemd takes no variable {name!r} like this", where=f"unit {unit}")
    after = [service(other) for other in spec.after]
    lines = ["[Unit]", f"Description=StreamVerse NF unit {unit}", "StartLimitIntervalSec=0"]
    lines += [f"{key}={other}" for other in after for key in ("After", "Wants")]
    lines += ["", "[Service]", "Type=exec", f"Slice={SLICE}", f"SyslogIdentifier={unit}"]
    lines += [f"ExecStart={command(spec.argv, unit)}"]
    if spec.ready.kind is not ReadyKind.STARTED:
        waiter = (python, "-I", "-S", wait.__file__, spec.ready.kind.value, spec.ready.target)
        lines += [f"ExecStartPost={command((*waiter, seconds(spec.ready.timeout_s)), unit)}"]
    lines += [f"Environment={quoted(f'{name}={value}')}" for name, value in spec.environment]
    lines += [f"WorkingDirectory={_plain(spec.directory, unit)}"]
    lines += _restart(spec, version)
    lines += [
        f"TimeoutStartSec={seconds(spec.ready.timeout_s + _START_GRACE_S)}",
        f"TimeoutStopSec={seconds(max(spec.stop_timeout_s, _LEAST_S))}",
        f"KillSignal={_signal(spec.stop_signal)}",
        "KillMode=mixed",
    ]
    # What opens a system call again comes after what closes it.
    return "\n".join([*lines, _CLOSED.rstrip(), *_rights(spec, spec.sandbox), *_paths(spec, hidden), ""])


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
