"""Operation `drain` of the driver `kamailio`: no new calls at this proxy, until few enough are left.

Arguments: `limit` calls that may be left (0), `wait_s` to wait at most (600), `end` true: it takes calls again, nothing
else. It stays drained afterwards, over restarts too, until it is ended; when it is not drained in time or cancelled it
takes calls again, unless `keep` is true. Emergency calls are taken all the while, and registrations. Result: `calls`
left, `before`.
"""

from __future__ import annotations

from collections.abc import Callable

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import NfError, RefusedError
from sip.emptying import Few, flag, limit_of, until_of, wait_until
from sip.kamailio import pushing
from sip.kamailio.live import Calls, read_calls
from sip.kamailio.places import DRAINED_FILE, Places
from sip.kamailio.rpc import RpcClient
from sip.naming import DRAIN


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
        if flag(arguments, "end", DRAIN):
            await self._set(drained=False)
            return {"text": f"{name} takes new calls", "calls": _count(await read_calls(self._rpc()))}
        keep, limit = flag(arguments, "keep", DRAIN), limit_of(arguments, DRAIN)
        until = until_of(arguments, checkpoint, context.clock.now(), DRAIN)
        await self._set(drained=True)
        drained = False
        try:
            few = Few(limit, until, name, ": calls go on over a restart")
            left, before = await wait_until(few, self._calls, checkpoint, context)
            drained = True
            return {"text": f"{name} is drained: {left:,} calls left", "calls": left, "before": before}
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
