"""What a serial console shows, and waiting for it."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.machine.console import SerialConsole
from lab.machine.transcript import Transcript
from nf.errors import DeadlineError, DriverError, UnavailableError

# Firmware, kernel, login: with what they send to control a terminal.
BOOT = (
    b'\x1b[2J\x1b[01;01H\x1b[=3hBdsDxe: loading Boot0001 "UEFI Misc Device"\r\n'
    b"[    0.000000] Linux version 6.1.0\r\r\n"
    b"\x1b]0;title\x07[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mnf-agent.service\x1b[0m.\r\n"
    b"\r\npop1 login: "
)


def shown(*pieces: bytes) -> Transcript:
    transcript = Transcript()
    for at, piece in enumerate(pieces):
        transcript.feed(piece, float(at))
    return transcript


def test_control_of_the_terminal_is_not_text() -> None:
    assert shown(BOOT).text == (
        'BdsDxe: loading Boot0001 "UEFI Misc Device"\n'
        "[    0.000000] Linux version 6.1.0\n"
        "[  OK  ] Started nf-agent.service.\n"
        "\npop1 login: "
    )


@given(st.lists(st.integers(0, len(BOOT)), max_size=8))
def test_it_may_come_in_any_pieces(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(BOOT)]
    whole = shown(*(BOOT[start:end] for start, end in itertools.pairwise(edges)))
    assert whole.text == shown(BOOT).text
    assert [line.text for line in whole.lines] == [line.text for line in shown(BOOT).lines]


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_anything_may_come(pieces: list[bytes]) -> None:
    transcript = shown(*pieces)
    assert len(transcript.lines) == transcript.text.count("\n")
    assert [line.text for line in transcript.lines] == transcript.text.split("\n")[:-1]
    assert transcript.stamp(len(transcript.text)) <= len(pieces)


def test_a_control_sequence_without_an_end_does_not_hide_what_follows() -> None:
    transcript = shown(b"\x1b]0;" + b"x" * 300, b"\r\nlogin: ")
    assert transcript.find(r"^login: $")


def test_a_line_has_the_time_of_its_first_character() -> None:
    transcript = shown(b"one\ntw", b"o\n", b"three")
    assert [(line.at, line.text) for line in transcript.lines] == [(0.0, "one"), (0.0, "two")]
    three = transcript.find("three")
    assert three is not None
    assert transcript.stamp(three.start()) == 2.0


class Guest:
    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_unix_connection(self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def test_a_pattern_is_found_now_or_when_it_comes(tmp_path: Path) -> None:
    async with SerialConsole(tmp_path / "s", tmp_path / "log") as console, Guest(tmp_path / "s") as guest:
        waiting = asyncio.create_task(console.await_pattern(r"login: $", patience_s=30))
        for start in range(0, len(BOOT), 7):
            guest.writer.write(BOOT[start : start + 7])
        await waiting
        assert (await console.await_pattern(r"version (\S+)", patience_s=1, since=0))[1] == "6.1.0"


async def test_what_was_matched_is_not_matched_again(tmp_path: Path) -> None:
    async with SerialConsole(tmp_path / "s", tmp_path / "log") as console, Guest(tmp_path / "s") as guest:
        guest.writer.write(b"boot 1\n")
        assert (await console.await_pattern(r"boot (\d)", patience_s=30))[1] == "1"
        guest.writer.write(b"boot 2\n")
        assert (await console.await_pattern(r"boot (\d)", patience_s=30))[1] == "2"
        with pytest.raises(DeadlineError, match="boot 2"):
            await console.await_pattern(r"boot (\d)", patience_s=0.01)


async def test_what_must_not_come_ends_the_wait(tmp_path: Path) -> None:
    async with SerialConsole(tmp_path / "s", tmp_path / "log") as console, Guest(tmp_path / "s") as guest:
        guest.writer.write(b"Kernel panic - not syncing\nlogin: \n")
        with pytest.raises(DriverError, match="Kernel panic"):
            await console.await_pattern("login: ", patience_s=30, unless="Kernel panic")


async def test_who_waits_hears_that_the_machine_ended(tmp_path: Path) -> None:
    async with SerialConsole(tmp_path / "s", tmp_path / "log") as console:
        async with Guest(tmp_path / "s") as guest:
            waiting = asyncio.create_task(console.await_pattern("login: ", patience_s=30))
            guest.writer.write(b"reboot: Power down\n")
        with pytest.raises(DriverError, match="Power down"):
            await waiting
        with pytest.raises(UnavailableError):
            await console.send("menu\r")


async def test_every_line_goes_to_the_log_with_its_time(tmp_path: Path) -> None:
    times = iter([0.0, 100.0, *(100.0 + second for second in range(1, 50))])
    async with (
        SerialConsole(tmp_path / "s", tmp_path / "log", now=lambda: next(times)) as console,
        Guest(tmp_path / "s") as guest,
    ):
        guest.writer.write(b"first\r\n")
        await console.await_pattern("first\n", patience_s=30)
    assert (tmp_path / "log").read_text() == "    1.000 first\n"


async def test_what_is_typed_arrives(tmp_path: Path) -> None:
    async with SerialConsole(tmp_path / "s", tmp_path / "log") as console, Guest(tmp_path / "s") as guest:
        guest.writer.write(b"> ")
        await console.await_pattern("> ", patience_s=30)
        await console.send("3\r")
        assert await guest.reader.readexactly(2) == b"3\r"
