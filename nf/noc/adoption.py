"""Brownfield: the documents that describe what runs, put together from what the drivers observe."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import entry_points
from typing import Final, TypeVar

from nf.contracts.adopter import GROUP, Adopted, AdoptedPath, Adopter
from nf.contracts.json import JsonObject
from nf.documents.fleet import Appliance, Fleet, FleetSpec, Link, Placement
from nf.documents.lineup import Channel, DeliveryPath, Failover, LineUp, LineUpSpec, Source
from nf.documents.model import API_VERSION, DocumentModel, Metadata
from nf.documents.writer import Place, write_document
from nf.errors import NotFoundError, Problem, RefusedError
from nf.noc.node import Node

_OBSERVE_S: Final = 15.0
_HEAD: Final = (
    "Written by `nf lineup adopt` from what runs. Committing it unchanged changes nothing.",
    "Where it says `please check`, nothing on the boxes tells the value: correct it by what you know.",
)


M = TypeVar("M", bound=DocumentModel)


@dataclass(frozen=True, slots=True)
class Documents:
    """`doubts`: keys whose value could not be observed, as people read them."""

    fleet_yaml: str
    lineup_yaml: str
    doubts: tuple[str, ...]
    appliances: int
    channels: int


def load_adopters() -> tuple[Adopter, ...]:
    """One of each installed adopter, by name."""
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return tuple(point.load()() for point in points)


class Adoption:
    """Asks the appliances, then the adopters, then writes."""

    def __init__(self, node: Node, adopters: Sequence[Adopter]) -> None:
        self._node = node
        self._adopters = tuple(adopters)

    async def run(self, site: str = "") -> Documents:
        """Raises NotFoundError (site), UnavailableError (offline), RefusedError (what runs fits no document)."""
        current = self._node.lineups.current
        sites = {one.id for one in current.fleet.spec.sites}
        if site and site not in sites:
            raise NotFoundError("no such site", where=site, remedy=f"one of: {', '.join(sorted(sites))}")
        appliances = [one for one in current.fleet.spec.appliances if not site or one.site == site]
        live = await asyncio.gather(*(self._observe(one.id) for one in appliances))
        observed = {one.id: sections for one, sections in zip(appliances, live, strict=True)}
        for one in current.fleet.spec.appliances:
            if one.id not in observed:
                observed[one.id] = _sections((await self._node.lineups.config(one.id)).get("sections"))
        adopted = [adopter.adopt(observed, current.fleet) for adopter in self._adopters]
        problems = [text for one in adopted for text in one.problems]
        if problems:
            raise RefusedError(
                "what runs cannot be written into documents",
                where=site or "the fleet",
                remedy="mend what is named, or take it out by hand; then adopt again",
                problems=[Problem(text, "") for text in problems],
            )
        year = datetime.fromtimestamp(self._node.clock.now(), UTC).year
        uid = f"tag:{self._node.authority.domain},{year}:"
        documents = compose(current.fleet, current.lineup, adopted, uid)
        return replace(documents, doubts=(*documents.doubts, *self._undescribed(observed)))

    def _undescribed(self, observed: Mapping[str, Mapping[str, JsonObject]]) -> list[str]:
        """What runs beyond the reach of every adopter: a commit of the documents would take it away."""
        described = {section for adopter in self._adopters for section in adopter.sections}
        return [
            f"{appliance}: section {section} holds something that no adopter describes"
            for appliance, sections in sorted(observed.items())
            for section, value in sorted(sections.items())
            if section not in described and any(value.values())
        ]

    async def _observe(self, appliance: str) -> dict[str, JsonObject]:
        session = self._node.sessions.get(appliance)
        if session is None:
            raise self._node.sessions.offline(appliance)
        answer = await session.request("observe", {}, _OBSERVE_S)
        data = answer if isinstance(answer, dict) else {}
        errors = data.get("errors")
        if isinstance(errors, dict) and errors:
            raise RefusedError(
                "not everything can be read",
                where=appliance,
                remedy="see that its daemons run, then adopt again",
                problems=[Problem(str(text), "", key=section) for section, text in sorted(errors.items())],
            )
        return _sections(data.get("sections"))


def _sections(value: object) -> dict[str, JsonObject]:
    found = value if isinstance(value, Mapping) else {}
    return {str(name): section for name, section in found.items() if isinstance(section, dict)}


def compose(known: Fleet, lineup: LineUp, adopted: Sequence[Adopted], uid: str) -> Documents:
    """Pure. `known`: who the appliances are; `lineup`: names and numbers of channels that it has already."""
    fleet, fleet_doubts = _fleet(known, adopted)
    paths = sorted((p for one in adopted for p in one.paths), key=lambda p: (p.channel, p.path.id))
    found, lineup_doubts = _lineup(lineup, paths, [source for one in adopted for source in one.sources], uid)
    return Documents(
        fleet_yaml=write_document(fleet, fleet_doubts, _HEAD),
        lineup_yaml=write_document(found, lineup_doubts, _HEAD),
        doubts=tuple([f"fleet.{_key(p)}" for p in fleet_doubts] + [f"lineup.{_key(p)}" for p in lineup_doubts]),
        appliances=len(fleet.spec.appliances),
        channels=len(found.spec.channels),
    )


def _fleet(known: Fleet, adopted: Sequence[Adopted]) -> tuple[Fleet, list[Place]]:
    links: dict[str, Link] = {link.id: link for one in adopted for link in one.links}
    ordered = [links[name] for name in sorted(links)]
    doubts: list[Place] = [
        ("spec", "links", number, field)
        for number, link in enumerate(ordered)
        for one in adopted
        for field in one.link_doubts.get(link.id, ())
    ]
    spec = FleetSpec(
        sites=known.spec.sites,
        appliances=tuple(_appliance(one, adopted) for one in known.spec.appliances),
        links=tuple(ordered),
        placement=_placement([*known.spec.placement, *(p for one in adopted for p in one.placement)]),
        equipment={**{name: part for one in adopted for name, part in one.equipment.items()}, **known.spec.equipment},
    )
    return known.model_copy(update={"spec": spec}), doubts


def _appliance(known: Appliance, adopted: Sequence[Adopted]) -> Appliance:
    for one in adopted:
        if known.id in one.appliances:
            seen = one.appliances[known.id]
            own = {"loopback": seen.loopback, "loopback6": seen.loopback6, "interfaces": seen.interfaces}
            return known.model_copy(update=own)
    return known.model_copy(update={"loopback": None, "loopback6": None, "interfaces": ()})


def _placement(placements: Iterable[Placement]) -> tuple[Placement, ...]:
    merged: dict[str, set[str]] = {}
    for one in placements:
        merged.setdefault(one.function, set()).update(one.appliances)
    return tuple(Placement(function=name, appliances=tuple(sorted(merged[name]))) for name in sorted(merged))


class _Sources:
    """The contributions, by the ids that the documents know; `doubts`: fields of those that they do not."""

    def __init__(self, known: LineUp, received: Sequence[Source]) -> None:
        """`received`: how they come in, as the boxes say; the others are taken as they were written."""
        self._known = known.spec.sources
        self.found: dict[str, Source] = {}
        self.doubts: dict[str, tuple[str, ...]] = {}
        written = {(one.appliance, one.port): one for one in self._known}
        before = {seen.id: written.get((seen.appliance, seen.port)) for seen in received}
        names = {
            one.id: written_one.id
            for one in received
            if not one.is_received and (written_one := before[one.id]) is not None
        }
        for seen in received:
            known_one = before[seen.id]
            if known_one is None:
                source = seen
            elif seen.is_received:
                source = seen.model_copy(update={"bitrate_bps": known_one.bitrate_bps})
            else:
                source = known_one
            if source.backup is not None:
                source = source.model_copy(update={"backup": names.get(source.backup, source.backup)})
            self.found[source.id] = source
            self.doubts[source.id] = () if known_one else ("bitrate",)
        self._received = {(one.appliance, one.port): one for one in self.found.values()}

    def take(self, path: AdoptedPath) -> str:
        """The id of the path's contribution; empty: none was seen."""
        return self._take(path.source, path) if path.source is not None else ""

    def _take(self, seen: Source, path: AdoptedPath) -> str:
        received = self._received.get((seen.appliance, seen.port))
        if received is not None:
            return received.id
        known = next((one for one in self._known if (one.appliance, one.port) == (seen.appliance, seen.port)), None)
        source = known or seen
        unsure = [text.removeprefix("source.") for text in path.doubts if text.startswith("source.")]
        self.found[source.id] = source
        self.doubts[source.id] = () if known else tuple(unsure)
        return source.id

    def path(self, path: AdoptedPath) -> DeliveryPath:
        """With the id that its contribution has."""
        source = self.take(path)
        found = path.path.model_copy(update={"source": source}) if source and path.names_source else path.path
        if path.other_source is None:
            return found
        return _renamed(found, path.other_source.id, self._take(path.other_source, path))

    def of_channel(self, name: str, own: Sequence[AdoptedPath], known: Channel | None) -> str:
        """What a path without a source of its own was seen to take; else what was known, else what there is."""
        ids = [(self.take(path), path.names_source) for path in own]
        shared = next((source for source, names in ids if source and not names), "")
        before = next((one for one in self._known if known is not None and one.id == known.source), None)
        if shared or before is None:
            return shared or next((source for source, _ in ids if source), name)
        if (received := self._received.get((before.appliance, before.port))) is not None:
            return received.id
        self.found[before.id], self.doubts[before.id] = before, ()
        return before.id


def _lineup(
    known: LineUp, paths: Sequence[AdoptedPath], received: Sequence[Source], uid: str
) -> tuple[LineUp, list[Place]]:
    """One channel for each name that the paths carry; numbers that nobody knows are the lowest free ones."""
    named = {channel.id: channel for channel in known.spec.channels}
    taken = {channel.lcn for channel in known.spec.channels}
    sources = _Sources(known, received)
    channels: list[Channel] = []
    doubts: list[Place] = []
    for name in sorted({path.channel for path in paths}):
        own = [path for path in paths if path.channel == name]
        place: Place = ("spec", "channels", len(channels))
        known_channel = named.get(name)
        before = {path.id: path for path in known_channel.delivery} if known_channel else {}
        delivery = tuple(_preferred(sources.path(path), before.get(path.path.id), path.unseen) for path in own)
        lcn = known_channel.lcn if known_channel else min(set(range(1, len(taken) + 2)) - taken)
        taken.add(lcn)
        channel = Channel(
            id=name,
            name=known_channel.name if known_channel else name,
            lcn=lcn,
            uid=known_channel.uid if known_channel else f"{uid}{name}",
            source=sources.of_channel(name, own, known_channel),
            delivery=delivery,
            failover=_failover(own, known, known_channel),
        )
        if known_channel is None:
            doubts += [(*place, field) for field in ("name", "lcn", "uid")]
        doubts += [
            (*place, "delivery", number, field)
            for number, path in enumerate(own)
            for field in (*path.doubts, *(() if path.path.id in before else ("priority", *_written(path))))
            if not field.startswith("source.")
        ]
        channels.append(channel)
    ordered = [sources.found[key] for key in sorted(sources.found)]
    front: list[Place] = [
        ("spec", "sources", number, field)
        for number, source in enumerate(ordered)
        for field in sources.doubts[source.id]
    ]
    spec = LineUpSpec(sources=tuple(ordered), channels=tuple(channels), policy=known.spec.policy)
    lineup = LineUp(api_version=API_VERSION, kind="LineUp", metadata=Metadata(name="adopted"), spec=spec)
    return lineup, [*front, *doubts]


def _failover(own: Sequence[AdoptedPath], known: LineUp, before: Channel | None) -> Failover | None:
    """As it was written, unless the boxes act by another one."""
    written = before.failover if before is not None else None
    seen = next((path.failover for path in own if path.failover is not None), None)
    effective = written or known.spec.policy.failover
    if seen is None:
        return written
    merged = seen.model_copy(update={"allow_clear": effective.allow_clear, "prefer": effective.prefer})
    return written if merged == effective else merged


def _preferred(path: DeliveryPath, known: DeliveryPath | None, unseen: Sequence[str]) -> DeliveryPath:
    """With the priority and the protection that were written, and what else nothing that runs shows."""
    if known is None:
        return path
    kept = {name: getattr(known, name) for name in unseen} if type(known) is type(path) else {}
    return path.model_copy(update={**kept, "priority": known.priority, "scrambled": known.scrambled})


def _written(path: AdoptedPath) -> list[str]:
    """Of what nothing shows, what stands in the document by its default."""
    return [name for name in path.unseen if getattr(path.path, name) is not None]


def _renamed(model: M, old: str, new: str) -> M:
    """With `new` in every field `source` that says `old`."""
    update: dict[str, object] = {
        name: new if name == "source" else _renamed(value, old, new)
        for name, value in model
        if isinstance(value, DocumentModel) or (name == "source" and value == old)
    }
    return model.model_copy(update=update)


def _key(place: Place) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
