"""The driver of section `rtpengine`: a relay as a unit, and of a pair its store and what moves its addresses.

rtpengine reads its file once, so a change of it is a restart; all else changes beside it. Files survive a boot.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject
from nf.contracts.units import UnitState, UnitStatus, bring_up
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError, NfError, RefusedError
from sip.findings import Findings, Report
from sip.operations import RELAY_REPORT
from sip.rtpengine import guard, http
from sip.rtpengine.documents import SECTION, RtpengineSection
from sip.rtpengine.leaks import UPTIME, Leaks
from sip.rtpengine.naming import (
    MOVER_UNIT,
    STORE_UNIT,
    UNIT,
    alive_path,
    config_path,
    hold_path,
    mover_path,
    pid_folder,
    store_path,
)
from sip.rtpengine.plan import (
    ALTERED,
    AMISS,
    CONFIGURE,
    REMOVE,
    RESTORE,
    SESSIONS,
    SIDE,
    STOPPED,
    TEXT,
    differences,
    plan,
    standing,
)
from sip.rtpengine.reconcile import OLDER_THAN_S
from sip.rtpengine.render import alive_script, from_text, hold_script, mover_conf, program, rtpengine_conf, store_conf
from sip.rtpengine.telemetry import POLL_S, RelayWatch, read_relay
from sip.rtpengine.units import program_problems, relay_unit, units_of
from sip.rtpengine.waiting import WAIT_EMPTY, WaitEmpty

_VERIFY_S: Final = 0.25
_NONLOCAL: Final = Path("/proc/sys/net/ipv4/ip_nonlocal_bind")
"""A relay of a pair binds the ports of its partner's calls before the address is here."""


class RtpengineDriver:
    name = "rtpengine"
    section = SECTION
    older_than_s = OLDER_THAN_S
    """Of calls: younger ones are not asked for at the proxies."""

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._state_dir, self._run_dir = context.state_dir, context.run_dir
        self._units = context.units
        self._clock = context.clock
        self.findings = Findings()
        self.owns = Ownership(
            nft_tables=frozenset({f"{guard.FAMILY} {guard.TABLE}"}),
            paths=frozenset({config_path(self._state_dir).parent, pid_folder(self._run_dir), _NONLOCAL}),
            units=frozenset({UNIT, STORE_UNIT, MOVER_UNIT}),
        )
        self.operations: Mapping[str, Operation] = {
            WAIT_EMPTY: WaitEmpty(self._calls),
            RELAY_REPORT: Report(self.findings, self._relay),
        }

    # -- reading ----------------------------------------------------------------------------------------------------

    def _relay(self) -> str:
        text = _read(config_path(self._state_dir))
        section = from_text(text) if text is not None else None
        return section.relay.id if section is not None else ""

    async def standing(self) -> RtpengineSection | None:
        """What the relay's file says; None: it has none, or somebody changed it."""
        text = _read(config_path(self._state_dir))
        return from_text(text) if text is not None else None

    async def observe(self) -> State:
        """Beside the section: what is amiss, and how many calls the relay has."""
        text, status = _read(config_path(self._state_dir)), await self._units.status(UNIT)
        if text is None and status is None:
            return State(None)
        section = from_text(text) if text is not None else None
        amiss, told = await self._amiss(section, status)
        value: JsonObject = section.to_json() if section is not None else {}
        if amiss:
            value |= {AMISS: amiss, TEXT: told}
        ready = status is not None and status.state is UnitState.READY
        if ready and (calls := await _count()) is not None:
            value[SESSIONS] = calls
        return State(value, frozenset(section.provides) if section is not None and ready and not amiss else frozenset())

    async def _amiss(self, section: RtpengineSection | None, status: UnitStatus | None) -> tuple[str, str]:
        """What is not as the file says, worst first. What the supervisor is starting is not amiss."""
        if section is None:
            return ALTERED, "the relay's file is gone, or somebody has changed it"
        name = f"relay {section.relay.id}"
        if status is None or status.state.gone:
            return STOPPED, f"{name} is {status.state.value if status is not None else 'without a unit'}"
        if status.spec is not None and status.spec.argv != relay_unit(self._state_dir).argv:
            return ALTERED, f"{name} runs as another program"
        if status.state is UnitState.READY and status.since < config_path(self._state_dir).stat().st_mtime:
            return ALTERED, f"{name} still runs with the file before"
        told = await self._beside(section)
        return (SIDE, f"{name}: {told}") if told else ("", "")

    async def _beside(self, section: RtpengineSection) -> str:
        """What is amiss around a relay that runs well."""
        for path, text in self._side_files(section).items():
            if _read(path) != text:
                return f"{path.name} is gone, or somebody has changed it"
        for spec in units_of(section, self._state_dir, self._run_dir):
            other = await self._units.status(spec.name)
            if other is None or other.state.gone:
                return f"{spec.name} does not run"
        if section.pair is not None and not _nonlocal():
            return "it cannot bind its partner's address: ip_nonlocal_bind is off"
        if not await guard.holds(section):
            return f"it is open to strangers: table {guard.FAMILY} {guard.TABLE} is not as it should be"
        return ""

    def _side_files(self, section: RtpengineSection) -> dict[Path, str]:
        if section.pair is None:
            return {}
        found = {
            mover_path(self._state_dir): mover_conf(section, section.pair, self._state_dir),
            alive_path(self._state_dir): alive_script(),
            hold_path(self._state_dir): hold_script(section.pair),
        }
        return found | ({store_path(self._state_dir): store_conf(section.pair)} if section.pair.first else {})

    async def _calls(self) -> int:
        status = await self._units.status(UNIT)
        if status is None or status.state.gone:
            raise RefusedError("no relay runs on this appliance", where=self.name, remedy="see nf lineup show")
        count = await _count()
        if count is None:
            raise DriverError("it does not tell how many calls it has", where=self.name)
        return count

    # -- planning ---------------------------------------------------------------------------------------------------

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return plan(have, RtpengineSection.narrowed(want))

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        section = RtpengineSection.narrowed(want)
        problems = [*program_problems(section)] if section is not None and steps else []
        if problems:
            where = f"{self._appliance}, {self.section}"
            raise RefusedError("a relay cannot run like this here", where=where, problems=problems)

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:
        _known(step)
        section, status = await self.standing(), await self._units.status(UNIT)
        data: JsonObject = {
            "section": section.to_json() if section is not None else None,
            "runs": status is not None and not status.state.gone,
            "nonlocal": _nonlocal(),
        }
        return Undo(RESTORE, data)

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - the contract's
        """Raises DriverError with the log's tail when it does not come up, InputError for a step of another version."""
        if _known(step) == REMOVE:
            await self._remove()
        else:
            await self._bring_up(RtpengineSection.model_validate(step.arguments["section"]))

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - the contract's
        if undo.kind != RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        section = undo.data.get("section")
        if section is None:
            await self._remove()
        elif undo.data.get("runs"):
            await self._bring_up(RtpengineSection.model_validate(section))
        else:
            before = RtpengineSection.model_validate(section)
            for spec in reversed(units_of(before, self._state_dir, self._run_dir)):
                await self._units.remove(spec.name)
            await self._write_all(before)
        if not undo.data.get("nonlocal") and _nonlocal():
            _allow_nonlocal(allowed=False)

    async def _bring_up(self, section: RtpengineSection) -> None:
        """What runs with what it should is left alone; rtpengine last, since it asks the store, and then the mover."""
        before = await self.standing()
        file, status = config_path(self._state_dir), await self._units.status(UNIT)
        kept = (
            before is not None
            and program(rtpengine_conf(before)) == program(rtpengine_conf(section))
            and status is not None
            and not status.state.gone
            and (status.state is not UnitState.READY or status.since >= file.stat().st_mtime)
        )
        changed = await self._write_all(section, keep_time=kept)
        wanted = units_of(section, self._state_dir, self._run_dir)
        for name in (MOVER_UNIT, STORE_UNIT):
            if name not in {spec.name for spec in wanted}:
                await self._units.remove(name)
        if section.pair is not None and not _nonlocal():
            _allow_nonlocal(allowed=True)
        await guard.make(section)
        for spec in wanted:
            now = await self._units.status(spec.name)
            same = now is not None and now.spec is not None and now.spec.argv == spec.argv
            runs = now is not None and not now.state.gone
            if spec.name == UNIT:
                leave = kept and same
            else:
                leave = runs and same and _file_of(spec.name, self._state_dir) not in changed
            if not leave:
                await bring_up(self._units, spec, now)
            elif now is not None and now.spec != spec:
                await self._units.define(spec)

    async def _write_all(self, section: RtpengineSection, *, keep_time: bool = False) -> frozenset[Path]:
        """The files that were not like this."""
        side, changed = self._side_files(section), set()
        pid_folder(self._run_dir).mkdir(parents=True, exist_ok=True)
        for path in (one(self._state_dir) for one in (store_path, mover_path, alive_path, hold_path)):
            if path not in side:
                path.unlink(missing_ok=True)
        for path, text in side.items():
            if _read(path) != text:
                _write(path, text)
                changed.add(path)
        main, text = config_path(self._state_dir), rtpengine_conf(section)
        if _read(main) != text:
            _write(main, text, keep_time=keep_time)
            changed.add(main)
        return frozenset(changed)

    async def _remove(self) -> None:
        for name in (MOVER_UNIT, UNIT, STORE_UNIT):
            await self._units.remove(name)
        for path in (config_path, store_path, mover_path, alive_path, hold_path):
            path(self._state_dir).unlink(missing_ok=True)
        await guard.make(None)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        """A relay that the supervisor is starting is waited for."""
        section = RtpengineSection.narrowed(want)
        while True:
            lines = await self._differences(section)
            if not lines or not await context.again(_VERIFY_S):
                return Drift(lines)

    async def _differences(self, section: RtpengineSection | None) -> tuple[str, ...]:
        state = await self.observe()
        lines = differences(state.value, section)
        if lines or section is None:
            return lines
        if await _count() is None:
            return (f"relay {section.relay.id} does not answer",)
        return ()

    # -- events -----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Samples `voice.relay`, and alarms as they change: `sip.rtpengine.telemetry`. It reconciles calls, too."""
        watch, leaks = RelayWatch(self._appliance), Leaks(self._clock, self.findings, self.older_than_s)
        try:
            while True:
                try:
                    section = standing((await self.observe()).value)
                except NfError:
                    section = None  # no supervisor, or no nft: its own alarm says so
                if section is not None:
                    reading = await read_relay(section)
                    if reading.metrics is not None:
                        await leaks.turn(section, reading.metrics.get(UPTIME, 0.0))
                    for event in watch.take(section, replace(reading, leaks=leaks.tally), self._clock.now()):
                        yield event
                await self._clock.sleep(POLL_S)
        finally:
            await leaks.close()


def create(context: DriverContext) -> RtpengineDriver:
    """Entry point of the group `nf.drivers`."""
    return RtpengineDriver(context)


async def _count() -> int | None:
    """Calls of its own; None when it does not answer."""
    try:
        found = await http.metrics()
    except NfError:
        return None
    return round(found.get('rtpengine_sessions{type="own"}', 0.0))


def _file_of(unit: str, state_dir: Path) -> Path:
    return {MOVER_UNIT: mover_path, STORE_UNIT: store_path}.get(unit, config_path)(state_dir)


def _nonlocal() -> bool:
    return (_read(_NONLOCAL) or "0").strip() == "1"


def _allow_nonlocal(*, allowed: bool) -> None:
    try:
        _NONLOCAL.write_text("1" if allowed else "0")
    except OSError as error:
        raise DriverError(f"it cannot be set: {error.strerror}", where=str(_NONLOCAL)) from error


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _write(path: Path, text: str, *, keep_time: bool = False) -> None:
    """Whole or not at all. `keep_time`: what the program read when it started is the same."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    before = path.stat() if keep_time else None
    candidate = path.with_suffix(".new")
    with candidate.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if before is not None:
        os.utime(candidate, ns=(before.st_atime_ns, before.st_mtime_ns))
    candidate.replace(path)


def _known(step: Step) -> str:
    if step.kind in (CONFIGURE, REMOVE) and step.version == 1:
        return step.kind
    raise InputError(f"unknown step {step.kind} version {step.version}", where="rtpengine")
