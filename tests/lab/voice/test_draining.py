"""Limits, pauses, and how the model is ended: nothing of a call is lost, and nothing new comes in."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from lab.voice.phone import Call, CallError, Phone
from tests.lab.voice.conftest import PROGRAM, Model, Start, configuration


def phone_of(model: Model, user: str = "alice", password: str = "") -> Phone:
    return Phone("127.0.0.1", 0, user, "voice.test", password, proxy=f"127.0.0.1:{model.sip}")


async def refused(phone: Phone, number: str = "9004") -> CallError:
    with pytest.raises(CallError) as found:
        await (await phone.call(number)).answered()
    return found.value


async def test_paused_it_refuses_new_calls_and_keeps_those_that_are(start: Start) -> None:
    model = await start()
    esl = await model.connect()
    async with phone_of(model) as phone:
        call = await (await phone.call("9004")).answered()
        assert await esl.api("fsctl pause_check inbound") == "false"
        assert await esl.api("fsctl pause inbound") == "+OK\n"
        assert await esl.api("fsctl pause_check inbound") == "true"
        assert await esl.api("fsctl ready_check") == "false"
        error = await refused(phone)
        assert (error.status, error.reason, error.headers["retry-after"]) == (503, "Maximum Calls In Progress", "300")
        assert await phone.options("9004") == 503
        call.media.tone(450)
        await call.media.packets(30)
        assert await esl.api("fsctl resume inbound") == "+OK\n"
        assert await phone.options("9004") == 200
        other = await (await phone.call("9004")).answered()
        await asyncio.gather(call.hangup(), other.hangup())


async def test_the_session_limit_refuses_and_is_told(start: Start) -> None:
    model = await start(sessions="2")
    esl = await model.connect()
    async with phone_of(model) as phone:
        calls = [await (await phone.call("9008")).answered() for _ in range(2)]
        assert (await refused(phone)).status == 503
        await calls[0].hangup()
        await model.until(1, esl)
        calls.append(await (await phone.call("9008")).answered())
        assert "3 session(s) since startup" in await esl.api("status")


@pytest.mark.parametrize("how", ["elegant", "asap"])
async def test_it_ends_after_the_last_call(start: Start, how: str) -> None:
    model = await start()
    esl = await model.connect()
    async with phone_of(model) as phone:
        call = await (await phone.call("9004")).answered()
        await esl.command(f"bgapi fsctl shutdown {how}")
        await model.until_said("fsctl shutdown_check", "true", esl)
        if how == "asap":
            assert (await refused(phone)).status == 503
        else:  # new traffic is let in: FreeSWITCH waits until there is none
            other: Call = await (await phone.call("9004")).answered()
            await other.hangup()
        assert model.process.returncode is None
        call.media.tone(450)
        await call.media.packets(30)
        await call.hangup()
        assert await asyncio.wait_for(model.process.wait(), 60) == 0


async def test_a_shutdown_can_be_taken_back(start: Start) -> None:
    model = await start()
    esl = await model.connect()
    async with phone_of(model) as phone:
        call = await (await phone.call("9004")).answered()
        await esl.command("bgapi fsctl shutdown elegant")
        await model.until_said("fsctl shutdown_check", "true", esl)
        assert await esl.api("fsctl shutdown cancel") == "+OK\n"
        await call.hangup()
        await model.until(0, esl)
        assert await esl.api("fsctl shutdown_check") == "false"


async def test_fifty_calls_hang_up_at_once(start: Start) -> None:
    model = await start()
    esl = await model.connect()
    async with phone_of(model) as phone:
        calls = [await phone.call("9008") for _ in range(50)]
        await asyncio.gather(*[call.answered() for call in calls])
        await model.until(50, esl)
        assert await esl.api("fsctl hupall") == "+OK\n"
        await asyncio.gather(*[call.ended() for call in calls])
        await model.until(0, esl)


async def test_a_signal_ends_calls_with_it(start: Start) -> None:
    model = await start()
    async with phone_of(model) as phone:
        call = await (await phone.call("9004")).answered()
        model.process.send_signal(signal.SIGTERM)
        over = await asyncio.wait_for(call.ended(), 60)
        assert (over.method, "SYSTEM_SHUTDOWN" in over.reason) == ("BYE", True)
        assert await asyncio.wait_for(model.process.wait(), 60) == 0


async def test_stop_ends_the_one_of_the_run_folder(start: Start) -> None:
    model = await start()
    assert int((model.directory / "run/freeswitch.pid").read_text()) == model.process.pid
    stopping = await asyncio.create_subprocess_exec(str(PROGRAM), "-stop", "-run", str(model.directory / "run"))
    assert await stopping.wait() == 0
    assert await asyncio.wait_for(model.process.wait(), 60) == 0
    assert not (model.directory / "run/freeswitch.pid").exists()


async def test_who_is_not_on_the_list_is_forbidden_or_asked(start: Start) -> None:
    model = await start(sip_acl="nobody")
    async with phone_of(model) as phone:
        assert (await refused(phone)).status == 403
    model = await start(sip_acl="nobody", auth="true")
    async with phone_of(model, password="secret-5") as known, phone_of(model, password="wrong") as wrong:
        call = await (await known.call("9004")).answered()
        await call.hangup()
        assert (await refused(wrong)).status == 403
        assert await known.register(60) == 60
        with pytest.raises(CallError, match="403"):
            await wrong.register()


@pytest.mark.parametrize("text", ["<document", "<other/>"])
async def test_a_configuration_that_is_no_xml_does_not_start(tmp_path: os.PathLike[str], text: str) -> None:
    values = dict.fromkeys(("sip", "esl", "rtp", "rtp_end", "sessions", "acl", "sip_acl", "auth"), "1")
    conf = configuration(tmp_path, values)  # type: ignore[arg-type]
    (conf / "freeswitch.xml").write_text(text)
    folders = [
        part
        for name in ("conf", "log", "db", "run")
        for part in (f"-{name}", str(conf if name == "conf" else tmp_path))
    ]
    process = await asyncio.create_subprocess_exec(str(PROGRAM), "-nf", *folders, stderr=asyncio.subprocess.PIPE)
    assert b"Cannot Initialize" in (await process.communicate())[1]
    assert process.returncode == 255


@pytest.mark.parametrize("arguments", [["-conf", "/x"], ["-nonsense"], ["-conf"]])
async def test_arguments_that_it_does_not_know_are_refused(arguments: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(str(PROGRAM), *arguments, stderr=asyncio.subprocess.PIPE)
    assert (await process.communicate())[1]
    assert process.returncode == 1


async def test_what_is_not_loaded_is_not_there_and_a_bad_file_changes_nothing(start: Start) -> None:
    model = await start(modules="commands event_socket sofia dptools dialplan_xml nonsense")
    esl = await model.connect()
    assert await esl.api("conference list") == "-ERR conference Command not found!\n"
    assert "mod_nonsense.so" in (model.directory / "log/freeswitch.log").read_text()
    (model.directory / "conf/vars.xml").write_text("<include><broken></include>")
    assert (await esl.api("reloadxml")).startswith("-ERR [")
    async with phone_of(model) as phone:
        assert (await refused(phone, "9001")).status == 502
        call = await (await phone.call("9004")).answered()
        await call.hangup()


async def test_who_has_registered_is_called_by_name(start: Start) -> None:
    model = await start()
    esl = await model.connect()
    async with phone_of(model, password="secret-5") as phone:
        await phone.register(60)
        assert "alice" in await esl.api("show registrations")
        await esl.command("bgapi originate user/alice@voice.test 9004 XML services")
        call = await (await phone.incoming()).answer()
        call.media.tone(450)
        await call.media.packets(60)
        assert call.media.hears([450, 700], 0.3) == [450]
        await phone.register(0)
        assert await esl.api("originate user/alice@voice.test &park()") == "-ERR USER_NOT_REGISTERED\n"
