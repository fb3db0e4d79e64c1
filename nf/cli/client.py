"""Calls to the NOC as the operator of the profile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nf.cli.profile import load_profile
from nf.errors import NfError, UnavailableError

if TYPE_CHECKING:
    from nf.control.v1.noc_pb2_grpc import NocAsyncStub

CALL_TIMEOUT_S = 15.0
PLAN_TIMEOUT_S = 120.0  # planning asks every appliance

_Response = TypeVar("_Response")
_T = TypeVar("_T")


@asynccontextmanager
async def noc(profile: Path | None = None) -> AsyncIterator[NocAsyncStub]:
    """The NOC's calls, for as long as the context lasts. RPC errors leave it as the error tree, with the address."""
    from nf.control.channel import noc_channel
    from nf.control.errors import translated
    from nf.control.v1.noc_pb2_grpc import NocStub

    found = load_profile(profile)
    async with noc_channel(found.noc, found.identity) as channel:
        try:
            with translated():
                yield NocStub(channel)
        except UnavailableError as error:
            error.where = error.where or f"NOC at {found.noc}"
            raise


def run(work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(work)


def ask(
    profile: Path | None,
    method: Callable[[NocAsyncStub], Callable[..., Awaitable[_Response]]],
    request: object,
    *,
    timeout_s: float = CALL_TIMEOUT_S,
) -> _Response:
    """One question, one answer. Raises the error tree."""

    async def once() -> _Response:
        async with noc(profile) as stub:
            return await method(stub)(request, timeout=timeout_s)

    return run(once())


async def poll(
    stub: NocAsyncStub,
    method: Callable[[NocAsyncStub], Callable[..., Awaitable[_Response]]],
    request: object,
    interval_s: float,
) -> AsyncIterator[_Response]:
    """The answer again and again, `interval_s` from one question to the next."""
    while True:
        asked = time.monotonic()
        yield await method(stub)(request, timeout=CALL_TIMEOUT_S)
        await asyncio.sleep(max(0.0, asked + interval_s - time.monotonic()))


def quick(
    profile: Path | None,
    method: Callable[[NocAsyncStub], Callable[..., Awaitable[_Response]]],
    request: object,
) -> _Response | None:
    """For completion: the answer if it comes within a second, else None; never an error."""
    try:
        return ask(profile, method, request, timeout_s=1.0)
    except (NfError, OSError, ValueError):
        return None
