"""The Paths service: how delivery paths are at each site, and what an operator decides about them."""

# Names and signatures are those of the RPCs.
# ruff: noqa: N802, ARG002

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from typing import Any, Final

import grpc

from nf.contracts.json import JsonObject
from nf.contracts.paths import Verdict
from nf.control.authorization import current_peer
from nf.control.v1 import paths_pb2 as pb
from nf.control.v1 import paths_pb2_grpc
from nf.errors import NotFoundError, RefusedError
from nf.noc.maintenance import bounded_s, require_reason
from nf.noc.node import Node
from nf.noc.outcomes import DONE, Event
from nf.noc.policy import Look
from nf.noc.policy_records import Hold, Switch
from nf.policy.names import FAILBACK, failback_object

Context = grpc.aio.ServicerContext[Any, Any]

HOLD_S: Final = 3_600
LONGEST_HOLD_S: Final = 7 * 86_400
_SWITCHES: Final = 100


class PathsService(paths_pb2_grpc.PathsServicer):
    def __init__(self, node: Node) -> None:
        self._node = node
        self._policy = node.policy

    async def ListPaths(self, request: pb.ListPathsRequest, context: Context) -> pb.ListPathsResponse:
        """Raises NotFoundError for a channel or a site that has none."""
        found = [
            look
            for look in self._policy.looks()
            if request.channel in {"", look.spot.channel} and request.site in {"", look.spot.site}
        ]
        if not found and request.channel and request.site:
            self._policy.require(request.channel, request.site)
        if not found and (request.channel or request.site):
            where = request.channel or request.site
            raise NotFoundError("no delivery path of the current line-up", where=where, remedy="see `nf path list`")
        return pb.ListPathsResponse(channels=[_channel(look) for look in found])

    async def ListSwitches(self, request: pb.ListSwitchesRequest, context: Context) -> pb.ListSwitchesResponse:
        wanted = (
            one
            for one in reversed(self._policy.records.switches)
            if request.channel in {"", one.channel} and request.site in {"", one.site}
        )
        return pb.ListSwitchesResponse(switches=_switches(islice(wanted, request.limit or _SWITCHES)))

    async def ApproveFailback(self, request: pb.ApproveFailbackRequest, context: Context) -> pb.ApproveFailbackResponse:
        """Raises NotFoundError, RefusedError (nothing waits; the appliance refuses), UnavailableError."""
        author, key = str(current_peer()), (request.channel, request.site)
        look = self._policy.require(*key)
        local = self._policy.on_fallback(look.spot)
        if local and request.path in {"", local}:
            return await self._approve_there(look, local, author)
        state = look.record.state
        path = request.path or ("" if state is None else state.waiting)
        where = f"{request.channel}/{request.site}"
        if path not in _above(look):
            text = f"{path} is not preferred to {look.ranking.active}" if path else "no path waits for an approval"
            raise RefusedError(text, where=where, remedy=f"see `nf path show {request.channel} --site {request.site}`")
        health = {one.path: one for one in look.health}
        if health[path].verdict is not Verdict.UP:
            told = f"{path} is {health[path].verdict.value}: {health[path].reason}"
            raise RefusedError(told, where=where, remedy="approve it when it is up")
        await self._node.book.audit(author, "path.approve", f"path/{where}", "done", {"path": path})
        after = await self._policy.approve(key, path, author)
        back = after.ranking.active == path
        text = f"{path} is taken again" if back else f"{path} is taken when it has been up for long enough"
        return pb.ApproveFailbackResponse(channel=_channel(after), path=path, text=text)

    async def _approve_there(self, look: Look, path: str, author: str) -> pb.ApproveFailbackResponse:
        """At the appliance that has taken the path's fallback: it alone knows when its input is sound."""
        channel, site = look.spot.channel, look.spot.site
        arguments: JsonObject = {"channel": channel, "path": path}
        last = Event()
        async for event in self._node.operations.run(FAILBACK, failback_object(channel, site), arguments, author):
            last = event
        failed = next((one for one in last.outcomes if one.state != DONE), None)
        if failed is not None:
            raise RefusedError(failed.text, where=f"{failed.appliance}: {failed.state}", remedy="see `nf path show`")
        told = next(iter(last.outcomes))
        return pb.ApproveFailbackResponse(
            channel=_channel(look), path=path, appliance=told.appliance, text=told.text or "it has been told"
        )

    async def HoldPaths(self, request: pb.HoldPathsRequest, context: Context) -> pb.ChannelAtSite:
        """Raises NotFoundError, InputError."""
        reason, author = require_reason(request.reason), str(current_peer())
        now = self._node.clock.now()
        hold = Hold(author, reason, now, now + bounded_s(request.for_s, HOLD_S, LONGEST_HOLD_S))
        self._policy.require(request.channel, request.site)
        where = f"path/{request.channel}/{request.site}"
        await self._node.book.audit(author, "path.hold", where, "done", {"reason": reason, "until": hold.until})
        return _channel(await self._policy.hold((request.channel, request.site), hold))

    async def ReleasePaths(self, request: pb.ReleasePathsRequest, context: Context) -> pb.ChannelAtSite:
        """Raises NotFoundError, RefusedError."""
        look = self._policy.require(request.channel, request.site)
        where = f"{request.channel}/{request.site}"
        if look.record.hold is None:
            raise RefusedError("nobody holds it", where=where, remedy="see `nf path list`")
        await self._node.book.audit(str(current_peer()), "path.release", f"path/{where}", "done", {})
        return _channel(await self._policy.hold((request.channel, request.site), None))


def _above(look: Look) -> tuple[str, ...]:
    """The paths that are preferred to the active one."""
    names = [at.path.id for at in look.spot.paths]
    active = look.record.state.active if look.record.state is not None else ""
    return tuple(names[: names.index(active)]) if active in names else ()


def _channel(look: Look) -> pb.ChannelAtSite:
    state, ranking, hold = look.record.state, look.ranking, look.record.hold
    health = {one.path: one for one in look.health}
    preference = {at.path.id: number for number, at in enumerate(look.spot.paths, 1)}
    scrambled = {at.path.id: at.path.scrambled for at in look.spot.paths}
    message = pb.ChannelAtSite(
        channel=ranking.channel,
        site=ranking.site,
        active=ranking.active,
        alert=ranking.alert,
        number=ranking.number,
        phase="" if state is None else state.phase.value,
        waiting="" if state is None else state.waiting,
        follows=look.record.follows,
        reason=look.record.reason,
        barred=look.barred,
        switches=0 if state is None else len(state.switches),
        max_per_hour=look.spot.failover.max_per_hour,
        paths=[
            pb.PathState(
                path=name,
                type=health[name].type,
                verdict=health[name].verdict.value,
                reason=health[name].reason,
                since=health[name].since,
                preference=preference[name],
                scrambled=scrambled[name],
            )
            for name in ranking.paths
        ],
    )
    if hold is not None:
        message.hold.CopyFrom(pb.PathHold(**asdict(hold)))
    return message


def _switches(found: Iterable[Switch]) -> list[pb.PathSwitch]:
    return [pb.PathSwitch(**asdict(one)) for one in found]
