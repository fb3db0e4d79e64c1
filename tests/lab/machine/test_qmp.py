"""QMP: what qemu sends, whatever way it is cut; and what is not QMP."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.machine.qmp import MAX_LINE, Answer, Decoder, Event, Greeting, Monitor, decode, encode
from nf.errors import DriverError, IntegrityError, UnavailableError

# As qemu 7.2 sends it.
GREETING = (
    b'{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, '
    b'"capabilities": ["oob"]}}\r\n'
)
RETURN = b'{"return": {"status": "running", "singlestep": false, "running": true}, "id": 7}\r\n'
ERROR = b'{"id": 8, "error": {"class": "CommandNotFound", "desc": "The command nonsense has not been found"}}\r\n'
RESET = (
    b'{"timestamp": {"seconds": 1795899888, "microseconds": 792281}, '
    b'"event": "RESET", "data": {"guest": true, "reason": "guest-reset"}}\r\n'
)
STREAM = GREETING + RETURN + ERROR + RESET

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_what_qemu_sends() -> None:
    assert Decoder().feed(STREAM) == [
        Greeting("7.2.22"),
        Answer(7, value={"status": "running", "singlestep": False, "running": True}),
        Answer(8, error="The command nonsense has not been found"),
        Event("RESET", 1795899888.792281, {"guest": True, "reason": "guest-reset"}),
    ]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_it_may_be_cut_anywhere(cuts: list[int]) -> None:
    decoder, messages = Decoder(), []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(edges):
        messages += decoder.feed(STREAM[start:end])
    assert messages == Decoder().feed(STREAM)


@given(st.binary(max_size=200))
def test_noise_is_refused_or_nothing(noise: bytes) -> None:
    with contextlib.suppress(IntegrityError):
        Decoder().feed(noise + b"\n")


@given(
    st.dictionaries(st.sampled_from(["QMP", "event", "timestamp", "data", "id", "error", "return"]), JSON, max_size=5)
)
def test_strange_objects_are_refused_or_nothing(told: dict[str, Any]) -> None:
    with contextlib.suppress(IntegrityError):
        decode(json.dumps(told).encode())


def test_a_line_without_an_end_is_refused() -> None:
    with pytest.raises(IntegrityError):
        Decoder().feed(b" " * (MAX_LINE + 1))


def test_depth_is_refused_too() -> None:
    with pytest.raises(IntegrityError):
        decode(b"[" * 100_000)


def test_a_command_is_one_line() -> None:
    line = encode("human-monitor-command", 3, {"command-line": "info\nblock"})
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "execute": "human-monitor-command",
        "id": 3,
        "arguments": {"command-line": "info\nblock"},
    }


class Qemu:
    """Its side of the protocol, as far as these tests go."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_unix_connection(self._socket)
        self.writer.write(GREETING)
        assert (await self.receive())["execute"] == "qmp_capabilities"
        self.send({"return": {}, "id": 0})
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        await self.writer.wait_closed()

    async def receive(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(await self.reader.readline())
        return told

    def send(self, message: dict[str, Any]) -> None:
        self.writer.write(json.dumps(message).encode() + b"\r\n")


async def test_answers_find_their_questions(tmp_path: Path) -> None:
    async with Monitor(tmp_path / "q") as monitor, Qemu(tmp_path / "q") as qemu:
        first, second = (asyncio.create_task(monitor.execute(name)) for name in ("query-status", "nonsense"))
        asked = {told["execute"]: told["id"] for told in [await qemu.receive(), await qemu.receive()]}
        qemu.send({"id": asked["nonsense"], "error": {"class": "CommandNotFound", "desc": "not found"}})
        qemu.send({"id": asked["query-status"], "return": {"status": "running"}})
        assert await first == {"status": "running"}
        with pytest.raises(DriverError, match="not found"):
            await second


async def test_events_are_kept_and_awaited(tmp_path: Path) -> None:
    async with Monitor(tmp_path / "q") as monitor, Qemu(tmp_path / "q") as qemu:
        waiting = asyncio.create_task(monitor.await_event("SHUTDOWN"))
        for name in ("RESET", "SHUTDOWN"):
            qemu.send({"event": name, "timestamp": {"seconds": 1, "microseconds": 0}})
        assert (await waiting).name == "SHUTDOWN"
        assert [event.name for event in monitor.events] == ["RESET", "SHUTDOWN"]


async def test_who_waits_hears_that_qemu_is_gone(tmp_path: Path) -> None:
    async with Monitor(tmp_path / "q") as monitor:
        async with Qemu(tmp_path / "q") as qemu:
            question = asyncio.create_task(monitor.execute("query-status"))
            event = asyncio.create_task(monitor.await_event("SHUTDOWN"))
            await qemu.receive()
        for waiting in (question, event):
            with pytest.raises(UnavailableError):
                await waiting
        with pytest.raises(UnavailableError):
            await monitor.execute("quit")
