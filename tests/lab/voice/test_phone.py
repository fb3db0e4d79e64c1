"""Two phones on loopback: every way in which a call goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from lab.voice.phone import CallError, Phone


@pytest.fixture(params=["", "tcp:"], ids=["udp", "tcp"])
async def phones(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Phone, Phone]]:
    """The first calls the second by that transport."""
    async with Phone("127.0.0.1", 0, "bob", "voice.test") as called:
        proxy = f"{request.param}127.0.0.1:{called.port}"
        async with Phone("127.0.0.1", 0, "alice", "voice.test", proxy=proxy) as caller:
            yield caller, called


async def test_each_hears_the_others_tone(phones: tuple[Phone, Phone]) -> None:
    ours = await phones[0].call("bob")
    theirs = await phones[1].incoming()
    await ours.early.wait()
    await theirs.answer()
    await ours.answered()
    ours.media.tone(440)
    theirs.media.tone(600)
    await theirs.media.packets(60)
    await ours.media.packets(60)
    assert ours.media.hears([440, 600]) == [600]
    assert theirs.media.hears([440, 600]) == [440]
    assert ours.media.stats().lost == 0
    await theirs.hangup()
    assert (await ours.ended()).method == "BYE"
    assert not phones[0].calls


async def test_keys_of_the_telephone_come_once_each(phones: tuple[Phone, Phone]) -> None:
    ours = await phones[0].call("bob")
    theirs = await (await phones[1].incoming()).answer()
    await ours.answered()
    ours.dtmf("11*9#")
    while len(theirs.media.keys) < 5:
        await theirs.media.packets(1)
    assert theirs.media.stats().dtmf == "11*9#"
    await ours.hangup()


async def test_hold_stops_both_ways_and_resume_starts_them_again(phones: tuple[Phone, Phone]) -> None:
    ours = await phones[0].call("bob")
    theirs = await (await phones[1].incoming()).answer()
    await ours.answered()
    await ours.hold()
    assert not theirs.media.sending
    assert not ours.media.sending
    await ours.resume()
    await asyncio.gather(ours.media.packets(5), theirs.media.packets(5))
    await ours.hangup()


async def test_a_caller_that_gives_up_cancels(phones: tuple[Phone, Phone]) -> None:
    ours = await phones[0].call("bob")
    theirs = await phones[1].incoming()
    await ours.hangup()
    assert (await theirs.ended()).method == "CANCEL"
    with pytest.raises(CallError) as refused:
        await ours.answered()
    assert refused.value.status == 487


async def test_a_refusal_is_told(phones: tuple[Phone, Phone]) -> None:
    ours = await phones[0].call("bob")
    (await phones[1].incoming()).refuse(603)
    with pytest.raises(CallError, match="603 Decline"):
        await ours.answered()


async def test_a_transfer_makes_the_other_party_call(phones: tuple[Phone, Phone]) -> None:
    async with Phone("127.0.0.1", 0, "carol", "voice.test") as third:
        ours = await phones[0].call("bob")
        theirs = await (await phones[1].incoming()).answer()
        await ours.answered()
        asked = asyncio.ensure_future(ours.transfer(f"sip:carol@127.0.0.1:{third.port}"))
        new = await (await third.incoming()).answer()
        assert await asked == 200
        moved = await phones[1].transferred.get()
        assert moved.call_id == new.call_id
        await asyncio.gather(ours.hangup(), new.hangup())
        await theirs.ended()


async def test_nobody_there_is_a_time_out_and_not_a_hang() -> None:
    async with Phone("127.0.0.1", 0, "alice", "voice.test", proxy="127.0.0.1:9") as phone:
        call = await phone.call("bob")
        hanging = asyncio.ensure_future(call.hangup())
        assert await phone.options("bob") == 408
        await hanging
        assert call.over is not None
        assert call.over.status == 408
