"""The client against transcripts, in pieces of 7 octets: order, time-outs, jobs, events, reconnecting, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nf.errors import DeniedError, IdentityError, InputError, RefusedError, UnavailableError
from sip.freeswitch.client import EslClient, Gap, Subscription
from sip.freeswitch.codec import Event
from sip.freeswitch.connection import MOST_ABANDONED, EslConnection
from sip.freeswitch.errors import (
    AddressRefused,
    CommandRefused,
    CommandTimeout,
    ConnectionLost,
    FrameError,
    LoginRefused,
)
from tests.sip.freeswitch.events import framed
from tests.sip.freeswitch.switch import PASSWORD, Handler, Switch, Talk

LIMIT_S = 30.0
SOON = (0.01, 0.05)


@asynccontextmanager
async def talking(
    handler: Handler | None = None, wanted: Subscription | None = None, most_events: int = 100
) -> AsyncIterator[tuple[Switch, EslClient]]:
    async with (
        asyncio.timeout(LIMIT_S),
        Switch(handler) as switch,
        EslClient(
            "127.0.0.1",
            switch.port,
            PASSWORD,
            wanted=wanted,
            timeout_s=LIMIT_S,
            most_events=most_events,
            backoff_s=SOON,
        ) as client,
    ):
        yield switch, client


async def echo(talk: Talk, command: str, headers: dict[str, str]) -> bool:
    if command.startswith("api echo "):
        await talk.respond(command[9:])
        return True
    return False


async def test_twenty_commands_at_once_get_their_own_answers() -> None:
    async with talking(echo) as (switch, client):
        texts = [f"number {number} é" for number in range(20)]
        assert await asyncio.gather(*(client.api(f"echo {text}") for text in texts)) == texts
        assert switch.said[0] == f"auth {PASSWORD}"


async def test_a_refusal_is_an_error_with_what_was_said_and_the_next_command_goes_on() -> None:
    async with talking(echo) as (_, client):
        with pytest.raises(CommandRefused, match="-ERR nonsense Command not found!"):
            await client.api("nonsense")
        with pytest.raises(InputError):
            await client.api("echo a\n\nauth b")
        assert await client.api("echo x") == "x"
        assert issubclass(CommandRefused, RefusedError)


async def test_a_command_without_an_answer_is_given_up_and_its_late_answer_is_nobody_elses() -> None:
    late = asyncio.Event()

    async def handler(talk: Talk, command: str, headers: dict[str, str]) -> bool:
        if command == "api slow":
            await late.wait()
            await talk.respond("slow")
            return True
        return await echo(talk, command, headers)

    async with talking(handler) as (_, client):
        with pytest.raises(CommandTimeout, match=r"no answer to `slow` in 0\.05 s"):
            await client.api("slow", 0.05)
        next_one = asyncio.create_task(client.api("echo next"))
        late.set()
        assert await next_one == "next"


async def test_a_switch_that_never_answers_is_left() -> None:
    async def handler(talk: Talk, command: str, headers: dict[str, str]) -> bool:
        return command.startswith("api")

    async with Switch(handler) as switch:
        connection = await EslConnection.open("127.0.0.1", switch.port, PASSWORD, timeout_s=LIMIT_S)
        for _ in range(MOST_ABANDONED + 1):
            with pytest.raises(CommandTimeout):
                await connection.api("status", 0.01)
        with pytest.raises(ConnectionLost, match="had no answer"):
            await connection.api("status", LIMIT_S)


@pytest.mark.parametrize("first", ["reply", "end"])
async def test_a_job_is_known_by_the_uuid_that_we_gave_whichever_comes_first(first: str) -> None:
    async def handler(talk: Talk, command: str, headers: dict[str, str]) -> bool:
        if not command.startswith("bgapi"):
            return await echo(talk, command, headers)
        job = headers["Job-UUID"]
        parts = [
            talk.reply(f"+OK Job-UUID: {job}", f"Job-UUID: {job}"),
            talk.event("BACKGROUND_JOB", f"+OK {command[6:]}\n\nall", Job_UUID=job),
        ]
        for part in parts if first == "reply" else parts[::-1]:
            await part
        return True

    async with talking(handler) as (switch, client):
        assert await client.bgapi("originate x") == "+OK originate x\n\nall"
        assert await asyncio.gather(*(client.bgapi(f"run {n}") for n in range(5))) == [
            f"+OK run {n}\n\nall" for n in range(5)
        ]
        assert switch.said.count("event json BACKGROUND_JOB") == 1


async def test_a_job_that_does_not_end_or_ends_badly() -> None:
    async def handler(talk: Talk, command: str, headers: dict[str, str]) -> bool:
        if not command.startswith("bgapi"):
            return False
        await talk.reply(f"+OK Job-UUID: {headers['Job-UUID']}")
        if command == "bgapi bad":
            await talk.event("BACKGROUND_JOB", "-ERR no such channel\n", "json", Job_UUID=headers["Job-UUID"])
        if command == "bgapi cut":
            talk.cut()
        return True

    async with talking(handler) as (_, client):
        with pytest.raises(CommandRefused, match="no such channel"):
            await client.bgapi("bad")
        with pytest.raises(CommandTimeout, match=r"`for` did not end in 0\.05 s"):
            await client.bgapi("for ever", 0.05)
        with pytest.raises(ConnectionLost):
            await client.bgapi("cut")


@pytest.mark.parametrize("form", ["plain", "json"])
async def test_events_and_filters_are_asked_for_again_on_every_connection(form: str) -> None:
    async def handler(talk: Talk, command: str, headers: dict[str, str]) -> bool:
        if not command.startswith("event "):
            return False
        await talk.reply("+OK")
        await talk.event("HEARTBEAT", form=command.split()[1], Session_Count=str(len(switch.talks)))
        return True

    wanted = Subscription(("HEARTBEAT", "CUSTOM sofia::register"), form, (("Unique-ID", "a b"),))  # type: ignore[arg-type]
    async with talking(handler, wanted) as (switch, client):
        heard = client.events()
        first = await anext(heard)
        assert isinstance(first, Event)
        assert (first.name, first.headers["Session-Count"]) == ("HEARTBEAT", "1")
        switch.talks[0].cut()
        assert await anext(heard) == Gap(None, "it was connected anew")
        second = await anext(heard)
        assert isinstance(second, Event)
        assert second.headers["Session-Count"] == "2"
        asked = [f"auth {PASSWORD}", "filter Unique-ID a b", f"event {form} HEARTBEAT CUSTOM sofia::register"]
        assert switch.said == asked * 2


async def test_another_subscription_takes_the_place_of_the_first() -> None:
    async with talking(echo, Subscription(("DTMF", "HEARTBEAT"), filters=(("a", "b"),))) as (switch, client):
        await client.subscribe(Subscription(("HEARTBEAT",)))
        assert switch.said[-3:] == ["nixevent DTMF", "filter delete all", "event json HEARTBEAT"]


async def test_who_takes_no_events_still_gets_answers_and_jobs_and_is_told_what_was_dropped() -> None:
    async def handler(talk: Talk, command: str, headers: dict[str, str]) -> bool:
        if command == "bgapi flood":
            await talk.reply("+OK")
            for number in range(500):
                await talk.event("DTMF", form="json", Number=str(number))
            await talk.event("BACKGROUND_JOB", "+OK", Job_UUID=headers["Job-UUID"])
            return True
        return await echo(talk, command, headers)

    async with talking(handler, Subscription(("DTMF",)), most_events=50) as (_, client):
        assert await client.bgapi("flood") == "+OK"
        assert await client.api("echo x") == "x"
        heard = client.events()
        found: list[Event | Gap] = []
        while not found or not isinstance(found[-1], Event) or found[-1].headers["Number"] != "499":
            found.append(await anext(heard))
        gaps = [one.count or 0 for one in found if isinstance(one, Gap)]
        assert gaps
        assert sum(gaps) + len(found) - len(gaps) == 500


async def test_a_flood_that_nobody_takes_stops_the_switch_instead_of_filling_memory() -> None:
    written = 0

    async def handler(talk: Talk, command: str, headers: dict[str, str]) -> bool:
        nonlocal written
        if command.startswith("event"):
            await talk.reply("+OK")
            asyncio.get_running_loop().create_task(pour(talk))
            return True
        return await echo(talk, command, headers)

    async def pour(talk: Talk) -> None:
        nonlocal written
        octets = framed("text/event-plain", b"Event-Name: DTMF\nFill: " + b"x" * 60_000 + b"\n\n")
        try:
            while True:
                talk.writer.write(octets)
                await talk.writer.drain()
                written += 1
                await asyncio.sleep(0)
        except OSError:
            return

    async with talking(handler, Subscription(("DTMF",)), most_events=20) as (_, client):
        before = -1
        while written != before or not written:  # until nothing more is taken from it
            before = written
            await asyncio.sleep(0.3)
        connection = client._connection
        assert connection is not None
        assert len(connection._events) <= 40
        assert await client.api("echo x") == "x"  # somebody waits: it reads again
        assert written > before


async def test_a_wrong_password_is_said_at_once() -> None:
    async with asyncio.timeout(LIMIT_S), Switch() as switch:
        with pytest.raises(LoginRefused, match="the password is not its own"):
            await EslConnection.open("127.0.0.1", switch.port, "wrong")
        async with EslClient("127.0.0.1", switch.port, "wrong", timeout_s=LIMIT_S) as client:
            with pytest.raises(IdentityError):
                await client.api("status")


async def test_the_password_is_asked_for_anew() -> None:
    words = iter(("wrong", PASSWORD))
    async with asyncio.timeout(LIMIT_S), Switch(echo) as switch:
        client = EslClient("127.0.0.1", switch.port, lambda: next(words), timeout_s=LIMIT_S, backoff_s=SOON)
        async with client:
            while True:
                if client.connected:
                    break
                await asyncio.sleep(0.01)
            assert await client.api("echo x") == "x"


async def test_a_user_of_the_directory() -> None:
    async with asyncio.timeout(LIMIT_S), Switch(echo) as switch:
        connection = await EslConnection.open("127.0.0.1", switch.port, PASSWORD, user="alice@voice.test")
        assert await connection.api("echo x") == "x"
        connection.close()
        with pytest.raises(ConnectionLost):
            await connection.api("echo x")


async def test_an_address_that_may_not_is_told_so() -> None:
    async with asyncio.timeout(LIMIT_S), Switch(rude=True) as switch:
        with pytest.raises(AddressRefused, match="access list"):
            await EslConnection.open("127.0.0.1", switch.port, PASSWORD)
        assert issubclass(AddressRefused, DeniedError)


async def test_nobody_there_is_said_after_the_time_and_found_when_it_comes() -> None:
    async with asyncio.timeout(LIMIT_S):
        async with Switch() as switch:
            port = switch.port
        async with EslClient("127.0.0.1", port, PASSWORD, timeout_s=LIMIT_S, backoff_s=SOON) as client:
            with pytest.raises(UnavailableError, match="nobody takes connections"):
                await client.api("status", 0.2)
            waiting = asyncio.create_task(client.api("echo x"))
            async with Switch(echo, port=port):
                assert await waiting == "x"


async def test_what_is_no_event_socket() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\nContent-Length: no\n\n")
        await writer.drain()
        writer.close()

    async with asyncio.timeout(LIMIT_S), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        with pytest.raises(FrameError, match="Content-Length is 'no'"):
            await EslConnection.open("127.0.0.1", server.sockets[0].getsockname()[1], PASSWORD)


async def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    async def handler(talk: Talk, command: str, headers: dict[str, str]) -> bool:
        await talk.respond("a")
        await talk.respond("b")
        return True

    async with asyncio.timeout(LIMIT_S), Switch(handler) as switch:
        connection = await EslConnection.open("127.0.0.1", switch.port, PASSWORD)
        assert await connection.api("x") == "a"
        await connection.closed.wait()
        with pytest.raises(FrameError, match="nobody asked for"):
            await connection.api("x")
