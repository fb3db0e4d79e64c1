"""Signs of life, as systemd would hear them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nf.agent.notify import Notifier


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def test_what_is_told_arrives_as_one_message(heard: socket.socket) -> None:
    Notifier({"NOTIFY_SOCKET": heard.getsockname()}).tell("READY=1", "STATUS=serves")
    assert heard.recv(1024) == b"READY=1\nSTATUS=serves"


def test_an_abstract_address_is_one_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0nf-notify-{os.getpid()}")
        sock.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@nf-notify-{os.getpid()}"}).tell("READY=1")
        assert sock.recv(1024) == b"READY=1"


@pytest.mark.parametrize("given", [{}, {"NOTIFY_SOCKET": "/nowhere/notify"}, {"NOTIFY_SOCKET": "relative"}])
def test_without_somebody_who_hears_nothing_happens(given: dict[str, str]) -> None:
    Notifier(given).tell("READY=1")


async def test_signs_of_life_come_twice_as_often_as_they_must(heard: socket.socket) -> None:
    notifier = Notifier(
        {"NOTIFY_SOCKET": heard.getsockname(), "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}
    )
    assert notifier.heartbeat_s == 0.01
    task = asyncio.create_task(notifier.beat())
    assert [await asyncio.to_thread(heard.recv, 1024) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    task.cancel()


async def test_another_process_is_meant_or_nobody_waits() -> None:
    for given in ({"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}, {}):
        notifier = Notifier({"NOTIFY_SOCKET": "/nowhere", **given})
        assert notifier.heartbeat_s == 0
        await notifier.beat()
