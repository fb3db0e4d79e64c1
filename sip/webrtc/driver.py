"""The driver of sections `janus` and `turn`: each a daemon as a unit of the supervisor.

What it takes while it runs is told: drain, and with coturn secrets and peers. What a start reads alone is a restart,
which ends what it carries, and says so. Facts: those that the section provides, while it does its work with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets as random
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json, JsonObject, canonical
from nf.contracts.units import UnitState, UnitStatus
from nf.documents.model import DocumentModel
from nf.errors import DeadlineError, InputError, NfError, RefusedError, UnavailableError
from nf.trust.secrets import SECRETS_DIR, SecretFiles
from sip.naming import DRAIN
from sip.operations import TURN_CREDENTIALS
from sip.webrtc.coturn.server import TurnServer
from sip.webrtc.daemon import Daemon
from sip.webrtc.documents import EdgeSection, JanusSection, TurnSection
from sip.webrtc.drain import Drain
from sip.webrtc.issuing import Issue
from sip.webrtc.janus.gateway import JanusGateway
from sip.webrtc.places import (
    DRAINED_FILE,
    GENERATION_FILE,
    OWN,
    SECTION_FILE,
    Resolve,
    filled,
    is_shape_of,
    references,
    running_generation,
)
from sip.webrtc.plan import FILES, LIVE, LOAD, REMOVE, RESTORE, RUN, SECRETS, TELL, TOLD, UNIT, Planning

POLL_S: Final = 5.0
_ANSWER_S: Final = 20.0
_POLL_S: Final = 0.5

S = TypeVar("S", bound=EdgeSection)


class WebrtcDriver(Generic[S]):
    def __init__(self, context: DriverContext, daemon: Daemon[S], secrets: Path = SECRETS_DIR) -> None:
        """`secrets`: where what the section names is kept; read to see whether it was replaced."""
        self.name = self.section = daemon.section
        self._appliance = context.appliance
        self._units = context.units
        self._clock = context.clock
        self._secrets = SecretFiles(secrets)
        self._daemon = daemon
        self._planning = Planning(daemon)
        self.places = daemon.places
        self.owns = Ownership(
            paths=frozenset({self.places.config.parent, self.places.run}), units=frozenset({daemon.unit})
        )
        self.operations: Mapping[str, Operation] = {DRAIN: Drain(daemon, self.standing, self._secrets)}

    # -- reading ----------------------------------------------------------------------------------------------------

    def standing(self) -> S | None:
        """What the files on disk were made of; None when they are not there, or nothing that can be read."""
        text = self.places.read(SECTION_FILE)
        try:
            return self._daemon.model.model_validate_json(text) if text is not None else None
        except ValueError:
            return None

    def _is_drained(self, section: S) -> bool:
        return section.drained or (self.places.config / DRAINED_FILE).exists()

    async def observe(self) -> State:
        status = await self._units.status(self._daemon.unit)
        section = await asyncio.to_thread(self.standing)
        if section is None:
            written = await asyncio.to_thread(self.places.read, SECTION_FILE)
            return State(None) if status is None and written is None else State({FILES: [SECTION_FILE]})
        told: dict[str, object] = {
            FILES: await asyncio.to_thread(self._altered, section),
            SECRETS: await asyncio.to_thread(self._replaced, section),
            UNIT: _amiss(status),
        }
        ready = status is not None and status.state is UnitState.READY
        load: JsonObject = {}
        if status is not None and ready:
            live = await self._daemon.read(section, self._secrets, drained=self._is_drained(section))
            told[LIVE] = self._process_fault(status) or live.fault
            told[TOLD] = [*live.told]
            load = {LOAD: live.load} if live.load is not None else {}
        deviations: JsonObject = {key: _json(found) for key, found in told.items() if found}
        holds = ready and not deviations
        provides = section.provides
        return State({**section.to_json(), **deviations, **load}, frozenset(provides if holds else ()))

    def _process_fault(self, status: UnitStatus) -> str:
        same = running_generation(status.pid) == self.places.read(GENERATION_FILE)
        return "" if same else "it runs with another configuration than that on disk"

    def _altered(self, section: S) -> list[str]:
        """Files that somebody else has changed, whatever their secrets are."""
        texts = self._daemon.files(section)
        return sorted(name for name, text in texts.items() if not is_shape_of(text, self.places.read(name) or ""))

    def _replaced(self, section: S) -> list[str]:
        """References whose secret is another now than the one in a file. One that was lost changes nothing of what
        runs. Compared by digests that mean nothing outside this process."""
        key, found = random.token_bytes(32), set()
        for name, text in self._daemon.files(section).items():
            kept = self.places.read(name) or ""
            named = references({name: text})
            try:
                wanted = filled(text, {one: self._value(section, one, self._secrets) for one in named}.__getitem__)
            except NfError:
                continue
            if named and is_shape_of(text, kept) and _digest(key, wanted) != _digest(key, kept):
                found |= {*named}
        return sorted(found - {OWN})

    def _value(self, section: S, reference: str, resolve: Resolve) -> str:
        if reference == OWN:
            return self.places.own_secret()
        return self._daemon.checked(section, reference, resolve(reference))

    # -- planning ---------------------------------------------------------------------------------------------------

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return self._planning.plan(have, self._narrowed(want))

    def _narrowed(self, want: DocumentModel | None) -> S | None:
        return self._daemon.model.narrowed(want)

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """The program is there, and so are the secrets, each of its kind. Neither daemon can be asked about a file."""
        section = self._narrowed(want)
        if section is None or not steps:
            return
        absent = self._daemon.program_problem()
        if absent is not None:
            where = f"{self._appliance}, {self.section}"
            raise RefusedError(f"{self._daemon.words[0]} cannot run here", where=where, problems=[absent])
        for reference in self._daemon.secrets(section):
            value = await asyncio.to_thread(self._secrets, reference)
            self._daemon.checked(section, reference, value)

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - the same for every step
        section, status = self.standing(), await self._units.status(self._daemon.unit)
        data: JsonObject = {
            "section": section.to_json() if section is not None else None,
            "runs": status is not None and not status.state.gone,
        }
        return Undo(RESTORE, data)

    async def apply(self, step: Step, context: Context) -> None:
        """Raises DriverError when the daemon does not come up or does not take what it is told."""
        if (step.kind, step.version) in {(RUN, 1), (TELL, 1)}:
            await self._make(self._daemon.model.model_validate(step.arguments["section"]), context)
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
        section = self._daemon.model.model_validate(before)
        if undo.data.get("runs"):
            await self._make(section, context)
        else:
            await self._units.remove(self._daemon.unit)
            await asyncio.to_thread(self._install, section, self._resolve(context))

    def _resolve(self, context: Context) -> Resolve:
        return context.resolve_secret or self._secrets

    def _install(self, section: S, resolve: Resolve) -> str:
        texts = self._daemon.files(section)
        named = references(texts)
        known = {one: self._value(section, one, resolve) for one in named}
        generation = self.places.install({name: filled(text, known.__getitem__) for name, text in texts.items()})
        self._daemon.before_start(section, resolve, drained=self._is_drained(section))
        self.places.write(SECTION_FILE, canonical(section.to_json()))
        return generation

    async def _make(self, section: S, context: Context) -> None:
        """Restarted when it runs with other files or does not do its work, told what differs when it does."""
        resolve = self._resolve(context)
        generation = await asyncio.to_thread(self._install, section, resolve)
        spec, status = self._daemon.spec(section, generation), await self._units.status(self._daemon.unit)
        if status is None or status.spec != spec:
            await self._units.define(spec)
        runs = status is not None and status.state is UnitState.READY
        if runs and status is not None and running_generation(status.pid) == generation:
            live = await self._daemon.read(section, resolve, drained=self._is_drained(section))
            if live.fault:
                await self._units.restart(self._daemon.unit)
        else:
            gone = status is None or status.state.gone
            await (self._units.start if gone else self._units.restart)(self._daemon.unit)
        await self._tell(section, resolve, context)

    async def _tell(self, section: S, resolve: Resolve, context: Context) -> None:
        until = context.clock.monotonic() + _ANSWER_S
        while True:
            try:
                await self._daemon.tell(section, resolve, drained=self._is_drained(section))
            except (UnavailableError, DeadlineError):
                if context.clock.monotonic() >= until or not await context.again(_POLL_S):
                    raise
            else:
                return

    async def _remove(self) -> None:
        await self._units.remove(self._daemon.unit)
        await asyncio.to_thread(self.places.remove)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        section = self._narrowed(want)
        while True:
            lines = await self._differences(section)
            if not lines or not await context.again(_POLL_S):
                return Drift(lines)

    async def _differences(self, section: S | None) -> tuple[str, ...]:
        state = await self.observe()
        lines = self._planning.differences(state.value, section)
        if section is not None and not lines and not set(section.provides) <= state.facts:
            status = await self._units.status(self._daemon.unit)
            return (f"the {self._daemon.words[0]} is {status.state.value if status is not None else 'gone'}",)
        return lines

    # -- events -----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Samples and alarms as they change; see the daemon's `telemetry`."""
        while True:
            section = await asyncio.to_thread(self.standing)
            drained = section is not None and self._is_drained(section)
            for event in await self._daemon.events(section, self._secrets, self._clock.now(), drained=drained):
                yield event
            await self._clock.sleep(POLL_S)


def create_janus(context: DriverContext) -> WebrtcDriver[JanusSection]:
    """Entry point `janus` of the group `nf.drivers`."""
    return WebrtcDriver(context, JanusGateway(context))


def create_turn(context: DriverContext) -> WebrtcDriver[TurnSection]:
    """Entry point `turn` of the group `nf.drivers`."""
    driver = WebrtcDriver(context, TurnServer(context))
    driver.operations = {**driver.operations, TURN_CREDENTIALS: Issue(driver.standing, SecretFiles())}
    return driver


def _digest(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), hashlib.sha256)


def _json(value: object) -> Json:
    return [str(one) for one in value] if isinstance(value, list) else str(value)


def _amiss(status: UnitStatus | None) -> str:
    """Why its unit needs a step; empty while the supervisor starts it by itself."""
    if status is None:
        return "absent"
    return f"{status.state.value} {status.last_exit}".rstrip() if status.state.gone else ""
