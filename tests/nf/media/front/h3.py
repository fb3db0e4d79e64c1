"""A client of HTTP/3 that is not ours: aioquic's."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamReset

REJECTED = 0x10B
"""H3_REQUEST_REJECTED: not begun, so to be asked again elsewhere (RFC 9114 section 4.1.1)."""


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class _Client(QuicConnectionProtocol):
    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)  # type: ignore[arg-type]
        self.http = H3Connection(self._quic)
        self.answers: dict[int, Answer] = {}
        self.done: dict[int, asyncio.Event] = {}

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamReset) and event.error_code == REJECTED and event.stream_id in self.done:
            self.done[event.stream_id].set()
        if isinstance(event, ConnectionTerminated):
            for done in self.done.values():
                done.set()
        for told in self.http.handle_event(event):
            if isinstance(told, HeadersReceived):
                headers = {name.decode(): value.decode() for name, value in told.headers}
                answer = self.answers[told.stream_id]
                answer.status, answer.headers = int(headers[":status"]), headers
            if isinstance(told, DataReceived):
                self.answers[told.stream_id].body += told.data
            if isinstance(told, HeadersReceived | DataReceived) and told.stream_ended:
                self.done[told.stream_id].set()

    async def ask(self, host: str, path: str, method: str) -> Answer:
        stream = self._quic.get_next_available_stream_id()
        self.answers[stream], self.done[stream] = Answer(), asyncio.Event()
        head = {":method": method, ":scheme": "https", ":authority": host, ":path": path}
        self.http.send_headers(stream, [(n.encode(), v.encode()) for n, v in head.items()], end_stream=True)
        self.transmit()
        async with asyncio.timeout(30):
            await self.done[stream].wait()
        return self.answers[stream]


async def fetch_h3(
    address: str, port: int, host: str, path: str, *, method: str = "GET", times: int = 1
) -> list[Answer]:
    """So many requests, one after another, over as few connections as the server allows: one that it goes away from
    (GOAWAY, RFC 9114 section 5.2) is followed by another."""
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, server_name=host, verify_mode=ssl.CERT_NONE
    )
    answers: list[Answer] = []
    while len(answers) < times:
        async with connect(address, port, configuration=configuration, create_protocol=_Client) as client:
            assert isinstance(client, _Client)
            while len(answers) < times:
                answer = await client.ask(host, path, method)
                if answer.status == 0:
                    break
                answers.append(answer)
    return answers
