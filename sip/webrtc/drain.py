"""Operation `drain` of the drivers `janus` and `turn`: nothing new is begun, until little enough is left.

Arguments: `limit` that may be left (0), `wait_s` to wait at most (600), `end` true: it takes new ones again, nothing
else. It stays drained afterwards, over restarts too, until it is ended; when it is not drained in time or cancelled it
takes new ones again, unless `keep` is true. One that its document drains stays so. Result: `left`, `before`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import NfError, RefusedError
from sip.emptying import Few, flag, limit_of, until_of, wait_until
from sip.naming import DRAIN
from sip.webrtc.daemon import Daemon
from sip.webrtc.documents import EdgeSection
from sip.webrtc.places import DRAINED_FILE, Resolve

S = TypeVar("S", bound=EdgeSection)


class Drain(Generic[S]):
    """`standing`: the section of what is here; None: nothing is."""

    def __init__(self, daemon: Daemon[S], standing: Callable[[], S | None], secrets: Resolve) -> None:
        self._daemon = daemon
        self._standing = standing
        self._secrets = secrets

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        """Raises InputError, RefusedError (nothing of the kind is here), DeadlineError and CancelledError."""
        section = self._standing()
        noun = self._daemon.words[0]
        if section is None:
            raise RefusedError(f"no {noun} is on this appliance", where=DRAIN, remedy="see nf lineup show")
        name, resolve = section.id, context.resolve_secret or self._secrets
        if flag(arguments, "end", DRAIN):
            if section.drained:
                remedy = "write drained: false there, and commit"
                raise RefusedError(f"{name} is drained by the fleet's document", where=DRAIN, remedy=remedy)
            await self._set(section, resolve, drained=False)
            return {"text": f"{name} takes new {self._daemon.words[1]}s", "left": await self._daemon.load(section)}
        keep, limit = flag(arguments, "keep", DRAIN), limit_of(arguments, DRAIN)
        until = until_of(arguments, checkpoint, context.clock.now(), DRAIN)
        await self._set(section, resolve, drained=True)
        done = False
        try:
            few = Few(limit, until, name, "", f"{self._daemon.words[1]}s")
            left, before = await wait_until(few, partial(self._load, section), checkpoint, context)
            done = True
            return {"text": f"{name} is drained: {left:,} {few.noun} left", "left": left, "before": before}
        finally:
            if not done and not keep:
                await self._set(section, resolve, drained=section.drained)

    async def _set(self, section: S, resolve: Resolve, *, drained: bool) -> None:
        """The file first: whatever starts again in between is told by it."""
        if drained:
            await asyncio.to_thread(self._daemon.places.write, DRAINED_FILE, "drained\n")
        else:
            (self._daemon.places.config / DRAINED_FILE).unlink(missing_ok=True)
        await self._daemon.tell(section, resolve, drained=drained)

    async def _load(self, section: S, known: int) -> int:
        """As much as before while it does not answer."""
        try:
            return await self._daemon.load(section)
        except NfError:
            return max(known, 1)
