"""Operation `voice-trace`: reads the proxy's ports for a limited time, and tells one call.

Arguments: `call` (a Call-ID) or `user` (whose next call), `seconds` at most (30). Result: `rows`, `names` (address ->
proxy), `call`, `over`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import CancelledError, InputError, RefusedError
from sip.calling.documents import Traced
from sip.operations import TRACE
from sip.tracing.capture import Capture
from sip.tracing.packets import Reader
from sip.tracing.selection import Selection, rows

MAX_SECONDS: Final = 240
_DEFAULT_SECONDS: Final = 30
_AFTER_S: Final = 1.0
"""For what follows the end of a call: an ACK, a BYE to the other side."""


class Trace:
    """`know` tells the proxies of this appliance."""

    def __init__(self, know: Callable[[], Sequence[Traced]]) -> None:
        self._know = know

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002 - the contract's
        """Raises InputError, RefusedError (no proxy here), UnavailableError, CancelledError."""
        call, user, seconds = _asked(arguments)
        proxies = self._know()
        if not proxies:
            raise RefusedError("no proxy runs on this appliance", where=TRACE, remedy="see nf sip nodes")
        names = {str(address): one.id for one in proxies for address in one.addresses}
        selection = Selection(call=call, user=user, addresses=frozenset(names))
        stop = threading.Event()
        watching = asyncio.create_task(asyncio.to_thread(_watch, proxies, selection, seconds, stop))
        try:
            while not watching.done():
                if context.cancel.is_set():
                    raise CancelledError("cancelled", where=TRACE)
                count = len(selection.messages)
                context.progress(0.0, f"{count} message{'s' * (count != 1)} of {selection.call or 'no call yet'}")
                await asyncio.wait({watching}, timeout=0.2)
        finally:
            stop.set()
            await watching
        hidden = sorted({port for one in proxies for port in one.hidden})
        told = rows(selection)
        text = f"{len(told)} messages" if told else f"nothing of it was seen within {seconds:.0f} s"
        if hidden:
            text += f"; what passes ports {', '.join(map(str, hidden))} is encrypted and not seen"
        over = selection.over_at is not None
        return {"rows": told, "names": {**names}, "call": selection.call, "over": over, "text": text}


def _watch(proxies: Sequence[Traced], selection: Selection, seconds: float, stop: threading.Event) -> None:
    reader, ends = Reader(), time.monotonic() + seconds

    def more() -> bool:
        over = selection.over_at
        return not stop.is_set() and time.monotonic() < ends and (over is None or time.time() < over + _AFTER_S)

    def take(packet: bytes, at: float) -> None:
        for seen in reader.receive(packet, at):
            selection.take(seen)

    with Capture(port for one in proxies for port in one.ports) as capture:
        capture.read(take, more)


def _asked(arguments: JsonObject) -> tuple[str, str, float]:
    call, user = arguments.get("call", ""), arguments.get("user", "")
    seconds = arguments.get("seconds", _DEFAULT_SECONDS)
    if not isinstance(call, str) or not isinstance(user, str) or bool(call) == bool(user):
        raise InputError("takes one of `call` and `user`", where=TRACE, remedy="name a Call-ID, or whose next call")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 1 <= seconds <= MAX_SECONDS:
        raise InputError(f"`seconds` is a number from 1 to {MAX_SECONDS}", where=TRACE)
    return call, user, float(seconds)
