"""Calls to the model: each application, judged by phones, by its event socket's counts, by files."""

from __future__ import annotations

import asyncio
import json
import wave
from pathlib import Path

import numpy as np
import pytest

from lab.voice.phone import Call, CallError, Phone
from lab.voice.tones import heard
from tests.lab.voice.conftest import Start

TONES = (400, 550, 750, 950, 1150)


async def heard_at_last(call: Call, wanted: list[float], candidates: tuple[int, ...]) -> None:
    """Waits until those tones, and none else of the candidates, are heard."""
    found: list[float] = []
    for _ in range(40):
        await call.media.packets(15)
        found = call.media.hears(candidates, 0.4)
        if found == wanted:
            return
    assert found == wanted


async def test_echo_gives_back_the_tone_and_the_keys_and_counts_agree(start: Start) -> None:
    model = await start()
    esl = await model.connect()
    async with Phone("127.0.0.1", 0, "alice", "voice.test", proxy=f"127.0.0.1:{model.sip}") as phone:
        call = await (await phone.call("9004")).answered()
        call.media.tone(450)
        await heard_at_last(call, [450], (450, 700))
        assert json.loads(await esl.api("show channels as json"))["row_count"] == 1
        row = json.loads(await esl.api("show calls as json"))["rows"][0]
        assert (row["dest"], row["cid_num"], row["callstate"]) == ("9004", "alice", "ACTIVE")
        assert "1 session(s) - peak 1" in await esl.api("status")
        assert "RUNNING (1)" in await esl.api("sofia status")
        call.dtmf("7")
        while call.media.keys != "7":
            await call.media.packets(1)
        await call.hangup()
        await model.until(0, esl)
        assert json.loads(await esl.api("show calls as json")) == {"row_count": 0}


async def test_five_in_a_conference_hear_the_four_others_and_not_themselves(start: Start) -> None:
    model = await start()
    esl = await model.connect()
    phones = [Phone("127.0.0.1", 0, f"p{one}", "voice.test", proxy=f"127.0.0.1:{model.sip}") for one in TONES]
    try:
        calls = [await (await phone.call("9001")).answered() for phone in phones]
        for call, tone in zip(calls, TONES, strict=True):
            call.media.tone(tone, 0.15)
        for call, tone in zip(calls, TONES, strict=True):
            await heard_at_last(call, [one for one in TONES if one != tone], TONES)
        listing = await esl.api("conference room list")
        assert "(5 members" in listing
        first = next(line.split(";")[0] for line in listing.splitlines() if ";p400;" in line)
        assert await esl.api(f"conference room mute {first}") == f"+OK mute {first}\n"
        await heard_at_last(calls[1], [750, 950, 1150], TONES)
        assert await esl.api(f"conference room unmute {first}") == f"+OK unmute {first}\n"
        await heard_at_last(calls[1], [400, 750, 950, 1150], TONES)
        assert await esl.api("conference room kick all") != ""
        assert {(await call.ended()).method for call in calls} == {"BYE"}
        assert await esl.api("conference list") == "+OK No active conferences.\n"
    finally:
        for phone in phones:
            await phone.close()


async def test_a_menu_is_led_by_keys(start: Start) -> None:
    model = await start()
    esl = await model.connect()
    async with Phone("127.0.0.1", 0, "alice", "voice.test", proxy=f"127.0.0.1:{model.sip}") as phone:
        call = await (await phone.call("9002")).answered()
        await heard_at_last(call, [500], (450, 500))
        call.dtmf("8")  # no entry: it is asked again
        await call.media.packets(5)
        call.dtmf("1")
        call.media.tone(450)
        await heard_at_last(call, [450], (450, 500))
        row = json.loads(await esl.api("show channels as json"))["rows"][0]
        assert (row["dest"], row["application"]) == ("9004", "echo")
        await call.hangup()


async def test_digits_are_asked_for_and_used(start: Start) -> None:
    model = await start()
    async with Phone("127.0.0.1", 0, "alice", "voice.test", proxy=f"127.0.0.1:{model.sip}") as phone:
        call = await (await phone.call("9007")).answered()
        call.dtmf("9004")
        call.media.tone(450)
        await heard_at_last(call, [450], (450, 500))
        await call.hangup()


async def test_a_message_is_kept_with_the_tone_that_was_said(start: Start) -> None:
    model = await start()
    esl = await model.connect()
    await esl.command("event plain CUSTOM vm::maintenance")
    async with Phone("127.0.0.1", 0, "bob", "voice.test", proxy=f"127.0.0.1:{model.sip}") as phone:
        call = await (await phone.call("9003")).answered()
        call.media.tone(650)
        await asyncio.sleep(3)
        await call.hangup()
    event = await asyncio.wait_for(esl.event("CUSTOM", VM_Action="leave-message"), 60)
    assert event["VM-Caller-ID-Number"] == "bob"
    with wave.open(event["VM-File-Path"]) as file:
        assert file.getframerate() == 8000
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    assert heard(samples[-4000:], [450, 650, 800]) == [650]
    assert await esl.api("vm_boxcount alice@voice.test|all") == "1:0:0:0"
    assert Path(event["VM-File-Path"]).is_relative_to(model.directory)


async def test_early_media_is_heard_before_a_refusal(start: Start) -> None:
    model = await start()
    async with Phone("127.0.0.1", 0, "alice", "voice.test", proxy=f"127.0.0.1:{model.sip}") as phone:
        call = await phone.call("9006")
        await call.early.wait()
        await call.media.packets(20, more=False)
        assert call.media.hears([500, 620], 0.3) == [620]
        with pytest.raises(CallError) as refused:
            await call.answered()
        assert refused.value.status == 486


@pytest.mark.parametrize(("number", "status"), [("12345", 404), ("9099", 502)])
async def test_what_has_no_route_or_no_application_is_refused(start: Start, number: str, status: int) -> None:
    model = await start()
    async with Phone("127.0.0.1", 0, "alice", "voice.test", proxy=f"127.0.0.1:{model.sip}") as phone:
        with pytest.raises(CallError) as refused:
            await (await phone.call(number)).answered()
        assert refused.value.status == status


async def test_a_bridge_joins_two_phones_and_ends_with_either(start: Start) -> None:
    model = await start()
    esl = await model.connect()
    proxy = f"127.0.0.1:{model.sip}"
    async with (
        Phone("127.0.0.1", 0, "alice", "voice.test", proxy=proxy) as alice,
        Phone("127.0.0.1", 0, "bob", "voice.test", codecs=(8,)) as bob,
    ):
        call = await alice.call(f"to-{bob.port}")
        other = await bob.incoming()
        assert other.remote.uri.user == "alice"
        await other.answer()
        await call.answered()
        call.media.tone(450)
        other.media.tone(700)
        await heard_at_last(call, [700], (450, 700))
        await heard_at_last(other, [450], (450, 700))
        assert other.media.stats().codec == "PCMA"
        rows = json.loads(await esl.api("show calls as json"))["rows"]
        assert len(rows) == 1
        assert rows[0]["b_uuid"]
        assert json.loads(await esl.api("show channels as json"))["row_count"] == 2
        call.dtmf("5")
        while other.media.keys != "5":
            await other.media.packets(1)
        await other.hangup()
        assert (await call.ended()).method == "BYE"
        await model.until(0, esl)


async def test_a_caller_who_gives_up_is_gone_from_the_list(start: Start) -> None:
    model = await start()
    esl = await model.connect()
    async with (
        Phone("127.0.0.1", 0, "alice", "voice.test", proxy=f"127.0.0.1:{model.sip}") as alice,
        Phone("127.0.0.1", 0, "bob", "voice.test") as bob,
    ):
        call = await alice.call(f"to-{bob.port}")
        other = await bob.incoming()
        await call.early.wait()
        await call.hangup()
        assert (await other.ended()).method == "CANCEL"
        await model.until(0, esl)


async def test_originate_joins_two_by_uuid_bridge_and_kill_ends_them(start: Start) -> None:
    model = await start()
    esl = await model.connect()
    async with Phone("127.0.0.1", 0, "a", "x.test") as a, Phone("127.0.0.1", 0, "b", "x.test") as b:
        uuids, calls = [], []
        for phone in (a, b):
            reply = await esl.command(
                f"bgapi originate sofia/internal/x@127.0.0.1:{phone.port} &park()\nJob-UUID: {phone.user}"
            )
            assert reply[0]["Job-UUID"] == phone.user
            await esl.command("event plain BACKGROUND_JOB")
            calls.append(await (await phone.incoming()).answer())
            job = await asyncio.wait_for(esl.event("BACKGROUND_JOB", Job_UUID=phone.user), 60)
            assert job["_body"].startswith("+OK ")
            uuids.append(job["_body"].split()[1])
        assert await esl.api(f"uuid_bridge {uuids[0]} {uuids[1]}") == f"+OK {uuids[1]}\n"
        calls[0].media.tone(450)
        calls[1].media.tone(700)
        await heard_at_last(calls[0], [700], (450, 700))
        await heard_at_last(calls[1], [450], (450, 700))
        assert await esl.api(f"uuid_kill {uuids[0]}") == "+OK\n"
        await calls[0].ended()
        await calls[1].ended()
        assert await esl.api(f"uuid_kill {uuids[0]}") == "-ERR No such channel!\n"


async def test_a_channel_is_held_told_and_recorded_by_uuid(start: Start) -> None:
    model = await start()
    esl = await model.connect()
    async with Phone("127.0.0.1", 0, "alice", "voice.test", proxy=f"127.0.0.1:{model.sip}") as phone:
        call = await (await phone.call("9008")).answered()
        uuid = json.loads(await esl.api("show channels as json"))["rows"][0]["uuid"]
        assert await esl.api(f"uuid_getvar {uuid} dialled") == "9008"
        assert await esl.api(f"uuid_setvar {uuid} mine 5") == "+OK\n"
        assert "variable_mine: 5" in await esl.api(f"uuid_dump {uuid}")
        path = model.directory / "call.wav"
        call.media.tone(650)
        assert (await esl.api(f"uuid_record {uuid} start {path}")).startswith("+OK")
        assert await esl.api(f"uuid_broadcast {uuid} tone_stream://%(60000,0,900)") == "+OK Message sent\n"
        await heard_at_last(call, [900], (650, 900))
        assert (await esl.api(f"uuid_record {uuid} stop {path}")).startswith("+OK")
        with wave.open(str(path)) as file:
            assert heard(np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")[-4000:], [650, 900]) == [650]
        assert await esl.api(f"uuid_hold {uuid}") == "+OK Success\n"
        assert not call.media.sending
        assert await esl.api(f"uuid_hold off {uuid}") == "+OK Success\n"
        assert call.media.sending
        await call.hold()
        assert json.loads(await esl.api("show channels as json"))["rows"][0]["callstate"] == "HELD"
        await call.resume()
        await call.hangup()


async def test_a_blind_transfer_moves_the_other_party(start: Start) -> None:
    model = await start()
    async with (
        Phone("127.0.0.1", 0, "alice", "voice.test", proxy=f"127.0.0.1:{model.sip}") as alice,
        Phone("127.0.0.1", 0, "bob", "voice.test") as bob,
    ):
        call = await alice.call(f"to-{bob.port}")
        other = await (await bob.incoming()).answer()
        await call.answered()
        assert await call.transfer("9005") == 200
        await call.ended()
        await heard_at_last(other, [700], (450, 700))
        await other.hangup()
