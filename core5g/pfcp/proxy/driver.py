"""The driver of section `pfcp-proxy`: the proxy as a unit of the supervisor.

Its facts hold while it relays. Whether it steers is no part of that: without the edge UPF it relays all the same, and
an alarm says so. Sessions are the proxy's own and no transaction's: they outlive a change of the section.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Mapping, Sequence

from core5g.pfcp.proxy.documents import SECTION, ProxySection
from core5g.pfcp.proxy.operations import operations
from core5g.pfcp.proxy.telemetry import ProxyWatch
from core5g.pfcp.proxy.units import UNIT, ask, section_of, status_socket, store_file, unit_spec
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json
from nf.contracts.units import UnitState, UnitStatus, bring_up
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError, NfError, Problem, RefusedError

RUN, STOP, RESTORE = "pfcp-proxy.run", "pfcp-proxy.stop", "pfcp-proxy.restore"
BUDGET_S = 25.0
_POLL_S, _EVENTS_S = 0.1, 1.0


class ProxyDriver:
    name = SECTION
    section = SECTION

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._run_dir, self._state_dir = context.run_dir, context.state_dir
        self._units = context.units
        self._clock = context.clock
        self._status = status_socket(context.run_dir)
        self.operations: Mapping[str, Operation] = operations(context.run_dir)

    @property
    def owns(self) -> Ownership:
        paths = frozenset({self._status.parent, store_file(self._state_dir).parent})
        return Ownership(paths=paths, units=frozenset({UNIT}))

    async def _running(self) -> tuple[ProxySection, UnitStatus] | None:
        status = await self._units.status(UNIT)
        if status is None or status.state.gone:
            return None
        section = section_of(status.spec)
        return (section, status) if section is not None else None

    async def observe(self) -> State:
        running = await self._running()
        if running is None:
            return State(None)
        section, _ = running
        answers = await ask(self._status) is not None
        return State(section.to_json(), frozenset(section.provides) if answers else frozenset())

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = ProxySection.narrowed(want)
        if have.value == (section.to_json() if section is not None else None):
            return ()
        if section is None:
            return (_stop_step(),)
        return (_run_step(section, changed=have.value is not None),)

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """The proxy's address is of this appliance, unless it waits for that."""
        section = ProxySection.narrowed(want)
        if not steps or section is None or section.requires:
            return
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((str(section.listen), 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise DriverError(f"cannot try the address: {error}", where=self._appliance) from error
            problem = Problem(
                "is no address of this appliance", "give it to an interface", key="listen", value=str(section.listen)
            )
            where = f"{self._appliance}, {self.section}"
            raise RefusedError("the proxy cannot listen there", where=where, problems=[problem]) from None

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - there is one unit
        before = await self._running()
        return Undo(RESTORE, {"section": before[0].to_json() if before is not None else None})

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - a unit has a limit of its own
        """Raises DriverError with the log's tail when the unit does not come up."""
        if step.kind == RUN:
            await self._ensure(_read(step.arguments["section"]))
        elif step.kind == STOP:
            await self._units.remove(UNIT)
        else:
            raise DriverError(f"unknown kind of step `{step.kind}`", where=step.id)

    async def _ensure(self, section: ProxySection) -> None:
        spec = unit_spec(section, self._run_dir, self._state_dir)
        for directory in spec.sandbox.writable:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._status.parent.chmod(0o711)  # its sockets say themselves who may use them
        now = await self._units.status(UNIT)
        if now is not None and now.state is UnitState.READY and now.spec == spec:
            return
        await bring_up(self._units, spec, now)

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - a unit has a limit of its own
        if undo.kind != RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        before = undo.data["section"]
        if before is None:
            await self._units.remove(UNIT)
        else:
            await self._ensure(_read(before))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        section = ProxySection.narrowed(want)
        while True:
            differences = await self._differences(section)
            if not differences or not await context.again(_POLL_S):
                return Drift(differences)

    async def _differences(self, section: ProxySection | None) -> tuple[str, ...]:
        running = await self._running()
        if section is None:
            return ("the PFCP proxy runs, though it should not",) if running is not None else ()
        if running is None:
            return ("the PFCP proxy is not there",)
        if running[0] != section:
            return ("the PFCP proxy runs with other settings",)
        if running[1].state is not UnitState.READY or await ask(self._status) is None:
            return (f"the PFCP proxy does not answer ({running[1].state.value} {running[1].last_exit})".rstrip(),)
        return ()

    async def events(self) -> AsyncIterator[Event]:
        """Every second samples `pfcp.proxy`, hops of paths, and alarms as they change."""
        watch = ProxyWatch(self._appliance)
        while True:
            try:
                running = await self._running()
            except NfError:
                running = None  # no supervisor: its own alarm says so
            answer = await ask(self._status) if running is not None else None
            for event in watch.take(running[0] if running is not None else None, answer, self._clock.now()):
                yield event
            await self._clock.sleep(_EVENTS_S)


def create(context: DriverContext) -> ProxyDriver:
    """Entry point of the group `nf.drivers`."""
    return ProxyDriver(context)


def _read(data: Json) -> ProxySection:
    return ProxySection.model_validate(data)


def _run_step(section: ProxySection, *, changed: bool) -> Step:
    steered = f", {len(section.rules)} rules to {section.edge.id}" if section.edge is not None else ""
    return Step(
        id="pfcp-proxy",
        kind=RUN,
        arguments={"section": section.to_json()},
        requires=frozenset(section.requires),
        provides=frozenset(section.provides),
        budget_s=BUDGET_S,
        undo_budget_s=BUDGET_S,
        disruption="SMFs wait a second or two for the UPF's answers; no session ends" if changed else "",
        summary=f"PFCP proxy before {section.upf.id}{steered}",
    )


def _stop_step() -> Step:
    return Step(
        id="pfcp-proxy",
        kind=STOP,
        arguments={},
        undo_budget_s=BUDGET_S,
        disruption="SMFs lose the UPF that they reach by it, and with it every session there",
        summary="stop the PFCP proxy",
    )
