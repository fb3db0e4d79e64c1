"""Relays that get no new call by an operator's word: kept beside the tables, over restarts, till they are let go.

Operation `voice-hold-relays`. Arguments: `relays` (ids), `held` true or false, `last` true: also when no relay is left
then. Calls that a relay has go on; emergency calls go without a relay where there is none. Result: `held` (ids).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Final

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import DriverError, InputError, NotFoundError, RefusedError
from sip.kamailio import pushing
from sip.kamailio.documents import KamailioSection
from sip.kamailio.places import HELD_FILE, Places
from sip.kamailio.rpc import RpcClient
from sip.operations import HOLD_RELAYS

_POLL_S: Final = 0.2
_DONE_S: Final = 15.0


class HoldRelays:
    def __init__(
        self, rpc: Callable[[], RpcClient], places: Places, know: Callable[[], KamailioSection | None]
    ) -> None:
        self._rpc = rpc
        self._places = places
        self._know = know

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002 - the contract's
        """Done when the proxy says so. Raises InputError, NotFoundError, RefusedError, DriverError."""
        section = self._know()
        if section is None:
            raise RefusedError("no proxy is on this appliance", where=HOLD_RELAYS, remedy="see nf lineup show")
        names, held = _names(arguments), arguments.get("held") is True
        urls = {one.id: f"udp:{one.address}:{one.control}" for one in section.relays}
        for name in names:
            if name not in urls:
                raise NotFoundError("no such relay", where=name, remedy=f"one of: {', '.join(sorted(urls))}")
        before = pushing.held(self._places) & frozenset(urls.values())
        chosen = frozenset(urls[name] for name in names)
        wanted = before | chosen if held else before - chosen
        drained = {urls[one.id] for one in section.relays if one.drained}
        if held and not set(urls.values()) - wanted - drained and arguments.get("last") is not True:
            remedy = "let another one take calls first: nf sip undrain RELAY"
            raise RefusedError("no relay would be left, and no call but emergency calls go through", remedy=remedy)
        await asyncio.to_thread(self._places.write, HELD_FILE, json.dumps(sorted(wanted)))
        await pushing.push(self._rpc(), self._places)
        await self._effective(wanted | drained, context)
        left = sorted(name for name, url in urls.items() if url in wanted)
        return {"held": [*left], "text": f"{section.proxy.id}: {_told(names, held=held)}"}

    async def _effective(self, wanted: Iterable[str], context: Context) -> None:
        until = context.clock.monotonic() + _DONE_S
        while True:
            live = await pushing.read_relays(self._rpc())
            if {str(one["url"]) for one in live if pushing.is_drained(one)} == {*wanted}:
                return
            if context.clock.monotonic() >= until:
                raise DriverError("the proxy uses other relays than it was told", where=HOLD_RELAYS)
            await context.clock.sleep(_POLL_S)


def _names(arguments: JsonObject) -> list[str]:
    found = arguments.get("relays")
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        raise InputError("`relays` is a list of ids", where=HOLD_RELAYS, remedy="see nf sip nodes")
    return [str(one) for one in found]


def _told(names: Iterable[str], *, held: bool) -> str:
    listed = ", ".join(sorted(names))
    return f"no new call to {listed}" if held else f"{listed} gets calls again"
