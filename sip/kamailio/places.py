"""Where a proxy's files stand on its appliance, and whose they are.

What the agent writes, Kamailio's user may read; what Kamailio writes is its user's own. Where there is no such user, as
in a lab without Debian's package, all of it is whoever's runs this.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nf.errors import DriverError
from sip.kamailio.documents import KamailioSection
from sip.kamailio.paths import Paths
from sip.naming import RPC_PORT, rpc_url

USER: Final = "kamailio"
SECTION_FILE, TABLES_FILE, DRAINED_FILE, HELD_FILE = "section.json", "tables.json", "drained", "held-relays.json"
CERTIFICATE_FILE, STIR_FILE = "certificate.pem", "stir.pem"


@dataclass(frozen=True, slots=True)
class Places:
    """config   files that the agent writes: Kamailio's, the section that they were made of, and what is told by RPC
    data     SQLite files of Kamailio and its keeper; `cdr`: call records as they are handed on
    run      Kamailio's RPC socket; `clients`: where those who ask it have theirs
    """

    run_dir: Path
    state_dir: Path
    rpc_port: int = RPC_PORT

    @property
    def config(self) -> Path:
        return self.state_dir / "kamailio" / "config"

    @property
    def data(self) -> Path:
        return self.state_dir / "kamailio" / "data"

    @property
    def cdr(self) -> Path:
        return self.state_dir / "cdr"

    @property
    def run(self) -> Path:
        return self.run_dir / "kamailio"

    @property
    def clients(self) -> Path:
        return self.run_dir / "kamailio-clients"

    @property
    def keeper_clients(self) -> Path:
        return self.run_dir / "kamailio-keeper"

    @property
    def url(self) -> str:
        return rpc_url(self.rpc_port)

    def file(self, name: str) -> Path:
        return self.config / name

    def paths(self, section: KamailioSection) -> Paths:
        return Paths(
            config=self.config,
            state=self.data,
            run=self.run_dir,
            certificate=self.file(CERTIFICATE_FILE),
            stir_key=self.file(STIR_FILE) if section.stir is not None else None,
            rpc_port=self.rpc_port,
        )

    def make(self) -> None:
        """Raises DriverError."""
        owned = {self.config: (None, 0o750), self.data: (USER, 0o750), self.cdr: (USER, 0o750), self.run: (USER, 0o750)}
        owned[self.keeper_clients] = (USER, 0o750)
        try:
            for place, (user, mode) in owned.items():
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
                give(place, user)
                place.chmod(mode)
        except OSError as error:
            text = f"cannot prepare {error.filename}: {error.strerror}"
            raise DriverError(text, remedy="run the agent as root") from error

    def write(self, name: str, text: str) -> None:
        """Whole or not at all; Kamailio's user may read it."""
        write(self.file(name), text)

    def read(self, name: str) -> str | None:
        try:
            return self.file(name).read_text()
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """All but call records: those are not the configuration's."""
        for place in (self.config.parent, self.run, self.clients, self.keeper_clients):
            shutil.rmtree(place, ignore_errors=True)


def give(path: Path, user: str | None) -> None:
    """To Kamailio's group, and to `user` where one is named."""
    try:
        if user is not None:
            shutil.chown(path, user, USER)
        else:
            shutil.chown(path, group=USER)
    except (LookupError, PermissionError):
        return


def write(path: Path, text: str) -> None:
    candidate = path.with_name(f".{path.name}.new")
    with open(candidate, "w", opener=_private) as file:
        give(candidate, None)
        os.fchmod(file.fileno(), 0o640)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    candidate.replace(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
