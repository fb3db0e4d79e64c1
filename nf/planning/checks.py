"""Rules that hold whatever the delivery: names are unique, references resolve. Keys are document keys."""

from __future__ import annotations

from collections.abc import Iterator

from nf.documents.fleet import Fleet
from nf.documents.lineup import Channel, LineUp
from nf.documents.rules import unique, unknown
from nf.errors import Problem
from nf.policy.documents import cycle, fallback_of


def check_lineup(lineup: LineUp, fleet: Fleet) -> tuple[Problem, ...]:
    return (*_sources(lineup, fleet), *_channels(lineup))


def check_fleet(fleet: Fleet) -> tuple[Problem, ...]:
    return (*_sites_and_appliances(fleet), *_links(fleet), *_placement(fleet))


def _sources(lineup: LineUp, fleet: Fleet) -> Iterator[Problem]:
    sources = [(f"spec.sources[{i}]", source) for i, source in enumerate(lineup.spec.sources)]
    appliances = {appliance.id for appliance in fleet.spec.appliances}
    ingest = set(fleet.placed("ingest"))
    yield from unique(
        "this id is taken by {first}", "give every source its own id", ((f"{k}.id", s.id, s.id) for k, s in sources)
    )
    yield from unique(
        "this port of the appliance is taken by {first}",
        "give every source on an appliance its own port",
        ((f"{k}.port", (s.appliance, s.port), str(s.port)) for k, s in sources),
    )
    for key, source in sources:
        if source.appliance not in appliances:
            yield unknown("appliance in the fleet", f"{key}.appliance", source.appliance, appliances)
        elif source.appliance not in ingest:
            yield Problem(
                "the appliance does not have the function ingest",
                f"add it to spec.placement of the fleet, or choose one of: {', '.join(sorted(ingest)) or 'none yet'}",
                key=f"{key}.appliance",
                value=source.appliance,
            )


def _channels(lineup: LineUp) -> Iterator[Problem]:
    channels = [(f"spec.channels[{i}]", channel) for i, channel in enumerate(lineup.spec.channels)]
    sources = {source.id for source in lineup.spec.sources}
    yield from unique(
        "this id is taken by {first}", "give every channel its own id", ((f"{k}.id", c.id, c.id) for k, c in channels)
    )
    yield from unique(
        "this logical channel number is taken by {first}",
        "give every channel its own lcn",
        ((f"{k}.lcn", c.lcn, str(c.lcn)) for k, c in channels),
    )
    yield from unique(
        "this uid is taken by {first}",
        "give every channel its own uid",
        ((f"{k}.uid", c.uid, c.uid) for k, c in channels),
    )
    for key, channel in channels:
        if channel.source not in sources:
            yield unknown("source in spec.sources", f"{key}.source", channel.source, sources)
        yield from unique(
            "this id is taken by {first}",
            "give every delivery path of a channel its own id",
            ((f"{key}.delivery[{i}].id", path.id, path.id) for i, path in enumerate(channel.delivery)),
        )
        yield from _failover(lineup, key, channel)


def _failover(lineup: LineUp, key: str, channel: Channel) -> Iterator[Problem]:
    """A scrambled path's fallback is scrambled too; fallbacks form no ring; what is preferred is there."""
    ring = cycle(channel)
    paths = {path.id: path for path in channel.delivery}
    for number, path in enumerate(channel.delivery):
        place, fallback = f"{key}.delivery[{number}].fallback", fallback_of(path)
        other = paths.get(fallback)
        if path.id in ring[:1]:
            rule = f"fallbacks go round in a ring: {' -> '.join(ring)}"
            yield Problem(rule, "let one of them have no fallback", key=place, value=fallback)
        if other is not None and path.scrambled and not other.scrambled and not lineup.failover(channel).allow_clear:
            yield Problem(
                "a scrambled path would be replaced by a clear one",
                "scramble that one too, take another, or write allow_clear: true in the channel's failover",
                key=place,
                value=fallback,
            )
    words = channel.failover.prefer if channel.failover is not None else ()
    known = paths.keys() | {path.type for path in channel.delivery}
    for number, word in enumerate(words):
        if word not in known:
            yield unknown("path or type of path of this channel", f"{key}.failover.prefer[{number}]", word, known)


def _sites_and_appliances(fleet: Fleet) -> Iterator[Problem]:
    sites = [(f"spec.sites[{i}]", site) for i, site in enumerate(fleet.spec.sites)]
    appliances = [(f"spec.appliances[{i}]", appliance) for i, appliance in enumerate(fleet.spec.appliances)]
    known = {site.id for _, site in sites}
    yield from unique(
        "this id is taken by {first}", "give every site its own id", ((f"{k}.id", s.id, s.id) for k, s in sites)
    )
    yield from unique(
        "this id is taken by {first}",
        "give every appliance its own id",
        ((f"{k}.id", a.id, a.id) for k, a in appliances),
    )
    yield from unique(
        "this serial number is taken by {first}",
        "enter the serial number on the appliance's own label",
        ((f"{k}.serial", a.serial, a.serial) for k, a in appliances),
    )
    for key, appliance in appliances:
        if appliance.site not in known:
            yield unknown("site in spec.sites", f"{key}.site", appliance.site, known)
        yield from unique(
            "this interface is listed at {first} already",
            "list every interface once",
            ((f"{key}.interfaces[{i}].name", face.name, face.name) for i, face in enumerate(appliance.interfaces)),
        )


def _links(fleet: Fleet) -> Iterator[Problem]:
    links = [(f"spec.links[{i}]", link) for i, link in enumerate(fleet.spec.links)]
    known = {f"{a.id}:{face.name}" for a in fleet.spec.appliances for face in a.interfaces}
    endpoints = [(f"{key}.endpoints[{i}]", name) for key, link in links for i, name in enumerate(link.endpoints)]
    yield from unique(
        "this id is taken by {first}",
        "give every link its own id",
        ((f"{k}.id", link.id, link.id) for k, link in links),
    )
    yield from unique(
        "this interface is on a link already: {first}",
        "an interface is on one link; list a segment with several interfaces as one link",
        ((key, name, name) for key, name in endpoints),
    )
    for key, name in endpoints:
        if name not in known:
            yield unknown("interface of an appliance", key, name, known)


def _placement(fleet: Fleet) -> Iterator[Problem]:
    known = {appliance.id for appliance in fleet.spec.appliances}
    for number, placement in enumerate(fleet.spec.placement):
        for index, name in enumerate(placement.appliances):
            if name not in known:
                yield unknown(
                    "appliance in spec.appliances", f"spec.placement[{number}].appliances[{index}]", name, known
                )
