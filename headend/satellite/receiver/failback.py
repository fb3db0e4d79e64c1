"""Operation `failback`: an operator lets a channel return from its fallback to the satellite, at this PoP."""

from __future__ import annotations

from headend.datapath import tell
from headend.satellite.feed.client import ServiceStatus, ask
from headend.satellite.receiver.units import Places
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import InputError, RefusedError, UnavailableError


class FailbackOperation:
    """Arguments: `channel`, and `path`: the one that may return, or "" for whichever has left.

    The limits of policy go on: the cut is made when they allow it. Answers `{"text": ...}`.
    """

    def __init__(self, places: Places) -> None:
        self._places = places

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002 - the contract's
        """Raises RefusedError when nothing has left the satellite or it is not sound, InputError without a channel,
        UnavailableError when the feed takes no notice."""
        channel, path = str(arguments.get("channel") or ""), str(arguments.get("path") or "")
        if not channel:
            raise InputError("no channel is named", where="failback")
        found = await self._services(channel, path)
        if not found:
            remedy = "see what is received here: nf channel show"
            raise RefusedError(f"{channel} does not come by satellite here", where=path or channel, remedy=remedy)
        away = [(carrier, service) for carrier, service in found if service.input == "fallback"]
        if not away:
            raise RefusedError(f"{channel} comes by satellite", where=channel, remedy="there is nothing to approve")
        sound = [(carrier, service) for carrier, service in away if service.satellite.present]
        if not sound:
            remedy = "wait until its reception is good, then approve"
            raise RefusedError(f"{channel} does not come by the carrier", where=away[0][0], remedy=remedy)
        for carrier, service in sound:
            if not tell(self._places.directory(carrier), failback=f"{service.channel}/{service.path}"):
                raise UnavailableError("the feed does not answer", where=carrier, remedy="read the log of its unit")
        names = ", ".join(f"{service.channel}/{service.path}" for _, service in sound)
        return {"text": f"{names} may return to the satellite"}

    async def _services(self, channel: str, path: str) -> list[tuple[str, ServiceStatus]]:
        found: list[tuple[str, ServiceStatus]] = []
        for carrier in self._places.read():
            status = await ask(self._places.directory(carrier))
            services = status.services if status is not None else ()
            found += [(carrier, one) for one in services if one.channel == channel and path in ("", one.path)]
        return found
