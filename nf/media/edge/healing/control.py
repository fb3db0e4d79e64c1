"""Traffic Server's own list of hosts that are down (`traffic_ctl host`), under the reason `active`.

A host is down while any reason has it down: `active` is what health checks set, so that `manual` is left to people. The
name of a host is what stands in parent.config, without the port. What is read back may be several seconds old.
"""

from __future__ import annotations

import re
from pathlib import Path

from nf.errors import DriverError
from nf.media.edge.render import PROGRAMS
from nf.media.processes import ask_program

REASON = "active"
TIMEOUT_S = 5.0


async def set_host(root: Path, host: str, *, down: bool) -> None:
    """Idempotent. Raises DriverError when Traffic Server does not take it."""
    status, output = await _ask(root, "down" if down else "up", "--reason", REASON, host)
    if status != 0:
        raise DriverError(f"traffic_ctl host {'down' if down else 'up'} {host}: {output}", where="trafficserver")


async def down_hosts(root: Path, hosts: tuple[str, ...]) -> frozenset[str]:
    """Those of `hosts` that are down for our reason, as far as Traffic Server tells."""
    found = set()
    for host in hosts:  # one that it does not know makes the whole question fail
        try:
            _, output = await _ask(root, "status", host)
        except DriverError:
            continue
        if is_down(output, host):
            found.add(host)
    return frozenset(found)


def is_down(output: str, host: str) -> bool:
    """In what `traffic_ctl host status` says."""
    pattern = rf"proxy\.process\.host_status\.{re.escape(host)} \S*{REASON.upper()}:DOWN:"
    return re.search(pattern, output) is not None


async def _ask(root: Path, *words: str) -> tuple[int, str]:
    argv = (str(PROGRAMS / "traffic_ctl"), "host", *words)
    return await ask_program(argv, timeout_s=TIMEOUT_S, environment={"TS_RUNROOT": str(root)})
