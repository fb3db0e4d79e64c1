"""The programs that receive SRT and RIST and give UDP on this machine (Debian packages srt-tools and rist-tools)."""

from __future__ import annotations

import shutil
from typing import Final

from nf.errors import UnavailableError

PROGRAMS: Final = {"srt": ("srt-live-transmit", "srt-tools"), "rist": ("ristreceiver", "rist-tools")}
_RIST_MAIN_PROFILE: Final = "1"
_RIST_ERRORS_ONLY: Final = "3"


def program(kind: str) -> str:
    """Path of the program for a source of type `srt` or `rist`. Raises UnavailableError."""
    name, package = PROGRAMS[kind]
    found = shutil.which(name)
    if found is None:
        raise UnavailableError(
            f"a source of type {kind} needs {name}", where=name, remedy=f"install the Debian package {package}"
        )
    return found


def argv_of(kind: str, arrival: int, peer: str, latency_ms: int, inner: int) -> list[str]:
    """From `arrival` here, or called at `peer` (SRT), to 127.0.0.1:`inner`. Raises UnavailableError."""
    out = f"udp://127.0.0.1:{inner}"
    if kind == "srt":
        where = f"srt://{peer}?mode=caller" if peer else f"srt://0.0.0.0:{arrival}?mode=listener"
        return [program(kind), "-quiet", "-loglevel:error", f"{where}&latency={latency_ms}", out]
    return [
        program(kind),
        *("-p", _RIST_MAIN_PROFILE, "-v", _RIST_ERRORS_ONLY),
        *("-i", f"rist://@0.0.0.0:{arrival}?buffer={latency_ms}", "-o", out),
    ]
