"""The driver of section `kamailio`: a proxy and its keeper as units of the supervisor.

What can be told to a proxy while it runs is told; what it reads at its start alone is a restart, before which no new
call is begun. A proxy starts drained, is given its tables and then opens: by whoever restarts it, or by its keeper.
Facts: those that the section provides, while the proxy runs with it and is given its tables.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject
from nf.contracts.units import UnitState, UnitStatus
from nf.documents.model import DocumentModel
from nf.errors import DeadlineError, InputError, NfError, RefusedError, UnavailableError
from nf.trust.secrets import SECRETS_DIR, SecretFiles
from sip.findings import Findings, Report
from sip.kamailio import installing, live, pushing, queries, records
from sip.kamailio.check import check_candidate
from sip.kamailio.documents import SECTION, KamailioSection
from sip.kamailio.drain import Drain
from sip.kamailio.held import HoldRelays
from sip.kamailio.installing import Resolve
from sip.kamailio.looking import Looked
from sip.kamailio.paths import CONFIG_FILE
from sip.kamailio.places import SECTION_FILE, Places
from sip.kamailio.plan import (
    CALLS,
    FILES,
    KEEPER,
    LIVE,
    PEERS,
    REMOVE,
    RESTORE,
    RUN,
    SECRETS,
    TABLES,
    TELL,
    UNIT,
    differences,
    plan,
)
from sip.kamailio.rpc import RpcClient
from sip.kamailio.telemetry import POLL_S, ProxyWatch, read_proxy
from sip.kamailio.unheard import Unheard
from sip.kamailio.units import generation, keeper_spec, program_problem, proxy_spec, running_generation
from sip.naming import DRAIN, KEEPER_UNIT, PROXY_UNIT, RPC_PORT, bell_port, rpc_socket
from sip.operations import HOLD_RELAYS, RELAY_REPORT

SETTLE_S: Final = 8.0
"""For which a restart waits at most until calls that are being set up have been answered or given up."""
_ANSWER_S: Final = 60.0
_POLL_S: Final = 0.2


class KamailioDriver:
    name = SECTION
    section = SECTION

    def __init__(self, context: DriverContext, secrets: Path = SECRETS_DIR, rpc_port: int = RPC_PORT) -> None:
        """`secrets`: where what the section names is kept; read to see whether it was replaced."""
        self._appliance = context.appliance
        self._units = context.units
        self._clock = context.clock
        self._secrets = SecretFiles(secrets)
        self.places = Places(context.run_dir, context.state_dir, rpc_port)
        self._rpc: RpcClient | None = None
        self._looked = Looked()
        self.findings = Findings()
        self.owns = Ownership(
            paths=frozenset(
                {
                    self.places.config.parent,
                    self.places.cdr,
                    self.places.run,
                    self.places.clients,
                    self.places.keeper_clients,
                }
            ),
            ports=frozenset({f"tcp/{rpc_port}", f"tcp/{bell_port(rpc_port)}"}),
            units=frozenset({PROXY_UNIT, KEEPER_UNIT}),
        )
        self.operations: Mapping[str, Operation] = {
            DRAIN: Drain(self.rpc, self.places, self._proxy),
            HOLD_RELAYS: HoldRelays(self.rpc, self.places, self._section),
            RELAY_REPORT: Report(self.findings, self._proxy),
            **queries.operations(self.rpc, self._section, self.places.cdr),
        }

    def rpc(self) -> RpcClient:
        """One for all: it keeps its socket."""
        if self._rpc is None:
            self._rpc = RpcClient(rpc_socket(self.places.run_dir), self.places.clients, self.places.url)
        return self._rpc

    def _section(self) -> KamailioSection | None:
        return installing.standing(self.places)

    def _proxy(self) -> str:
        section = self._section()
        return section.proxy.id if section is not None else ""

    # -- reading ----------------------------------------------------------------------------------------------------

    async def observe(self) -> State:
        status, keeper = await self._units.status(PROXY_UNIT), await self._units.status(KEEPER_UNIT)
        written = self.places.read(SECTION_FILE)
        if status is None and keeper is None and written is None:
            return State(None)
        section = installing.standing(self.places)
        value: JsonObject = section.to_json() if section is not None else {}
        if section is None:
            value[FILES] = [SECTION_FILE]
            return State(value)
        told: JsonObject = {
            FILES: [*installing.altered(section, self.places)],
            SECRETS: [*await asyncio.to_thread(installing.stale, section, self.places, self._secrets)],
            UNIT: _amiss(status),
            KEEPER: self._keeper_fault(keeper),
        }
        ready = status is not None and status.state is UnitState.READY
        calls: JsonObject = {}
        if status is not None and ready:
            found = await live.read(self.rpc(), self.places, self._looked)
            told[LIVE] = self._process_fault(status, section) or found.fault
            told[TABLES] = [*found.tables]
            told[PEERS] = "" if found.peers else "others"
            calls = {CALLS: found.calls} if found.calls is not None else {}
            if not told[LIVE] and not await live.served_certificate(section, self.places):
                told[SECRETS] = [*sorted({*_texts(told[SECRETS]), section.proxy.certificate or "certificate"})]
        deviations: JsonObject = {key: one for key, one in told.items() if one}
        holds = ready and not deviations
        return State({**value, **deviations, **calls}, frozenset(section.provides if holds else ()))

    def _process_fault(self, status: UnitStatus, section: KamailioSection) -> str:
        config = self.places.read(CONFIG_FILE) or ""
        if running_generation(status.pid) == generation(config):
            return ""
        return f"it runs with another {CONFIG_FILE} than that of {section.proxy.id}"

    def _keeper_fault(self, status: UnitStatus | None) -> str:
        if status is None:
            return "absent"
        if status.state.gone:
            return status.state.value
        return "" if status.spec is None or status.spec == keeper_spec(self.places) else "another one"

    # -- planning ---------------------------------------------------------------------------------------------------

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return plan(have, KamailioSection.narrowed(want))

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """Kamailio reads the files as they would be, and whoever has an account is one."""
        section = KamailioSection.narrowed(want)
        if section is None or not steps:
            return
        absent = program_problem()
        if absent is not None:
            where = f"{self._appliance}, {self.section}"
            raise RefusedError("Kamailio cannot run here", where=where, problems=[absent])
        await check_candidate(section, self._secrets, self.places.rpc_port, f"{self._appliance}, {self.section}")

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - the same for every step
        section = installing.standing(self.places)
        status = await self._units.status(PROXY_UNIT)
        data: JsonObject = {
            "section": section.to_json() if section is not None else None,
            "runs": status is not None and not status.state.gone,
        }
        return Undo(RESTORE, data)

    async def apply(self, step: Step, context: Context) -> None:
        """Raises DriverError when the proxy does not come up or does not take what it is told."""
        if (step.kind, step.version) in {(RUN, 1), (TELL, 1)}:
            await self._make(KamailioSection.model_validate(step.arguments["section"]), context)
        elif (step.kind, step.version) == (REMOVE, 1):
            await self._remove()
        else:
            raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def undo(self, undo: Undo, context: Context) -> None:
        if undo.kind != RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        before = undo.data.get("section")
        if before is None:
            await self._remove()
            return
        section = KamailioSection.model_validate(before)
        if undo.data.get("runs"):
            await self._make(section, context)
        else:
            await self._units.remove(PROXY_UNIT)
            await asyncio.to_thread(installing.install, section, self.places, self._resolve(context))

    def _resolve(self, context: Context) -> Resolve:
        return context.resolve_secret or self._secrets

    async def _make(self, section: KamailioSection, context: Context) -> None:
        """Restarted when it runs with another kamailio.cfg, told what differs when it does not."""
        async with pushing.locked_if(self.places):
            changed = await asyncio.to_thread(installing.install, section, self.places, self._resolve(context))
        spec, status = proxy_spec(changed.config, self.places), await self._units.status(PROXY_UNIT)
        if status is None or status.spec != spec:
            await self._units.define(spec)
        runs = status is not None and status.state is UnitState.READY
        if runs and status is not None and running_generation(status.pid) == generation(changed.config):
            await self._tell(section, certificate=changed.certificate)
        else:
            if runs:
                await self._settle(context)
            await asyncio.to_thread(installing.write_settings, self.places)
            await (self._units.start if status is None or status.state.gone else self._units.restart)(PROXY_UNIT)
            await self._open(context)
        await self._keep()

    async def _tell(self, section: KamailioSection, *, certificate: bool) -> None:
        rpc = self.rpc()
        written = live.written_peers(self.places.read("dispatcher.list") or "")
        if not live.same_peers(await live.read_peers(rpc), written):
            await pushing.reload(rpc, "dispatcher.reload")
        if certificate or not await live.served_certificate(section, self.places):
            await pushing.reload(rpc, "tls.reload")
        await pushing.push(rpc, self.places)

    async def _settle(self, context: Context) -> None:
        """No new call, until none is being set up: those have no dialog yet, and would be lost. One that does not
        answer is restarted as it is."""
        until = context.clock.monotonic() + SETTLE_S
        try:
            await pushing.set_drain(self.rpc(), drained=True)
            while (await live.read_calls(self.rpc())).unanswered and context.clock.monotonic() < until:
                if not await context.again(_POLL_S):
                    return
        except NfError:
            return

    async def _open(self, context: Context) -> None:
        until = context.clock.monotonic() + _ANSWER_S
        while True:
            try:
                await pushing.push(self.rpc(), self.places)
            except (UnavailableError, DeadlineError):
                if context.clock.monotonic() >= until or not await context.again(_POLL_S):
                    raise
            else:
                return

    async def _keep(self) -> None:
        spec, status = keeper_spec(self.places), await self._units.status(KEEPER_UNIT)
        if status is not None and status.spec == spec and not status.state.gone:
            return
        await self._units.define(spec)
        await (self._units.start if status is None or status.state.gone else self._units.restart)(KEEPER_UNIT)

    async def _remove(self) -> None:
        """Call records that have not been handed on yet are first."""
        await self._units.remove(PROXY_UNIT)
        await self._units.remove(KEEPER_UNIT)
        await asyncio.to_thread(records.export, self.places, self._proxy(), self._clock.now())
        if self._rpc is not None:
            self._rpc.close()
            self._rpc = None
        await asyncio.to_thread(self.places.remove)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        section = KamailioSection.narrowed(want)
        while True:
            lines = await self._differences(section)
            if not lines or not await context.again(_POLL_S):
                return Drift(lines)

    async def _differences(self, section: KamailioSection | None) -> tuple[str, ...]:
        state = await self.observe()
        lines = differences(state.value, section)
        if section is not None and not lines and not set(section.provides) <= state.facts:
            status = await self._units.status(PROXY_UNIT)
            return (f"the proxy is {status.state.value if status is not None else 'gone'}",)
        return lines

    # -- events -----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Samples `sip.*`, and alarms as they change: `sip.kamailio.telemetry`. Calls' relays are asked beside it."""
        watch, unheard = ProxyWatch(self._appliance), Unheard(self._clock, self.rpc, self.findings)
        try:
            while True:
                section = installing.standing(self.places)
                reading = await read_proxy(self.rpc(), self.places) if section is not None else None
                if section is not None and reading is not None:
                    unheard.turn(section)
                    reading = replace(reading, heard=unheard.heard)
                for event in watch.take(section, reading, self._clock.now()):
                    yield event
                await self._clock.sleep(POLL_S)
        finally:
            await unheard.close()


def create(context: DriverContext) -> KamailioDriver:
    """Entry point of the group `nf.drivers`."""
    return KamailioDriver(context)


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _amiss(status: UnitStatus | None) -> str:
    """Why its unit needs a step; empty while the supervisor starts it by itself."""
    if status is None:
        return "absent"
    return f"{status.state.value} {status.last_exit}".rstrip() if status.state.gone else ""
