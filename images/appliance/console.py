"""`nf-console@.service`: a technician's menu on a screen or a serial line (115200 8N1, plain text).

It shows, it writes a support bundle, it takes a seed, it reboots, it resets. There is no shell behind it. Whoever
stands at the box can read what it shows; what changes something is typed out in full first.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from images.appliance import reset, seed_file, support
from images.appliance.facts import BoxFacts
from images.appliance.fat import Fat, Volume, sticks
from images.appliance.first_boot import use
from images.appliance.identity import Source
from images.appliance.places import Places
from images.appliance.system import Executor, System, program
from images.appliance.terminal import HungUp, Terminal, TimedOut
from nf.errors import InputError, NfError

_log = logging.getLogger("nf-console")

_TITLE: Final = "StreamVerse appliance"
_TRIES: Final = 3


class Console:
    def __init__(
        self,
        terminal: Terminal,
        places: Places,
        executor: Executor,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        besides: Callable[[], tuple[Path, ...]] | None = None,
    ) -> None:
        self._terminal = terminal
        self._places = places
        self._executor = executor
        self._facts = BoxFacts(places, executor)
        self._now = now
        self._besides = besides or (lambda: support.boot_volumes(places))
        self._menu: Sequence[tuple[str, str, Callable[[], None]]] = (
            ("1", "network", self.network),
            ("2", "state", self.state),
            ("3", "support bundle onto a USB stick", self.bundle),
            ("4", "take a seed from a USB stick", self.seed),
            ("5", "reboot", self.reboot),
            ("6", "factory reset", self.factory_reset),
        )

    def run(self) -> None:
        """Until the line is gone."""
        self._terminal.prepare()
        while True:
            try:
                self._terminal.say("", "Press Enter for the menu.")
                self._wait_for_somebody()
                self._session()
            except TimedOut:
                self._terminal.say("", "Nobody is here: back to the beginning.")
            except HungUp:
                return

    def _wait_for_somebody(self) -> None:
        while True:
            try:
                self._terminal.ask("")
            except TimedOut:
                continue
            return

    def _session(self) -> None:
        while True:
            self._terminal.say("", f"{_TITLE}  {reset.serial_of(self._places)}")
            if self._places.storage_failed.exists():
                self._terminal.say("  THE DATA IS NOT THERE: see state")
            self._terminal.table([(key, text) for key, text, _ in self._menu])
            chosen = self._terminal.ask("> ")
            action = next((action for key, _, action in self._menu if key == chosen), None)
            if action is None:
                if chosen:
                    self._terminal.say("Type one of the numbers.")
                continue
            try:
                action()
            except NfError as error:
                self._tell(error)

    def _tell(self, error: NfError) -> None:
        self._terminal.say(f"error: {error.where}: {error.message}" if error.where else f"error: {error.message}")
        if error.remedy:
            self._terminal.say(f"  do: {error.remedy}")
        for problem in error.problems:
            self._terminal.say(f"  {problem}")

    # ---- the items ----

    def network(self) -> None:
        self._terminal.say("")
        self._terminal.table(self._facts.interfaces())
        self._terminal.say(f"  gateway  {self._facts.gateway()}", "  NOC")
        self._terminal.table(self._facts.noc(), indent=4)

    def state(self) -> None:
        self._terminal.say("")
        self._terminal.table(self._facts.state())
        self._terminal.say("")
        self._terminal.table(self._facts.units())

    def bundle(self) -> None:
        volume = self._stick()
        self._terminal.say("Collecting; this takes up to a minute.")
        name, octets = support.write(volume, self._places, self._executor, now=self._now())
        self._terminal.say(f"{name}: {octets} bytes on {volume.node}; look into it before you hand it on.")

    def seed(self) -> None:
        volume = self._stick()
        fat = Fat(volume, self._executor)
        names = fat.names("*.jso*") or fat.names("*.JSO*")
        if not names:
            raise InputError("there is no .json file on it", where=str(volume.node), remedy="put the seed there")
        name = self._choose("Which file?", names)
        data = fat.read(name, seed_file.MAX_OCTETS)
        use(Source(f"{volume.node}/{name}", data, volume), self._places, by_hand=True)
        self._terminal.say("The seed is taken. It counts in full after a reboot.")

    def reboot(self) -> None:
        self._terminal.say("Viewers who are served by this machine notice a reboot.")
        self._terminal.forget()
        if self._terminal.ask("Type reboot to go on: ") != "reboot":
            self._terminal.say("Nothing was done.")
            return
        self._terminal.say("Rebooting.")
        self._executor.run(program("systemctl", "reboot", why="reboot"))

    def factory_reset(self) -> None:
        serial = reset.serial_of(self._places)
        self._terminal.say(
            "",
            "FACTORY RESET. The keys of the data are destroyed at once; nothing brings the data back.",
            "What stays: the installed software, and serial, management network and interface names.",
            "The machine is no longer enrolled: it needs a new enrolment file from its NOC.",
        )
        self._terminal.forget()
        reset.confirmed(self._terminal.ask(f"Type the serial number {serial} to go on: "), serial)
        self._terminal.forget()
        if self._terminal.ask("Type ERASE to do it: ") != "ERASE":
            self._terminal.say("Nothing was done.")
            return
        reset.order(reset.Kind.RESET, "console", self._places, self._executor, now=self._now())
        self._terminal.say(
            f"The keys are destroyed. The machine reboots in {reset.REBOOT_AFTER_S} s and comes back as new."
        )

    # ---- asking ----

    def _stick(self) -> Volume:
        """Raises InputError when there is none."""
        found = sticks(self._executor, besides=self._besides())
        if not found:
            raise InputError(
                "no USB stick is seen", remedy="put in one with a FAT file system, wait a moment, try again"
            )
        names = [f"{one.node}  {one.label or 'no name'}  {one.size // (1024 * 1024)} MiB" for one in found]
        return found[names.index(self._choose("Which stick?", names))]

    def _choose(self, question: str, names: Sequence[str]) -> str:
        """Raises InputError after a few answers that are none."""
        if len(names) == 1:
            self._terminal.say(f"Using {names[0]}.")
            return names[0]
        self._terminal.table([(str(number), name) for number, name in enumerate(names, 1)])
        for _ in range(_TRIES):
            chosen = self._terminal.ask(f"{question} ")
            if chosen.isdecimal() and chosen.isascii() and 1 <= int(chosen) <= len(names):
                return names[int(chosen) - 1]
            self._terminal.say("Type one of the numbers.")
        raise InputError("none was chosen; nothing was done")


def main() -> int:
    for ignored in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(ignored, signal.SIG_IGN)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="nf-console: %(message)s")
    try:
        Console(Terminal(0, 1), Places(), System()).run()
    except Exception:  # noqa: BLE001 - the true boundary of this program
        # What nobody foresaw must not leave a person before a dead line: systemd starts the menu again.
        _log.exception("the console failed")
        time.sleep(1)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
