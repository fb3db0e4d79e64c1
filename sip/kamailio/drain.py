"""Operation `drain` of the driver `kamailio`: no new calls at this proxy, until few enough are left.

Arguments: `limit` calls that may be left (0), `wait_s` to wait at most (600), `end` true: it takes calls again, nothing
else. It stays drained afterwards, over restarts too, until it is ended; when it is not drained in time or cancelled it
takes calls again, unless `keep` is true. Emergency calls are taken all the while, and registrations. Result: `calls`
left, `before`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import Json, JsonObject
from nf.errors import CancelledError, DeadlineError, InputError, NfError, RefusedError
from sip.kamailio import pushing
from sip.kamailio.live import Calls, read_calls
from sip.kamailio.places import DRAINED_FILE, Places
from sip.kamailio.rpc import RpcClient
from sip.naming import DRAIN

WAIT_S: Final = 600.0
_LONGEST_S: Final = 86_400.0
_POLL_S: Final = 1.0
_BEFORE, _UNTIL = "before", "until"


class Drain:
    """`find_proxy`: the name of the proxy here; empty: there is none."""

    def __init__(self, rpc: Callable[[], RpcClient], places: Places, find_proxy: Callable[[], str]) -> None:
        self._rpc = rpc
        self._places = places
        self._find_proxy = find_proxy

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        """Raises InputError, RefusedError (no proxy is here), DeadlineError and CancelledError."""
        name = self._find_proxy()
        if not name:
            raise RefusedError("no proxy is on this appliance", where=DRAIN, remedy="see nf lineup show")
        if flag(arguments, "end"):
            await self._set(drained=False)
            return {"text": f"{name} takes new calls", "calls": _count(await read_calls(self._rpc()))}
        limit, wait_s = int(number(arguments, "limit", 0.0)), number(arguments, "wait_s", WAIT_S)
        found, keep = checkpoint.data.get(_UNTIL), flag(arguments, "keep")
        until = float(found) if isinstance(found, int | float) else context.clock.now() + wait_s
        await self._set(drained=True)
        drained = False
        try:
            result = await self._wait(name, limit, until, checkpoint, context)
            drained = True
            return result
        finally:
            if not drained and not keep:
                await self._set(drained=False)

    async def _set(self, *, drained: bool) -> None:
        """The file first: a proxy that is started again in between asks it. Whoever does not answer now is told so by
        its keeper when it does."""
        file = self._places.file(DRAINED_FILE)
        if drained:
            self._places.write(DRAINED_FILE, "drained\n")
        else:
            file.unlink(missing_ok=True)
        await pushing.set_drain(self._rpc(), drained=drained)

    async def _wait(self, name: str, limit: int, until: float, checkpoint: Checkpoint, context: Context) -> JsonObject:
        left = await self._calls(0)
        found = checkpoint.data.get(_BEFORE)
        before = found if isinstance(found, int) else left
        checkpoint.save({_BEFORE: before, _UNTIL: until})
        while left > limit:
            if context.cancel.is_set():
                raise CancelledError(f"cancelled with {left:,} calls left", where=name)
            if context.clock.now() >= until:
                raise DeadlineError(
                    f"{left:,} of {before:,} calls are left, more than {limit:,}",
                    where=name,
                    remedy="wait longer (wait_s), allow more (limit): calls go on over a restart",
                )
            context.progress(fraction(before, left, limit), f"{left:,} calls left on {name}")
            await context.clock.sleep(_POLL_S)
            left = await self._calls(left)
        context.progress(1.0, f"{left:,} calls left on {name}")
        return {"text": f"{name} is drained: {left:,} calls left", "calls": left, "before": before}

    async def _calls(self, known: int) -> int:
        """As many as before while it does not answer, as when it is just being started again."""
        try:
            return _count(await read_calls(self._rpc()))
        except RefusedError:
            raise
        except NfError:
            return max(known, 1)


def _count(calls: Calls) -> int:
    return calls.unanswered + calls.up


def fraction(before: int, left: int, limit: int) -> float:
    whole = before - limit
    return min(1.0, max(0.0, (before - left) / whole)) if whole > 0 else 1.0


def number(arguments: JsonObject, name: str, default: float) -> float:
    value: Json = arguments.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _LONGEST_S:
        raise InputError(f"`{name}` is a number from 0 to {_LONGEST_S:,.0f}", where=DRAIN, remedy="leave it out")
    return float(value)


def flag(arguments: JsonObject, name: str) -> bool:
    value = arguments.get(name, False)
    if not isinstance(value, bool):
        raise InputError(f"`{name}` is true or false", where=DRAIN, remedy="leave it out, or write true")
    return value
