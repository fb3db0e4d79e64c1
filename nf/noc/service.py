"""The Noc service: what the `nf` command calls. Thin: it asks those who know and puts it into messages."""

# Names and signatures are those of the RPCs.
# ruff: noqa: N802, ARG002

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc

from nf.contracts.json import Json, JsonObject, canonical
from nf.control.authorization import Peer, current_peer
from nf.control.errors import problem_to_proto
from nf.control.v1 import common_pb2
from nf.control.v1 import noc_pb2 as pb
from nf.errors import DocumentError, InputError, NfError, NotFoundError
from nf.noc.channels import channel_states
from nf.noc.coordinator import Order
from nf.noc.daily_service import DailyService, order_of
from nf.noc.drain_first import drain_order
from nf.noc.events import Events
from nf.noc.lineups import Current, Draft, excluded_appliances
from nf.noc.records import RevisionRecord
from nf.noc.rollout import Proposal, Rollout
from nf.noc.sessions import Session
from nf.trust.enrolment import DEFAULT_TOKEN_TTL_S

_STATUS_S: Final = 3.0

Context = grpc.aio.ServicerContext[Any, Any]


class NocService(DailyService):
    async def GetInfo(self, request: pb.GetInfoRequest, context: Context) -> pb.GetInfoResponse:
        peer = current_peer()
        return pb.GetInfoResponse(
            spiffe_id=self._node.spiffe_id,
            software_version=self._node.version,
            current_revision=self._node.lineups.current.record.revision,
            operator=str(peer),
            role=peer.role.value if peer.role else "",
        )

    # ---- appliances ----

    async def ListAppliances(self, request: pb.ListAppliancesRequest, context: Context) -> pb.ListAppliancesResponse:
        fleet = self._node.lineups.current.fleet
        return pb.ListAppliancesResponse(
            appliances=[await self._node.summary(appliance.id) for appliance in fleet.spec.appliances]
        )

    async def GetAppliance(self, request: pb.GetApplianceRequest, context: Context) -> pb.GetApplianceResponse:
        self._node.lineups.current.appliance(request.id)
        session = self._node.sessions.get(request.id)
        alarms = self._node.telemetry.alarms(request.id)
        response = pb.GetApplianceResponse(
            summary=await self._node.summary(request.id),
            config_json=canonical(await self._node.lineups.config(request.id)).encode(),
            alarms=[self._node.alarm_handling.message(name, alarm) for name, alarm in alarms],
        )
        if session is not None:
            try:
                response.status_json = canonical(await session.request("status", {}, _STATUS_S)).encode()
                response.overrides.extend(await _overrides_of(session))
            except NfError as error:
                response.status_json = canonical({"error": str(error)}).encode()
        return response

    async def IssueEnrolmentToken(
        self, request: pb.IssueEnrolmentTokenRequest, context: Context
    ) -> pb.IssueEnrolmentTokenResponse:
        appliance = self._node.lineups.current.appliance(request.appliance)
        ttl_s = request.ttl_s or DEFAULT_TOKEN_TTL_S
        serial = self._node.hardware.serial(appliance)
        token = await self._node.enrolment.issue_token(appliance.id, serial, ttl_s, current_peer().spiffe_id)
        content = self._node.enrolment_file(appliance.id, serial, token)
        return pb.IssueEnrolmentTokenResponse(
            enrolment_json=json.dumps(content, indent=2).encode(), expires_at=self._node.clock.now() + ttl_s
        )

    # ---- line-ups ----

    async def CheckLineUp(self, request: pb.CheckLineUpRequest, context: Context) -> pb.CheckLineUpResponse:
        """Broken rules are the answer, not an error."""
        try:
            draft = await self._draft(request)
        except DocumentError as error:
            return pb.CheckLineUpResponse(problems=[problem_to_proto(problem) for problem in error.problems])
        links = [
            pb.LinkUse(link=use.link, sender=use.sender, used_bps=use.used_bps, capacity_bps=use.capacity_bps)
            for use in draft.compiled.links
        ]
        return pb.CheckLineUpResponse(
            channels=len(draft.lineup.spec.channels),
            appliances=len(draft.compiled.configs),
            links=links,
            warnings=[problem_to_proto(warning) for warning in draft.compiled.warnings],
        )

    async def PlanLineUp(self, request: pb.PlanLineUpRequest, context: Context) -> pb.PlanLineUpResponse:
        """A dry VALIDATE on everybody who is online and not left out. Raises what a commit would raise there."""
        draft = await self._draft(request)
        excluded = excluded_appliances(draft.fleet, tuple(request.without_sites))
        online = self._node.sessions.online()
        configs = {name: config for name, config in draft.configs.items() if name in online and name not in excluded}
        proposal = Proposal(
            transaction=f"plan-{uuid.uuid4().hex[:12]}",  # answers are told apart by it
            kind="plan",
            revision=self._node.lineups.current.record.revision + 1,
            author=str(current_peer()),
            configs=configs,
            deadline_s=draft.lineup.spec.policy.deadline_ms / 1000,
            accept_irreversible=True,
        )
        plan = await Rollout(
            proposal,
            sessions=self._node.sessions,
            clock=self._node.clock,
            log=self._node.ledger.log,
            progress=lambda _progress: None,
        ).validate(dry_run=True)
        return pb.PlanLineUpResponse(
            appliances=[pb.PlannedAppliance(appliance=name, steps=own) for name, own in sorted(plan.steps.items())],
            stages=[
                pb.PlannedStage(
                    stage=number, steps=[f"{name}/{step}" for name, ids in sorted(stage.items()) for step in ids]
                )
                for number, stage in enumerate(plan.stages)
            ],
            empty=plan.empty and self._node.settled(draft.digests, frozenset(configs) | excluded),
            budget_ms=round(plan.budget_s * 1000),
        )

    async def _draft(self, request: pb.CheckLineUpRequest | pb.PlanLineUpRequest | pb.CommitLineUpRequest) -> Draft:
        fleet = request.fleet if request.HasField("fleet") else None
        return await self._node.lineups.draft(request.lineup, fleet)

    async def CommitLineUp(self, request: pb.CommitLineUpRequest, context: Context) -> AsyncIterator[pb.CommitEvent]:
        async for event in await self._node.coordinator.commit(order_of(request), lambda: self._draft(request)):
            yield event

    async def ConfirmLineUp(self, request: pb.ConfirmLineUpRequest, context: Context) -> AsyncIterator[pb.CommitEvent]:
        async for event in await self._node.coordinator.confirm(str(current_peer())):
            yield event

    async def RollbackLineUp(
        self, request: pb.RollbackLineUpRequest, context: Context
    ) -> AsyncIterator[pb.CommitEvent]:
        async for event in await self._rollback(request):
            yield event

    async def _rollback(self, request: pb.RollbackLineUpRequest) -> Events:
        author = str(current_peer())
        if self._node.coordinator.held is not None and not request.to_revision:
            return await self._node.coordinator.undo_held(author)
        if self._node.coordinator.draining and not request.to_revision:
            return self._node.coordinator.stop_drain(author)
        lineups = self._node.lineups
        if request.to_revision:
            target = await self._node.book.revision(request.to_revision)
        else:
            target = await lineups.before_current()
        order = Order(
            kind="rollback",
            author=author,
            comment=request.comment or f"back to revision {target.revision}",
            without_sites=tuple(sorted(set(request.without_sites))),
            accept_irreversible=request.accept_irreversible,
            restores=target.revision,
            drain=drain_order(request.drain_s, drops=request.drain_drops),
        )
        return await self._node.coordinator.commit(order, lambda: lineups.draft_of(target))

    async def ListRevisions(self, request: pb.ListRevisionsRequest, context: Context) -> pb.ListRevisionsResponse:
        current = self._node.lineups.current.record.revision
        summaries: list[pb.RevisionSummary] = []
        async for record in self._node.book.revisions():
            summaries.append(_summary(record, current))
            if len(summaries) >= (request.limit or 50):
                break
        return pb.ListRevisionsResponse(revisions=summaries)

    async def GetRevision(self, request: pb.GetRevisionRequest, context: Context) -> pb.GetRevisionResponse:
        current = self._node.lineups.current.record
        record = await self._node.book.revision(request.revision) if request.revision else current
        return pb.GetRevisionResponse(
            summary=_summary(record, current.revision),
            lineup=pb.DocumentText(file=record.lineup_file, text=record.lineup_text.encode()),
            fleet=pb.DocumentText(file=record.fleet_file, text=record.fleet_text.encode()),
        )

    async def DiffRevisions(self, request: pb.DiffRevisionsRequest, context: Context) -> pb.DiffRevisionsResponse:
        current = self._node.lineups.current.record.revision
        lineups = self._node.lineups
        if request.HasField("lineup"):
            draft = await lineups.draft(request.lineup, None)
            changes = await lineups.diff_draft(request.from_revision or current, draft)
        else:
            new = request.to_revision or current
            changes = await lineups.diff(request.from_revision or max(1, new - 1), new)
        return pb.DiffRevisionsResponse(
            changes=[pb.Change(key=change.key, before=change.before, after=change.after) for change in changes]
        )

    # ---- channels, audit ----

    async def ListChannels(self, request: pb.ListChannelsRequest, context: Context) -> pb.ListChannelsResponse:
        running, now = await self._running(), self._node.clock.now()
        channels = running.lineup.spec.channels
        return pb.ListChannelsResponse(
            channels=channel_states(channels, running.record.hops, self._node.telemetry, now)
        )

    async def GetChannel(self, request: pb.GetChannelRequest, context: Context) -> pb.GetChannelResponse:
        running, now = await self._running(), self._node.clock.now()
        channels = running.lineup.spec.channels
        for state in channel_states(channels, running.record.hops, self._node.telemetry, now):
            if state.id == request.id:
                return pb.GetChannelResponse(channel=state)
        raise NotFoundError("no such channel in the current line-up", where=request.id, remedy="see `nf lineup show`")

    async def _running(self) -> Current:
        """A held line-up is looked at before it is confirmed."""
        held = self._node.coordinator.held
        return await self._node.lineups.running(None if held is None else held.revision)

    async def ShowAudit(self, request: pb.ShowAuditRequest, context: Context) -> pb.ShowAuditResponse:
        records = await self._node.book.store.audit_records(request.limit or 100)
        return pb.ShowAuditResponse(
            records=[
                pb.AuditRecord(
                    number=record.number,
                    at=record.at,
                    actor=record.actor,
                    action=record.action,
                    object=record.object,
                    outcome=record.outcome,
                    detail_json=record.detail_json,
                    hash=record.hash,
                )
                for record in records
            ]
        )

    async def VerifyAudit(self, request: pb.VerifyAuditRequest, context: Context) -> pb.VerifyAuditResponse:
        report = await self._node.book.store.audit_verify()
        return pb.VerifyAuditResponse(
            records=report.records,
            head=report.head,
            intact=report.intact,
            first_broken=report.first_broken,
            detail=report.detail,
        )

    # ---- overrides ----

    async def AddOverride(self, request: pb.AddOverrideRequest, context: Context) -> common_pb2.Override:
        peer = current_peer()
        try:
            patch = json.loads(request.patch_json)
        except ValueError as error:
            raise InputError("the patch is not JSON", where="patch", remedy="see RFC 7396") from error
        if not isinstance(patch, dict):
            raise InputError("the patch is not a JSON object", where="patch", remedy="see RFC 7396")
        longest_s = self._node.lineups.current.lineup.spec.policy.overrides.max_ttl_ms / 1000
        if not 0 < request.ttl_s <= longest_s:
            raise InputError(
                f"an override lives from 1 to {longest_s:.0f} s",
                where="ttl",
                remedy="see policy.overrides in the line-up",
            )
        arguments: JsonObject = {
            "section": request.section,
            "patch": patch,
            "reason": request.reason,
            "author": str(peer),
            "ttl_s": float(request.ttl_s),
        }
        session = self._session(request.appliance)
        result = await self._changing(peer, session, "override.add", arguments, {"section": request.section})
        return _override(request.appliance, result)

    async def ListOverrides(self, request: pb.ListOverridesRequest, context: Context) -> pb.ListOverridesResponse:
        one = (self._session(request.appliance),) if request.appliance else None
        sessions: tuple[Session, ...] = one or self._node.sessions.all()
        answers = await asyncio.gather(*(_overrides_of(session) for session in sessions), return_exceptions=True)
        if request.appliance and isinstance(answers[0], NfError):
            raise answers[0]
        return pb.ListOverridesResponse(
            overrides=[override for answer in answers if not isinstance(answer, BaseException) for override in answer]
        )

    async def EndOverride(self, request: pb.EndOverrideRequest, context: Context) -> pb.EndOverrideResponse:
        session = self._session(request.appliance)
        await self._changing(current_peer(), session, "override.end", {"id": request.id}, {"id": request.id})
        return pb.EndOverrideResponse()

    def _session(self, appliance: str) -> Session:
        """Raises NotFoundError, UnavailableError."""
        self._node.lineups.current.appliance(appliance)
        session = self._node.sessions.get(appliance)
        if session is None:
            raise self._node.sessions.offline(appliance)
        return session

    async def _changing(
        self, peer: Peer, session: Session, method: str, arguments: JsonObject, detail: JsonObject
    ) -> Json:
        """Ask the appliance to change something; what came of it is on record."""
        target = f"appliance/{session.appliance}"
        try:
            result = await session.request(method, arguments)
        except NfError as error:
            await self._node.book.audit(str(peer), method, target, "failed", {**detail, "error": str(error)[:1000]})
            raise
        await self._node.book.audit(str(peer), method, target, "done", detail)
        return result


async def _overrides_of(session: Session) -> list[common_pb2.Override]:
    answer = await session.request("override.list", {}, _STATUS_S)
    return [_override(session.appliance, item) for item in answer] if isinstance(answer, list) else []


def _override(appliance: str, data: Json) -> common_pb2.Override:
    if not isinstance(data, dict):
        raise InputError("the appliance answered something that is no override", where=appliance)
    return common_pb2.Override(
        id=str(data["id"]),
        appliance=appliance,
        section=str(data["section"]),
        patch_json=canonical(data["patch"]).encode(),
        reason=str(data["reason"]),
        author=str(data["author"]),
        created_at=float(str(data["created_at"])),
        expires_at=float(str(data["expires_at"])),
    )


def _summary(record: RevisionRecord, current: int) -> pb.RevisionSummary:
    return pb.RevisionSummary(
        revision=record.revision,
        at=record.at,
        author=record.author,
        comment=record.comment,
        outcome="current" if record.revision == current else record.outcome,
        channels=record.channels,
        without_sites=record.without_sites,
        restores=record.restores,
        lineup_name=record.lineup_name,
    )
