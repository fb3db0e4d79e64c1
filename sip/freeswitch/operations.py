"""Operations of the driver `freeswitch`: keep new calls off until few enough are left, and tell what goes on.

`voice-drain`. Arguments: `limit` legs of calls that may be left (0), `wait_s` to wait at most (600), `hold_s` for which
it stays so afterwards, so that a commit or an update finds it drained (600), `end` true: it takes new calls again,
nothing else; `restart` true: it is ended when no call is left, as by `fsctl shutdown elegant`, and comes back as a new
process that takes calls. Result: `calls` left, `before`.

`voice-media`. Arguments: `hangup`: UUID of a leg that is to end. Result: `rows` of legs, and `rooms`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import Json, JsonObject
from nf.errors import DeadlineError, InputError, NfError, NotFoundError, RefusedError, UnavailableError
from sip.emptying import Few, flag, limit_of, number, until_of, wait_until
from sip.freeswitch.errors import CommandRefused
from sip.freeswitch.live import Asks, read_calls, read_channels, rooms_of
from sip.freeswitch.places import Places
from sip.naming import DRAIN

LIVE: Final = "voice-media"
HOLD_S: Final = 600.0
RESTART_S: Final = 90.0
MOST_ROWS: Final = 5_000

_POLL_S: Final = 1.0
_UUID: Final = re.compile(r"[0-9a-fA-F-]{1,64}")

Talk = Callable[[], AbstractAsyncContextManager[Asks]]
"""Opens the event socket. Raises RefusedError where no media server runs."""


class Drain:
    """find_server  the name of the media server here, and whether its document says that it is drained
    process      its number; None while it is not ready
    """

    def __init__(
        self,
        talk: Talk,
        places: Places,
        find_server: Callable[[], tuple[str, bool]],
        process: Callable[[], Awaitable[int | None]],
    ) -> None:
        self._process = process
        self._talk = talk
        self._places = places
        self._find_server = find_server

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        """Raises InputError, RefusedError (none runs here), DeadlineError and CancelledError: then it takes calls
        again, unless its document has it drained."""
        name, stays = self._find_server()
        if not name:
            raise RefusedError("no media server is on this appliance", where=DRAIN, remedy="see nf lineup show")
        if flag(arguments, "end", DRAIN):
            await self._open_again(stays=stays)
            told = "stays drained: the fleet's document says so" if stays else "takes new calls"
            return {"text": f"{name} {told}", "calls": await self._calls()}
        again = flag(arguments, "restart", DRAIN)
        limit, hold_s = limit_of(arguments, DRAIN), number(arguments, "hold_s", HOLD_S, DRAIN)
        now = context.clock.now()
        until = until_of(arguments, checkpoint, now, DRAIN)
        hold(self._places, max(now, until) + hold_s)
        await self._pause()
        drained = False
        try:
            few = Few(0 if again else limit, until, name, ", or restart it and drop them")
            left, before = await wait_until(few, self._calls, checkpoint, context)
            if again:
                await self._restart(name, until, context)
            drained = True
            text = f"{name} was started again without a call" if again else f"{name} is drained: {left:,} calls left"
            return {"text": text, "calls": left, "before": before}
        finally:
            if not drained:
                with contextlib.suppress(NfError):
                    await self._open_again(stays=stays)

    async def _pause(self) -> None:
        async with self._talk() as esl:
            await esl.api("fsctl pause inbound")

    async def _open_again(self, *, stays: bool) -> None:
        self._places.hold.unlink(missing_ok=True)
        if not stays:
            async with self._talk() as esl:
                await esl.api("fsctl resume inbound")

    async def _restart(self, name: str, until: float, context: Context) -> None:
        """It ends by itself, also when the agent does not see it; whoever supervises it starts it again."""
        before = await self._process()
        async with self._talk() as esl:
            with contextlib.suppress(UnavailableError):
                await esl.api("fsctl shutdown elegant")
        self._places.hold.unlink(missing_ok=True)
        while await self._process() in {before, None}:
            if context.clock.now() >= until + RESTART_S:
                raise DeadlineError("it did not come back", where=name, remedy="read the log of the unit freeswitch")
            await context.clock.sleep(_POLL_S)

    async def _calls(self, _known: int = 0) -> int:
        async with self._talk() as esl:
            return await read_calls(esl)


class LiveCalls:
    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002
        """Raises InputError, NotFoundError (no such leg), RefusedError, UnavailableError."""
        leg = arguments.get("hangup")
        async with self._talk() as esl:
            if leg is not None:
                return await _hangup(esl, leg)
            channels = await read_channels(esl)
            try:
                rooms = rooms_of(await esl.api("conference list"))
            except CommandRefused:
                rooms = ()  # there are none
        rows: list[Json] = [
            {
                "uuid": one.uuid,
                "direction": one.direction,
                "began": one.at,
                "state": one.state,
                "caller": one.caller,
                "called": one.called,
                "application": one.application,
            }
            for one in channels[:MOST_ROWS]
        ]
        listed: list[Json] = [{"name": one.name, "members": one.members} for one in rooms]
        text = f"{len(channels):,} legs, {len(rooms):,} conferences"
        return {"text": text, "legs": len(channels), "rows": rows, "rooms": listed}


async def _hangup(esl: Asks, leg: Json) -> JsonObject:
    if not isinstance(leg, str) or _UUID.fullmatch(leg) is None:
        raise InputError("`hangup` is the uuid of a leg", where=LIVE, remedy="take one that is listed")
    try:
        await esl.api(f"uuid_kill {leg}")
    except CommandRefused as error:
        raise NotFoundError(f"there is no leg {leg}", where=LIVE, remedy="list them again: it has ended") from error
    return {"text": f"leg {leg} is ended", "uuid": leg}


# -- the hold -------------------------------------------------------------------------------------------------------


def hold(places: Places, until: float) -> None:
    """Until then what an operation paused is no drift. `until`: seconds since the epoch."""
    places.hold.parent.mkdir(parents=True, exist_ok=True)
    places.hold.write_text(f"{until}\n")


def held(places: Places, now: float) -> bool:
    try:
        return now < float(places.hold.read_text())
    except (OSError, ValueError):
        return False
