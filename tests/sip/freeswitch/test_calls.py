"""Calls to the numbers of a rendered configuration, judged by the lab's phone; drained with calls that go on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from lab.voice.phone import Call, CallError, Phone
from nf.clock import RealClock
from nf.contracts.driver import Checkpoint, Context
from nf.errors import DeadlineError
from sip.freeswitch.live import read_calls, read_channels, read_live
from sip.freeswitch.operations import Drain, LiveCalls
from sip.freeswitch.places import Places
from tests.sip.freeswitch.daemons import BIN, LIMIT_S
from tests.sip.freeswitch.running import Running, started

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("labelled")]

TONES = (400, 550, 750)


@pytest.fixture
def switch(tmp_path: Path, labelled: None) -> Iterator[Running]:
    with started(BIN, tmp_path) as found:
        yield found


@contextlib.asynccontextmanager
async def phone(switch: Running, user: str = "alice", address: str = "127.0.0.1") -> AsyncIterator[Phone]:
    async with asyncio.timeout(LIMIT_S), Phone(address, 0, user, "voice.test", proxy=switch.sip) as found:
        yield found


async def ended(call: Call, switch: Running) -> None:
    """Hangs up, and waits until FreeSWITCH has no call: who leaves at once takes the BYE along."""
    await call.hangup()
    async with asyncio.timeout(LIMIT_S), switch.talk() as esl:
        while True:
            if await read_calls(esl) == 0:
                break
            await asyncio.sleep(0.05)


async def hears(call: Call, wanted: list[float], candidates: tuple[int, ...]) -> None:
    """Waits until those tones, and none else of the candidates, are heard."""
    async with asyncio.timeout(LIMIT_S):
        while call.media.hears(candidates, 0.4) != wanted:
            await call.media.packets(15)


async def test_echo(switch: Running) -> None:
    async with phone(switch) as alice:
        call = await (await alice.call("9000")).answered()
        call.media.tone(450)
        await hears(call, [450], (450, 700))
        await call.hangup()


async def test_a_conference_of_three_is_heard_and_counted(switch: Running) -> None:
    async with phone(switch, "a") as a, phone(switch, "b") as b, phone(switch, "c") as c:
        calls = [await (await one.call("9001")).answered() for one in (a, b, c)]
        for call, tone in zip(calls, TONES, strict=True):
            call.media.tone(tone, 0.15)
        for call, tone in zip(calls, TONES, strict=True):
            await hears(call, [one for one in TONES if one != tone], TONES)
        async with switch.talk() as esl:
            live = await read_live(esl)
            assert [(one.name, one.members) for one in live.rooms] == [("room-9001", 3)]
            assert (live.calls, live.status.sessions) == (3, 3)
        found = await LiveCalls(switch.talk).run({}, Checkpoint({}, lambda _: None), _context())
        assert found["rooms"] == [{"name": "room-9001", "members": 3}]
        rows = found["rows"]
        assert isinstance(rows, list)
        assert {(one["caller"], one["called"]) for one in rows if isinstance(one, dict)} == {
            ("a", "9001"),
            ("b", "9001"),
            ("c", "9001"),
        }
        for call in calls:
            await call.hangup()


async def test_a_key_of_a_menu_leads_to_a_service(switch: Running) -> None:
    async with phone(switch) as alice:
        call = await (await alice.call("9002")).answered()
        call.dtmf("#")
        call.media.tone(450)
        await hears(call, [450], (450, 660))
        async with switch.talk() as esl:
            (channel,) = await read_channels(esl)
            assert (channel.called, channel.application) == ("9000", "echo")
        await call.hangup()


async def test_a_message_is_left_in_a_box_and_its_owner_hears_it(switch: Running) -> None:
    async with phone(switch, "alice") as alice:
        call = await (await alice.call("*97*bob")).answered()
        call.media.tone(750)
        await asyncio.sleep(4)  # as long as what is said
        await ended(call, switch)
    async with phone(switch, "bob") as bob:
        call = await (await bob.call("*97")).answered()
        await hears(call, [750], (400, 750))
        await call.hangup()


async def test_other_numbers_and_other_callers_are_refused(switch: Running) -> None:
    async with phone(switch) as alice:
        with pytest.raises(CallError) as refused:
            await (await alice.call("9999")).answered()
        assert refused.value.status == 404
    async with phone(switch, address="127.0.0.2") as stranger:
        with pytest.raises(CallError) as refused:
            await (await stranger.call("9000")).answered()
        assert refused.value.status == 403


def _context() -> Context:
    clock = RealClock()
    return Context(clock, clock.monotonic() + LIMIT_S)


async def test_a_drain_lets_a_call_end_and_takes_no_other_and_says_busy_to_pings(
    switch: Running, tmp_path: Path
) -> None:
    places = Places(tmp_path / "run-dir", tmp_path / "state-dir")

    async def process() -> int:
        return 1

    drain = Drain(switch.talk, places, lambda: ("media1", False), process)
    saved: list[object] = []
    checkpoint = Checkpoint({}, saved.append)
    async with phone(switch) as alice, phone(switch, "bob") as bob:
        call = await (await alice.call("9000")).answered()
        assert await bob.options("9000") == 200
        with pytest.raises(DeadlineError, match="1 of 1 calls are left, more than 0"):
            await drain.run({"wait_s": 0}, checkpoint, _context())
        assert await bob.options("9000") == 200  # it takes calls again
        draining = asyncio.create_task(drain.run({"wait_s": 60}, checkpoint, _context()))
        while True:
            if await bob.options("9000") == 503:
                break
            await asyncio.sleep(0.05)
        with pytest.raises(CallError) as refused:
            await (await bob.call("9000")).answered()
        assert refused.value.status == 503
        call.media.tone(450)
        await hears(call, [450], (450, 700))
        await call.hangup()
        assert await draining == {"text": "media1 is drained: 0 calls left", "calls": 0, "before": 1}
        await drain.run({"end": True}, checkpoint, _context())
        assert await bob.options("9000") == 200
        other = await (await bob.call("9000")).answered()
        await other.hangup()


async def test_a_leg_is_ended_by_its_uuid(switch: Running) -> None:
    operation = LiveCalls(switch.talk)
    async with phone(switch) as alice:
        call = await (await alice.call("9000")).answered()
        rows = (await operation.run({}, Checkpoint({}, lambda _: None), _context()))["rows"]
        assert isinstance(rows, list)
        (row,) = rows
        assert isinstance(row, dict)
        await operation.run({"hangup": row["uuid"]}, Checkpoint({}, lambda _: None), _context())
        assert (await call.ended()).method == "BYE"
