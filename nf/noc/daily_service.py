"""The Noc service's calls of a day's work: schedule, maintenance, replacement, wipe, drain, alarms."""

# Names and signatures are those of the RPCs.
# ruff: noqa: N802, ARG002

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import grpc

from nf.control.authorization import current_peer
from nf.control.v1 import common_pb2, noc_pb2_grpc
from nf.control.v1 import noc_pb2 as pb
from nf.errors import DeniedError, InputError
from nf.noc import drains
from nf.noc.coordinator import Order
from nf.noc.drain_first import drain_order
from nf.noc.maintenance import Window
from nf.noc.node import Node
from nf.noc.schedule import Scheduled
from nf.noc.wipe import wipe

MAX_HOLD_S: Final = 86_400

Context = grpc.aio.ServicerContext[Any, Any]


def order_of(request: pb.CommitLineUpRequest) -> Order:
    """What the caller asks for, as the caller. Raises InputError."""
    if request.confirm_within_s > MAX_HOLD_S:
        raise InputError("a commit is held for a day at most", where="confirm", remedy="choose a shorter time")
    return Order(
        kind="commit",
        author=str(current_peer()),
        comment=request.comment,
        hold_s=float(request.confirm_within_s),
        without_sites=tuple(sorted(set(request.without_sites))),
        accept_irreversible=request.accept_irreversible,
        drain=drain_order(request.drain_s, drops=request.drain_drops),
    )


class DailyService(noc_pb2_grpc.NocServicer):
    def __init__(self, node: Node) -> None:
        self._node = node

    # ---- scheduled commits ----

    async def ScheduleLineUp(self, request: pb.ScheduleLineUpRequest, context: Context) -> pb.ScheduledCommit:
        return _scheduled(await self._node.schedule.add(request, order_of(request.commit)))

    async def ListScheduled(self, request: pb.ListScheduledRequest, context: Context) -> pb.ListScheduledResponse:
        return pb.ListScheduledResponse(commits=[_scheduled(commit) for commit in self._node.schedule.list()])

    async def UnscheduleLineUp(
        self, request: pb.UnscheduleLineUpRequest, context: Context
    ) -> pb.UnscheduleLineUpResponse:
        await self._node.schedule.remove(request.id, str(current_peer()))
        return pb.UnscheduleLineUpResponse()

    # ---- maintenance ----

    async def OpenMaintenance(self, request: pb.OpenMaintenanceRequest, context: Context) -> pb.MaintenanceWindow:
        author = str(current_peer())
        window, untold = await self._node.maintenance.open(request.site, request.for_s, request.reason, author)
        return self._window(window, untold)

    async def CloseMaintenance(
        self, request: pb.CloseMaintenanceRequest, context: Context
    ) -> pb.CloseMaintenanceResponse:
        await self._node.maintenance.end(request.site, str(current_peer()))
        return pb.CloseMaintenanceResponse()

    async def ListMaintenance(self, request: pb.ListMaintenanceRequest, context: Context) -> pb.ListMaintenanceResponse:
        online = self._node.sessions.online()
        windows = self._node.maintenance.windows()
        untold = {
            w.site: tuple(a for a in self._node.maintenance.appliances(w.site) if a not in online) for w in windows
        }
        return pb.ListMaintenanceResponse(windows=[self._window(window, untold[window.site]) for window in windows])

    def _window(self, window: Window, untold: tuple[str, ...]) -> pb.MaintenanceWindow:
        return pb.MaintenanceWindow(
            site=window.site,
            author=window.author,
            reason=window.reason,
            opened_at=window.opened_at,
            until=window.until,
            appliances=self._node.maintenance.appliances(window.site),
            untold=untold,
        )

    # ---- appliances and sites ----

    async def ReplaceAppliance(
        self, request: pb.ReplaceApplianceRequest, context: Context
    ) -> pb.ReplaceApplianceResponse:
        """The old identity is dead when it is on disk; then what it has open is closed."""
        author = str(current_peer())
        done = await self._node.hardware.replace(request.appliance, request.serial, request.reason, author)
        return pb.ReplaceApplianceResponse(
            appliance=request.appliance,
            serial=done.serial,
            replaced_serial=done.replaced_serial,
            was_enrolled=done.was_enrolled,
            session_closed=self._node.forget(request.appliance),
        )

    async def WipeAppliance(self, request: pb.WipeApplianceRequest, context: Context) -> pb.WipeApplianceResponse:
        author = str(current_peer())
        done = await wipe(self._node, request.appliance, request.code, request.reason, author)
        return pb.WipeApplianceResponse(
            appliance=request.appliance,
            wiped=done.wiped,
            code=done.code,
            code_expires_s=done.expires_s,
            reboots_in_s=done.reboots_in_s,
        )

    async def DrainSite(self, request: pb.DrainSiteRequest, context: Context) -> AsyncIterator[pb.DrainEvent]:
        author = str(current_peer())
        async for event in self._node.drains.drain(request.site, request.for_s, request.reason, author):
            yield _event(event)

    async def ReturnSite(self, request: pb.ReturnSiteRequest, context: Context) -> AsyncIterator[pb.DrainEvent]:
        async for event in self._node.drains.bring_back(request.site, str(current_peer())):
            yield _event(event)

    async def ListDrains(self, request: pb.ListDrainsRequest, context: Context) -> pb.ListDrainsResponse:
        return pb.ListDrainsResponse(drains=[_drain(drain) for drain in self._node.drains.list()])

    # ---- alarms ----

    async def ListAlarms(self, request: pb.ListAlarmsRequest, context: Context) -> pb.ListAlarmsResponse:
        handling = self._node.alarm_handling
        alarms = self._node.telemetry.alarms(cleared=request.include_cleared)
        return pb.ListAlarmsResponse(alarms=[handling.message(name, alarm) for name, alarm in alarms])

    async def AcknowledgeAlarm(self, request: pb.AcknowledgeAlarmRequest, context: Context) -> common_pb2.Alarm:
        author = await self._may_handle(request.id, "AcknowledgeAlarm")
        return await self._node.alarm_handling.acknowledge(request.id, request.reason, author)

    async def ShelveAlarm(self, request: pb.ShelveAlarmRequest, context: Context) -> common_pb2.Alarm:
        author = await self._may_handle(request.id, "ShelveAlarm")
        return await self._node.alarm_handling.shelve(request.id, request.for_s, request.reason, author)

    async def UnshelveAlarm(self, request: pb.UnshelveAlarmRequest, context: Context) -> pb.UnshelveAlarmResponse:
        author = await self._may_handle(request.id, "UnshelveAlarm")
        await self._node.alarm_handling.unshelve(request.id, author)
        return pb.UnshelveAlarmResponse()

    async def _may_handle(self, alarm: str, method: str) -> str:
        """The caller. Raises NotFoundError, DeniedError when it is bound to other sites than the alarm's."""
        peer = current_peer()
        if peer.sites and await self._node.site_of(self._node.alarm_handling.about(alarm)) not in peer.sites:
            error = DeniedError(
                f"{peer.spiffe_id.name} is bound to the sites {', '.join(sorted(peer.sites))}",
                where=method,
                remedy="ask somebody who is not",
            )
            await self._node.denied(str(peer), method, str(error))
            raise error
        return str(peer)


def _scheduled(commit: Scheduled) -> pb.ScheduledCommit:
    return pb.ScheduledCommit(
        id=commit.id,
        at=commit.at,
        author=commit.author,
        comment=commit.comment,
        scheduled_at=commit.scheduled_at,
        base_revision=commit.base_revision,
        lineup_name=commit.lineup_name,
        channels=commit.channels,
        without_sites=commit.without_sites,
        confirm_within_s=int(commit.hold_s),
        state=commit.state,
        reason=commit.reason,
        accept_irreversible=commit.accept_irreversible,
        drain_s=int(commit.drain_s),
        drain_drops=commit.drain_drops,
    )


def _drain(drain: drains.Drain) -> pb.Drain:
    return pb.Drain(
        site=drain.site,
        author=drain.author,
        reason=drain.reason,
        at=drain.at,
        until=drain.until,
        appliances=drain.appliances,
    )


def _event(event: drains.Event) -> pb.DrainEvent:
    return pb.DrainEvent(
        appliance=event.appliance,
        state=event.state,
        done=event.done,
        total=event.total,
        text=event.text,
        drain=_drain(event.drain) if event.drain is not None else None,
    )
