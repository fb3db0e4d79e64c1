"""Driver `s3-origin`: buckets of an S3 API that anybody may read and the packager writes.

A channel's part of a bucket is there when its marker object can be read without credentials, from a web page: that is
what players need, so that it is what `observe` asks. An origin that does not answer is an alarm; what stands there is
as it was, so that commits that do not touch it go on. `check` tries the credentials of every step, and changes nothing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError, NfError, Problem, RefusedError, UnavailableError
from nf.media.documents import HLS_MANIFEST
from nf.media.hls import parse_media, parse_multivariant
from nf.media.http import Response, get_once
from nf.media.origin import plan as planning
from nf.media.origin.client import S3, AbsentError, Upload, open_s3, refuse_foreign
from nf.media.origin.plan import Place
from nf.media.origin.register import Register
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.trust.secrets import SECRETS_DIR, SecretFiles

MARKER = ".streamverse-nf"
_Work: TypeAlias = Callable[[S3, Place], Awaitable[None]]
_WEB_PAGE = {"Origin": "http://player.invalid"}
_RESTORE = "origin.restore"
_POLL_S = 0.5
_EVENT_INTERVAL_S = 5.0
_LOOKS_AGAIN, _LOOK_AGAIN_S = 4, 0.25
_UNREACHABLE, _NOT_REPLICATED = "origin-unreachable", "origin-not-replicated"
_REMEDIES = {
    _UNREACHABLE: "see whether the origin runs and a route leads there",
    _NOT_REPLICATED: "see the replication of the bucket at the origin, and whether its other site is reached",
}


def _url(place: Place, name: str) -> str:
    return f"{place.endpoint}/{place.bucket.name}/{place.prefix}{name}"


async def is_open(place: Place) -> bool:
    """Whether anybody, also a script in a web page, can read the marker. Raises UnavailableError."""
    return _is_open(await _marker(place))


def _is_open(answer: Response) -> bool:
    return answer.status == 200 and "access-control-allow-origin" in answer.headers


async def _marker(place: Place) -> Response:
    answer = await get_once(_url(place, MARKER), _WEB_PAGE)
    if answer.status >= 500:
        raise UnavailableError(f"the origin answers {answer.status}", where=place.endpoint, remedy="read its log")
    return answer


async def count_objects(place: Place) -> int:
    """How many objects the manifests name, themselves included: what needs no credentials to be known."""
    names = {MARKER}
    try:
        master = await get_once(_url(place, HLS_MANIFEST))
        if master.status != 200:
            return len(names)
        found = parse_multivariant(master.body.decode(errors="replace"))
        names |= {HLS_MANIFEST, *found.media_uris}
        for uri in found.media_uris:
            media = await get_once(_url(place, uri))
            if media.status == 200:
                segments = parse_media(media.body.decode(errors="replace")).segments
                names |= {uri for segment in segments for uri in (segment.uri, segment.init_uri) if uri}
    except InputError:
        pass  # what stands there is no playlist: it still is an object
    return len(names)


class S3Origin:
    """`secrets`: where `check` finds the credentials that the section names."""

    name = "s3-origin"
    section = "s3-origin"

    def __init__(self, context: DriverContext, secrets: Path = SECRETS_DIR) -> None:
        self._appliance = context.appliance
        self._clock = context.clock
        self._secrets = SecretFiles(secrets)
        self._directory = context.state_dir / "s3-origin"
        self._register = Register(self._directory / "buckets.json")

    @property
    def owns(self) -> Ownership:
        return Ownership(paths=frozenset({self._directory}))

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {}

    async def observe(self) -> State:
        """What stands at an origin that does not answer is as it was when it did; the value says which that is."""
        standing: dict[str, Place] = {}
        objects: dict[str, int] = {}
        unreachable: set[str] = set()
        for key, entry in self._register.read().items():
            is_there = entry.open
            if entry.place.endpoint not in unreachable:
                try:
                    is_there = await self._read(entry.place)
                    if is_there:
                        objects[key] = await count_objects(entry.place)
                except UnavailableError:
                    unreachable.add(entry.place.endpoint)
            if is_there:
                standing[key] = entry.place
        return planning.state_of(standing, objects, unreachable)

    async def _read(self, place: Place) -> bool:
        """Raises UnavailableError."""
        answer = await is_open(place)
        self._register.saw(place.key, is_open=answer)
        return answer

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return planning.plan(have, planning.section(want))

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:  # noqa: ARG002 - the contract's
        """Raises RefusedError: an origin that does not answer, credentials that it refuses, a bucket of others."""
        places = [(step.kind, Place.from_json(step.arguments)) for step in steps]
        asked = {(kind, place.endpoint, place.bucket.name, place.bucket.credentials): place for kind, place in places}
        problems: dict[Problem, None] = {}
        dead: set[str] = set()
        for (kind, endpoint, name, reference), place in asked.items():
            if endpoint in dead:
                continue
            try:
                async with open_s3(endpoint, reference, self._secrets) as s3:
                    await s3.try_write(name, place.prefix + MARKER)
                    if kind == planning.ENSURE:
                        await self._refuse_foreign(s3, place)
            except NfError as error:
                dead |= {endpoint} if isinstance(error, UnavailableError) else set()
                problems[Problem(f"bucket {name}: {error.message}", error.remedy, key=error.where or reference)] = None
        if problems:
            raise RefusedError("the origin would not take it", where=self.name, problems=list(problems))

    async def _refuse_foreign(self, s3: S3, place: Place) -> str | None:
        """Whose bucket it is, None = there is none yet. Raises RefusedError when it is nobody's that we know."""
        entry = self._register.read().get(place.key)
        owner = await s3.owner(place.bucket.name)
        if owner == "" and not (entry is not None and entry.created):
            raise refuse_foreign(place.bucket.name, place.endpoint)
        return owner

    async def prepare(self, step: Step) -> Undo:
        """What this appliance knows of the place before the step: undo never deletes what was there before."""
        place = Place.from_json(step.arguments)
        before = self._register.read().get(place.key)
        return Undo(_RESTORE, {"place": place.to_json(), "before": before.place.to_json() if before else None})

    async def apply(self, step: Step, context: Context) -> None:
        """Raises DeniedError, StorageError, UnavailableError, RefusedError (a foreign bucket), DriverError."""
        place = Place.from_json(step.arguments)
        match (step.kind, step.version):
            case (planning.ENSURE, 1):
                await self._with_s3(place, context, self._ensure)
            case (planning.DELETE, 1):
                await self._with_s3(place, context, self._delete)
            case _:
                raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def undo(self, undo: Undo, context: Context) -> None:
        if undo.kind != _RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        place = Place.from_json(undo.data["place"])
        if undo.data["before"] is not None:
            self._register.mark(Place.from_json(undo.data["before"]))
        elif place.key in self._register.read():
            await self._with_s3(place, context, self._take_back)

    async def _with_s3(self, place: Place, context: Context, work: _Work) -> None:
        if context.resolve_secret is None:
            raise DriverError("no credentials can be had here", where=place.bucket.credentials)
        async with open_s3(place.endpoint, place.bucket.credentials, context.resolve_secret) as s3:
            await work(s3, place)

    async def _ensure(self, s3: S3, place: Place) -> None:
        """The bucket is ours, is open to readers, and has the marker. Repeats what a crash left half done."""
        name = place.bucket.name
        owner = await self._refuse_foreign(s3, place)
        if owner is None:
            self._register.mark(place, created=True)  # before it is made: a crash between leaves no stranger
            await s3.create(name)
        if not owner:
            await s3.tag(name, self._appliance)
        if await s3.get(name, place.prefix + MARKER) is None:
            await self._mark(s3, place)
        self._register.mark(place)
        await s3.open_for_players(name, place.prefix)

    async def _mark(self, s3: S3, place: Place) -> None:
        name = place.bucket.name
        if await s3.keys(name, place.prefix, limit=1):
            raise RefusedError(
                f"objects stand below {place.prefix} in bucket {name} that no appliance put there",
                where=place.endpoint,
                remedy="move them away, or choose another bucket",
            )
        self._register.mark(place, marked=True)
        body = json.dumps({"appliance": self._appliance, "channel": place.bucket.channel, "path": place.bucket.path})
        await s3.put(name, Upload(place.prefix + MARKER, body.encode(), "application/json", "no-store"))

    async def _delete(self, s3: S3, place: Place) -> None:
        """All objects of the channel, the marker last; then the bucket, when it is empty and an appliance made it."""
        name = place.bucket.name
        marker = place.prefix + MARKER
        try:
            keys = await s3.keys(name, place.prefix)
            if keys and marker not in keys:
                raise refuse_foreign(name, place.endpoint)
            await s3.delete(name, [key for key in keys if key != marker])
            await s3.delete(name, [marker])
            await s3.close_for_players(name, place.prefix)
            if await s3.owner(name):
                await self._delete_bucket(s3, name)
        except AbsentError:
            pass
        self._register.drop(place)

    async def _delete_bucket(self, s3: S3, name: str) -> None:
        """When it is empty. Some S3 (SeaweedFS) make it anew, as nobody's, for an object that was on its way then."""
        looks = _LOOKS_AGAIN if await s3.delete_bucket_if_empty(name) else 0
        for _ in range(looks):
            await self._clock.sleep(_LOOK_AGAIN_S)
            with contextlib.suppress(AbsentError):
                if await s3.owner(name) == "":
                    await s3.delete(name, await s3.keys(name))
                    await s3.delete_bucket_if_empty(name)

    async def _take_back(self, s3: S3, place: Place) -> None:
        """Only what came since: the marker was put after nothing had been found, so that all below it came later."""
        entry = self._register.read()[place.key]
        if entry.marked:
            await self._delete(s3, place)
        elif entry.created:
            await self._delete_bucket(s3, place.bucket.name)
        self._register.drop(place)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        """Buckets that are still to be deleted are no drift."""
        wanted = planning.places(planning.section(want))
        while True:
            closed = await self._closed(wanted)
            if not closed or not await context.again(_POLL_S):
                return Drift(closed)

    async def _closed(self, wanted: Mapping[str, Place]) -> tuple[str, ...]:
        """An origin that ceased to answer is an alarm. What it never showed is not there."""
        lines = []
        known = self._register.read()
        dead: dict[str, str] = {}
        for key, place in sorted(wanted.items()):
            try:
                if place.endpoint not in dead and not await self._read(place):
                    lines.append(f"{key}: cannot be read by players")
            except UnavailableError as error:
                dead[place.endpoint] = error.message
            entry = known.get(key)
            if place.endpoint in dead and not (entry is not None and entry.open and entry.place == place):
                lines.append(f"{key}: {dead[place.endpoint]}")
        return tuple(lines)

    async def events(self) -> AsyncIterator[Event]:
        """The alarms `origin-unreachable`, one for each endpoint, and `origin-not-replicated`, one for each place whose
        origin says that its copy elsewhere failed; said once each way."""
        said: dict[tuple[str, str], bool] = {}
        while True:
            found: dict[tuple[str, str], str] = {}
            for key, entry in self._register.read().items():
                place = entry.place
                unreachable = (_UNREACHABLE, place.endpoint)
                if found.get(unreachable):
                    continue
                found[unreachable], found[_NOT_REPLICATED, key] = await _problems(place)
            for (cause, about), problem in found.items():
                if said.get((cause, about)) != bool(problem):
                    said[cause, about] = bool(problem)
                    severity = Severity.MAJOR if problem else Severity.CLEARED
                    yield AlarmEvent(
                        cause, about, severity, self._clock.now(), problem, _REMEDIES[cause] if problem else ""
                    )
            kept = {about for _, about in found} | self._register.read().keys()
            for gone in [known for known in said if known[1] not in kept]:
                if said.pop(gone):
                    yield AlarmEvent(*gone, Severity.CLEARED, self._clock.now(), "no longer used")
            await self._clock.sleep(_EVENT_INTERVAL_S)


async def _problems(place: Place) -> tuple[str, str]:
    """What is wrong with the endpoint, and with the copies of the place (`x-amz-replication-status`)."""
    try:
        answer = await _marker(place)
    except NfError as error:
        return error.message, ""
    failed = answer.headers.get("x-amz-replication-status", "").upper() == "FAILED"
    return "", f"the origin could not copy {place.prefix} of bucket {place.bucket.name} elsewhere" if failed else ""


def create(context: DriverContext) -> S3Origin:
    """Entry point of `nf.drivers`."""
    return S3Origin(context)
