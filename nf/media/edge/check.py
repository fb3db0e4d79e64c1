"""Asks Traffic Server whether it would take a configuration: `traffic_server -C verify_config` on a candidate."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from nf.errors import DriverError
from nf.media.documents import EdgeSection
from nf.media.edge.render import PROGRAMS, Places, render
from nf.media.edge.server import make_directories
from nf.media.edge.tls import install
from nf.media.processes import ask_program

TIMEOUT_S = 60.0  # on an appliance whose processors are busy
_TELLING = ("error", "fail", "malformed", "unable", "fatal")


async def check_candidate(
    section: EdgeSection, certificates: Mapping[str, str] | None = None, *, has_bbr: bool = True
) -> None:
    """Changes nothing. `certificates`: file name -> PEM. Raises DriverError with Traffic Server's complaint."""
    with tempfile.TemporaryDirectory(prefix="nf-edge-") as name:
        place = Path(name)
        places = _candidate(place)
        install(places.certificates, certificates or {})
        await verify_config(places, render(section, places, has_bbr=has_bbr))


def _candidate(place: Path) -> Places:
    place.chmod(0o755)  # Traffic Server reads it as its own user
    places = Places(place / "edge", place / "cache")
    make_directories(places)
    return places


async def verify_config(places: Places, files: dict[str, str]) -> None:
    """Let Traffic Server read `files` at `places`, whose directories are there. Raises DriverError."""
    for file, text in files.items():
        (places.config / file).write_text(text)
    status, output = await ask_program(
        (str(PROGRAMS / "traffic_server"), "-C", "verify_config"),
        timeout_s=TIMEOUT_S,
        environment={"TS_RUNROOT": str(places.root)},
    )
    if status != 0:
        told = [line.strip() for line in output.splitlines() if any(word in line.lower() for word in _TELLING)]
        raise DriverError(
            f"Traffic Server would not take the configuration: {' | '.join(told) or output}",
            where="traffic_server -C verify_config",
        )
