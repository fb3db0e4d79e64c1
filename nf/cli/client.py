"""Calls to the NOC as the operator of the profile."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nf.cli.profile import Profile, load_profile
from nf.errors import IdentityError, NfError, UnavailableError

if TYPE_CHECKING:
    import grpc

    from nf.control.v1.noc_pb2_grpc import NocAsyncStub

CALL_TIMEOUT_S = 15.0
PLAN_TIMEOUT_S = 180.0  # planning asks every appliance, and the NOC waits 120 s for each

_HANDSHAKE = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification", "TSI_PROTOCOL_FAILURE", "_ALERT_")
"""What gRPC's text says when TLS failed; it has no code of its own for it."""

_Response = TypeVar("_Response")
_T = TypeVar("_T")


@asynccontextmanager
async def noc(profile: Path | None = None) -> AsyncIterator[NocAsyncStub]:
    """The NOC's calls, for as long as the context lasts. RPC errors leave it as the error tree, with the address."""
    async with connected(profile) as channel:
        from nf.control.v1.noc_pb2_grpc import NocStub

        yield NocStub(channel)


@asynccontextmanager
async def connected(profile: Path | None = None) -> AsyncIterator[grpc.aio.Channel]:
    """The channel to the NOC, for whichever of its services. Errors as with `noc`."""
    # Failed handshakes would write log lines between ours; the error that follows says what matters.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from nf.control.channel import noc_channel
    from nf.control.errors import translated

    found = load_profile(profile)
    _require_valid(found)
    async with noc_channel(found.noc, found.identity) as channel:
        try:
            with translated():
                yield channel
        except UnavailableError as error:
            where = error.where or f"NOC at {found.noc}"
            if any(sign in error.message for sign in _HANDSHAKE):
                raise IdentityError(
                    f"it and your profile do not trust each other: {error.message.rpartition('last error: ')[2]}",
                    where=where,
                    remedy="use the profile that this NOC made, and the name that `nf noc init` was given as --address",
                ) from error
            error.where = where
            raise


def _require_valid(profile: Profile) -> None:
    """The NOC would end the handshake without a word."""
    from nf.cli.text import when

    if profile.identity.expired(time.time()):
        raise IdentityError(
            f"your certificate is expired since {when(profile.identity.not_after)}",
            where=str(profile.directory),
            remedy="have a new profile made on the NOC: nf operator add",
        )


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
