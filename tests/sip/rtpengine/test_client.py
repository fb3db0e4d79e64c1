"""The client against a relay of the tests' own that loses, repeats, delays and lies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nf.errors import InputError, UnavailableError
from sip.rtpengine.bencode import encode
from sip.rtpengine.client import WINDOW, NgClient
from sip.rtpengine.messages import (
    Flags,
    RelayError,
    UnknownCallError,
    answer,
    call_ids,
    delete,
    list_calls,
    offer,
    pack,
    ping,
    query,
    read,
    statistics,
    subscribe_answer,
    subscribe_request,
    unpack,
    unsubscribe,
)

PONG = encode({"result": "pong"})


class Relay(asyncio.DatagramProtocol):
    """`reply(cookie, body, times)`: what is answered to a request that has come so often; None: nothing."""

    def __init__(self, reply: Callable[[bytes, bytes, int], bytes | None]) -> None:
        self.reply = reply
        self.seen: dict[bytes, int] = {}
        self.most = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        cookie, body = unpack(data)
        self.seen[cookie] = self.seen.get(cookie, 0) + 1
        told = self.reply(cookie, body, self.seen[cookie])
        if told is not None:
            self.transport.sendto(told, addr)


@asynccontextmanager
async def relay(
    reply: Callable[[bytes, bytes, int], bytes | None], **options: Any
) -> AsyncIterator[tuple[Relay, NgClient]]:
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(lambda: Relay(reply), local_addr=("127.0.0.1", 0))
    try:
        async with NgClient("127.0.0.1", transport.get_extra_info("sockname")[1], **options) as client:
            yield made, client
    finally:
        transport.close()


async def test_many_are_in_flight_and_each_gets_its_own_answer() -> None:
    waiting: list[tuple[bytes, bytes]] = []

    def last_first(cookie: bytes, body: bytes, times: int) -> bytes | None:
        waiting.append((cookie, body))
        if len(waiting) == 50:
            for one, asked in reversed(waiting):
                made.transport.sendto(b"%b %b" % (one, encode({"result": "ok", "echo": asked.decode()})), address)
        return None

    async with relay(last_first) as (made, client):
        client._open()
        assert client._socket is not None
        address = client._socket.getsockname()
        answers = await asyncio.gather(*(client.ask(query(f"call-{number}")) for number in range(50)))
        for number, told in enumerate(answers):
            assert f"call-{number}e" in str(told["echo"])
        assert client.in_flight == 0


async def test_many_are_asked_together_and_what_fails_is_told_in_its_place() -> None:
    def reply(cookie: bytes, body: bytes, times: int) -> bytes | None:
        if b"silent" in body:
            return None
        refused = {"result": "error", "error-reason": "Unknown call-id"}
        return cookie + b" " + encode(refused if b"gone" in body else {"result": "ok", "echo": body.decode()})

    names = [f"call-{number}" for number in range(5000)]
    names[17], names[4000] = "gone", "silent"
    async with relay(reply, resend_s=(0.2, 0.4)) as (_, client):
        found = await client.ask_many(query(name) for name in names)
        assert (client.in_flight, client._under_way) == (0, 0)
    assert isinstance(found[17], UnknownCallError)
    assert isinstance(found[4000], UnavailableError)
    for name, one in zip(names, found, strict=True):
        if name.startswith("call"):
            assert isinstance(one, dict)
            assert f"{name}e" in str(one["echo"])


async def test_what_is_lost_is_sent_again_with_the_same_cookie() -> None:
    async with relay(lambda cookie, _, times: cookie + b" " + PONG if times == 3 else None, resend_s=(0.02,) * 6) as (
        made,
        client,
    ):
        assert (await client.ask(ping()))["result"] == "pong"
        assert list(made.seen.values()) == [3]
        assert client.resent == 2


async def test_a_silent_call_holds_up_no_other() -> None:
    def reply(cookie: bytes, body: bytes, times: int) -> bytes | None:
        return None if b"silent" in body else cookie + b" " + PONG

    async with relay(reply, resend_s=(0.1,) * 3) as (_, client):
        silent = [asyncio.create_task(client.ask(query("silent"))) for _ in range(5)]
        for _ in range(20):
            async with asyncio.timeout(30):
                await client.ask(ping())
        assert not any(task.done() for task in silent) or client.resent > 0
        for found in await asyncio.gather(*silent, return_exceptions=True):
            assert isinstance(found, UnavailableError)


async def test_a_relay_that_answers_nothing_is_given_up_in_time_however_many_ask() -> None:
    async with relay(lambda *_: None, resend_s=(0.05, 0.05)) as (_, client):
        async with asyncio.timeout(60):
            found = await asyncio.gather(*(client.ask(ping()) for _ in range(10 * WINDOW)), return_exceptions=True)
        assert {type(one) for one in found} == {UnavailableError}
        assert (client.in_flight, client._under_way) == (0, 0)


async def test_what_nobody_asked_for_is_counted_and_nothing_else() -> None:
    def reply(cookie: bytes, _: bytes, times: int) -> bytes | None:
        for stray in (b"", b"no-cookie", b"x_1 " + PONG, cookie + b" " + PONG, cookie + b" " + PONG):
            made.transport.sendto(stray, address)
        return None

    async with relay(reply) as (made, client):
        client._open()
        assert client._socket is not None
        address = client._socket.getsockname()
        await client.ask(ping())
        await client.ask(ping())
        assert client.strays >= 4


async def test_a_port_where_nobody_listens() -> None:
    async with NgClient("127.0.0.1", 9, resend_s=(0.02, 0.02)) as client:
        with pytest.raises(UnavailableError, match="no answer"):
            await client.ask(ping())


async def test_a_cancelled_request_leaves_nothing_behind() -> None:
    async with relay(lambda *_: None) as (_, client):
        task = asyncio.create_task(client.ask(ping()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (client.in_flight, client._under_way) == (0, 0)


async def test_closing_ends_what_is_in_flight() -> None:
    async with relay(lambda *_: None) as (_, client):
        task = asyncio.create_task(client.ask(ping()))
        await asyncio.sleep(0)
        client.close()
        with pytest.raises(UnavailableError, match="closed"):
            await task


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"result": "error", "error-reason": "Unknown call-id"}, UnknownCallError),
        ({"result": "error", "error-reason": "Failed to parse SDP"}, RelayError),
        ({"result": "error"}, RelayError),
        ({"ok": 1}, InputError),
        ([], InputError),
        ({"result": 1}, InputError),
    ],
)
def test_errors_have_types(body: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(encode(body), "rtpengine 127.0.0.1:2223")


def test_requests() -> None:
    flags = Flags(("trust address",), ("origin",), {"transcode": ("opus",)}, {"ICE": "remove"}, ("demux",), ("decode",))
    assert offer("c", "a", "v=0", flags) == {
        "command": "offer", "call-id": "c", "from-tag": "a", "sdp": "v=0", "ICE": "remove",
        "flags": ["trust address"], "replace": ["origin"], "rtcp-mux": ["demux"], "T.38": ["decode"],
        "codec": {"transcode": ["opus"]},
    }  # fmt: skip
    assert answer("c", "a", "b", "v=0")["to-tag"] == "b"
    assert delete("c") == {"command": "delete", "call-id": "c", "delete delay": 0}
    assert delete("c", "a")["from-tag"] == "a"
    assert subscribe_request("c", "t") == {
        "command": "subscribe request", "call-id": "c", "to-tag": "t", "flags": ["all"],
    }  # fmt: skip
    assert subscribe_request("c", "t", ["a"])["from-tags"] == ["a"]
    assert subscribe_answer("c", "t", "v=0")["sdp"] == "v=0"
    assert unsubscribe("c", "t") == {"command": "unsubscribe", "call-id": "c", "to-tag": "t"}
    assert (ping(), statistics()) == ({"command": "ping"}, {"command": "statistics"})
    assert call_ids({"calls": ["a"], "result": "ok"}) == ("a",)
    assert call_ids({"result": "ok"}) == ()
    with pytest.raises(InputError):
        list_calls(0)
    assert unpack(pack(b"c_1", ping())) == (b"c_1", encode({"command": "ping"}))
