"""What systemd says of a service, in the words of the units contract. Pure."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from nf.contracts.units import UnitSpec, UnitState, UnitStatus
from nf.supervisor.systemd.records import Kept

_CLD_EXITED, _CLD_KILLED, _CLD_DUMPED = 1, 2, 3  # waitid(2)
_EXECUTION = {
    200: "cannot enter its directory",
    203: "cannot be executed",
    217: "its user is unknown",
    226: "its sandbox cannot be set up: a directory it names is missing",
}
"""Exit statuses of systemd itself, before there is a program (systemd.exec(5))."""


def state_of(properties: Mapping[str, Any], *, wanted: bool) -> UnitState:
    """`wanted` tells a unit that was made to stop by force from one that failed."""
    active, sub = properties.get("ActiveState", "inactive"), properties.get("SubState", "dead")
    match active:
        case "active" | "reloading":
            return UnitState.READY
        case "activating":
            return UnitState.BACKOFF if sub == "auto-restart" else UnitState.STARTING
        case "deactivating":
            return UnitState.STOPPING
    if _has_job(properties):
        return UnitState.WAITING if wanted else UnitState.STOPPED
    return UnitState.FAILED if active == "failed" and wanted else UnitState.STOPPED


def _has_job(properties: Mapping[str, Any]) -> bool:
    number, _ = properties.get("Job", (0, "/"))
    return bool(number)


def settled(properties: Mapping[str, Any]) -> bool:
    """Nothing more happens by itself."""
    return not _has_job(properties) and properties.get("ActiveState") in {"inactive", "failed"}


def last_exit(properties: Mapping[str, Any], spec: UnitSpec) -> str:
    """Of the main process; "" as long as it lives, or when there was none."""
    code, status = properties.get("ExecMainCode", 0), properties.get("ExecMainStatus", 0)
    if code == _CLD_EXITED:
        text = f"exit {status}" + (f" ({_EXECUTION[status]})" if status in _EXECUTION else "")
    elif code in {_CLD_KILLED, _CLD_DUMPED}:
        text = f"signal {_signal(status)}"
    else:
        text = ""
    # The program was ended because something else failed first, and that can only be what waits for it.
    late = properties.get("Result") == "exit-code" and code in {_CLD_KILLED, _CLD_DUMPED}
    reason = f"not ready within {spec.ready.timeout_s:g} s" if late else ""
    return ", ".join(filter(None, (reason, text)))


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def invocation(properties: Mapping[str, Any]) -> str:
    return bytes(properties.get("InvocationID", b"")).hex()


def status_of(kept: Kept, properties: Mapping[str, Any], remembered: str = "") -> UnitStatus:
    """`remembered`: how it last ended, which systemd forgets once it runs again."""
    pid = int(properties.get("MainPID", 0))
    return UnitStatus(
        name=kept.spec.name,
        state=state_of(properties, wanted=kept.wanted),
        pid=pid or None,
        since=properties.get("StateChangeTimestamp", 0) / 1e6,
        restarts=int(properties.get("NRestarts", 0)),
        last_exit=last_exit(properties, kept.spec) or remembered,
        spec=kept.running(invocation(properties)) if pid else kept.spec,
    )
