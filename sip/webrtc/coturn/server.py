"""coturn, as the driver of the WebRTC edge has it.

Samples `sip.turn`: up, allocations, round_ms (of a STUN binding), drained. Alarms: it does not answer, it allocates
nothing, it is nearly full, it is drained.
"""

from __future__ import annotations

import asyncio
import os
import secrets as random
import shutil
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from nf.clock import Clock
from nf.contracts.driver import DriverContext, Event
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec
from nf.errors import NfError, Problem
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from sip.naming import TURN_UNIT
from sip.webrtc import secret
from sip.webrtc.coturn import database
from sip.webrtc.coturn.asking import Finding, ask
from sip.webrtc.coturn.render import CONFIG_FILE, DATABASE_FILE, render
from sip.webrtc.credentials import TurnCredentials, turn_credentials
from sip.webrtc.daemon import Live
from sip.webrtc.documents import TURN, TurnSection
from sip.webrtc.places import Places, Resolve
from sip.webrtc.sockets import relayed
from sip.webrtc.turning import UNAUTHENTICATED
from sip.webrtc.watch import Said

PROGRAM: Final = "/usr/bin/turnserver"
USER: Final = "turnserver"
SILENT, REFUSES, FULL, DRAINED_ALARM = "turn-silent", "turn-refuses", "turn-full", "turn-drained"
_WHO: Final = "nf-agent"
_GOOD_S: Final = 300.0
_NEVER: Final = IPv4Address("127.0.0.1")
_NEARLY: Final = 0.9


def spec(section: TurnSection, places: Places, generation: str) -> UnitSpec:
    """Its server's name means something to OAuth alone, which is off: the generation stands there to be read."""
    turn = section.turn
    return UnitSpec(
        name=TURN_UNIT,
        argv=(str(program()), "-c", str(places.config / CONFIG_FILE), "--pidfile=", "--server-name", generation),
        ready=Readiness(ReadyKind.TCP, f"{turn.address}:{turn.port}", 30.0),
        backoff_last_s=5.0,
        stop_timeout_s=10.0,
        sandbox=Sandbox(
            user=USER,
            group=USER,
            families=("AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"),
            writable=(places.data,),
            readable=(places.config,),
        ),
    )


def program() -> Path:
    return Path(shutil.which("turnserver") or PROGRAM)


class TurnServer:
    section = TURN
    unit = TURN_UNIT
    model = TurnSection
    words = ("TURN server", "allocation")

    def __init__(self, context: DriverContext) -> None:
        self.places = Places(context.run_dir, context.state_dir, TURN_UNIT, USER)
        self._appliance = context.appliance
        self._clock: Clock = context.clock
        self._said = Said()
        self._ours: set[int] = set()
        """Sockets that coturn has for us: it closes them some time after they were let go."""

    @property
    def _database(self) -> Path:
        return self.places.data / DATABASE_FILE

    def program_problem(self) -> Problem | None:
        path = program()
        if path.is_file() and os.access(path, os.X_OK):
            return None
        remedy = "use an image that has coturn (roles core and pop), or install Debian's package coturn"
        return Problem("there is no such program", remedy, key=str(path))

    def files(self, section: TurnSection) -> Mapping[str, str]:
        return render(section, self.places.config, self.places.data)

    def checked(self, section: TurnSection, reference: str, value: str) -> str:
        named = reference == section.turn.certificate
        return (secret.certificate if named else secret.shared)(value, reference)

    def secrets(self, section: TurnSection) -> tuple[str, ...]:
        turn = section.turn
        return (turn.secret, *((turn.certificate,) if turn.certificate is not None else ()))

    def spec(self, section: TurnSection, generation: str) -> UnitSpec:
        return spec(section, self.places, generation)

    def _told(self, section: TurnSection, resolve: Resolve, *, drained: bool) -> database.Told:
        reference = section.turn.secret
        known = None if drained else secret.shared(resolve(reference), reference)
        return database.told(section.peers, known)

    def before_start(self, section: TurnSection, resolve: Resolve, *, drained: bool) -> None:
        database.write(self._database, section.realm, self._told(section, resolve, drained=drained))
        self.places.give(self._database, USER)

    async def tell(self, section: TurnSection, resolve: Resolve, *, drained: bool) -> None:
        await asyncio.to_thread(self.before_start, section, resolve, drained=drained)

    async def read(self, section: TurnSection, resolve: Resolve, *, drained: bool) -> Live:
        """It binds; it allocates, unless it is drained; it relays to whom it may and to nobody else."""
        stands = await asyncio.to_thread(database.read, self._database)
        try:
            wanted = await asyncio.to_thread(self._told, section, resolve, drained=drained)
        except NfError:  # a secret that was lost changes nothing of what runs
            wanted = stands or database.Told()
        told = [*_differing(stands, wanted)]
        credentials = self._credentials((stands or wanted).secrets)
        try:
            found = await self._ask(section, credentials, (*section.peers, _NEVER))
        except NfError as error:
            return Live(error.message, tuple(told))
        load, answer = await self.load(section), found.allocated
        if answer is not None and answer.error == UNAUTHENTICATED:
            return Live("it knows no credentials of its secret", tuple(told), load)
        if answer is not None and not answer.error:
            told += self._relaying(section, found)
        return Live("", tuple(dict.fromkeys(told)), load)

    def _relaying(self, section: TurnSection, found: Finding) -> Iterator[str]:
        if {*found.refused} & {*section.peers}:
            yield "peers"
        if _NEVER not in section.peers and _NEVER not in found.refused:
            yield "forbidden peers"

    def _credentials(self, secrets: tuple[str, ...]) -> TurnCredentials | None:
        """Of a user that nobody is, so that no quota of users is in the way."""
        user = f"{_WHO}-{random.token_hex(4)}"
        return turn_credentials(secrets[0], user, self._clock.now() + _GOOD_S) if secrets else None

    async def _ask(
        self, section: TurnSection, credentials: TurnCredentials | None, peers: tuple[IPv4Address, ...] = ()
    ) -> Finding:
        found = await ask((str(section.turn.address), section.turn.port), credentials, peers)
        if found.allocated is not None and found.allocated.relayed is not None:
            bound = await asyncio.to_thread(relayed, section.turn.address, section.turn.ports)
            self._ours |= {inode for port, inode in bound.items() if port == found.allocated.relayed[1]}
        return found

    async def load(self, section: TurnSection) -> int:
        """Without those that we ask for to see whether it allocates."""
        bound = await asyncio.to_thread(relayed, section.turn.address, section.turn.ports)
        self._ours &= {*bound.values()}
        return len({*bound.values()} - self._ours)

    async def events(
        self,
        section: TurnSection | None,
        resolve: Resolve,  # noqa: ARG002 - what it was given says enough
        at: float,
        *,
        drained: bool,
    ) -> Iterator[Event]:
        if section is None:
            return self._said.change((), at)
        stands = await asyncio.to_thread(database.read, self._database)
        try:
            found = await self._ask(section, self._credentials(stands.secrets if stands is not None else ()))
        except NfError:
            found = None
        load = await self.load(section)
        values = {"up": float(found is not None), "drained": float(drained), "allocations": float(load)}
        if found is not None:
            values["round_ms"] = found.bound.round_s * 1000
        sample = Sample("sip.turn", at, {"point": "turn", "server": section.id}, values)
        alarms = self._alarms(section, found, load, at, drained=drained)
        return iter((sample, *self._said.change(alarms, at)))

    def _alarms(
        self, section: TurnSection, found: Finding | None, load: int, at: float, *, drained: bool
    ) -> Iterator[AlarmEvent]:
        name, most = section.id, section.turn.allocations
        place = f"{self._appliance}/{name}"
        if found is None:
            text, remedy = f"TURN server {name} does not answer", "read its log: nf supervisor log coturn"
            yield AlarmEvent(SILENT, place, Severity.CRITICAL, at, text, remedy)
        elif found.allocated is not None and found.allocated.error:
            told = f"{found.allocated.error} {found.allocated.reason}".rstrip()
            text, remedy = f"TURN server {name} allocates nothing: {told}", "read its log: nf supervisor log coturn"
            yield AlarmEvent(REFUSES, place, Severity.MAJOR, at, text, remedy)
        if load >= most * _NEARLY:
            text, remedy = f"TURN server {name} has {load:,} of {most:,} allocations", "raise `allocations`, or add one"
            yield AlarmEvent(FULL, place, Severity.WARNING, at, text, remedy)
        if drained:
            text, remedy = f"TURN server {name} is drained: it allocates nothing new", f"end it: nf sip undrain {name}"
            yield AlarmEvent(DRAINED_ALARM, place, Severity.WARNING, at, text, remedy)


def _differing(stands: database.Told | None, wanted: database.Told) -> Iterator[str]:
    if stands is None or bool(stands.secrets) != bool(wanted.secrets):
        yield "drain"
    elif stands.secrets != wanted.secrets:
        yield "secret"
    if stands is None or stands.peers != wanted.peers or stands.denied != wanted.denied:
        yield "peers"
