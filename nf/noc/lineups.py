"""Line-ups and their revisions: from the documents' text to what each appliance is to be, and back through history."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nf.clock import Clock
from nf.contracts.json import JsonObject
from nf.contracts.planner import FleetOperation, Planner
from nf.control.v1 import noc_pb2
from nf.documents.fleet import Appliance, Criticality, Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import Loaded, load_fleet, load_lineup
from nf.errors import CommitRefused, InputError, NotFoundError, Problem, RefusedError
from nf.noc.diff import Change, diff
from nf.noc.records import Book, HopRecord, RevisionRecord
from nf.planning.compiler import Compiled, compile_documents, config_digest

_LINEUP_DIFF = "lineup"
_FLEET_DIFF = "fleet"


@dataclass(frozen=True, slots=True)
class Draft:
    """Documents that hold together, with what they compile to."""

    lineup_file: str
    lineup_text: str
    fleet_file: str
    fleet_text: str
    lineup: LineUp
    fleet: Fleet
    compiled: Compiled

    @property
    def configs(self) -> dict[str, JsonObject]:
        return {appliance: config.to_json() for appliance, config in self.compiled.configs.items()}

    @property
    def digests(self) -> dict[str, str]:
        return {appliance: config_digest(config) for appliance, config in self.compiled.configs.items()}

    def record(self, revision: int, at: float, author: str, comment: str) -> RevisionRecord:
        """As it is written down before anything is changed."""
        return RevisionRecord(
            revision=revision,
            at=at,
            author=author,
            comment=comment,
            outcome="undecided",
            lineup_file=self.lineup_file,
            lineup_text=self.lineup_text,
            fleet_file=self.fleet_file,
            fleet_text=self.fleet_text,
            lineup_name=self.lineup.metadata.name,
            channels=len(self.lineup.spec.channels),
            configs=self.digests,
            hops=tuple(HopRecord(h.channel, h.path, h.order, h.appliance, h.point) for h in self.compiled.hops),
        )


@dataclass(frozen=True, slots=True)
class Current:
    """The revision that the fleet is to be."""

    record: RevisionRecord
    lineup: LineUp
    fleet: Fleet

    def appliance(self, name: str) -> Appliance:
        """Raises NotFoundError."""
        try:
            return self.fleet.appliance(name)
        except KeyError:
            raise NotFoundError("no such appliance", where=name, remedy="see `nf appliance list`") from None


def draft(planners: Sequence[Planner], lineup: tuple[str, str], fleet: tuple[str, str]) -> Draft:
    """Load and compile (file, text) of both. Raises DocumentError with all problems."""
    loaded_lineup: Loaded[LineUp] = load_lineup(lineup[1], file=lineup[0])
    loaded_fleet: Loaded[Fleet] = load_fleet(fleet[1], file=fleet[0])
    compiled = compile_documents(loaded_lineup, loaded_fleet, planners)
    return Draft(*lineup, *fleet, loaded_lineup.document, loaded_fleet.document, compiled)


def excluded_appliances(fleet: Fleet, sites: Sequence[str]) -> frozenset[str]:
    """The appliances of the sites that are left out. Raises InputError (no such site), CommitRefused (required)."""
    known = {site.id: site for site in fleet.spec.sites}
    for name in sites:
        if name not in known:
            raise InputError("no such site", where=name, remedy=f"one of: {', '.join(sorted(known))}")
    required = [name for name in sites if known[name].criticality is Criticality.REQUIRED]
    if required:
        problems = [
            Problem(
                rule="a site of criticality `required` is never left out",
                remedy="bring it back, or make it optional in the fleet document",
                key=f"site {name}",
            )
            for name in required
        ]
        raise CommitRefused(f"required: {', '.join(required)}", where="--without", problems=problems)
    return frozenset(appliance.id for appliance in fleet.spec.appliances if appliance.site in sites)


def absence_remedy(fleet: Fleet, absent: Iterable[str]) -> str:
    """What to do about appliances that are offline; a required site is never said to be left out."""
    criticality = {site.id: site.criticality for site in fleet.spec.sites}
    sites = {fleet.appliance(name).site for name in absent}
    optional = sorted(site for site in sites if criticality.get(site) is Criticality.OPTIONAL)
    if len(optional) == len(sites):
        return f"bring them back, or leave their site out: {' '.join(f'--without {site}' for site in optional)}"
    required = ", ".join(sorted(sites - set(optional)))
    rest = f"; the others may be left out: {' '.join(f'--without {site}' for site in optional)}" if optional else ""
    return f"bring back what is of the required site {required}{rest}"


class LineUps:
    """Revisions in the store, and the current one in memory."""

    def __init__(self, book: Book, planners: Sequence[Planner], clock: Clock) -> None:
        self._book = book
        self._planners = tuple(planners)
        self._clock = clock
        self._current: Current | None = None
        self._held: Current | None = None  # the last one that was asked for
        self._operations: tuple[int, tuple[FleetOperation, ...]] = (0, ())

    async def reload(self) -> None:
        """Read the current revision. Raises NotFoundError when the NOC was never initialised."""
        number = await self._book.current_number()
        if not number:
            raise NotFoundError("there is no revision", where="store", remedy="run `nf noc init` first")
        if self._current is not None and self._current.record.revision == number:
            return
        self._current = await self._load(number)

    async def _load(self, number: int) -> Current:
        record = await self._book.revision(number)
        lineup = load_lineup(record.lineup_text, file=record.lineup_file).document
        fleet = load_fleet(record.fleet_text, file=record.fleet_file).document
        return Current(record, lineup, fleet)

    async def running(self, held: int | None) -> Current:
        """What the fleet carries out now: the revision that is held, else the current one."""
        if held is None:
            return self.current
        if self._held is None or self._held.record.revision != held:
            self._held = await self._load(held)
        return self._held

    @property
    def current(self) -> Current:
        if self._current is None:
            raise RefusedError("the NOC has not started yet", remedy="try again")
        return self._current

    async def draft(self, lineup: noc_pb2.DocumentText, fleet: noc_pb2.DocumentText | None) -> Draft:
        """Compile what was sent; without a fleet, on the fleet of the current revision. Raises DocumentError."""
        now = self.current.record
        fleet_pair = (fleet.file, _decoded(fleet)) if fleet is not None else (now.fleet_file, now.fleet_text)
        # A large line-up takes a while: sessions and telemetry go on meanwhile.
        return await asyncio.to_thread(draft, self._planners, (lineup.file, _decoded(lineup)), fleet_pair)

    async def draft_of(self, record: RevisionRecord) -> Draft:
        """An older revision's documents, compiled anew. Raises DocumentError when today's rules refuse them."""
        return await asyncio.to_thread(
            draft,
            self._planners,
            (record.lineup_file, record.lineup_text),
            (record.fleet_file, record.fleet_text),
        )

    async def config(self, appliance: str) -> JsonObject:
        """What `appliance` is to be. Raises NotFoundError."""
        digest = self.current.record.configs.get(appliance)
        if digest is None:
            raise NotFoundError("not in the current revision", where=appliance)
        return await self._book.config(digest)

    async def operations(self) -> tuple[FleetOperation, ...]:
        """What can be done to the fleet of the current revision. Raises DocumentError."""
        record = self.current.record
        known, operations = self._operations
        if known != record.revision:
            operations = (await self.draft_of(record)).compiled.operations
            self._operations = (record.revision, operations)
        return operations

    async def before_current(self) -> RevisionRecord:
        """The last confirmed revision before the current one. Raises RefusedError when there is none."""
        number = self.current.record.revision
        async for record in self._book.revisions(below=number):
            if record.outcome == "confirmed":
                return record
        raise RefusedError("there is no revision before the current one", where=f"revision {number}")

    async def diff_draft(self, old: int, draft: Draft) -> tuple[Change, ...]:
        """What committing `draft` would change against revision `old`. Raises NotFoundError."""
        before = await self._book.revision(old)
        new_lineup, new_fleet = _spec(draft.lineup.to_json()), _spec(draft.fleet.to_json())
        changes = [
            *diff(_LINEUP_DIFF, _lineup_json(before), new_lineup),
            *diff(_FLEET_DIFF, _fleet_json(before), new_fleet),
        ]
        configs, digests = draft.configs, draft.digests
        for appliance, config in sorted(configs.items()):
            if before.configs.get(appliance) != digests[appliance]:
                changes += diff(appliance, await self._sections(before.configs.get(appliance)), _parts(config))
        for appliance in sorted(before.configs.keys() - configs.keys()):
            changes += diff(appliance, await self._sections(before.configs[appliance]), {})
        return tuple(changes)

    async def diff(self, old: int, new: int) -> tuple[Change, ...]:
        """Differences of line-up, fleet and of every appliance's sections. Raises NotFoundError."""
        before, after = await self._book.revision(old), await self._book.revision(new)
        changes = [
            *diff(_LINEUP_DIFF, _lineup_json(before), _lineup_json(after)),
            *diff(_FLEET_DIFF, _fleet_json(before), _fleet_json(after)),
        ]
        for appliance in sorted(before.configs.keys() | after.configs.keys()):
            left, right = before.configs.get(appliance), after.configs.get(appliance)
            if left != right:
                changes += diff(appliance, await self._sections(left), await self._sections(right))
        return tuple(changes)

    async def _sections(self, digest: str | None) -> JsonObject:
        if digest is None:
            return {}
        return _parts(await self._book.config(digest))


def _parts(config: JsonObject) -> JsonObject:
    """An appliance's sections, and its probes as if they were one."""
    sections = config.get("sections")
    return {**(sections if isinstance(sections, dict) else {}), "probes": config.get("probes")}


def _lineup_json(record: RevisionRecord) -> JsonObject:
    return _spec(load_lineup(record.lineup_text, file=record.lineup_file).document.to_json())


def _fleet_json(record: RevisionRecord) -> JsonObject:
    return _spec(load_fleet(record.fleet_text, file=record.fleet_file).document.to_json())


def _spec(document: JsonObject) -> JsonObject:
    spec = document.get("spec")
    return spec if isinstance(spec, dict) else {}


def _decoded(document: noc_pb2.DocumentText) -> str:
    try:
        return document.text.decode()
    except UnicodeDecodeError as error:
        raise InputError("the document is not UTF-8", where=document.file, remedy="save it as UTF-8") from error


def ranks(fleet: Fleet) -> Mapping[str, int]:
    """Who comes first when appliances catch up: what sends before what passes on, before what receives."""
    order = {"headend": 0, "core": 0, "pop": 1, "probe": 2}
    return {appliance.id: order[appliance.role.value] for appliance in fleet.spec.appliances}
