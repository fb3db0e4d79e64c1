"""The watcher of a proxy: one miss is none, two are dead, and one that rests says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.kamailio import alive
from sip.kamailio.alive import DEAD, RESTING, WELL, Watch
from sip.kamailio.tables import DRAINED, OPENED, STARTING


def test_numbers() -> None:
    seen = Watch()
    assert seen.take(alive=False, drain=None) == DEAD  # nothing is known at first
    assert seen.take(alive=True, drain=OPENED) == WELL
    assert seen.take(alive=False, drain=None) == WELL
    assert seen.take(alive=True, drain=None) == WELL
    assert seen.take(alive=False, drain=OPENED) == WELL
    assert seen.take(alive=False, drain=OPENED) == DEAD
    assert seen.take(alive=True, drain=STARTING) == DEAD
    assert seen.take(alive=True, drain=DRAINED) == RESTING


@given(st.binary(), st.text(alphabet="0123456789abcdef", min_size=16, max_size=16))
def test_noise_is_no_answer(data: bytes, branch: str) -> None:
    assert not alive.answers(data, branch)


def test_another_ones_answer_is_none() -> None:
    told = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKaa\r\n\r\n"
    assert alive.answers(told, "aa")
    assert not alive.answers(told, "bb")


async def test_what_it_finds_stands_in_the_file_and_a_stop_is_dead(tmp_path: Path) -> None:
    file, stop = tmp_path / "health", asyncio.Event()
    told: list[str] = []
    answers: Iterator[bool] = iter((True, True, False, False, True))

    async def asked() -> bool:
        told.append(file.read_text().strip())
        found = next(answers, None)
        if found is None:
            stop.set()
        return bool(found)

    async def drain() -> int:
        return OPENED

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(alive, "LOOK_S", 0.001)
        await alive.watch(file, asked, drain, stop)
    assert told == [str(one) for one in (DEAD, WELL, WELL, WELL, DEAD, WELL)]
    assert file.read_text() == f"{DEAD}\n"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_nobody_there(transport: str) -> None:
    assert await alive.ask("127.0.0.1", 1, transport) is False
