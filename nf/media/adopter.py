"""The CDN's way back: from buckets, packagers, shields and edges that run to placement and paths of type `cdn`.

The inverse of the planner: compiled, what it writes gives the sections that were observed. The packager knows of a
path what it is made of; the edges know its host and, by where they stand, its sites. What the other caches and the
bucket's keeper have must agree, since the documents say it once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

from pydantic import ValidationError

from nf.contracts.adopter import Adopted, AdoptedPath, Observed
from nf.documents.fleet import Fleet, Placement
from nf.documents.lineup import Source
from nf.documents.model import DocumentModel
from nf.documents.quantities import format_duration
from nf.media.adopted_entrances import entrances
from nf.media.anycast.documents import SECTION as ANYCAST
from nf.media.anycast.documents import AnycastSection
from nf.media.documents import (
    PART,
    Bucket,
    CdnEquipment,
    CdnPath,
    EdgeChannel,
    EdgeEquipment,
    EdgeSection,
    IngestSection,
    OmeEngine,
    OmeSection,
    OmeStream,
    Origin,
    OriginSection,
    PackagerChannel,
    PackagerSection,
    Parent,
    ShieldChannel,
    ShieldSection,
    Steering,
)
from nf.media.front.documents import SECTION as FRONT
from nf.media.front.documents import FrontSection
from nf.media.ingest.adopter import arrivals, contributions
from nf.media.ingest.planner import INGEST
from nf.media.placement import EDGE, ORIGIN, PACKAGER, SHIELD

INTAKE: Final = "stream-intake"
ENGINE: Final = "ome"
_ADDED: Final = frozenset({"altered", "unit", "live", "others", "unreachable", "healer", "missing", "stray", "stale"})
_ALSO_ADDED: Final = "certificates"
"""What drivers add to an observed section that is not as it should be; the second is a word of some sections too."""

_Key = tuple[str, str]
S = TypeVar("S", bound=DocumentModel)
E = TypeVar("E", Bucket, PackagerChannel, ShieldChannel, EdgeChannel)


class MediaAdopter:
    @property
    def name(self) -> str:
        return "media"

    @property
    def sections(self) -> frozenset[str]:
        return frozenset({INGEST, ENGINE, ORIGIN, PACKAGER, SHIELD, EDGE, INTAKE, FRONT, ANYCAST})

    def adopt(self, observed: Observed, known: Fleet) -> Adopted:
        seen = _Seen(observed)
        paths = tuple(path for key in sorted(seen.packaged) if (path := _path(key, seen, known)) is not None)
        seen.problems += [*_unpackaged(seen), *_engines(seen), *_caches(seen)]
        found = {**_equipment(seen), **entrances(seen.fronts, seen.anycast, seen.problems)}
        return Adopted(
            placement=_placement(seen),
            paths=paths,
            sources=tuple(contributions(seen.received, _rates(seen))),
            problems=tuple(seen.problems),
            equipment={part: value for part, value in found.items() if part not in known.spec.equipment},
        )


class _Seen:
    """The observation as sections, and what each says of a path; what does not fit them is a problem."""

    def __init__(self, observed: Observed) -> None:
        self.problems: list[str] = []
        self.origins = self._all(observed, ORIGIN, OriginSection)
        self.packagers = self._all(observed, PACKAGER, PackagerSection)
        self.shields = self._all(observed, SHIELD, ShieldSection)
        self.edges = self._all(observed, EDGE, EdgeSection)
        self.received = self._all(observed, INGEST, IngestSection)
        self.engines = self._all(observed, ENGINE, OmeSection)
        self.fronts = self._all(observed, FRONT, FrontSection)
        self.anycast = self._all(observed, ANYCAST, AnycastSection)
        self.kept = _by_path((name, found.buckets) for name, found in self.origins.items())
        self.packaged = _by_path((name, found.channels) for name, found in self.packagers.items())
        self.shielded = _by_path((name, found.channels) for name, found in self.shields.items())
        self.served = _by_path((name, found.channels) for name, found in self.edges.items())

    def _all(self, observed: Observed, section: str, model: type[S]) -> dict[str, S]:
        found: dict[str, S] = {}
        for appliance, sections in sorted(observed.items()):
            value = sections.get(section)
            if value is None:
                continue
            where = f"{appliance}, section {section}"
            added = _ADDED if _ALSO_ADDED in model.model_fields else _ADDED | {_ALSO_ADDED}
            self.problems += [f"{where}: {key}: {value[key]}" for key in sorted(added & value.keys())]
            try:
                found[appliance] = model.model_validate(
                    {key: inner for key, inner in value.items() if key not in added}
                )
            except ValidationError as error:
                told = error.errors()[0]
                self.problems.append(f"{where}: {'.'.join(map(str, told['loc']))}: {told['msg']}")
        return found


def _by_path(sections: Iterable[tuple[str, Iterable[E]]]) -> dict[_Key, dict[str, E]]:
    """(channel, path) -> appliance -> its entry."""
    found: dict[_Key, dict[str, E]] = defaultdict(dict)
    for appliance, entries in sections:
        for entry in entries:
            found[entry.channel, entry.path][appliance] = entry
    return dict(found)


def _equipment(seen: _Seen) -> dict[str, DocumentModel]:
    """What edges have that is not what they have unasked."""
    usual = EdgeEquipment()
    found: dict[str, tuple[EdgeEquipment, list[str]]] = {}
    for name, edge in sorted(seen.edges.items()):
        has = EdgeEquipment(tls=edge.tls, congestion_control=edge.congestion_control, healing=edge.healing)
        if has != usual:
            found.setdefault(has.model_dump_json(), (has, []))[1].append(name)
    entries = tuple(has.model_copy(update={"appliances": tuple(names)}) for has, names in found.values())
    return {PART: CdnEquipment(edges=entries)} if entries else {}


def _path(key: _Key, seen: _Seen, known: Fleet) -> AdoptedPath | None:
    """None when something stands against it: then that is a problem."""
    name = "/".join(key)
    before = len(seen.problems)
    (appliance, packaged), *others = sorted(seen.packaged[key].items())
    if others:
        seen.problems.append(f"{name} is packaged by {appliance} and {', '.join(other for other, _ in others)}")
    _check_bucket(name, packaged, seen.kept.get(key, {}), seen)
    _check_shields(name, packaged, seen.shielded.get(key, {}), seen)
    serving = seen.served.get(key, {})
    hosts = {(entry.host, entry.bucket) for entry in serving.values()}
    sites = _sites(name, serving, seen, known)
    if not serving:
        seen.problems.append(f"{name} is packaged, and no edge serves it")
    elif hosts != {(min(hosts)[0], packaged.bucket)}:
        seen.problems.append(f"{name} is served under several hosts or from several buckets; a path has one")
    engine = _engine(key, appliance, packaged, seen)
    if len(seen.problems) > before:
        return None
    port = packaged.contribution_port
    source = Source(
        id=f"{appliance[:33].rstrip('-')}-{port}", appliance=appliance, port=port, bitrate_bps=packaged.rate_bps
    )
    try:
        path = CdnPath(
            id=packaged.path,
            type="cdn",
            rate_bps=packaged.rate_bps,
            host=min(hosts)[0],
            sites=sites,
            source=source.id,
            segment_ms=format_duration(packaged.segment_ms),
            window_ms=format_duration(packaged.window_ms),
            ladder=packaged.ladder,
            cues=packaged.cues,
            protection=packaged.protection,
            scrambled=packaged.protection is not None,
            engine=engine,
            origin=Origin(endpoint=packaged.endpoint, bucket=packaged.bucket, credentials=packaged.credentials),
            steering=None if packaged.steering is None else Steering(server=packaged.steering.server),
        )
    except ValidationError as error:
        seen.problems.append(f"{name}: {error.errors()[0]['msg']}")
        return None
    return AdoptedPath(packaged.channel, path, source, ("source.id", "source.bitrate"), names_source=True)


def _check_bucket(name: str, packaged: PackagerChannel, kept: Mapping[str, Bucket], seen: _Seen) -> None:
    wanted = (packaged.endpoint, packaged.bucket, packaged.credentials)
    found = {(seen.origins[who].endpoint, bucket.name, bucket.credentials) for who, bucket in kept.items()}
    if found != {wanted} or len(kept) != 1:
        told = ", ".join(f"{endpoint}/{bucket} with {reference}" for endpoint, bucket, reference in sorted(found))
        seen.problems.append(
            f"{name} is packaged into {packaged.endpoint}/{packaged.bucket} with {packaged.credentials}, "
            f"and kept by {', '.join(sorted(kept)) or 'nobody'}: {told or 'no bucket'}"
        )


def _check_shields(name: str, packaged: PackagerChannel, shielded: Mapping[str, ShieldChannel], seen: _Seen) -> None:
    wanted = (packaged.endpoint, packaged.bucket, packaged.segment_ms)
    for shield in sorted(seen.shields):
        entry = shielded.get(shield)
        if entry is None:
            seen.problems.append(f"the shield {shield} does not serve {name}; every shield serves every path")
        elif (entry.endpoint, entry.bucket, entry.segment_ms) != wanted:
            seen.problems.append(f"the shield {shield} serves {name} otherwise than it is packaged")


def _sites(name: str, serving: Mapping[str, EdgeChannel], seen: _Seen, known: Fleet) -> tuple[str, ...]:
    """The sites whose edges serve it: all of a site do, or none."""
    site_of = {appliance.id: appliance.site for appliance in known.spec.appliances}
    sites = {site_of[edge] for edge in serving if edge in site_of}
    for edge in sorted(seen.edges.keys() - serving.keys()):
        if site_of.get(edge) in sites:
            seen.problems.append(f"the edge {edge} does not serve {name}, and another of its site {site_of[edge]} does")
    return tuple(sorted(sites))


def _engine(key: _Key, appliance: str, packaged: PackagerChannel, seen: _Seen) -> OmeEngine | None:
    """What pushes the programme to the packager; None: nothing of ours does."""
    section = seen.engines.get(appliance)
    streams: tuple[OmeStream, ...] = section.streams if section is not None else ()
    stream = next((one for one in streams if (one.channel, one.path) == key), None)
    if section is None or stream is None:
        return None
    port = next(iter(arrivals(seen.received.get(appliance), packaged.contribution_port)), packaged.contribution_port)
    if stream.port != port:
        seen.problems.append(f"{'/'.join(key)} is pushed to port {stream.port}, and read at {appliance} from {port}")
    return OmeEngine(
        endpoint=section.endpoint,
        token=section.token,
        vhost=section.vhost,
        app=stream.app,
        pull=stream.pull,
        to=stream.to,
        profile=stream.profile,
    )


def _engines(seen: _Seen) -> Iterator[str]:
    """Streams that nobody packages: no document says them."""
    for appliance, section in sorted(seen.engines.items()):
        for stream in section.streams:
            if appliance not in seen.packaged.get((stream.channel, stream.path), {}):
                yield f"{stream.channel}/{stream.path} is pulled by {section.endpoint}, and {appliance} packages it not"


def _rates(seen: _Seen) -> dict[tuple[str, int], int]:
    return {
        (appliance, packaged.contribution_port): packaged.rate_bps
        for by in seen.packaged.values()
        for appliance, packaged in by.items()
    }


def _unpackaged(seen: _Seen) -> list[str]:
    kept = [f"{'/'.join(key)} has a bucket, and nothing packages it" for key in sorted(seen.kept)]
    served = [f"{'/'.join(key)} is served, and nothing packages it" for key in sorted({*seen.shielded, *seen.served})]
    packaged = {"/".join(key) for key in seen.packaged}
    return [text for text in (*kept, *served) if text.partition(" ")[0] not in packaged]


def _caches(seen: _Seen) -> list[str]:
    """What the documents cannot say of the caches themselves."""
    ports = [(name, SHIELD, shield.port, _port(ShieldSection)) for name, shield in seen.shields.items()]
    ports += [(name, EDGE, edge.port, _port(EdgeSection)) for name, edge in seen.edges.items()]
    found = [
        f"{name}, section {section}: port {port}; a cache of this kind listens on {usual}"
        for name, section, port, usual in ports
        if port != usual
    ]
    parents = tuple(Parent(address=seen.shields[name].listen) for name in sorted(seen.shields))
    found += [
        f"the edge {name} asks other shields than {', '.join(sorted(seen.shields)) or 'those there are'}, in that order"
        for name, edge in sorted(seen.edges.items())
        if edge.shields != parents
    ]
    return found


def _port(model: type[DocumentModel]) -> object:
    return model.model_fields["port"].default


def _placement(seen: _Seen) -> tuple[Placement, ...]:
    packaging = {name for by in seen.packaged.values() for name in by}
    placed = {
        INGEST: packaging | seen.received.keys(),
        PACKAGER: packaging,
        ORIGIN: _keepers(seen),
        SHIELD: set(seen.shields),
        EDGE: set(seen.edges),
        FRONT: set(seen.fronts),
    }
    return tuple(Placement(function=name, appliances=tuple(sorted(who))) for name, who in placed.items() if who)


def _keepers(seen: _Seen) -> set[str]:
    """Who keeps the buckets; nobody needs to be named where each packager keeps its own."""
    keepers = {key: set(by) for key, by in seen.kept.items()}
    apart = {name for key, names in keepers.items() for name in names - seen.packaged.get(key, {}).keys()}
    others = {name for names in keepers.values() for name in names}
    if apart and others != apart:
        seen.problems.append(
            f"{', '.join(sorted(others))} keep buckets; one appliance keeps all, or each packager its own"
        )
    return apart
