"""Driver `satellite-receiver`: one feed for each carrier that a PoP receives, and the receiver's own word on it.

A carrier is set while its feed runs with the configuration that was applied; whether anything is received is no part
of that, since a carrier may be muted. Reception is watched in `events`, which tells the feed when it is bad.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Mapping, Sequence

from headend.datapath import tell
from headend.devices.credentials import parse_credentials
from headend.devices.opening import OpenDevices, ResolveSecret
from headend.satellite.documents import ReceivedCarrier, ReceiverSection
from headend.satellite.feed.client import FeedStatus, ask
from headend.satellite.feed.config import digest
from headend.satellite.names import RECEIVER
from headend.satellite.receiver import plan as planning
from headend.satellite.receiver.failback import FailbackOperation
from headend.satellite.receiver.following import Following
from headend.satellite.receiver.units import UNIT_PREFIX, Places, carrier_of, text_of, unit_name
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json, JsonObject
from nf.contracts.units import UnitState, bring_up
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError, Problem, RefusedError
from nf.policy.names import FAILBACK
from nf.trust.secrets import SecretFiles

_POLL_S = 0.1
_EVENTS_S = 1.0
_ACTIVE_S = 5.0
_RETRIED_S = 1.5
"""A feed tries every second to open what it could not."""


class SatelliteReceiver:
    """`resolve`: the text of a secret; the agent's files unless a test gives another."""

    name = RECEIVER
    section = RECEIVER

    def __init__(self, context: DriverContext, resolve: ResolveSecret | None = None) -> None:
        self._units = context.units
        self._clock = context.clock
        self._places = Places.of(context.run_dir, context.state_dir)
        self._resolve = resolve or SecretFiles()
        self.operations: Mapping[str, Operation] = {FAILBACK: FailbackOperation(self._places)}
        self.owns = Ownership(
            paths=frozenset({self._places.files, self._places.sockets}), units=frozenset({f"{UNIT_PREFIX}*"})
        )

    # -- observing and planning -------------------------------------------------------------------------------------

    async def observe(self) -> State:
        """What the files say; under `altered`, by carrier, what is not so. A receiver that does not answer is none of
        that: it is an alarm."""
        texts = self._places.read()
        if not texts:
            return State(None)
        lines = await asyncio.gather(*(self._standing(name, text) for name, text in texts.items()))
        known = [carrier for text in texts.values() if (carrier := carrier_of(text)) is not None]
        value: JsonObject = ReceiverSection(carriers=tuple(known)).to_json()
        altered: dict[str, Json] = {name: line for name, line in zip(texts, lines, strict=True) if line}
        return State({**value, "altered": altered} if altered else value)

    async def _standing(self, name: str, text: str) -> str:
        """What is wrong with the feed of a carrier; "" when nothing is."""
        carrier = carrier_of(text)
        if carrier is None or carrier.carrier != name:
            return "its file was changed by hand"
        unit = await self._units.status(unit_name(name))
        if unit is None:
            return "its feed is not there"
        if unit.state is not UnitState.READY:
            return f"its feed is {unit.state.value} {unit.last_exit}".rstrip()
        return _wrong(await ask(self._places.directory(name)), text)

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return planning.plan(have, ReceiverSection.narrowed(want))

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:  # noqa: ARG002 - the contract's
        """Raises RefusedError when another program holds the port at which a receiver's stream is to arrive."""
        feeds = await asyncio.gather(*(ask(self._places.directory(name)) for name in self._places.read()))
        ours = {feed.input for feed in feeds if feed is not None}
        problems = []
        for step in steps:
            if step.kind != planning.CONFIGURE:
                continue
            carrier = ReceivedCarrier.model_validate(step.arguments["carrier"])
            place = f"{carrier.input}:{carrier.input_port}"
            if place not in ours and not _is_free(str(carrier.input), carrier.input_port):
                rule = "the receiver's port is held by another program"
                remedy = f"stop that program (ss -ulpn 'sport = :{carrier.input_port}' names it) or use another port"
                problems.append(Problem(rule, remedy, key=step.id, value=f"udp {place}"))
        if problems:
            raise RefusedError("a port is not free", where=self.name, problems=problems)

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:
        name = _name(step)
        text = self._places.read().get(name)
        running = await self._units.status(unit_name(name)) is not None
        return Undo(planning.RESTORE, {"carrier": name, "text": text, "unit": running})

    async def apply(self, step: Step, context: Context) -> None:
        """Raises DriverError when the feed does not run so, IntegrityError or NotFoundError when the receiver's
        credentials cannot be used, InputError for a strange step."""
        if (step.kind, step.version) == (planning.CONFIGURE, 1):
            carrier = ReceivedCarrier.model_validate(step.arguments["carrier"])
            reference = carrier.device.credentials
            parse_credentials((context.resolve_secret or self._resolve)(reference), reference)
            await self._ensure(carrier.carrier, text_of(carrier))
        elif (step.kind, step.version) == (planning.REMOVE, 1):
            await self._remove(_name(step))
        else:
            raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def _ensure(self, name: str, text: str) -> None:
        """A feed that runs takes a new file without a break for what stays; else it is started."""
        same = self._places.read().get(name) == text
        self._places.write(name, text)
        spec = self._places.unit(name)
        now = await self._units.status(spec.name)
        directory = self._places.directory(name)
        if now is not None and now.state is UnitState.READY and now.spec == spec:
            tell(directory, reload=True)
        else:
            await bring_up(self._units, spec, now, patient=same)
        began = self._clock.monotonic()
        while wrong := _wrong(status := await ask(directory), text):
            patience_s = _RETRIED_S if status is not None and status.problems else _ACTIVE_S
            if self._clock.monotonic() - began >= patience_s:
                remedy = f"read the log of unit {spec.name}"
                raise DriverError(f"carrier {name}: {wrong}", where=self.name, remedy=remedy)
            await self._clock.sleep(_POLL_S)

    async def _remove(self, name: str) -> None:
        await self._units.remove(unit_name(name))
        self._places.remove(name)

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - the contract's
        if undo.kind != planning.RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        name, text = str(undo.data["carrier"]), undo.data["text"]
        if text is None:
            await self._remove(name)
        elif undo.data["unit"] and carrier_of(str(text)) is not None:
            await self._ensure(name, str(text))
        else:  # as it was found, though nothing runs by it
            await self._units.remove(unit_name(name))
            self._places.write(name, str(text))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        """Every feed runs with its configuration; that something is received is for the probes to say."""
        section = ReceiverSection.narrowed(want)
        while True:
            lines = planning.differences(await self.observe(), section)
            if not lines or not await context.again(_POLL_S):
                return Drift(lines)

    # -- events -----------------------------------------------------------------------------------------------------

    def _carriers(self) -> dict[str, ReceivedCarrier]:
        found = (carrier_of(text) for text in self._places.read().values())
        return {carrier.carrier: carrier for carrier in found if carrier is not None}

    async def events(self) -> AsyncIterator[Event]:
        """Every second, for each carrier: samples `satellite.receiver`, and `path.hop` of the point `downlink` for
        each service; alarms as they change. The feed is told each second how the reception is."""
        following = Following(OpenDevices(self._resolve, self._clock), self._places, self._clock)
        try:
            while True:
                for event in await following.turn(self._carriers()):
                    yield event
                await self._clock.sleep(_EVENTS_S)
        finally:
            await following.close()


def _name(step: Step) -> str:
    carrier = step.arguments["carrier"]
    return str(carrier["carrier"]) if isinstance(carrier, dict) else str(carrier)


def _wrong(status: FeedStatus | None, text: str) -> str:
    if status is None:
        return "its feed does not answer"
    if status.problems:
        return "; ".join(status.problems)
    return "" if status.config == digest(text.encode()) else "its feed runs with other settings"


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE  # an address that is not there yet is for the feed to tell
    return True


def create(context: DriverContext) -> SatelliteReceiver:
    """The entry point of the group `nf.drivers`."""
    return SatelliteReceiver(context)
