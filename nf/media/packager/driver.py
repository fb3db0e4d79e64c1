"""Driver `packager`: one packager for each committed channel, as units of the supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject
from nf.contracts.units import UnitState, UnitStatus, bring_up
from nf.documents.model import DocumentModel
from nf.errors import InputError, NfError, Problem, RefusedError, UnavailableError
from nf.media.documents import HLS_MANIFEST, PackagerChannel, PackagerSection
from nf.media.origin.client import open_s3
from nf.media.packager import plan as planning
from nf.media.packager.client import PackagerStatus, ask
from nf.media.packager.command import program
from nf.media.packager.encoder import check_encoder
from nf.media.packager.keys import key_flags
from nf.media.packager.telemetry import PackagerWatch, playlists_age_s
from nf.media.packager.units import UNIT_PREFIX, channel_of, directory, key, status_socket, unit_name, unit_spec
from nf.trust.secrets import SECRETS_DIR, SecretFiles

_POLL_S = 0.25
_EVENT_INTERVAL_S = 1.0
_RESTORE = "packager.restore"


def _channel(data: object) -> PackagerChannel:
    return PackagerChannel.model_validate(data)


class Packager:
    """`secrets`: where the units read the credentials that their arguments name."""

    name = "packager"
    section = "packager"

    def __init__(self, context: DriverContext, secrets: Path = SECRETS_DIR) -> None:
        self._units = context.units
        self._run_dir = context.run_dir
        self._clock = context.clock
        self._secrets = secrets

    @property
    def owns(self) -> Ownership:
        return Ownership(paths=frozenset({directory(self._run_dir)}), units=frozenset({f"{UNIT_PREFIX}*"}))

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {}

    async def _running(self) -> dict[str, tuple[PackagerChannel, UnitStatus]]:
        return {name: found for name, found in (await self._defined()).items() if not found[1].state.gone}

    async def _defined(self) -> dict[str, tuple[PackagerChannel, UnitStatus]]:
        """Also those that stand still."""
        found = {}
        for status in await self._units.list():
            channel = channel_of(status.spec) if status.spec is not None else None
            if channel is not None:
                found[key(channel)] = (channel, status)
        return found

    async def _ask(self, channel: PackagerChannel) -> PackagerStatus | None:
        """What the packager says; None when it is silent or is for something else than its unit."""
        status = await ask(status_socket(self._run_dir, unit_name(channel)))
        meant = {
            "channel": channel.channel,
            "path": channel.path,
            "port": channel.contribution_port,
            "rate_bps": channel.rate_bps,
            "endpoint": channel.endpoint,
            "bucket": channel.bucket,
            "credentials": channel.credentials,
            "segment_ms": channel.segment_ms,
            "window_ms": channel.window_ms,
            "cues": channel.cues,
            "ladder": None if channel.ladder is None else [rung.to_json() for rung in channel.ladder],
            "steering": None if channel.steering is None else channel.steering.to_json(),
            "protection": None if channel.protection is None else channel.protection.to_json(),
        }
        if status is None:
            return None
        return status if {"ladder": None, "cues": False, **status.arguments} == meant else None

    async def observe(self) -> State:
        running = await self._running()
        channels = [channel for _, (channel, _) in sorted(running.items())]
        answers = await asyncio.gather(*map(self._ask, channels))
        facts = {fact for channel, answer in zip(channels, answers, strict=True) if answer for fact in channel.provides}
        return State(PackagerSection(channels=tuple(channels)).to_json(), frozenset(facts))

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return planning.plan(have, PackagerSection.narrowed(want))

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:  # noqa: ARG002 - the contract's
        """Raises RefusedError: no packager on this machine, an origin that does not answer or refuses credentials."""
        begun = [_channel(step.arguments["channel"]) for step in steps if step.kind != planning.STOP]
        asked = {(channel.endpoint, channel.bucket, channel.credentials): channel for channel in begun}
        problems: dict[Problem, None] = {}
        dead: set[str] = set()
        try:
            if begun:
                program()
            if any(channel.ladder is not None for channel in begun):
                await check_encoder()
        except NfError as error:
            problems[Problem(error.message, error.remedy, key=error.where)] = None
        for (endpoint, bucket, reference), channel in asked.items():
            try:
                if endpoint not in dead:
                    async with open_s3(endpoint, reference, SecretFiles(self._secrets)) as s3:
                        await s3.try_write(bucket, f"{channel.channel}/{HLS_MANIFEST}")
            except NfError as error:
                dead |= {endpoint} if isinstance(error, UnavailableError) else set()
                problems[Problem(f"bucket {bucket}: {error.message}", error.remedy, key=error.where or reference)] = (
                    None
                )
        for protection in [channel.protection for channel in begun if channel.protection is not None]:
            try:
                await asyncio.to_thread(key_flags, protection, self._secrets)
            except NfError as error:
                problems[Problem(error.message, error.remedy, key=error.where or protection.reference)] = None
        if problems:
            raise RefusedError("nothing can be packaged here", where=self.name, problems=list(problems))

    async def prepare(self, step: Step) -> Undo:
        """What the unit of this channel is before the step: a packager that runs, or nothing."""
        touched = _channel(step.arguments["channel"])
        before = (await self._running()).get(key(touched))
        data: JsonObject = {"unit": unit_name(touched), "channel": before[0].to_json() if before else None}
        return Undo(_RESTORE, data)

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - the contract's
        """Raises DriverError when the packager does not come up, InputError for a step of another version."""
        channel = _channel(step.arguments["channel"])
        match (step.kind, step.version):
            case (planning.START | planning.REPLACE, 1):
                await self._ensure(channel)
            case (planning.STOP, 1):
                await self._units.remove(unit_name(channel))
            case _:
                raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def _ensure(self, channel: PackagerChannel) -> None:
        spec = unit_spec(channel, self._run_dir, self._secrets)
        now = await self._units.status(spec.name)
        if (
            now is not None
            and now.state is UnitState.READY
            and now.spec is not None
            and channel_of(now.spec) == channel
        ):
            return
        await bring_up(self._units, spec, now)

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - the contract's
        if undo.kind != _RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        before = undo.data["channel"]
        if before is None:
            await self._units.remove(str(undo.data["unit"]))
        else:
            await self._ensure(_channel(before))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        """A silent contribution is no drift (it has an alarm), nor is an origin that ceased to take what is packaged;
        one that has refused it from the beginning is."""
        wanted = planning.channels_of(PackagerSection.narrowed(want))
        while True:
            differences = await self._differences(wanted)
            if not differences or not await context.again(_POLL_S):
                return Drift(differences)

    async def _differences(self, wanted: Mapping[str, PackagerChannel]) -> tuple[str, ...]:
        running = await self._running()
        lines = [f"{name}: still packaged, though no longer committed" for name in running.keys() - wanted.keys()]
        for name, channel in wanted.items():
            found = running.get(name)
            if found is None:
                lines.append(f"{name}: its packager is not there")
            elif found[0] != channel:
                lines.append(f"{name}: its packager runs with other settings")
            elif found[1].state is not UnitState.READY:
                lines.append(f"{name}: its packager is {found[1].state.value} {found[1].last_exit}".rstrip())
            else:
                lines += _upload_differences(name, await self._ask(channel))
        return tuple(sorted(lines))

    async def events(self) -> AsyncIterator[Event]:
        """Every second, for each channel: samples of the points `packager` and `origin`; alarms as they change."""
        watches: dict[str, PackagerWatch] = {}
        while True:
            now = self._clock.now()
            try:
                defined = await self._defined()
            except NfError:
                defined = {}  # no supervisor: its own alarm says so
            for name in [one for one in watches if one not in defined or defined[one][0] != watches[one].channel]:
                for event in watches.pop(name).end(now):
                    yield event
            for name, (channel, unit) in defined.items():
                watch = watches.setdefault(name, PackagerWatch(channel))
                status, age = await asyncio.gather(self._ask(channel), playlists_age_s(channel))
                for event in watch.take(status, age, now, unit):
                    yield event
            await self._clock.sleep(_EVENT_INTERVAL_S)


def _upload_differences(name: str, status: PackagerStatus | None) -> list[str]:
    if status is None:
        return [f"{name}: its packager does not answer"]
    refused = status.fault not in {"", "origin-unreachable"} and status.published_age_s is None
    return [f"{name}: {status.fault_text}"] if refused else []


def create(context: DriverContext) -> Packager:
    """Entry point of `nf.drivers`."""
    return Packager(context)
