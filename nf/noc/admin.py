"""The NocAdmin service: what those who look after the NOC itself call."""

# Names and signatures are those of the RPCs.
# ruff: noqa: N802, ARG002

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc

from nf.control.authorization import current_peer
from nf.control.v1 import admin_pb2 as pb
from nf.control.v1 import admin_pb2_grpc, noc_pb2
from nf.noc.adoption import Adoption
from nf.noc.node import Node
from nf.noc.replica import Replica
from nf.noc.support import Support

_PIECE_BYTES: Final = 256 * 1024

Context = grpc.aio.ServicerContext[Any, Any]


class NocAdminService(admin_pb2_grpc.NocAdminServicer):
    def __init__(self, node: Node, replica: Replica | None, support: Support, adoption: Adoption) -> None:
        self._node = node
        self._replica = replica
        self._support = support
        self._adoption = adoption

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        current = self._node.lineups.current
        response = pb.GetStatusResponse(
            software_version=self._node.version,
            current_revision=current.record.revision,
            appliances=len(current.fleet.spec.appliances),
            online=len(self._node.sessions.online()),
            alarms=sum(1 for _ in self._node.telemetry.alarms()),
        )
        if self._replica is not None:
            status = self._replica.status()
            response.replica.CopyFrom(
                pb.Replica(
                    directory=status.directory,
                    copied_at=status.copied_at,
                    age_s=status.age_s,
                    stale=status.stale,
                    error=status.error,
                )
            )
        return response

    async def CollectSupport(
        self, request: pb.CollectSupportRequest, context: Context
    ) -> AsyncIterator[pb.SupportPiece]:
        """Progress, then the archive. Raises NotFoundError for an appliance that is not in the fleet."""
        names = self._support.named(tuple(request.appliances))
        listed: list[Any] = [*names]
        await self._node.book.audit(str(current_peer()), "support.collect", "noc", "done", {"appliances": listed})
        bundle = self._support.bundle()
        done = 0
        async for text in bundle.appliances(names):
            done += 1
            yield pb.SupportPiece(text=text, done=done, total=len(names))
        data = await bundle.finish()
        for start in range(0, len(data), _PIECE_BYTES):
            yield pb.SupportPiece(data=data[start : start + _PIECE_BYTES])
        yield pb.SupportPiece(sha256=hashlib.sha256(data).hexdigest())

    async def AdoptLineUp(self, request: pb.AdoptLineUpRequest, context: Context) -> pb.AdoptLineUpResponse:
        """Raises NotFoundError (the site), UnavailableError (an appliance of it is offline), RefusedError."""
        adopted = await self._adoption.run(request.site)
        target = f"site/{request.site}" if request.site else "fleet"
        await self._node.book.audit(
            str(current_peer()),
            "lineup.adopt",
            target,
            "done",
            {"channels": adopted.channels, "doubts": len(adopted.doubts)},
        )
        return pb.AdoptLineUpResponse(
            fleet=noc_pb2.DocumentText(file="fleet.yaml", text=adopted.fleet_yaml.encode()),
            lineup=noc_pb2.DocumentText(file="lineup.yaml", text=adopted.lineup_yaml.encode()),
            doubts=adopted.doubts,
            appliances=adopted.appliances,
            channels=adopted.channels,
        )
