"""The agent process: drivers, probes and engine of one appliance, and its uplink, on which nothing else depends."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Final

from nf.agent.bundles import NocBundles
from nf.agent.enrolment import Keyring
from nf.agent.hold import ReconcileHold
from nf.agent.notify import Notifier
from nf.agent.probes import ProbeRunner
from nf.agent.requests import Requests
from nf.agent.session import Commands
from nf.agent.state_file import AgentState, StateFile
from nf.agent.telemetry import TelemetryHub
from nf.agent.uplink import Uplink
from nf.clock import Clock, RealClock
from nf.contracts.driver import Driver, DriverContext
from nf.contracts.image import GROUP as IMAGE_GROUP
from nf.contracts.image import ImageContext, ImageFactory, ImageManager, ImageReport, Signs
from nf.contracts.json import JsonObject
from nf.contracts.probe import Probe
from nf.contracts.units import Units
from nf.control.channel import FullJitter, Options
from nf.control.v1 import fleet_pb2 as pb
from nf.documents.appliance import ApplianceConfig
from nf.documents.loader import load_config
from nf.errors import NfError
from nf.supervisor.choice import UnitsKind, open_units
from nf.telemetry.alarms import AlarmEvent
from nf.telemetry.samples import Sample
from nf.transaction.engine import Engine
from nf.transaction.journal import Journal
from nf.transaction.killpoints import KillPoints
from nf.transaction.model import EngineEvent, StandingChanged, StepProgress, Timings
from nf.transaction.states import TransactionState
from nf.trust.secrets import SECRETS_DIR, SecretFiles

_log = logging.getLogger(__name__)

_EVENTS_RETRY_S: Final = 1.0


@dataclass(frozen=True)
class AgentConfig:
    """Where the agent keeps things.

    drivers, probes  None = every installed one (entry points)
    serial_file      None = `serial` beside the enrolment file
    secrets_dir      a file for each secret that documents name
    image            None = the installed manager of images (entry point), if there is one
    delays           between attempts to reach the NOC
    units            what runs the daemons: a supervisor beside the agent, or the appliance's systemd
    """

    state_dir: Path = Path("/var/lib/nf")
    run_dir: Path = Path("/run/nf")
    enrolment_file: Path = Path("/etc/nf/enrolment.json")
    drivers: Sequence[Driver] | None = None
    probes: Sequence[Probe] | None = None
    serial_file: Path | None = None
    secrets_dir: Path = SECRETS_DIR
    clock: Clock = field(default_factory=RealClock)
    load_config: Callable[[JsonObject], ApplianceConfig] = load_config
    timings: Timings | None = None
    image: ImageFactory | None = None
    delays: Callable[[], FullJitter] = FullJitter
    options: Options | None = None
    units: UnitsKind = UnitsKind.SUPERVISOR


def installed_drivers(context: DriverContext) -> tuple[Driver, ...]:
    """One of each installed driver, by name."""
    points = sorted(entry_points(group="nf.drivers"), key=lambda point: point.name)
    return tuple(point.load()(context) for point in points)


def installed_probes() -> tuple[Probe, ...]:
    points = sorted(entry_points(group="nf.probes"), key=lambda point: point.name)
    return tuple(point.load()() for point in points)


def installed_image(context: ImageContext) -> ImageManager | None:
    """That of the one installed manager of images; None on a machine that runs from no image."""
    for point in entry_points(group=IMAGE_GROUP):
        factory: ImageFactory = point.load()
        return factory(context)
    return None


class Agent:
    """The parts of one enrolled appliance. `run` is all it does."""

    def __init__(self, config: AgentConfig, keyring: Keyring, appliance: str) -> None:
        self._config = config
        self._units: Units | None = None
        self._prepared = ""  # the last transaction that came so far
        self.drivers = self._drivers(appliance)
        self.hub = TelemetryHub()
        probes = installed_probes() if config.probes is None else config.probes
        secrets = SecretFiles(config.secrets_dir)
        self.probes = ProbeRunner(appliance, probes, self.hub, config.clock, secrets)
        faults = KillPoints(config.run_dir)
        self._journal = Journal(config.state_dir / "journal.db", faults)
        self.engine = Engine(
            appliance=appliance,
            journal=self._journal,
            drivers=self.drivers,
            probes=self.probes,
            clock=config.clock,
            load_config=config.load_config,
            faults=faults,
            timings=config.timings,
            resolve_secret=secrets,
        )
        self._hold = ReconcileHold(config.state_dir / "reconcile-hold.json", self.engine.hold_reconcile)
        self.image = self._image_manager(keyring, appliance)
        requests = Requests(self.engine, self.drivers, self._units, self.probes.kinds, self._hold.set, image=self.image)
        self.commands = Commands(self.engine, config.clock, config.load_config, requests.answer)
        self.uplink = Uplink(
            keyring=keyring,
            commands=self.commands,
            hub=self.hub,
            clock=config.clock,
            standing=lambda: self.engine.standing,
            describe=(_version(), tuple(sorted(driver.section for driver in self.drivers)), self.probes.kinds),
            welcome=self._welcomed,
            delays=config.delays(),
            options=config.options,
            image=self._image_report,
        )
        self._state_file = StateFile(config.run_dir, self._state, config.clock)
        self.engine.subscribe(self._heard)

    def _drivers(self, appliance: str) -> tuple[Driver, ...]:
        config = self._config
        if config.drivers is not None:
            return tuple(config.drivers)
        self._units = open_units(config.units, config.run_dir, config.state_dir)
        context = DriverContext(appliance, config.run_dir, config.state_dir, self._units, config.clock)
        return installed_drivers(context)

    def _image_manager(self, keyring: Keyring, appliance: str) -> ImageManager | None:
        config = self._config
        context = ImageContext(
            appliance=appliance,
            state_dir=config.state_dir,
            run_dir=config.run_dir,
            clock=config.clock,
            bundles=NocBundles(keyring, config.options),
            signs=self._signs,
            alarm=self.hub.alarm,
            changed=self._image_changed,
        )
        try:
            return (config.image or installed_image)(context)
        except NfError as error:
            _log.error("no updates of the image: %s", error)
            return None

    def _image_changed(self, report: ImageReport) -> None:
        self.commands.image(report)

    def _image_report(self) -> ImageReport | None:
        try:
            return None if self.image is None else self.image.report()
        except NfError as error:
            _log.warning("what this runs from is not known: %s", error)
            return None

    def _state(self) -> AgentState:
        return AgentState(self.engine.standing.confirmed_revision, self.uplink.connected.is_set(), len(self.hub.alarms))

    async def _signs(self) -> Signs:
        """How the appliance does, as far as a new image would be to blame for it."""
        flight = self.engine.standing.in_flight
        problems = {f"path {name}": f"is down: {why}" for name, why in self.probes.down().items()}
        if flight is None:
            differences = await self.engine.differences()
            problems |= {f"driver {section}": text for section, text in differences.items()}
        busy = "" if flight is None else f"transaction {flight.transaction} is {flight.state.name.lower()}"
        return Signs(self.uplink.connected.is_set(), busy, problems)

    def _welcomed(self, welcome: pb.Welcome) -> None:
        if welcome.reconcile_interval_ms:
            self.engine.set_reconcile_interval(welcome.reconcile_interval_ms / 1000)
        self._hold.set(welcome.reconcile_held_until)

    def _heard(self, event: EngineEvent) -> None:
        if isinstance(event, StandingChanged):
            self.commands.notice(event.standing)
            self._prove()
        elif isinstance(event, StepProgress):
            self.commands.progress(event)
        else:
            self.hub.alarm(event)

    def _prove(self) -> None:
        """New probes join when the commit asks for proof, not while the path is still being made."""
        config = self.engine.effective_config()
        flight = self.engine.standing.in_flight
        if flight is not None and flight.state is TransactionState.PREPARED and flight.transaction != self._prepared:
            self._prepared = flight.transaction
            self.probes.begin()
        applying = flight is not None and flight.state in {TransactionState.APPLYING, TransactionState.APPLIED}
        self.probes.refresh(config.probes if config is not None else (), start=not applying)

    async def run(self) -> None:
        """Recover, then serve until cancelled."""
        try:
            await self.engine.recover()
            self._hold.load()
            self._prove()
            async with asyncio.TaskGroup() as group:
                group.create_task(self.engine.run(), name="engine")
                group.create_task(self.commands.run(), name="commands")
                group.create_task(self.uplink.run(), name="uplink")
                group.create_task(self._state_file.run(), name="state file")
                if self.image is not None:
                    group.create_task(self.image.run(), name="image")
                for driver in self.drivers:
                    group.create_task(self._events(driver), name=f"events of {driver.name}")
        finally:
            await self.probes.close()
            self._journal.close()

    async def _events(self, driver: Driver) -> None:
        """Samples and alarms of one driver, for ever; when its source breaks it is opened again."""
        while True:
            try:
                async for event in driver.events():
                    self._take(event)
            except (NfError, OSError, ValueError) as error:
                _log.warning("events of %s: %s", driver.name, error)
            except Exception:  # noqa: BLE001 - a driver may raise anything; the agent outlives it
                _log.exception("events of %s", driver.name)
            await self._config.clock.sleep(_EVENTS_RETRY_S)

    def _take(self, event: Sample | AlarmEvent) -> None:
        if isinstance(event, Sample):
            self.hub.sample(event)
        else:
            self.hub.alarm(event)


async def serve(config: AgentConfig, started: Callable[[Agent], None] = lambda _agent: None) -> None:
    """Enrol if need be, then serve until cancelled. Raises what ends the agent."""
    for directory in (config.state_dir, config.run_dir):
        directory.mkdir(parents=True, exist_ok=True)
    serial_file = config.serial_file or config.enrolment_file.parent / "serial"
    keyring = Keyring(config.state_dir, config.enrolment_file, serial_file, config.clock)
    keyring.load()
    notifier = Notifier()
    notifier.tell("READY=1", "STATUS=serves" if keyring.enrolled else "STATUS=waits to be enrolled")
    beat = asyncio.create_task(notifier.beat(), name="heartbeat")
    try:
        await _serve(config, keyring, started)
    finally:
        notifier.tell("STOPPING=1")
        beat.cancel()


async def _serve(config: AgentConfig, keyring: Keyring, started: Callable[[Agent], None]) -> None:
    enrolled = await keyring.wait()
    agent = Agent(config, keyring, enrolled.appliance)
    started(agent)
    try:
        await agent.run()
    except BaseExceptionGroup as group:
        raise _first(group) from group


def _first(error: BaseException) -> BaseException:
    """What one part of the agent ended with; the others were only cancelled."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def run_agent(config: AgentConfig | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises StorageError, IntegrityError, DriverError when it cannot even begin."""
    serving = asyncio.create_task(serve(config or AgentConfig()), name="agent")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    try:
        await asyncio.wait([serving])
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        if not serving.done():
            serving.cancel()
            await asyncio.wait([serving])
    if not serving.cancelled():
        serving.result()


def _version() -> str:
    try:
        return version("streamverse-nf")
    except PackageNotFoundError:
        return "unknown"
