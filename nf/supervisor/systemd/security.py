"""How exposed a unit is by systemd's own count (systemd-analyze(1), security): from 0, nothing, to 10, everything."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from nf.errors import DriverError

_OVERALL = re.compile(r"Overall exposure level for (\S+): ([0-9.]+)")
_TIMEOUT_S = 120.0


def exposures(units: Iterable[Path]) -> dict[str, float]:
    """Of unit files, by their names, without any systemd running. Raises DriverError when it cannot be told."""
    files = [str(path) for path in units]
    argv = ("systemd-analyze", "security", "--offline=true", "--no-pager", *files)
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DriverError(f"systemd-analyze: {error}", where="security", remedy="install systemd") from error
    found = {name: float(score) for name, score in _OVERALL.findall(done.stdout)}
    missing = [file for file in files if Path(file).name not in found]
    if missing:
        raise DriverError(f"systemd-analyze told nothing: {done.stderr.strip()}", where=missing[0])
    return found
