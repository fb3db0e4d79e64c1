"""The driver of section `cdn-edge`: Traffic Server in front of the shields.

Facts: each channel provides what its entry says while the loaded remap table has it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json, JsonObject
from nf.contracts.units import UnitState
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError, NfError, RefusedError
from nf.media import certificates
from nf.media.documents import PART, CongestionControl, EdgeSection
from nf.media.edge import kernel, tls
from nf.media.edge.access_log import ACCESS_LOG, AccessLog
from nf.media.edge.check import check_candidate
from nf.media.edge.healing import units as healing
from nf.media.edge.healing.telemetry import HealingWatch
from nf.media.edge.index import follow
from nf.media.edge.purge import EdgePurge, EdgeRules
from nf.media.edge.render import (
    RESTART_FILES,
    Places,
    altered,
    certificate_file,
    generation,
    render,
    section_of,
)
from nf.media.edge.rules import Rules
from nf.media.edge.server import UNIT, Server
from nf.media.edge.telemetry import EVENTS_S, EXPIRING, EdgeWatch
from nf.media.purge.message import PURGE, PURGE_RULES
from nf.trust.secrets import SECRETS_DIR, SecretFiles

CONFIGURE, REMOVE, RESTORE = "edge.configure", "edge.remove", "edge.restore"
BUDGET_S = 40.0
_POLL_S = 0.2


class EdgeDriver:
    name = "cdn-edge"
    section = "cdn-edge"

    def __init__(self, context: DriverContext, secrets: Path = SECRETS_DIR) -> None:
        """`secrets`: where the certificates are that the section names."""
        self._appliance = context.appliance
        self._clock = context.clock
        self._units = context.units
        self._secrets = SecretFiles(secrets)
        self._server = Server(context.run_dir, context.state_dir, context.units, context.clock)
        places = self._server.places
        self.owns = Ownership(paths=frozenset({places.root, places.cache}), units=frozenset({UNIT, healing.UNIT}))
        rules = Rules(self._server, context.clock)
        self.operations: Mapping[str, Operation] = {
            PURGE: EdgePurge(self._server, rules, self._server.index),
            PURGE_RULES: EdgeRules(rules),
        }

    # -- reading ----------------------------------------------------------------------------------------------------

    async def observe(self) -> State:
        """Beside the section: `altered` files, the `unit` that is not ready, the generation that is `live` instead,
        `certificates` that are not served as they are kept, a `healer` that is not as it should be."""
        files = self._server.read_files()
        status = await self._server.status()
        if not files and status is None:
            return State(None)
        section = section_of(files)
        value: JsonObject = section.to_json() if section is not None else {}
        told: dict[str, Json] = {}
        if section is None:
            told["altered"] = ["remap.config"]
        else:
            told["altered"] = [*altered(files, section, self._server.places, has_bbr=kernel.has_bbr())]
            live = await self._server.live_generation(section)
            told["live"] = "" if live == generation(section) else live or "none"
        ready = status is not None and status.state is UnitState.READY
        if section is not None:
            told["certificates"] = [*await self._stale_certificates(section)] if ready else []
            told["healer"] = await self._healing_fault(section)
        told["unit"] = "" if ready else status.state.value if status is not None else "absent"
        deviations = {key: found for key, found in told.items() if found}
        holds = section is not None and not deviations
        facts = {fact for channel in section.channels for fact in channel.provides} if section and holds else set()
        return State({**value, **deviations}, frozenset(facts))

    async def _stale_certificates(self, section: EdgeSection) -> tuple[str, ...]:
        """A secret that was replaced is to be installed; one that was lost changes nothing of what is served."""
        stale = set(await tls.unserved(section, self._server.places.certificates))
        for reference in section.tls.certificates if section.tls is not None else ():
            try:
                kept = self._secrets(reference)
            except NfError:
                continue
            if tls.installed(self._server.places.certificates / certificate_file(reference)) != kept:
                stale.add(reference)
        return tuple(sorted(stale))

    async def _healing_fault(self, section: EdgeSection) -> str:
        status = await self._units.status(healing.UNIT)
        if not healing.is_wanted(section):
            return "" if status is None else "runs and is not wanted"
        if status is None:
            return "absent"
        if status.spec != healing.spec(section, self._server.places):
            return "runs for another configuration"
        return "" if status.state is UnitState.READY else status.state.value

    # -- planning ---------------------------------------------------------------------------------------------------

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = EdgeSection.narrowed(want)
        if section is None:
            return () if have.value is None else (_remove_step(),)
        target = section.to_json()
        if have.value == target:
            return ()
        # Where no section can be read, as after a boot, there is no player behind it that could stall.
        standing = have.value or {}
        restarted = _restarts(standing, section)
        return (
            Step(
                id="edge.configure",
                kind=CONFIGURE,
                arguments={"section": target},
                requires=frozenset(section.requires).union(*(channel.requires for channel in section.channels)),
                provides=frozenset(fact for channel in section.channels for fact in channel.provides),
                budget_s=BUDGET_S,
                undo_budget_s=BUDGET_S,
                disruption="the edge cache restarts: every player behind it stalls" if restarted else "",
                summary=f"edge cache: {', '.join(sorted({c.channel for c in section.channels})) or 'no channel'}"
                f"{_congestion_note(section)}",
            ),
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        section = EdgeSection.narrowed(want)
        if section is None or not steps:
            return
        self._server.check_place()
        if section.congestion_control is CongestionControl.BBR and not kernel.has_bbr():
            raise RefusedError(
                "this kernel has no BBR",
                where=f"{self._appliance}, {self.section}",
                remedy="load the module tcp_bbr, or write congestion_control: auto (fleet, equipment, cdn)",
            )
        pems = tls.resolve(section, self._secrets)
        certificates.check(tls.names(section), pems, self._clock.now(), PART)
        await check_candidate(section, pems, has_bbr=kernel.has_bbr())

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - the same for every step
        files: JsonObject = dict(self._server.read_files())
        status = await self._server.status()
        return Undo(RESTORE, {"files": files, "unit": status is not None})

    async def apply(self, step: Step, context: Context) -> None:
        """Raises DriverError when Traffic Server does not take it, InputError for a step of another version."""
        if (step.kind, step.version) == (CONFIGURE, 1):
            section = EdgeSection.model_validate(step.arguments["section"])
            pems = tls.resolve(section, context.resolve_secret or self._secrets)
            files = render(section, self._server.places, has_bbr=kernel.has_bbr())
            await self._server.activate(files, _time(context), pems)
            await self._ensure_healing(section)
        elif (step.kind, step.version) == (REMOVE, 1):
            await self._remove()
        else:
            raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def undo(self, undo: Undo, context: Context) -> None:
        files = undo.data.get("files")
        if undo.kind != RESTORE or not isinstance(files, dict):
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        if not files and not undo.data.get("unit"):
            await self._remove()
            return
        texts = {name: str(text) for name, text in files.items()}
        section = section_of(texts)
        if undo.data.get("unit") and section is not None:
            pems = tls.resolve(section, context.resolve_secret or self._secrets)
            await self._server.activate(texts, _time(context), pems)
            await self._ensure_healing(section)
        else:
            self._server.write_files(texts)

    async def _ensure_healing(self, section: EdgeSection) -> None:
        if not healing.is_wanted(section):
            await self._units.remove(healing.UNIT)
            return
        spec, now = healing.spec(section, self._server.places), await self._units.status(healing.UNIT)
        if now is not None and now.spec == spec and now.state is UnitState.READY:
            return
        await self._units.define(spec)
        if now is None or now.state in {UnitState.STOPPED, UnitState.FAILED}:
            await self._units.start(healing.UNIT)
        else:
            await self._units.restart(healing.UNIT)

    async def _remove(self) -> None:
        await self._units.remove(healing.UNIT)
        await self._server.remove()
        self._server.remove_directories()

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        while True:
            drift = Drift(differences((await self.observe()).value, EdgeSection.narrowed(want)))
            if not drift or not await context.again(_POLL_S):
                return drift

    # -- events -----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Samples of the point `edge` for each channel and of each shield; alarm `edge-silent` while Traffic Server
        does not answer, and those of healing and of certificates."""
        log = AccessLog(self._server.places.logs / ACCESS_LOG)
        watch = EdgeWatch(self._appliance, self._clock, log)
        shields = HealingWatch(self._appliance)
        expiring = certificates.CertificateWatch(EXPIRING, self._appliance)
        try:
            while True:
                try:
                    section = section_of(self._server.read_files())
                except DriverError:
                    section = None  # observe says so
                await follow(self._server.index, self._clock.now())
                for event in await watch.take(section):
                    yield event
                wanted = section is not None and healing.is_wanted(section)
                answer = await healing.ask(self._server.places) if wanted else None
                for event in shields.take(answer, self._clock.now(), wanted=wanted):
                    yield event
                for alarm in expiring.take(self._served_certificates(section), self._clock.now()):
                    yield alarm
                await self._clock.sleep(EVENTS_S)
        finally:
            log.close()

    def _served_certificates(self, section: EdgeSection | None) -> dict[str, Path]:
        """Reference -> file."""
        references = section.tls.certificates if section is not None and section.tls is not None else ()
        return {one: self._server.places.certificates / certificate_file(one) for one in references}


def create(context: DriverContext) -> EdgeDriver:
    """Entry point of the group `nf.drivers`."""
    return EdgeDriver(context)


def differences(have: JsonObject | None, want: EdgeSection | None) -> tuple[str, ...]:
    """In an operator's words."""
    if want is None:
        return () if have is None else ("the edge cache is still there",)
    target = want.to_json()
    if have == target:
        return ()
    if have is None:
        return ("the edge cache is not there",)
    told = [
        f"{key} is {have.get(key, 'none')}, not {target.get(key, 'none')}"
        for key in ("listen", "listen6", "port", "congestion_control")
        if have.get(key) != target.get(key)
    ]
    told += ["other settings of https"] if have.get("tls") != target.get("tls") else []
    told += ["other settings of healing"] if have.get("healing") != target["healing"] else []
    told += ["other shields"] if have.get("shields") != target["shields"] else []
    told += ["other channels"] if have.get("channels") != target["channels"] else []
    told += [f"{file} was changed by hand" for file in _list(have.get("altered"))]
    told += [f"{reference} is not the certificate that is served" for reference in _list(have.get("certificates"))]
    told += [f"healing {have['healer']}"] if "healer" in have else []
    told += [f"Traffic Server is {have['unit']}"] if "unit" in have else []
    told += [f"the loaded remap table is another one ({have['live']})"] if "live" in have else []
    return tuple(told) or ("other ordering facts",)


_PLACES = Places(Path("/"), Path("/"))


def _restarts(standing: JsonObject, section: EdgeSection) -> bool:
    """Whether what only a start reads is another. Where no section can be read, nobody knows of any that stood."""
    known = {key: value for key, value in standing.items() if key in EdgeSection.model_fields}
    try:
        before = EdgeSection.model_validate(known)
    except ValueError:
        return False
    old, new = render(before, _PLACES), render(section, _PLACES)
    return any(old.get(name) != new.get(name) for name in RESTART_FILES)


def _congestion_note(section: EdgeSection) -> str:
    missing = section.congestion_control is CongestionControl.AUTO and not kernel.has_bbr()
    return "; this kernel has no BBR, so its own congestion control is used" if missing else ""


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _time(context: Context) -> float:
    return max(1.0, min(BUDGET_S - 5.0, context.remaining() - 1.0))


def _remove_step() -> Step:
    return Step(
        id="edge.remove",
        kind=REMOVE,
        arguments={},
        budget_s=BUDGET_S,
        undo_budget_s=BUDGET_S,
        disruption="the edge cache stops: every player behind it loses its programme",
        summary="remove the edge cache",
    )
