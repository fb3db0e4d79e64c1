"""The menu on a real terminal line: what it shows, what it asks before it changes anything, and that no key ends it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.appliance.console import Console
from images.appliance.places import Places, write_durable
from images.appliance.system import Program
from images.appliance.terminal import Terminal, printable
from nf.errors import DriverError


class Box:
    """Answers of a machine with one port and one stick."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.sticks: list[dict[str, object]] = []

    def run(self, program: Program) -> bytes:
        self.ran.append(str(program))
        if program.argv[0] == "lsblk":
            return json.dumps({"blockdevices": self.sticks}).encode()
        if program.argv[:3] == ("ip", "-json", "address"):
            address = {"local": "10.0.0.5", "prefixlen": 24, "scope": "global"}
            return json.dumps([{"ifname": "eth0", "flags": ["UP", "LOWER_UP"], "addr_info": [address]}]).encode()
        if program.argv[:3] == ("ip", "-json", "route"):
            return b'[{"gateway": "10.0.0.1"}]'
        if program.argv[0] == "systemctl" and "--output=json" in program.argv:
            return b'[{"unit": "nf-agent.service", "active": "active", "sub": "run\\u001b[2Jning"}]'
        raise DriverError("not here", where=program.argv[0])


class Line:
    """The far end of a serial line, with a console on the near one."""

    def __init__(self, top: Path, timeout_s: float = 30.0) -> None:
        self.places = Places(top)
        for directory in (self.places.etc, self.places.run, self.places.esp / "nf"):
            directory.mkdir(parents=True)
        port = top / "sys/class/net/eth0"
        (port / "device").mkdir(parents=True)
        (port / "type").write_text("1")
        (port / "address").write_text("52:54:00:00:00:01\n")
        (self.places.etc / "serial").write_text("SN1\n")
        (self.places.run / "management").write_text("eth0\n")
        (self.places.run / "slot").write_text("A\n")
        self.box = Box()
        self.shown = b""
        self.far, self.near = pty.openpty()
        console = Console(
            Terminal(self.near, self.near, timeout_s=timeout_s),
            self.places,
            self.box,
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            besides=lambda: (Path("/dev/vda1"),),
        )
        self.thread = threading.Thread(target=console.run, daemon=True)
        self.thread.start()

    def expect(self, text: str, wait_s: float = 60.0) -> str:
        """What was shown up to and with `text`."""
        end = time.monotonic() + wait_s
        while text.encode() not in self.shown:
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} in {self.shown.decode(errors='replace')!r}"
            if select.select([self.far], [], [], left)[0]:
                self.shown += os.read(self.far, 4096)
        before, found, self.shown = self.shown.partition(text.encode())
        return (before + found).decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.far, text.encode())

    def menu(self) -> None:
        self.expect("Press Enter")
        self.type("\r")
        self.expect("> ")

    def close(self) -> None:
        os.close(self.far)
        self.thread.join(10)
        os.close(self.near)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    with contextlib.suppress(OSError):
        made.close()
    assert not made.thread.is_alive()


def test_network_and_state(line: Line) -> None:
    line.places.run.mkdir(parents=True, exist_ok=True)
    (line.places.run / "agent.json").write_text('{"revision": 7, "connected": true, "alarms": 2}')
    line.menu()
    line.type("1\r")
    shown = line.expect("none known")
    assert "eth0 (management)  52:54:00:00:00:01  up    10.0.0.5/24" in shown
    assert "gateway  10.0.0.1" in shown
    line.expect("> ")
    line.type("2\r")
    shown = line.expect("> ")
    assert "not enrolled" in shown
    for row in (r"revision +7", r"session with the NOC +yes", r"alarms +2"):
        assert re.search(row, shown)
    assert "nf-agent.service  active  run?[2Jning" in shown


def test_no_key_ends_it_and_nonsense_is_answered(line: Line) -> None:
    line.menu()
    for typed in ("\x03", "\x1a", "\x1c", "\x04", "; sh\r", "$(reboot)\r", "x" * 1000 + "\r", "\x1b[A\r", "\xff\xfe\r"):
        line.type(typed)
    line.type("9\r")
    line.expect("Type one of the numbers.")
    line.type("2\r")
    line.expect("serial")
    assert not any("reboot" in ran for ran in line.box.ran)


def test_a_factory_reset_is_typed_out_twice(line: Line) -> None:
    write_durable(line.places.key_file, b"key")
    line.menu()
    line.type("6\r")
    line.expect("Type the serial number SN1 to go on: ")
    line.type("yes\r")
    line.expect("not the serial number")
    line.expect("> ")
    line.type("6\r")
    line.expect("to go on: ")
    line.type("SN1\r")
    line.expect("Type ERASE to do it: ")
    line.type("erase\r")
    line.expect("Nothing was done.")
    assert not line.places.reset.exists()
    line.expect("> ")
    line.type("6\r")
    line.expect("to go on: ")
    line.type("SN1\r")
    line.expect("Type ERASE to do it: ")
    line.type("ERASE\r")
    line.expect("error: ")  # this box has no systemd-run
    assert line.places.reset.exists()
    assert not line.places.key_file.exists()


def test_what_was_typed_ahead_confirms_nothing(line: Line) -> None:
    line.menu()
    line.type("6\rSN1\rERASE\r")
    line.expect("to go on: ")
    line.type("\r")
    line.expect("not the serial number")
    assert not line.places.reset.exists()


def test_a_reboot_is_typed_out(line: Line) -> None:
    line.menu()
    line.type("5\r")
    line.expect("Type reboot to go on: ")
    line.type("y\r")
    line.expect("Nothing was done.")
    assert not any("reboot" in ran for ran in line.box.ran)


def test_without_a_stick_it_says_so(line: Line) -> None:
    own = {"path": "/dev/vda1", "fstype": "vfat", "label": "ESP", "mountpoints": [None], "size": 1}
    line.box.sticks = [own]
    line.menu()
    for item in ("3", "4"):
        line.type(f"{item}\r")
        line.expect("no USB stick is seen")
        line.expect("> ")


def test_without_data_the_menu_says_so(line: Line) -> None:
    line.places.storage_failed.write_text("no key\n")
    line.menu()
    line.type("\r")
    line.expect("THE DATA IS NOT THERE")
    line.expect("> ")
    line.type("2\r")
    line.expect("NOT THERE: no key")


def test_it_goes_back_when_nobody_is_there(tmp_path: Path) -> None:
    made = Line(tmp_path, timeout_s=0.5)
    made.expect("Press Enter")
    made.type("\r")
    made.expect("> ")
    made.expect("Nobody is here")
    made.expect("Press Enter")
    made.close()


@given(st.text())
def test_nothing_steers_the_terminal(text: str) -> None:
    assert all(character == "\n" or character.isprintable() or character.isspace() for character in printable(text))
    assert "\x1b" not in printable(text)
