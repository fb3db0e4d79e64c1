"""The event socket, as mod_event_socket speaks it: what each command answers, and what comes by itself."""

from __future__ import annotations

import json
import random
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.voice.freeswitch.esl import pieces
from lab.voice.freeswitch.esl_session import Session
from lab.voice.freeswitch.events import Event
from lab.voice.phone import Phone
from tests.lab.voice.conftest import Start


async def test_three_ways_to_be_received(start: Start) -> None:
    model = await start()
    refused = await model.connect("")
    assert await refused.packet() == ({"Content-Type": "auth/request"}, "")
    assert (await refused.command("auth wrong"))[0]["Reply-Text"] == "-ERR invalid"
    headers, body = await refused.packet()
    assert (headers["Content-Type"], headers["Content-Length"]) == ("text/disconnect-notice", "67")
    assert body.startswith("Disconnected, goodbye.")
    assert await refused.reader.read() == b""
    assert "UP 0 years" in await (await model.connect()).api("status")


async def test_who_is_not_on_the_list_is_sent_away(start: Start) -> None:
    model = await start(acl="nobody")
    headers, body = await (await model.connect("")).packet()
    assert (headers["Content-Type"], body) == ("text/rude-rejection", "Access Denied, go away.\n")


async def test_a_user_of_the_directory_may_do_what_it_says(start: Start) -> None:
    model = await start()
    client = await model.connect("")
    await client.packet()
    reply, _ = await client.command("userauth alice@voice.test:eve-5")
    assert (reply["Reply-Text"], reply["Allowed-API"], reply["Allowed-Events"]) == (
        "+OK accepted",
        "status show",
        "HEARTBEAT",
    )
    assert "UP " in await client.api("status")
    assert (await client.command("api fsctl pause"))[0]["Reply-Text"] == "-ERR permission denied"
    assert (await client.command("event plain ALL"))[0]["Reply-Text"] == "-ERR permission denied"
    assert (await client.command("event plain HEARTBEAT"))[0]["Reply-Text"] == "+OK event listener enabled plain"


TRANSCRIPT = [
    ("event", "-ERR no keywords supplied"),
    ("event plain NOTHING", "-ERR no keywords supplied"),
    ("noevents", "-ERR not listening for events"),
    ("event json DTMF CUSTOM a::b", "+OK event listener enabled json"),
    ("nixevent DTMF", "+OK events nixed"),
    ("filter Event-Name DTMF", "+OK filter added. [Event-Name]=[DTMF]"),
    ("filter delete Event-Name DTMF", "+OK filter deleted. [Event-Name][DTMF]"),
    ("filter x", "-ERR invalid syntax"),
    ("noevents", "+OK no longer listening for events"),
    ("log info", "+OK log level info [6]"),
    ("log nonsense", "-ERR invalid log level"),
    ("nolog", "+OK no longer logging"),
    ("nolog", "-ERR not loging"),
    ("linger 5", "-ERR not controlling a session"),
    ("divert_events on", "-ERR not controlling a session."),
    ("myevents 0000", "-ERR invalid uuid"),
    ("sendmsg 0000\ncall-command: hangup", "-ERR invalid session id [0000]"),
    ("resume", "-ERR command not found"),
    ("nonsense", "-ERR command not found"),
    ("exit", "+OK bye"),
]


async def test_the_transcript(start: Start) -> None:
    client = await (await start()).connect()
    for command, wanted in TRANSCRIPT:
        assert (await client.command(command))[0]["Reply-Text"] == wanted, command


async def test_api_commands_answer_as_they_do(start: Start) -> None:
    client = await (await start()).connect()
    assert await client.api("nonsense 1") == "-ERR nonsense Command not found!\n"
    assert "MODEL" in await client.api("version")
    assert (await client.api("uptime")).isdecimal()
    assert await client.api("global_getvar domain") == "voice.test"
    assert await client.api("show channels") == "\n0 total.\n"
    assert json.loads(await client.api("show calls as json")) == {"row_count": 0}
    assert await client.api("reloadxml") == "+OK [Success]\n"
    assert (await client.api("originate error/USER_BUSY &park()")) == "-ERR USER_BUSY\n"
    assert (await client.api("fsctl")).startswith("-USAGE:")
    assert await client.api("fsctl max_sessions 7") == "+OK max sessions: 7\n"
    assert await client.api("fsctl sps 9") == "+OK sessions per second: 9\n"
    assert "internal" in await client.api("sofia status profile internal")
    assert await client.api("sofia status profile none") == "Invalid Profile!\n"


async def test_a_job_is_acknowledged_before_it_is_done(start: Start) -> None:
    client = await (await start()).connect()
    await client.command("event plain BACKGROUND_JOB")
    reply, _ = await client.command("bgapi status\nJob-UUID: mine-1")
    assert (reply["Reply-Text"], reply["Job-UUID"]) == ("+OK Job-UUID: mine-1", "mine-1")
    assert not client.events
    event = await client.event("BACKGROUND_JOB", Job_UUID="mine-1")
    assert event["_body"].startswith("UP ")
    assert event["Job-Command"] == "status"


@pytest.mark.parametrize("form", ["plain", "json", "xml"])
async def test_events_come_in_each_form_even_in_pieces(start: Start, form: str) -> None:
    model = await start(env={"NF_VOICE_ESL_FRAGMENT": "3"})
    client = await model.connect()
    await client.command(f"event {form} HEARTBEAT MESSAGE")
    await client.command("sendevent MESSAGE\nSubject: a b\nContent-Length: 5\n\nhello")
    headers, body = client.events.pop(0) if client.events else await client.packet()
    while "MESSAGE" not in body:
        headers, body = await client.packet()
    assert headers["Content-Type"] == f"text/event-{form}"
    if form == "json":
        assert json.loads(body)["_body"] == "hello"
        assert json.loads(body)["Subject"] == "a b"
    elif form == "xml":
        assert ET.fromstring(body).findtext("body") == "hello"  # noqa: S314
    else:
        assert "Subject: a%20b\n" in body
        assert body.endswith("Content-Length: 5\n\nhello")


async def test_heartbeats_tell_sessions_and_a_call_tells_its_life(start: Start) -> None:
    model = await start()
    client = await model.connect()
    await client.command("event plain HEARTBEAT CHANNEL_CREATE CHANNEL_ANSWER CHANNEL_HANGUP_COMPLETE DTMF")
    async with Phone("127.0.0.1", 0, "alice", "voice.test", proxy=f"127.0.0.1:{model.sip}") as phone:
        call = await (await phone.call("9008")).answered()
        created = await client.event("CHANNEL_CREATE")
        answered = await client.event("CHANNEL_ANSWER", Unique_ID=created["Unique-ID"])
        assert answered["Caller-Destination-Number"] == "9008"
        beat = await client.event("HEARTBEAT", Session_Count="1")
        assert beat["Max-Sessions"] == "100"
        assert float(beat["Idle-CPU"]) >= 0
        call.dtmf("4")
        assert (await client.event("DTMF"))["DTMF-Digit"] == "4"
        await call.hangup()
        over = await client.event("CHANNEL_HANGUP_COMPLETE")
        assert (over["Hangup-Cause"], over["variable_sip_hangup_disposition"]) == ("NORMAL_CLEARING", "recv_bye")


async def test_a_session_that_is_followed_ends_the_connection_or_lingers(start: Start) -> None:
    model = await start()
    client, lingering = await model.connect(), await model.connect()
    async with Phone("127.0.0.1", 0, "alice", "voice.test", proxy=f"127.0.0.1:{model.sip}") as phone:
        await (await phone.call("9008")).answered()
        uuid = json.loads(await client.api("show channels as json"))["rows"][0]["uuid"]
        for one in (client, lingering):
            assert (await one.command(f"myevents {uuid}"))[0]["Reply-Text"] == "+OK Events Enabled"
        assert (await lingering.command("linger 1"))[0]["Reply-Text"] == "+OK will linger 1 seconds"
        assert (await client.command("getvar dialled"))[0]["Reply-Text"] == "9008"
        sent = "sendmsg\ncall-command: execute\nexecute-app-name: set\nexecute-app-arg: said=yes"
        assert (await client.command(sent))[0]["Reply-Text"] == "+OK"
        await client.event("CHANNEL_EXECUTE_COMPLETE", Application="set")
        assert (await client.command("getvar said"))[0]["Reply-Text"] == "yes"
        await lingering.command(f"sendmsg {uuid}\ncall-command: hangup\nhangup-cause: CALL_REJECTED")
        dispositions = []
        for one in (client, lingering):
            headers = {}
            while headers.get("Content-Type") != "text/disconnect-notice":
                headers, _ = one.events.pop(0) if one.events else await one.packet()
            dispositions.append(headers["Content-Disposition"])
        assert dispositions == ["disconnect", "linger"]
        assert (await lingering.packet())[0]["Content-Disposition"] == "disconnect"


@given(
    st.binary(min_size=1, max_size=500),
    st.one_of(st.integers(1, 600).map(str), st.integers(0, 9).map("random:{}".format)),
)
def test_pieces_are_the_whole(data: bytes, how: str) -> None:
    assert b"".join(pieces(data, how)) == data


@given(
    st.lists(st.sampled_from(["DTMF", "ALL", "CUSTOM", "a::b", "HEARTBEAT", "-"]), max_size=6),
    st.randoms(use_true_random=False),
)
def test_what_is_nixed_does_not_come(words: list[str], chance: random.Random) -> None:
    session = Session()
    session.event(words)
    session.nixevent(["DTMF"])
    assert not session.wants(Event("DTMF"))
    session.event(["DTMF"])
    session.filter("Unique-ID 5")
    assert session.wants(Event("DTMF", {"Unique-ID": "5"}))
    assert not session.wants(Event("DTMF", {"Unique-ID": str(chance.randint(6, 99))}))
    session.filter("Unique-ID -5")
    assert not session.wants(Event("DTMF", {"Unique-ID": "5"}))
