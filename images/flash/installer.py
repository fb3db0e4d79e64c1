"""`nf-installer@.service`: the installer medium's only program, on a screen and on a serial line.

It shows the disks, writes the one that is chosen and typed out, reads it back, and seeds it. The key that its payload
must be signed by stands on the kernel's command line, which the firmware has checked with the kernel.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from images.appliance.disk import own_disk
from images.appliance.fat import Fat, esp_of, sticks
from images.appliance.places import ESP_SEED, SEED_LABEL
from images.appliance.seed_file import MAX_OCTETS, SEED
from images.appliance.system import Executor, System, program
from images.appliance.terminal import HungUp, Terminal, TimedOut
from images.flash.payload import Payload, open_payload
from images.flash.targets import Target, check, disks
from images.flash.writer import flash
from images.report import Report
from images.signing.manifest import public_key
from nf.errors import BusyError, InputError, IntegrityError, NfError

_log = logging.getLogger("nf-installer")

KEY_WORD: Final = "nf.payload_key="
PAYLOAD_LABEL: Final = "inst_payload"
_LOCK: Final = Path("/run/nf/installer.lock")
_TRIES: Final = 3


def key_of(command_line: str) -> bytes:
    """The 32 octets of the key on a kernel's command line. Raises IntegrityError."""
    words = [word.removeprefix(KEY_WORD) for word in command_line.split() if word.startswith(KEY_WORD)]
    try:
        if len(words) == 1 and len(key := base64.b64decode(words[0], validate=True)) == 32:
            return key
    except binascii.Error:
        pass
    raise IntegrityError("this medium names no key for its payload", where=KEY_WORD, remedy="make the medium again")


class Installer:
    """`payload`: opens and checks it. `write`: the engine, another one in tests."""

    def __init__(
        self,
        terminal: Terminal,
        executor: Executor,
        payload: Callable[[], Payload],
        *,
        system: Path | None = None,
        write: Callable[[Payload, Target, Report], None] = flash,
        lock: Path = _LOCK,
    ) -> None:
        self._terminal = terminal
        self._executor = executor
        self._payload = payload
        self._system = system
        self._write = write
        self._lock = lock

    def run(self) -> None:
        """Until the line is gone."""
        self._terminal.prepare()
        while True:
            try:
                self._terminal.say("", "StreamVerse installer. Press Enter to begin.")
                self._terminal.ask("")
                self.session()
            except TimedOut:
                continue
            except HungUp:
                return
            except NfError as error:
                self._terminal.say(f"error: {error}")

    def session(self) -> None:
        """One disk. Raises what is wrong."""
        with self._alone():
            payload = self._payload()
            self._terminal.say(f"This medium installs: {payload.role} {payload.version}, signature good.", "")
            target = self._choose(payload)
            self._confirm(target)
            self._write(payload, target, self._progress())
            self._terminal.say("", f"{target.node}: written, and read back as it was signed.")
            self._seed(target)
            self._terminal.say("Take the medium out.")
            if self._terminal.ask("Type reboot to start from the disk: ") == "reboot":
                self._executor.run(program("systemctl", "reboot", why="reboot"))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Two lines, one installer. Raises BusyError."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError("somebody installs at the other line", remedy="go on there") from None
            yield

    def _choose(self, payload: Payload) -> Target:
        found = disks(self._executor, self._system)
        fit: list[Target] = []
        for target in found:
            try:
                check(target, payload.size)
            except NfError as error:
                self._terminal.say(f"  -  {target.title}: {error.message}")
                continue
            fit.append(target)
            self._terminal.say(f"  {len(fit)}  {target.title}")
            for held in target.holds:
                self._terminal.say(f"       holds {held}")
        if not fit:
            raise InputError("no disk can be used", remedy="put in one that is large enough and not in use")
        for _ in range(_TRIES):
            chosen = self._terminal.ask("Which disk? ")
            if chosen.isdecimal() and chosen.isascii() and 1 <= int(chosen) <= len(fit):
                return fit[int(chosen) - 1]
            self._terminal.say("Type one of the numbers.")
        raise InputError("none was chosen; nothing was written")

    def _confirm(self, target: Target) -> None:
        """Typed out in full, so that no habit of pressing Enter erases a disk. Raises InputError."""
        self._terminal.say("", f"EVERYTHING ON {target.title} IS LOST.")
        self._terminal.forget()
        if self._terminal.ask(f"Type {target.node} to go on: ") != str(target.node):
            raise InputError("this is not the name of the disk; nothing was written")

    def _progress(self) -> Report:
        """A line for each tenth: a serial line keeps them all."""
        told = -1

        def report(fraction: float, text: str) -> None:
            nonlocal told
            tenth = int(fraction * 20)
            if tenth != told:
                told = tenth
                self._terminal.say(f"  {fraction:4.0%}  {text}")

        return report

    def _seed(self, target: Target) -> None:
        volumes = sticks(self._executor, label=SEED_LABEL)
        if not volumes:
            self._terminal.say(
                f"No seed: the appliance takes one from a volume labelled {SEED_LABEL} at its first boot."
            )
            return
        data = Fat(volumes[0], self._executor).read(SEED, MAX_OCTETS)
        serial = seed_disk(target.node, data, volumes[0].node, self._executor)
        self._terminal.say(f"Seeded as {serial} from {volumes[0].node}. Take that volume out too.")


def seed_disk(disk: Path, data: bytes, name: Path, executor: Executor) -> str:
    """A seed, if it is good, onto the ESP of a flashed disk. Its serial. Raises DocumentError, StorageError."""
    from images.appliance.seed import load_seed

    serial = load_seed(data, file=f"{name}/{SEED}").serial
    Fat(esp_of(disk, executor), executor).write(ESP_SEED, data)
    return serial


def mounted_payload(executor: Executor, place: Path, key: bytes) -> Payload:
    """The payload partition of the medium that this system runs from. Raises NotFoundError, IntegrityError."""
    place.mkdir(parents=True, exist_ok=True)
    if not place.is_mount():
        node = own_disk().named(PAYLOAD_LABEL).node
        options = "ro,nosuid,nodev,noexec"
        executor.run(program("mount", "-t", "squashfs", "-o", options, node, place, why="mount the payload"))
    return open_payload(place, public_key(key, where="the kernel's command line"))


def main(arguments: Sequence[str] = ()) -> int:
    del arguments
    for ignored in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(ignored, signal.SIG_IGN)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="nf-installer: %(message)s")
    executor = System()

    def payload() -> Payload:
        return mounted_payload(executor, Path("/run/nf/payload"), key_of(Path("/proc/cmdline").read_text()))

    try:
        system = own_disk().node
    except NfError:
        system = None
    try:
        Installer(Terminal(0, 1, timeout_s=600.0), executor, payload, system=system).run()
    except Exception:  # noqa: BLE001 - the true boundary of this program; systemd starts it again
        _log.exception("the installer failed")
        time.sleep(1)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
