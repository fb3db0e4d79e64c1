"""The Upgrades service: thin, between messages and `nf.noc.upgrades`."""

# Names and signatures are those of the RPCs.
# ruff: noqa: N802, ARG002

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

import grpc

from nf.control.authorization import current_peer
from nf.control.v1 import upgrade_pb2 as pb
from nf.control.v1 import upgrade_pb2_grpc
from nf.errors import InputError
from nf.noc.bundles import BundleRecord
from nf.noc.node import Node
from nf.noc.upgrade_admission import Request
from nf.noc.upgrade_plan import WAVE
from nf.noc.upgrade_records import Member, UpgradeRecord

_FARTHEST_S: Final = 366 * 86_400.0

Context = grpc.aio.ServicerContext[Any, Any]


class UpgradeService(upgrade_pb2_grpc.UpgradesServicer):
    def __init__(self, node: Node) -> None:
        self._node = node
        self._upgrades = node.upgrades

    # ---- bundles ----

    async def OfferBundle(self, request: pb.OfferBundleRequest, context: Context) -> pb.OfferBundleResponse:
        offset, known = self._upgrades.bundles.offer(request.sha256, request.size)
        return pb.OfferBundleResponse(offset=offset, bundle=None if known is None else self._bundle(known))

    async def SendBundle(self, request_iterator: AsyncIterator[pb.BundlePiece], context: Context) -> pb.Bundle:
        first = await anext(aiter(request_iterator), None)
        if first is None:
            raise InputError("nothing came", where="SendBundle")

        async def pieces() -> AsyncIterator[bytes]:
            yield first.data
            async for piece in request_iterator:
                yield piece.data

        author = str(current_peer())
        taken = await self._upgrades.bundles.take(first.sha256, first.size, first.offset, pieces())
        await self._node.book.audit(
            author,
            "bundle.bring",
            f"bundle/{taken.sha256}",
            "done",
            {"version": taken.version, "compatible": taken.compatible, "signer": taken.signer, "size": taken.size},
        )
        return self._bundle(taken)

    async def ListBundles(self, request: pb.ListBundlesRequest, context: Context) -> pb.ListBundlesResponse:
        return pb.ListBundlesResponse(bundles=[self._bundle(one) for one in self._upgrades.bundles.list()])

    async def RemoveBundle(self, request: pb.RemoveBundleRequest, context: Context) -> pb.RemoveBundleResponse:
        removed = self._upgrades.remove_bundle(request.sha256)
        await self._node.book.audit(str(current_peer()), "bundle.remove", f"bundle/{removed.sha256}", "done")
        return pb.RemoveBundleResponse(bundle=self._bundle(removed))

    def _bundle(self, record: BundleRecord) -> pb.Bundle:
        return pb.Bundle(
            sha256=record.sha256,
            size=record.size,
            compatible=record.compatible,
            role=record.role,
            version=record.version,
            format=record.format,
            signer=record.signer,
            at=record.at,
            upgrades=self._upgrades.needing(record.sha256),
        )

    # ---- upgrades ----

    async def StartUpgrade(self, request: pb.StartUpgradeRequest, context: Context) -> pb.Upgrade:
        return self._upgrade(await self._upgrades.begin(self._request(request)))

    def _request(self, request: pb.StartUpgradeRequest) -> Request:
        now = self._node.clock.now()
        at = request.at or (now + request.after_s if request.after_s else 0.0)
        if not math.isfinite(at) or (at and not now - 60 <= at <= now + _FARTHEST_S):
            raise InputError("is in the past, or more than a year ahead", where="at", remedy="name a later time")
        if not request.targets:
            raise InputError("nobody is named", where="upgrade", remedy="name roles or appliances")
        for name, seconds, most in (
            ("soak", request.soak_s, 86_400),
            ("hold", request.hold_s, 300),
            ("patience", request.patience_s, 1_200),
        ):
            if seconds > most:
                raise InputError(f"longer than {most} s", where=name, remedy="choose a shorter time")
        return Request(
            targets=tuple(request.targets),
            bundle=self._upgrades.bundles.get(request.sha256),
            author=str(current_peer()),
            reason=request.reason,
            canary=request.canary,
            wave=request.wave or WAVE,
            soak_s=request.soak_s,
            not_before=at,
            drain=request.drain,
            allow_downgrade=request.allow_downgrade,
            again=request.again,
            when_back=request.when_back,
            hold_s=request.hold_s or 60,
            patience_s=request.patience_s or 600,
        )

    async def WatchUpgrade(self, request: pb.WatchUpgradeRequest, context: Context) -> AsyncIterator[pb.Upgrade]:
        found = self._upgrades.find(request.id)
        async with aclosing(self._upgrades.watch(found.id)) as records:  # type: ignore[type-var]
            async for record in records:
                yield self._upgrade(record)

    async def ListUpgrades(self, request: pb.ListUpgradesRequest, context: Context) -> pb.ListUpgradesResponse:
        found = [one for one in self._upgrades.all() if one.open or not request.open_only]
        return pb.ListUpgradesResponse(upgrades=[self._upgrade(one) for one in found[: request.limit or 50]])

    async def PauseUpgrade(self, request: pb.PauseUpgradeRequest, context: Context) -> pb.Upgrade:
        return self._upgrade(await self._upgrades.pause(request.id, str(current_peer()), request.reason))

    async def ResumeUpgrade(self, request: pb.ResumeUpgradeRequest, context: Context) -> pb.Upgrade:
        return self._upgrade(await self._upgrades.resume(request.id, str(current_peer())))

    async def CancelUpgrade(self, request: pb.CancelUpgradeRequest, context: Context) -> pb.Upgrade:
        return self._upgrade(await self._upgrades.cancel(request.id, str(current_peer()), request.reason))

    def _upgrade(self, record: UpgradeRecord) -> pb.Upgrade:
        return pb.Upgrade(
            id=record.id,
            state=record.phase.value,
            text=record.text,
            author=record.author,
            reason=record.reason,
            created_at=record.created_at,
            not_before=record.not_before,
            ended_at=record.ended_at,
            bundle=self._bundle(record.bundle),
            wave=record.wave,
            waves=record.waves,
            soak_until=record.soak_until,
            soak_s=record.soak_s,
            drain=record.drain,
            when_back=record.when_back,
            members=[self._member(member) for member in record.members],
        )

    def _member(self, member: Member) -> pb.UpgradeMember:
        return pb.UpgradeMember(
            appliance=member.appliance,
            site=member.site,
            wave=member.wave,
            state=member.state.value,
            fraction=member.fraction,
            text=member.text,
            from_version=member.from_version,
            began_at=member.began_at,
            ended_at=member.ended_at,
            online=self._node.sessions.get(member.appliance) is not None,
        )
