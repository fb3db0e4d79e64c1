"""A person at a serial line or a screen: plain lines, no cursor movement, no way out to a shell."""

from __future__ import annotations

import os
import select
import termios
import time
import unicodedata
from collections.abc import Sequence
from typing import Final

_LINE: Final = 256
"""Longest line that a person may type, in octets."""


class TimedOut(Exception):  # noqa: N818 - an event, not a fault
    """Nobody typed anything for a while."""


class HungUp(Exception):  # noqa: N818 - same
    """The line is gone."""


def printable(text: str) -> str:
    """Without control characters: what comes from elsewhere must not steer the terminal."""
    return "".join(
        character if character == "\n" or unicodedata.category(character)[0] != "C" else "?" for character in text
    )


class Terminal:
    """Reads and writes by file descriptor; a terminal is set so that no key stops, ends or suspends the program."""

    def __init__(self, reader: int, writer: int, *, timeout_s: float = 120.0) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout_s = timeout_s
        self._pending = b""
        self._width = 79

    def prepare(self) -> None:
        """Cooked mode: the kernel edits the line. Neither signals, nor flow control that a stray ^S would begin."""
        if not os.isatty(self._reader):
            return
        mode = termios.tcgetattr(self._reader)
        mode[0] = (mode[0] | termios.ICRNL) & ~(termios.IXON | termios.IXOFF)
        mode[1] |= termios.OPOST | termios.ONLCR
        mode[3] = (mode[3] | termios.ICANON | termios.ECHO | termios.ECHOE | termios.ECHOK) & ~termios.ISIG
        termios.tcsetattr(self._reader, termios.TCSANOW, mode)

    def say(self, *lines: str) -> None:
        """Raises HungUp."""
        data = "".join(f"{printable(line)}\n" for line in lines).encode("ascii", "replace")
        self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._writer, data) :]
        except OSError as error:
            raise HungUp from error

    def ask(self, prompt: str) -> str:
        """One line, without its end. Raises TimedOut, HungUp."""
        self._write(printable(prompt).encode("ascii", "replace"))
        end = time.monotonic() + self._timeout_s
        while b"\n" not in self._pending:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._reader], [], [], left)[0]:
                self._pending = b""
                raise TimedOut
            try:
                read = os.read(self._reader, 4096)
            except OSError as error:
                raise HungUp from error
            if not read:
                raise HungUp
            self._pending = (self._pending + read.replace(b"\r", b"\n"))[-16 * _LINE :]
        line, _, self._pending = self._pending.partition(b"\n")
        return printable(line[:_LINE].decode(errors="replace")).strip()

    def forget(self) -> None:
        """What was typed ahead must not answer a question that nobody had read."""
        self._pending = b""
        if os.isatty(self._reader):
            termios.tcflush(self._reader, termios.TCIFLUSH)

    def table(self, rows: Sequence[Sequence[str]], indent: int = 2) -> None:
        """Columns as wide as they need to be; the last is not padded."""
        if not rows:
            return
        widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(max(map(len, rows)))]
        for row in rows:
            cells = [cell.ljust(widths[number]) for number, cell in enumerate(row)]
            self.say(" " * indent + "  ".join(cells).rstrip())
