"""Calls to the NocAdmin service as the operator of the profile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nf.cli.client import CALL_TIMEOUT_S, connected, run

if TYPE_CHECKING:
    from nf.control.v1.admin_pb2_grpc import NocAdminAsyncStub

_Response = TypeVar("_Response")


@asynccontextmanager
async def admin(profile: Path | None = None) -> AsyncIterator[NocAdminAsyncStub]:
    """As `nf.cli.client.noc`, for the calls of those who look after the NOC."""
    async with connected(profile) as channel:
        from nf.control.v1.admin_pb2_grpc import NocAdminStub

        yield NocAdminStub(channel)


def ask_admin(
    profile: Path | None,
    method: Callable[[NocAdminAsyncStub], Callable[..., Awaitable[_Response]]],
    request: object,
    *,
    timeout_s: float = CALL_TIMEOUT_S,
) -> _Response:
    """One question, one answer. Raises the error tree."""

    async def once() -> _Response:
        async with admin(profile) as stub:
            return await method(stub)(request, timeout=timeout_s)

    return run(once())
