"""Operation `drain` of the driver `open5gs`: waits until few enough sessions are left on the UPF to restart it.

Arguments: `limit` sessions that may be left (0), `wait_s` to wait at most (240), `admit` true: new sessions are let in
meanwhile, `hold_s` for which they are kept off afterwards too, so that a commit finds it drained (600), `keep` true: at
the end of the wait it is done with what is left, and goes on keeping new ones off; `end` true: it takes new sessions
again, nothing else. Result: `sessions` or `left`, the same number, and `before`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import Final

from core5g.open5gs import gate
from core5g.open5gs.documents import ManagedFunction
from core5g.open5gs.poller import InfoClient, session_count
from core5g.open5gs.units import info_address, server_of
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import Json, JsonObject
from nf.errors import CancelledError, DeadlineError, DriverError, InputError, RefusedError, UnavailableError

DRAIN: Final = "drain"
WAIT_S: Final = 240.0
HOLD_S: Final = 600.0
_LONGEST_S: Final = 86_400.0
_POLL_S: Final = 1.0
_BEFORE, _UNTIL = "before", "until"

FindUpf = Callable[[], Awaitable[ManagedFunction | None]]


class Drain:
    """`find_upf` tells the UPF that runs on this appliance."""

    def __init__(self, find_upf: FindUpf) -> None:
        self._find_upf = find_upf
        self._ended = asyncio.Event()

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        """Raises InputError, RefusedError (no UPF runs here), DeadlineError and CancelledError: then new sessions are
        let in again."""
        upf = await self._find_upf()
        if _flag(arguments, "end"):
            return await self._end(upf)
        if upf is None:
            raise RefusedError("no UPF runs on this appliance", where=DRAIN, remedy="see nf lineup show")
        limit, hold_s = int(_number(arguments, "limit", 0.0)), _number(arguments, "hold_s", HOLD_S)
        wait_s, now = _number(arguments, "wait_s", WAIT_S), context.clock.now()
        found = checkpoint.data.get(_UNTIL)
        until = float(found) if isinstance(found, int | float) else now + wait_s
        keep_off, keep = not _flag(arguments, "admit"), _flag(arguments, "keep")
        if keep_off:
            await gate.close(_n4(upf), max(1.0, until - now) + hold_s)
        drained = False
        try:
            result = await self._wait(upf, limit, until, checkpoint, context, keep=keep)
            drained = True
            return result
        finally:
            if keep_off and not drained:
                await gate.open_again()

    async def _end(self, upf: ManagedFunction | None) -> JsonObject:
        """Also where the UPF is gone by now, or does not say how many sessions it has."""
        self._ended.set()
        self._ended = asyncio.Event()
        await gate.open_again()
        if upf is None:
            return {"text": "no UPF runs here any more; nothing is kept off"}
        try:
            return {"text": f"{upf.name} takes new sessions", "sessions": await _sessions(upf)}
        except DriverError as error:
            return {"text": f"{upf.name} takes new sessions; {error.message}"}

    async def _wait(
        self,
        upf: ManagedFunction,
        limit: int,
        until: float,
        checkpoint: Checkpoint,
        context: Context,
        *,
        keep: bool,
    ) -> JsonObject:
        ended = self._ended
        left = await _sessions(upf)
        found = checkpoint.data.get(_BEFORE)
        before = found if isinstance(found, int) else left
        checkpoint.save({_BEFORE: before, _UNTIL: until})
        while left > limit:
            if context.cancel.is_set() or ended.is_set():
                raise CancelledError(f"cancelled with {left:,} sessions left", where=upf.name)
            if context.clock.now() >= until:
                if keep:
                    break
                raise DeadlineError(
                    f"{left:,} of {before:,} sessions are left, more than {limit:,}",
                    where=upf.name,
                    remedy="wait longer (wait_s), allow more (limit), or restart it and drop them",
                )
            context.progress(_fraction(before, left, limit), f"{left:,} sessions left on {upf.name}")
            await context.clock.sleep(_POLL_S)
            left = await _sessions(upf)
        context.progress(1.0, f"{left:,} sessions left on {upf.name}")
        done = "is drained" if left <= limit else "is not drained in time"
        text = f"{upf.name} {done}: {left:,} of {before:,} sessions left"
        return {"text": text, "sessions": left, "left": left, "before": before}


async def _sessions(upf: ManagedFunction) -> int:
    """Raises DriverError when it does not tell."""
    try:
        count = session_count("upf", await InfoClient(info_address(upf)).metrics())
    except UnavailableError as error:
        raise DriverError(f"its sessions cannot be counted: {error.message}", where=upf.name) from error
    if count is None:
        raise DriverError("it does not tell how many sessions it has", where=upf.name)
    return count


def _n4(upf: ManagedFunction) -> IPv4Address:
    server = server_of(upf.config, "upf", "pfcp")
    if server is None:
        raise DriverError("its file has no address for PFCP", where=upf.name)
    return IPv4Address(str(server["address"]))


def _fraction(before: int, left: int, limit: int) -> float:
    whole = before - limit
    return min(1.0, max(0.0, (before - left) / whole)) if whole > 0 else 1.0


def _number(arguments: JsonObject, name: str, default: float) -> float:
    value: Json = arguments.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _LONGEST_S:
        raise InputError(f"`{name}` is a number from 0 to {_LONGEST_S:,.0f}", where=DRAIN, remedy="leave it out")
    return float(value)


def _flag(arguments: JsonObject, name: str) -> bool:
    value = arguments.get(name, False)
    if not isinstance(value, bool):
        raise InputError(f"`{name}` is true or false", where=DRAIN, remedy="leave it out, or write true")
    return value
