"""Driver `ome`: streams that an OvenMediaEngine pulls and pushes to packagers.

Ours is what was made by the API and has our name: streams and pushes `nf.CHANNEL.PATH`. An application is changed only
when it was made by the API (`dynamic`) and lacks the wanted output profile; what Server.xml declares is never written.
Not run against a real OvenMediaEngine (see the package).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject
from nf.documents.model import DocumentModel
from nf.errors import InputError, NfError, NotFoundError, Problem, RefusedError
from nf.media.documents import OmeSection, OmeStream
from nf.media.ome.client import Ome, profile_names
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.trust.files import write_private
from nf.trust.secrets import SECRETS_DIR, SecretFiles

ENSURE, REMOVE = "ome.ensure", "ome.remove"
PREFIX = "nf."
_RESTORE = "ome.restore"
_BUDGET_S = 20.0
_POLL_S, _EVENT_INTERVAL_S = 0.5, 5.0
_UNREACHABLE = "engine-unreachable"


def object_name(stream: OmeStream) -> str:
    """Of the stream and of its push."""
    return f"{PREFIX}{stream.channel}.{stream.path}"


def _section(want: DocumentModel | None) -> OmeSection | None:
    if want is not None and not isinstance(want, OmeSection):
        raise InputError(f"not an ome section: {type(want).__name__}", where="ome")
    return want


def plan(have: State, want: OmeSection | None) -> tuple[Step, ...]:
    """Pure. `have.facts`: `ome.restart=APP` for each application that would have to be changed."""
    running = _by_name(None if have.value is None else OmeSection.model_validate(have.value))
    wanted = _by_name(want)
    steps = [_step(REMOVE, *running[name], have) for name in sorted(running.keys() - wanted.keys())]
    steps += [_step(ENSURE, *wanted[name], have) for name in sorted(wanted) if running.get(name) != wanted[name]]
    return tuple(steps)


def _by_name(section: OmeSection | None) -> dict[str, tuple[OmeSection, OmeStream]]:
    if section is None:
        return {}
    alone = section.model_copy(update={"streams": ()})
    return {object_name(stream): (alone, stream) for stream in section.streams}


def _step(kind: str, section: OmeSection, stream: OmeStream, have: State) -> Step:
    name = f"{stream.channel}/{stream.path}"
    cost = f"the contribution of {name} stops" if kind == REMOVE else ""
    if kind == ENSURE and stream.profile and f"ome.app={stream.app}:{stream.profile}" not in have.facts:
        cost = f"OvenMediaEngine restarts the application {stream.app}, if it is there: all its sessions drop"
    return Step(
        id=f"{kind.partition('.')[2]} {name}",
        kind=kind,
        arguments={"section": section.to_json(), "stream": stream.to_json()},
        budget_s=_BUDGET_S,
        undo_budget_s=_BUDGET_S,
        disruption=cost,
        summary=f"{kind.partition('.')[2]} {object_name(stream)} in {stream.app} at {section.endpoint}",
    )


class OmeDriver:
    name = "ome"
    section = "ome"

    def __init__(self, context: DriverContext, secrets: Path = SECRETS_DIR) -> None:
        self._clock = context.clock
        self._secrets = SecretFiles(secrets)
        self._file = context.state_dir / "ome" / "streams.json"

    @property
    def owns(self) -> Ownership:
        return Ownership(paths=frozenset({self._file.parent}))

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {}

    def _known(self) -> OmeSection | None:
        """What was last put there: where to look, never what stands there."""
        try:
            return OmeSection.model_validate(json.loads(self._file.read_bytes()))
        except FileNotFoundError:
            return None

    def _remember(self, section: OmeSection) -> None:
        write_private(self._file, json.dumps(section.to_json()).encode())

    def _ome(self, section: OmeSection) -> Ome:
        return Ome(section.endpoint, self._secrets(section.token).strip(), section.vhost)

    async def observe(self) -> State:
        """Raises UnavailableError or DeniedError when the engine cannot be read."""
        known = self._known()
        if known is None or not known.streams:
            return State(None)
        ome = self._ome(known)
        facts: set[str] = set()
        standing = []
        for stream in known.streams:
            app = await ome.app(stream.app)
            facts |= {f"ome.app={stream.app}:{name}" for name in profile_names(app or {})}
            if await self._stands(ome, stream):
                standing.append(stream)
        value = known.model_copy(update={"streams": tuple(standing)}).to_json() if standing else None
        return State(value, frozenset(facts))

    async def _stands(self, ome: Ome, stream: OmeStream) -> bool:
        name = object_name(stream)
        if name not in await ome.streams(stream.app):
            return False
        return any(push.get("id") == name and push.get("url") == _url(stream) for push in await ome.pushes(stream.app))

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return plan(have, _section(want))

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:  # noqa: ARG002 - the contract's
        """Raises RefusedError: no engine, a wrong token, an application that only Server.xml can change."""
        problems: dict[Problem, None] = {}
        for step in steps:
            section, stream = _arguments(step.arguments)
            try:
                await self._writable(self._ome(section), stream, step.kind)
            except NfError as error:
                problems[Problem(error.message, error.remedy, key=error.where or section.endpoint)] = None
        if problems:
            raise RefusedError("the engine would not take it", where=self.name, problems=list(problems))

    async def _writable(self, ome: Ome, stream: OmeStream, kind: str) -> dict[str, Any] | None:
        app = await ome.app(stream.app)
        if app is None and stream.profile is None and kind == ENSURE:
            remedy = "declare it in Server.xml, or name a profile: it is then made"
            raise NotFoundError(f"the engine has no application {stream.app}", where=stream.app, remedy=remedy)
        lacks = app is not None and stream.profile is not None and stream.profile not in profile_names(app)
        if lacks and kind == ENSURE and app is not None and app.get("dynamic") is not True:
            raise RefusedError(
                f"the application {stream.app} is declared in Server.xml and lacks the output profile {stream.profile}",
                where=stream.app,
                remedy="add it there, or choose another application",
            )
        return app

    async def prepare(self, step: Step) -> Undo:
        section, stream = _arguments(step.arguments)
        known = self._known()
        before = next((s for s in known.streams if object_name(s) == object_name(stream)), None) if known else None
        made = await self._ome(section).app(stream.app) is None
        data: JsonObject = {
            "section": section.to_json(),
            "stream": stream.to_json(),
            "before": before.to_json() if before else None,
            "app_is_ours": made,
        }
        return Undo(_RESTORE, data)

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - the contract's
        section, stream = _arguments(step.arguments)
        match (step.kind, step.version):
            case ("ome.ensure", 1):
                await self._ensure(section, stream)
            case ("ome.remove", 1):
                await self._remove(section, stream)
            case _:
                raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def _ensure(self, section: OmeSection, stream: OmeStream) -> None:
        ome, name = self._ome(section), object_name(stream)
        app = await self._writable(ome, stream, ENSURE)
        known = self._known()
        if known is None or stream not in known.streams:
            await self._take_away(ome, stream)  # where it is pulled from cannot be read back: it is made anew
        self._note(section, stream, keep=True)  # before it is made: a crash between leaves no stranger
        if stream.profile is not None and app is None:
            await ome.create_app(stream.app, stream.profile)
        elif stream.profile is not None and app is not None and stream.profile not in profile_names(app):
            await ome.change_app(stream.app, stream.profile)
        if await self._stands(ome, stream):
            return
        await self._take_away(ome, stream)
        await ome.pull(stream.app, name, stream.pull)
        await ome.start_push(stream.app, name, _url(stream))

    async def _remove(self, section: OmeSection, stream: OmeStream) -> None:
        await self._take_away(self._ome(section), stream)
        self._note(section, stream, keep=False)

    async def _take_away(self, ome: Ome, stream: OmeStream) -> None:
        name = object_name(stream)
        with suppress(NotFoundError):
            await ome.stop_push(stream.app, name)
        if name in await ome.streams(stream.app):
            with suppress(NotFoundError):
                await ome.delete_stream(stream.app, name)

    def _note(self, section: OmeSection, stream: OmeStream, *, keep: bool) -> None:
        known = self._known()
        others = [s for s in (known.streams if known else ()) if object_name(s) != object_name(stream)]
        self._remember(section.model_copy(update={"streams": (*others, stream) if keep else tuple(others)}))

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - the contract's
        if undo.kind != _RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        section, stream = _arguments(undo.data)
        before = undo.data["before"]
        if before is not None:
            await self._ensure(section, OmeStream.model_validate(before))
            return
        await self._remove(section, stream)
        app = await self._ome(section).app(stream.app)
        if undo.data["app_is_ours"] and app is not None and app.get("dynamic") is True:
            await self._ome(section).delete_app(stream.app)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        while True:
            steps = plan(await self.observe(), _section(want))
            if not steps or context.remaining() <= 0 or context.cancel.is_set():
                return Drift(tuple(step.summary for step in steps))
            await self._clock.sleep(_POLL_S)

    async def events(self) -> AsyncIterator[Event]:
        """The alarm `engine-unreachable`, said once each way."""
        said: bool | None = None
        while True:
            known, problem, remedy = self._known(), "", ""
            if known is not None and known.streams:
                try:
                    async with asyncio.timeout(_BUDGET_S):
                        await self._ome(known).apps()
                except (NfError, TimeoutError) as error:
                    problem, remedy = str(error) or "no answer", getattr(error, "remedy", "")
            if known is not None and said is not bool(problem):
                said = bool(problem)
                severity = Severity.MAJOR if problem else Severity.CLEARED
                yield AlarmEvent(_UNREACHABLE, known.endpoint, severity, self._clock.now(), problem, remedy)
            await self._clock.sleep(_EVENT_INTERVAL_S)


def _url(stream: OmeStream) -> str:
    return f"udp://{stream.to}:{stream.port}"


def _arguments(data: Mapping[str, object]) -> tuple[OmeSection, OmeStream]:
    return OmeSection.model_validate(data["section"]), OmeStream.model_validate(data["stream"])


def create(context: DriverContext) -> OmeDriver:
    """Entry point of `nf.drivers`."""
    return OmeDriver(context)
