"""Kamailio's RPC for people's tools (kamcli): datagrams as Kamailio takes them, with what `rpc_filter` lets through.

A request is read, and what was read is asked: what stands beside it in the datagram reaches nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from nf.contracts.json import Json
from nf.errors import NfError
from sip.kamailio.jsonrpc import Parameter, RpcRefused
from sip.kamailio.rpc import RpcClient

LONGEST: Final = 1 << 16
AT_ONCE: Final = 32
_INVALID: Final = -32600


def asked(data: bytes) -> tuple[str, tuple[Parameter, ...], Json] | None:
    """(method, parameters, id) of one request (JSON-RPC 2.0); None for what is none."""
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("method"), str):
        return None
    given, number = found.get("params", []), found.get("id")
    if not isinstance(given, list) or not all(isinstance(one, str | int | float) for one in given):
        return None
    if number is not None and not isinstance(number, str | int | float):
        return None
    return found["method"], tuple(given), number


async def answer(rpc: RpcClient, data: bytes) -> bytes:
    request = asked(data)
    if request is None:
        return _error(None, _INVALID, "Invalid Request")
    method, parameters, number = request
    try:
        result = await rpc.call(method, *parameters)
    except RpcRefused as error:
        return _error(number, error.code, error.reason)
    except NfError as error:
        return _error(number, 500, str(error))
    except ValueError:  # a number that JSON has not
        return _error(number, _INVALID, "Invalid Request")
    return json.dumps({"jsonrpc": "2.0", "result": result, "id": number}).encode()


def _error(number: Json, code: int, text: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "error": {"code": code, "message": text}, "id": number}).encode()


@contextlib.asynccontextmanager
async def serving(rpc: RpcClient, path: Path) -> AsyncIterator[None]:
    """At `path`, mode 0660. Raises OSError."""
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - on a file system in memory
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as own:
        own.bind(str(path))
        path.chmod(0o660)  # noqa: ASYNC240
        task = asyncio.create_task(_serve(rpc, own))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            path.unlink(missing_ok=True)  # noqa: ASYNC240


async def _serve(rpc: RpcClient, own: socket.socket) -> None:
    loop, room = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)

    async def one(data: bytes, sender: str) -> None:
        async with room:
            told = await answer(rpc, data)
            with contextlib.suppress(OSError):
                own.sendto(told, sender)

    async with asyncio.TaskGroup() as tasks:
        while True:
            data, sender = await loop.sock_recvfrom(own, LONGEST)
            if sender:  # who has no address is not waiting for an answer
                await room.acquire()
                room.release()
                tasks.create_task(one(data, sender))
