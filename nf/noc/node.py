"""One NOC node: its parts, put together; how they start, what an arriving appliance sets off, and how they stop."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from nf.clock import Clock
from nf.contracts.image import ImageReport
from nf.contracts.json import JsonObject
from nf.contracts.planner import Planner
from nf.control.convert import image_to_proto
from nf.control.v1 import fleet_pb2 as fleet
from nf.control.v1 import noc_pb2
from nf.documents.fleet import Fleet
from nf.errors import NfError
from nf.noc.alarm_handling import AlarmHandling
from nf.noc.bundles import Bundles
from nf.noc.calls import Calls
from nf.noc.catchup import FAILED, CatchUp
from nf.noc.coordinator import Coordinator
from nf.noc.drain_first import DrainFirsts
from nf.noc.drains import Drains
from nf.noc.emptying import Emptying
from nf.noc.exports import Exports
from nf.noc.fleet_operations import FleetOperations
from nf.noc.hardware import Hardware
from nf.noc.ledger import Ledger
from nf.noc.lineups import LineUps
from nf.noc.maintenance import Maintenance
from nf.noc.policy import Policy
from nf.noc.records import ApplianceRecord, Book
from nf.noc.schedule import Schedule
from nf.noc.sessions import Session, Sessions, enrol_it
from nf.noc.settlement import SPLIT, Settlement
from nf.noc.tasks import Tasks
from nf.noc.telemetry import Telemetry
from nf.noc.upgrades import Upgrades
from nf.store.contract import Store
from nf.telemetry.alarms import Severity
from nf.trust.allowance import Allowance
from nf.trust.authority import Authority
from nf.trust.enrolment import Enrolment
from nf.trust.roles import OperatorRole, Operators
from nf.trust.spiffe import SpiffeId

_log = logging.getLogger(__name__)

OFFLINE: Final = "appliance-offline"
UNWRITABLE: Final = "store-unwritable"
_REGISTER_S: Final = 1.0


class Node:
    """Everything but the servers. Also the directory that authorization asks."""

    def __init__(
        self,
        *,
        store: Store,
        authority: Authority,
        clock: Clock,
        planners: Sequence[Planner],
        addresses: tuple[Sequence[str], Sequence[str]],
        state_dir: Path,
        offline_after_s: float = 5.0,
    ) -> None:
        """`addresses`: where appliances reach the NOC, and its enrolment service. `state_dir`: for bundles."""
        self.clock = clock
        self.authority = authority
        self.spiffe_id = str(SpiffeId(authority.domain, "noc", "noc"))
        self.version = _version()
        self._addresses = addresses
        self._offline_after_s = offline_after_s
        self.book = Book(store)
        self.ledger = Ledger(self.book)
        self.enrolment = Enrolment(store, authority, clock)
        self.operators = Operators(store, authority)
        self.telemetry = Telemetry(clock)
        self.sessions = Sessions(clock)
        self.calls = Calls()
        self.lineups = LineUps(self.book, planners, clock)
        self.operations = FleetOperations(
            book=self.book,
            lineups=self.lineups,
            sessions=self.sessions,
            telemetry=self.telemetry,
            clock=clock,
            author=self.spiffe_id,
        )
        self.settlement = Settlement(self.ledger, self.lineups, self.sessions, self.telemetry)
        self.catchup = CatchUp(
            ledger=self.ledger,
            lineups=self.lineups,
            sessions=self.sessions,
            settlement=self.settlement,
            telemetry=self.telemetry,
            clock=clock,
            author=self.spiffe_id,
        )
        self.coordinator = Coordinator(
            ledger=self.ledger,
            lineups=self.lineups,
            sessions=self.sessions,
            settlement=self.settlement,
            drains=DrainFirsts(self.operations, self.lineups, clock),
            clock=clock,
            quiet=self.catchup.quiet,
            wake=self._fleet_changed,
        )
        self.maintenance = Maintenance(
            book=self.book,
            lineups=self.lineups,
            sessions=self.sessions,
            clock=clock,
            author=self.spiffe_id,
            doing=self.coordinator.doing,
            ended=self.catchup.wake,
        )
        self.coordinator.admit = self._admit
        self.catchup.participates = self._left_alone
        self.hardware = Hardware(self.book, self.enrolment, self.lineups)
        self.alarm_handling = AlarmHandling(
            book=self.book, telemetry=self.telemetry, maintenance=self.maintenance, clock=clock, author=self.spiffe_id
        )
        self.drains = Drains(
            book=self.book, lineups=self.lineups, sessions=self.sessions, clock=clock, author=self.spiffe_id
        )
        self.schedule = Schedule(
            book=self.book,
            lineups=self.lineups,
            coordinator=self.coordinator,
            operators=self.operators,
            telemetry=self.telemetry,
            clock=clock,
            author=self.spiffe_id,
        )
        self.upgrades = Upgrades(
            book=self.book,
            bundles=Bundles(state_dir, clock),
            lineups=self.lineups,
            sessions=self.sessions,
            drains=self.drains,
            emptying=Emptying(self.operations, self.lineups),
            maintenance=self.maintenance,
            operators=self.operators,
            telemetry=self.telemetry,
            clock=clock,
            author=self.spiffe_id,
            doing=self.coordinator.doing,
            image_of=self.image_of,
        )
        self.policy = Policy(
            book=self.book,
            lineups=self.lineups,
            sessions=self.sessions,
            telemetry=self.telemetry,
            clock=clock,
            author=self.spiffe_id,
        )
        self.exports = Exports(
            lineups=self.lineups,
            sessions=self.sessions,
            telemetry=self.telemetry,
            switches=lambda: self.policy.records.switches,
            orders=self.operations.orders.all,
        )
        self._known: dict[str, ApplianceRecord] = {}
        self._kept: dict[str, ApplianceRecord] = {}  # of those, as the store has them
        self._refusals = Allowance(clock)
        self._tasks = Tasks("noc")

    # ---- life ----

    async def start(self) -> None:
        """Raises NotFoundError when the NOC was never initialised."""
        await self.lineups.reload()
        self._kept = await self.book.appliances()
        self._known = dict(self._kept)
        for part in (self.maintenance, self.hardware, self.alarm_handling, self.drains):
            await part.start()
        await self.coordinator.recover()
        self.catchup.start()
        self._tasks.start(self._watch_identities())
        await self.schedule.start()
        await self.operations.start()
        await self.upgrades.start()
        await self.policy.start()
        for appliance in self._known:
            self._tasks.start(self._alarm_when_offline(appliance))

    async def close(self) -> None:
        """Undecided transactions stay as they are in the store; the next start ends them."""
        self.sessions.close()
        await self.policy.close()
        for part in (self.upgrades, self.schedule, self.drains, self.alarm_handling, self.maintenance):
            await part.close()
        await self.operations.close()
        await self.coordinator.close()
        await self.catchup.close()
        await self.settlement.close()
        await self._tasks.close()
        await self.book.store.close()

    # ---- appliances ----

    def _left_alone(self, appliance: str) -> bool:
        """Bound by a held commit, worked on, or restarting: nobody brings it to the current revision now."""
        bound = self.coordinator.participates(appliance) or self.upgrades.away(appliance)
        return bound or self.maintenance.of_appliance(appliance) is not None

    def _admit(self, fleet: Fleet, without_sites: tuple[str, ...]) -> None:
        self.maintenance.admit(fleet, without_sites)
        self.upgrades.admit(fleet, without_sites)

    def bundle_for(self, appliance: str, sha256: str, offset: int) -> AsyncIterator[bytes]:
        """Raises DeniedError."""
        self.upgrades.require_fetcher(appliance, sha256)
        return self.upgrades.bundles.read(sha256, offset)

    def image_of(self, appliance: str) -> ImageReport | None:
        """What it runs from, as it said last; None when it never said, or runs from none."""
        known = self._known.get(appliance)
        return None if known is None else known.image

    def welcome(self, appliance: str) -> fleet.Welcome:
        current = self.lineups.current
        return fleet.Welcome(
            noc=self.spiffe_id,
            current_revision=current.record.revision,
            reconcile_interval_ms=current.lineup.spec.policy.reconcile_ms,
            reconcile_held_until=self.maintenance.held_until(appliance),
        )

    async def came(self, session: Session) -> None:
        self.telemetry.clear(OFFLINE, session.appliance)
        self.catchup.returned(session.appliance)
        self.operations.returned(session.appliance)
        await self.heard(session)

    async def heard(self, session: Session) -> None:
        """It said where it stands: end what is open, remember it, and see whether it is behind."""
        self.settlement.heard(session)
        self.catchup.wake()
        record = ApplianceRecord(
            name=session.appliance,
            last_seen=self.clock.now(),
            software_version=session.hello.software_version,
            confirmed_revision=session.standing.confirmed_revision,
            confirmed_digest=session.standing.confirmed_digest,
            sections=tuple(session.hello.sections),
            image=session.image,
        )
        self._known[session.appliance] = record
        await self._remember(record)

    async def _remember(self, record: ApplianceRecord) -> None:
        """What cannot be written now is written with what is heard next: a full disk here ends no session."""
        if (known := self._kept.get(record.name)) is None or replace(known, last_seen=record.last_seen) != record:
            try:
                await self.book.save_appliance(record)
            except NfError as error:
                self.telemetry.alarm(UNWRITABLE, self.spiffe_id, Severity.CRITICAL, str(error), error.remedy)
                return
            self.telemetry.clear(UNWRITABLE, self.spiffe_id)
            self._kept[record.name] = record

    def _fleet_changed(self) -> None:
        """A commit came to an end: somebody may be behind now, and who left the fleet is nobody's alarm any more."""
        self.catchup.wake()
        for appliance in self._known.keys() - self.lineups.current.record.configs.keys() - self.sessions.online():
            self.telemetry.forget(appliance, (OFFLINE, SPLIT, FAILED))

    def forget(self, appliance: str) -> bool:
        """Its machine is another one now: end what the old one has open. True when that had a session."""
        self._known.pop(appliance, None)
        self._kept.pop(appliance, None)
        theirs = ("appliance", appliance)
        self.calls.end([it for it in self.calls.certificates() if (it[0].kind, it[0].name) == theirs])
        self.sessions.unenrolled.add(appliance)
        self._tasks.start(self._alarm_when_offline(appliance))
        return self.sessions.get(appliance) is not None

    async def _without_identity(self, appliance: str) -> bool:
        enrolled = await self.enrolment.enrolled(appliance)
        return enrolled is None or enrolled.revoked_at is not None

    def gone(self, session: Session) -> None:
        self._tasks.start(self._alarm_when_offline(session.appliance))

    async def _alarm_when_offline(self, appliance: str) -> None:
        """After a while: an appliance that changes its certificate or restarts its agent is no alarm."""
        await self.clock.sleep(self._offline_after_s)
        bare = await self._without_identity(appliance)
        if self.sessions.get(appliance) is None and appliance in self.lineups.current.record.configs:
            away = "see that it has power and a way to the NOC"
            if bare:
                self.sessions.unenrolled.add(appliance)
                away = enrol_it(appliance)
            self.telemetry.alarm(
                OFFLINE,
                appliance,
                Severity.MAJOR,
                "no session; it goes on serving what it last confirmed",
                f"{away}; a commit needs it, or `--without` its site",
            )

    def settled(self, digests: Mapping[str, str], asked: frozenset[str]) -> bool:
        """Whether everybody who was not asked confirmed these configurations when last heard."""
        return all(
            name in asked or ((known := self._known.get(name)) is not None and known.confirmed_digest == digest)
            for name, digest in digests.items()
        )

    async def _watch_identities(self) -> None:
        """Whoever revokes may be another process: what the register says now decides about calls that run."""
        while True:
            await self.clock.sleep(_REGISTER_S)
            if certificates := self.calls.certificates():
                try:
                    self.calls.end(await self.enrolment.revoked(certificates))
                except NfError as error:
                    _log.warning("the register of identities cannot be read: %s", error)

    async def summary(self, name: str) -> noc_pb2.ApplianceSummary:
        current = self.lineups.current
        appliance = current.appliance(name)
        criticality = {site.id: site.criticality.value for site in current.fleet.spec.sites}
        known, session = self._known.get(name), self.sessions.get(name)
        enrolled = await self.enrolment.enrolled(name)
        valid = enrolled is not None and enrolled.revoked_at is None
        last_seen = self.sessions.last_seen.get(name, known.last_seen if known else 0.0)
        summary = noc_pb2.ApplianceSummary(
            id=name,
            site=appliance.site,
            role=appliance.role.value,
            criticality=criticality.get(appliance.site, ""),
            serial=self.hardware.serial(appliance),
            management=str(appliance.management),
            enrolled=valid,
            online=session is not None,
            last_seen=last_seen,
            alarms=sum(self.alarm_handling.raised(*found) for found in self.telemetry.alarms(name)),
            certificate_expires=enrolled.certificate_expires if enrolled is not None and valid else 0.0,
        )
        if known is not None:
            summary.confirmed_revision = known.confirmed_revision
            summary.current = known.confirmed_digest == current.record.configs.get(name)
            summary.software_version = known.software_version
            summary.sections.extend(known.sections)
            if known.image is not None:
                summary.image.CopyFrom(image_to_proto(known.image))
        if session is not None and session.standing.in_flight:
            state = fleet.TransactionState.Name(session.standing.in_flight_state)
            summary.transaction_state = state.removeprefix("TRANSACTION_STATE_").lower()
        return summary

    def enrolment_file(self, appliance: str, serial: str, token: str) -> JsonObject:
        """What goes to the appliance: it checks the CA that it is shown against the fingerprint."""
        noc, enrolment = self._addresses
        return {
            "appliance": appliance,
            "serial": serial,
            "token": token,
            "domain": self.authority.domain,
            "noc": list(noc),
            "enrolment": list(enrolment),
            "ca_sha256": self.authority.fingerprint,
            "ca_pem": self.authority.ca_pem.decode(),
        }

    # ---- what authorization asks ----

    async def operator(self, name: str) -> tuple[OperatorRole, frozenset[str]] | None:
        record = await self.operators.get(name)
        return None if record is None else (record.role, frozenset(record.sites))

    async def is_revoked(self, spiffe_id: SpiffeId, certificate_serial: int) -> bool:
        return await self.enrolment.is_revoked(spiffe_id, certificate_serial)

    async def site_of(self, appliance: str) -> str | None:
        with contextlib.suppress(NfError):
            return self.lineups.current.appliance(appliance).site
        return None

    async def denied(self, actor: str, method: str, reason: str) -> None:
        """The actor of a call that was refused may be nobody we know: then the record is the NOC's own.

        Of one actor some are written and the rest counted: who is refused dials again, for ever if need be.
        """
        unrecorded = self._refusals.admit(actor[:200])
        if unrecorded is None:
            return
        detail: JsonObject = {"method": method, "reason": reason[:1000], "unrecorded_before": unrecorded}
        try:
            SpiffeId.parse(actor)
        except NfError:
            detail["claimed"] = actor[:200]
            actor = self.spiffe_id
        await self.book.audit(actor, "call", method.rpartition("/")[2] or method, "denied", detail)

    async def false_claim(self, actor: str, claimed: str) -> None:
        unrecorded = self._refusals.admit(actor)
        if unrecorded is not None:
            detail: JsonObject = {"claimed": claimed[:200], "unrecorded_before": unrecorded}
            await self.book.audit(actor, "session.hello", f"appliance/{claimed[:100]}", "refused", detail)


def _version() -> str:
    try:
        return version("streamverse-nf")
    except PackageNotFoundError:
        return "unknown"
