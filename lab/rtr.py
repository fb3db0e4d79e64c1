"""A STAND-IN for an RPKI validator: it speaks RTR version 1 (RFC 8210) over TCP and says what it is told to say."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Iterable
from ipaddress import IPv4Network

Payload = tuple[IPv4Network, int, int]
"""Prefix, longest length, AS number."""

_VERSION, _SESSION = 1, 4711
_HEAD = struct.Struct("!BBHI")
_NOTIFY, _SERIAL, _RESET, _RESPONSE, _IPV4, _END, _CACHE_RESET = 0, 1, 2, 3, 4, 7, 8
_REFRESH_S, _RETRY_S, _EXPIRE_S = 3600, 10, 7200


def prefix_pdu(payload: Payload, *, announce: bool = True) -> bytes:
    """Section 5.6."""
    prefix, longest, origin = payload
    body = struct.pack("!BBBB4sI", announce, prefix.prefixlen, longest, 0, prefix.network_address.packed, origin)
    return _HEAD.pack(_VERSION, _IPV4, 0, _HEAD.size + len(body)) + body


class RtrServer:
    """Whoever asks for what changed is told all of it (cache reset, section 5.9)."""

    def __init__(self, payloads: Iterable[Payload]) -> None:
        self._payloads = list(payloads)
        self._serial = 1
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()

    async def start(self, address: str, port: int) -> None:
        """Raises OSError."""
        self._server = await asyncio.start_server(self._serve, address, port)

    async def stop(self) -> None:
        for writer in tuple(self._clients):
            writer.close()
        if self._server is not None:
            self._server.close()

    async def change(self, payloads: Iterable[Payload]) -> None:
        """From now on it says these, and tells everybody that there is something new (serial notify, section 5.2)."""
        self._payloads = list(payloads)
        self._serial += 1
        for writer in tuple(self._clients):
            writer.write(_HEAD.pack(_VERSION, _NOTIFY, _SESSION, 12) + self._serial.to_bytes(4, "big"))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                _, kind, _, length = _HEAD.unpack(await reader.readexactly(_HEAD.size))
                body = await reader.readexactly(length - _HEAD.size)
                if kind == _RESET:
                    writer.write(self._everything())
                elif kind == _SERIAL and int.from_bytes(body, "big") != self._serial:
                    writer.write(_HEAD.pack(_VERSION, _CACHE_RESET, 0, _HEAD.size))
                elif kind == _SERIAL:
                    writer.write(_HEAD.pack(_VERSION, _RESPONSE, _SESSION, _HEAD.size) + self._end())
        self._clients.discard(writer)
        writer.close()

    def _everything(self) -> bytes:
        found = b"".join(map(prefix_pdu, self._payloads))
        return _HEAD.pack(_VERSION, _RESPONSE, _SESSION, _HEAD.size) + found + self._end()

    def _end(self) -> bytes:
        body = struct.pack("!IIII", self._serial, _REFRESH_S, _RETRY_S, _EXPIRE_S)
        return _HEAD.pack(_VERSION, _END, _SESSION, _HEAD.size + len(body)) + body
