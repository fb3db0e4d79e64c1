"""Where a daemon's files stand on its appliance, whose they are, and what names their generation.

In texts that a daemon is to read a secret stands as a mark until they are written: `marked("secret:NAME")`.
"""

from __future__ import annotations

import os
import re
import secrets as random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nf.errors import DriverError

Resolve = Callable[[str], str]

SECTION_FILE, GENERATION_FILE, DRAINED_FILE = "section.json", "generation", "drained"
OWN_FILE: Final = "own-secret"
OWN: Final = "secret:nf-own"
"""A secret that nobody but the agent and its daemon knows; it is made here."""
_GENERATION: Final = re.compile(r"NF_[0-9a-f]{16}")
_MARK: Final = re.compile(r"\x00(secret:[a-z0-9-]+)\x00")


def marked(reference: str) -> str:
    return f"\0{reference}\0"


def references(texts: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({found for text in texts.values() for found in _MARK.findall(text)}))


def filled(text: str, resolve: Resolve) -> str:
    return _MARK.sub(lambda found: resolve(found[1]), text)


def is_shape_of(text: str, written: str) -> bool:
    """Whether `written` is `text` but for what stands in the place of its secrets."""
    parts = _MARK.split(text)[::2]
    return re.fullmatch("(?s:.*)".join(map(re.escape, parts)), written) is not None


def running_generation(pid: int | None) -> str:
    """It stands on the command line of the process. Empty: it cannot be told."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    return next((word for word in words if _GENERATION.fullmatch(word)), "")


@dataclass(frozen=True, slots=True)
class Places:
    """config  what the agent writes; `user`, where there is one, may read it
    data, run  the daemon's own: what outlives the boot, and sockets
    """

    run_dir: Path
    state_dir: Path
    unit: str
    user: str

    @property
    def config(self) -> Path:
        return self.state_dir / self.unit / "config"

    @property
    def data(self) -> Path:
        return self.state_dir / self.unit / "data"

    @property
    def run(self) -> Path:
        return self.run_dir / self.unit

    def make(self) -> None:
        """Raises DriverError."""
        try:
            for place, owner in {self.config: None, self.data: self.user, self.run: self.user}.items():
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
                self.give(place, owner)
                place.chmod(0o750)
        except OSError as error:
            text = f"cannot prepare {error.filename}: {error.strerror}"
            raise DriverError(text, remedy="run the agent as root") from error

    def read(self, name: str) -> str | None:
        try:
            return (self.config / name).read_text()
        except FileNotFoundError:
            return None

    def write(self, name: str, text: str) -> None:
        """Whole or not at all."""
        path = self.config / name
        candidate = path.with_name(f".{name}.new")
        with open(candidate, "w", opener=_private) as file:
            self.give(candidate, None)
            os.fchmod(file.fileno(), 0o640)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        candidate.replace(path)

    def own_secret(self) -> str:
        """That of OWN, made when it is first asked for."""
        found = self.read(OWN_FILE)
        if found is None:
            self.make()
            found = random.token_urlsafe(32)
            self.write(OWN_FILE, found)
        return found

    def install(self, texts: Mapping[str, str]) -> str:
        """Writes what differs; the generation. It is another before anything is: what runs then is told apart, whatever
        happens in between."""
        self.make()
        generation = self.read(GENERATION_FILE)
        kept = {name for name, text in texts.items() if self.read(name) == text}
        if generation is None or _GENERATION.fullmatch(generation) is None or kept != set(texts):
            generation = f"NF_{random.token_hex(8)}"
            self.write(GENERATION_FILE, generation)
        for name in texts.keys() - kept:
            self.write(name, texts[name])
        known = {*texts, GENERATION_FILE, SECTION_FILE, DRAINED_FILE, OWN_FILE}
        for path in self.config.iterdir():
            if path.name not in known:
                path.unlink()
        return generation

    def remove(self) -> None:
        for place in (self.config.parent, self.run):
            shutil.rmtree(place, ignore_errors=True)

    def give(self, path: Path, owner: str | None) -> None:
        """To the user's group, and to `owner` where one is named. A lab without the user keeps what it has."""
        try:
            if owner is not None:
                shutil.chown(path, owner, self.user)
            else:
                shutil.chown(path, group=self.user)
        except (LookupError, PermissionError):
            return


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
