"""Janus, as the driver of the WebRTC edge has it.

Samples `sip.webrtc`: up, sessions, drained. Alarms: it does not answer, it is drained.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from nf.contracts.driver import DriverContext, Event
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec
from nf.errors import NfError, Problem
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from sip.naming import WEBRTC_UNIT
from sip.webrtc import secret
from sip.webrtc.daemon import Live
from sip.webrtc.documents import JANUS, JanusSection
from sip.webrtc.janus.admin import JanusAdmin
from sip.webrtc.janus.render import CONFIG_FILE, render
from sip.webrtc.places import Places, Resolve
from sip.webrtc.sockets import listeners
from sip.webrtc.watch import Said

PROGRAM: Final = "/usr/bin/janus"
USER: Final = "janus"
SILENT, DRAINED_ALARM = "webrtc-gateway-silent", "webrtc-gateway-drained"


def spec(section: JanusSection, places: Places, generation: str) -> UnitSpec:
    """The generation is its server's name: it is on the command line, and `info` tells it."""
    gateway, config = section.gateway, str(places.config)
    return UnitSpec(
        name=WEBRTC_UNIT,
        argv=(str(program()), "-C", f"{config}/{CONFIG_FILE}", "-F", config, "-n", generation, "--disable-colors"),
        ready=Readiness(ReadyKind.TCP, f"{gateway.address}:{gateway.port}", 30.0),
        backoff_last_s=5.0,
        stop_timeout_s=10.0,
        sandbox=Sandbox(
            user=USER,
            group=USER,
            families=("AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"),
            writable=(places.run,),
            readable=(places.config,),
        ),
    )


def program() -> Path:
    return Path(shutil.which("janus") or PROGRAM)


class JanusGateway:
    section = JANUS
    unit = WEBRTC_UNIT
    model = JanusSection
    words = ("WebRTC gateway", "session")

    def __init__(self, context: DriverContext) -> None:
        self.places = Places(context.run_dir, context.state_dir, WEBRTC_UNIT, USER)
        self._appliance = context.appliance
        self._said = Said()

    def _admin(self, section: JanusSection) -> JanusAdmin:
        return JanusAdmin(section.gateway.admin, self.places.own_secret())

    def program_problem(self) -> Problem | None:
        path = program()
        if path.is_file() and os.access(path, os.X_OK):
            return None
        remedy = "use an image that has Janus (roles core and pop), or install Debian's package janus"
        return Problem("there is no such program", remedy, key=str(path))

    def files(self, section: JanusSection) -> Mapping[str, str]:
        return render(section, self.places.config)

    def checked(self, section: JanusSection, reference: str, value: str) -> str:
        named = reference == section.gateway.certificate
        return (secret.certificate if named else secret.shared)(value, reference)

    def secrets(self, section: JanusSection) -> tuple[str, ...]:
        gateway = section.gateway
        return (gateway.secret, *((gateway.certificate,) if gateway.certificate is not None else ()))

    def spec(self, section: JanusSection, generation: str) -> UnitSpec:
        return spec(section, self.places, generation)

    def before_start(self, section: JanusSection, resolve: Resolve, *, drained: bool) -> None:
        """Nothing: files are all."""

    async def tell(self, section: JanusSection, resolve: Resolve, *, drained: bool) -> None:  # noqa: ARG002 - contract
        await self._admin(section).accept(new=not drained)

    async def read(self, section: JanusSection, resolve: Resolve, *, drained: bool) -> Live:  # noqa: ARG002 - contract
        """Its plugins are those that are wanted, and it takes sessions unless it is drained."""
        try:
            told, sessions = await self._admin(section).ask("info"), await self._admin(section).sessions()
        except NfError as error:
            return Live(f"it does not answer: {error.message}")
        loaded = told.get("plugins")
        names = {name.removeprefix("janus.plugin.") for name in loaded} if isinstance(loaded, dict) else set()
        missing = sorted({*section.gateway.plugins} - names)
        if missing:
            return Live(f"it has no {', '.join(missing)}", (), sessions)
        address, found = str(section.gateway.address), await asyncio.to_thread(listeners, section.gateway.port)
        elsewhere = found - {address}
        if address not in found and not elsewhere:
            return Live(f"it does not listen at {address}", (), sessions)
        if elsewhere:
            return Live(f"it listens at {', '.join(sorted(elsewhere))} too", (), sessions)
        same = told.get("accepting-new-sessions") is not drained
        return Live("", () if same else ("drain",), sessions)

    async def load(self, section: JanusSection) -> int:
        return await self._admin(section).sessions()

    async def events(
        self,
        section: JanusSection | None,
        resolve: Resolve,
        at: float,
        *,
        drained: bool,
    ) -> Iterator[Event]:
        if section is None:
            return self._said.change((), at)
        live = await self.read(section, resolve, drained=drained)
        labels = {"point": "webrtc", "gateway": section.id}
        values = {"up": float(not live.fault), "drained": float(drained)}
        if live.load is not None:
            values["sessions"] = float(live.load)
        sample = Sample("sip.webrtc", at, labels, values)
        return iter((sample, *self._said.change(self._alarms(section, live, at, drained=drained), at)))

    def _alarms(self, section: JanusSection, live: Live, at: float, *, drained: bool) -> Iterator[AlarmEvent]:
        place, name = f"{self._appliance}/{section.id}", section.id
        if live.fault:
            text, remedy = f"WebRTC gateway {name}: {live.fault}", "read its log: nf supervisor log janus"
            yield AlarmEvent(SILENT, place, Severity.CRITICAL, at, text, remedy)
        if drained:
            text = f"WebRTC gateway {name} is drained: it takes no new sessions"
            remedy = f"end it: nf sip undrain {name}"
            yield AlarmEvent(DRAINED_ALARM, place, Severity.WARNING, at, text, remedy)
