"""The driver of section `freeswitch`: one unit, one file, and what it says by its event socket.

What it runs with is asked of it, never taken from the file: it tells the generation that it has loaded, where its SIP
profile is, and whether it takes calls. Facts: those of the section, while the profile takes calls at its address.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject
from nf.contracts.units import UnitState, UnitStatus, bring_up
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError, NfError, Problem, RefusedError
from nf.trust.secrets import SECRETS_DIR, SecretFiles
from sip.freeswitch import plan as planning
from sip.freeswitch import schema
from sip.freeswitch.connection import EslConnection
from sip.freeswitch.dialplan import PROFILE
from sip.freeswitch.documents import SECTION, FreeswitchSection
from sip.freeswitch.errors import LoginRefused
from sip.freeswitch.live import Live, read_live
from sip.freeswitch.operations import LIVE, Drain, LiveCalls, held
from sip.freeswitch.places import Places
from sip.freeswitch.plan import CONFIGURE, RELOAD, REMOVE, RESTART, RESTORE, START
from sip.freeswitch.render import Secrets, Standing, fixed_digest, from_text, resolve, to_text
from sip.freeswitch.settings import CALLS_AT_MOST
from sip.freeswitch.telemetry import POLL_S, MediaWatch
from sip.freeswitch.units import program_problem, unit_spec
from sip.naming import CONTROL_LOOPBACK, DRAIN, MEDIA_SERVER_UNIT

_VERIFY_S: Final = 0.25
_ANSWER_S: Final = 10.0
_RUNNING: Final = "RUNNING"


class FreeswitchDriver:
    name = SECTION
    section = SECTION

    def __init__(self, context: DriverContext, secrets: Path = SECRETS_DIR) -> None:
        """`secrets`: where those are that the section names, so that a changed one is noticed."""
        self._appliance = context.appliance
        self._units = context.units
        self._clock = context.clock
        self._secrets = SecretFiles(secrets)
        self._places = Places(context.run_dir, context.state_dir)
        self.owns = Ownership(
            paths=frozenset({self._places.config.parent, self._places.run, self._places.hold}),
            units=frozenset({MEDIA_SERVER_UNIT}),
        )
        self.operations: Mapping[str, Operation] = {
            DRAIN: Drain(self._talk, self._places, self._server, self._process),
            LIVE: LiveCalls(self._talk),
        }

    # -- reading ----------------------------------------------------------------------------------------------------

    def _standing(self) -> Standing | None:
        text = self._places.read()
        return from_text(text) if text is not None else None

    def _server(self) -> tuple[str, bool]:
        standing = self._standing()
        return (standing.section.server.id, standing.section.server.drained) if standing is not None else ("", False)

    async def _process(self) -> int | None:
        status = await self._units.status(MEDIA_SERVER_UNIT)
        return status.pid if status is not None and status.state is UnitState.READY else None

    @asynccontextmanager
    async def _talk(self) -> AsyncIterator[EslConnection]:
        """Raises RefusedError where there is none, UnavailableError, DeadlineError, IdentityError."""
        standing = self._standing()
        if standing is None:
            raise RefusedError("no media server is on this appliance", where=self.name, remedy="see nf lineup show")
        connection = await _opened(standing.section, standing.secrets.password)
        try:
            yield connection
        finally:
            connection.close()

    async def observe(self) -> State:
        """Beside the section: `live` with what is amiss, and how many calls there are."""
        status, text = await self._units.status(MEDIA_SERVER_UNIT), self._places.read()
        if status is None and text is None:
            return State(None)
        standing = from_text(text) if text is not None else None
        value: JsonObject = standing.section.to_json() if standing is not None else {}
        if standing is None or status is None:
            amiss = "has no file of ours" if standing is None else "has no unit"
            cure = START if status is None or status.state.gone else RESTART
            return State({**value, planning.LIVE: {"amiss": amiss, "cure": cure}})
        if status.state.gone:
            amiss = f"is {status.state.value} {status.last_exit}".rstrip()
            return State({**value, planning.LIVE: {"amiss": amiss, "cure": START}})
        if status.state is not UnitState.READY:
            return State(value)  # the supervisor is at it
        return await self._observe_running(standing, status, value, text or "")

    async def _observe_running(self, standing: Standing, status: UnitStatus, value: JsonObject, text: str) -> State:
        live, amiss, cure = None, "", ""
        try:
            async with self._talk() as esl:
                live = await read_live(esl)
        except LoginRefused:
            amiss, cure = "runs with another password", RESTART
        except NfError as error:
            amiss, cure = f"does not answer: {error.message}", RESTART
        if live is not None:
            amiss, cure = self._amiss(standing, status, live, text)
        told: JsonObject = {"amiss": amiss, "cure": cure} if amiss else {}
        if live is not None:
            told["calls"] = live.status.sessions
            server = value["server"]
            if isinstance(server, dict) and not held(self._places, self._clock.now()):
                server["drained"] = live.paused
        well = not amiss and live is not None
        return State(
            {**value, **({planning.LIVE: told} if told else {})},
            frozenset(standing.section.provides if well else ()),
        )

    def _amiss(self, standing: Standing, status: UnitStatus, live: Live, text: str) -> tuple[str, str]:
        """What needs a step, and its cure; empty when nothing does."""
        section, kept = standing.section, standing.secrets
        spec, ran = unit_spec(section, self._places), status.spec
        secrets = self._changed_secrets(section) or kept
        place = f"{section.server.address}:{section.server.port}"
        fixed = {live.fixed, standing.fixed, fixed_digest(section)}
        other = ran is not None and (ran.argv, ran.environment) != (spec.argv, spec.environment)
        unread = live.config != standing.config or text != to_text(section, kept, self._places.boxes)
        running = live.profile_state.startswith(_RUNNING)
        found = (
            (other, "runs as another program", RESTART),
            (len(fixed) > 1, "has to be started again for its file", RESTART),
            (secrets.password != kept.password, "has a password that was replaced", RESTART),
            (secrets.users != kept.users, "has boxes of other accounts", RELOAD),
            (unread, "has not read its file", RELOAD),
            (not running, "takes no SIP: its profile does not run", RELOAD),
            (live.profile != place, f"takes SIP at {live.profile}", RESTART),
        )
        return next(((told, cure) for is_so, told, cure in found if is_so), ("", ""))

    def _changed_secrets(self, section: FreeswitchSection) -> Secrets | None:
        """As they are now; None when they cannot be read here: then `apply` says why, when it needs them."""
        try:
            return resolve(section, self._secrets)
        except NfError:
            return None

    # -- planning ---------------------------------------------------------------------------------------------------

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return planning.plan(have, FreeswitchSection.narrowed(want))

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """The program is here, and the file has the form that it has to have. FreeSWITCH itself checks none."""
        section = FreeswitchSection.narrowed(want)
        if section is None or not any(step.kind == CONFIGURE for step in steps):
            return
        problems: list[Problem] = []
        absent = program_problem()
        if absent is not None:
            problems.append(absent)
        if section.server.sessions > CALLS_AT_MOST:
            rule = f"it has ports for {CALLS_AT_MOST:,} calls, two for each"
            problems.append(Problem(rule, "take less", key="server.sessions", value=str(section.server.sessions)))
        problems += schema.problems(to_text(section, Secrets("password"), self._places.boxes))
        if problems:
            where = f"{self._appliance}, {self.section}"
            raise RefusedError("FreeSWITCH cannot run like this here", where=where, problems=problems)

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - one unit, however it changes
        standing, status = self._standing(), await self._units.status(MEDIA_SERVER_UNIT)
        return Undo(
            RESTORE,
            {
                "section": standing.section.to_json() if standing is not None else None,
                "runs": status is not None and not status.state.gone,
            },
        )

    async def apply(self, step: Step, context: Context) -> None:
        """Raises DriverError with the log's tail when it does not come up, or does not take its file."""
        if (step.kind, step.version) == (CONFIGURE, 1):
            await self._configure(FreeswitchSection.model_validate(step.arguments["section"]), context)
        elif (step.kind, step.version) == (REMOVE, 1):
            await self._remove()
        else:
            raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def undo(self, undo: Undo, context: Context) -> None:
        if undo.kind != RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        before = undo.data["section"]
        if before is None:
            await self._remove()
        elif undo.data.get("runs"):
            await self._configure(FreeswitchSection.model_validate(before), context)
        else:
            section = FreeswitchSection.model_validate(before)
            await self._units.remove(MEDIA_SERVER_UNIT)
            await asyncio.to_thread(self._write, section, resolve(section, context.resolve_secret))

    async def _configure(self, section: FreeswitchSection, context: Context) -> None:
        """With this file; started again only when what it runs with says so."""
        secrets = resolve(section, context.resolve_secret)
        before = self._standing()
        await asyncio.to_thread(self._write, section, secrets)
        spec, status = unit_spec(section, self._places), await self._units.status(MEDIA_SERVER_UNIT)
        runs = status is not None and status.state is UnitState.READY
        same = status is not None and status.spec is not None and status.spec.argv == spec.argv
        live = await self._asked(before) if runs and same and before is not None else None
        fresh = live is not None and before is not None and live.fixed == fixed_digest(section)
        if not fresh or before is None or before.secrets.password != secrets.password:
            await bring_up(self._units, spec, status)
            self._places.hold.unlink(missing_ok=True)
        else:
            if status is not None and status.spec != spec:
                await self._units.define(spec)
            await self._reload(section)
        await self._set_drained(section)

    async def _asked(self, standing: Standing) -> Live | None:
        """What runs, by the password that it was started with; None when it does not answer to that."""
        try:
            connection = await _opened(standing.section, standing.secrets.password)
        except NfError:
            return None
        try:
            return await read_live(connection)
        except NfError:
            return None
        finally:
            connection.close()

    async def _reload(self, section: FreeswitchSection) -> None:
        async with self._talk() as esl:
            answer = await esl.api("reloadxml")
            if not answer.startswith("+OK"):
                raise DriverError(f"it does not take its file: {answer.strip()[:200]}", where=self.name)
            await esl.api("reloadacl")
            await esl.api(f"fsctl max_sessions {section.server.sessions}")
            await esl.api(f"fsctl sps {section.rate}")
            if not (await read_live(esl)).profile_state.startswith(_RUNNING):
                await esl.api(f"sofia profile {PROFILE} start")

    async def _set_drained(self, section: FreeswitchSection) -> None:
        if section.server.drained or not held(self._places, self._clock.now()):
            async with self._talk() as esl:
                await esl.api(f"fsctl {'pause' if section.server.drained else 'resume'} inbound")

    async def _remove(self) -> None:
        """All but what callers left in their boxes: those are not the configuration's."""
        await self._units.remove(MEDIA_SERVER_UNIT)
        for path in (self._places.file, self._places.hold):
            path.unlink(missing_ok=True)

    def _write(self, section: FreeswitchSection, secrets: Secrets) -> None:
        self._places.make()
        text = to_text(section, secrets, self._places.boxes)
        if self._places.read() != text:
            self._places.write(text)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        """A profile that is just coming up is waited for."""
        section = FreeswitchSection.narrowed(want)
        while True:
            lines = await self._differences(section)
            if not lines or not await context.again(_VERIFY_S):
                return Drift(lines)

    async def _differences(self, section: FreeswitchSection | None) -> tuple[str, ...]:
        state = await self.observe()
        lines = planning.differences(state.value, section)
        if lines or section is None or set(section.provides) <= state.facts:
            return lines
        status = await self._units.status(MEDIA_SERVER_UNIT)
        told = f"{status.state.value} {status.last_exit}".rstrip() if status is not None else "gone"
        return (f"{section.server.id} is {told}",)

    # -- events -----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Samples `voice.media` and alarms as they change; see `sip.freeswitch.telemetry`."""
        watch = MediaWatch(self._appliance)
        while True:
            standing, live = self._standing(), None
            try:
                status = await self._units.status(MEDIA_SERVER_UNIT)
                if standing is not None and status is not None and status.state is UnitState.READY:
                    async with self._talk() as esl:
                        live = await read_live(esl)
            except NfError:
                status = None  # no supervisor: its own alarm says so
            now = self._clock.now()
            section = standing.section if standing is not None else None
            for event in watch.take(section, live, held=held(self._places, now), at=now):
                yield event
            await self._clock.sleep(POLL_S)


def create(context: DriverContext) -> FreeswitchDriver:
    """Entry point of the group `nf.drivers`."""
    return FreeswitchDriver(context)


async def _opened(section: FreeswitchSection, password: str) -> EslConnection:
    return await EslConnection.open(CONTROL_LOOPBACK, section.server.control, password, timeout_s=_ANSWER_S)
