"""The delivery paths of type `cdn` of a line-up, what no two may share, and the facts that order their steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nf.documents.lineup import Channel, LineUp, Source
from nf.documents.rules import unique
from nf.errors import Problem
from nf.media.documents import CdnPath


def bucket_fact(endpoint: str, bucket: str) -> str:
    """Holds while the bucket is there and may be read."""
    return f"s3.bucket={endpoint}/{bucket}"


def packaged_fact(channel: str, path: str) -> str:
    """Holds while the packager of the path runs."""
    return f"cdn.packaged={channel}/{path}"


def shield_fact(channel: str, path: str, appliance: str) -> str:
    """Holds while the shield serves the path."""
    return f"cdn.shield={channel}/{path}@{appliance}"


def edge_fact(channel: str, path: str, appliance: str) -> str:
    """Holds while the edge serves the path."""
    return f"cdn.edge={channel}/{path}@{appliance}"


@dataclass(frozen=True, slots=True)
class Way:
    """One delivery path of type cdn, with where it stands."""

    key: str
    channel: Channel
    path: CdnPath
    source: Source | None

    @property
    def name(self) -> str:
        return f"{self.channel.id}/{self.path.id}"


def cdn_ways(lineup: LineUp) -> Iterator[Way]:
    sources = {source.id: source for source in lineup.spec.sources}
    for number, channel in enumerate(lineup.spec.channels):
        for index, path in enumerate(channel.delivery):
            if isinstance(path, CdnPath):
                key = f"spec.channels[{number}].delivery[{index}]"
                yield Way(key, channel, path, sources.get(path.source))


def shared_problems(lineup: LineUp, ways: list[Way]) -> Iterator[Problem]:
    """What two paths may not have in common: a contribution, a place in a bucket, a place at the edges.

    The contribution of a channel is read by its paths of other types; without any, a path of ours may be its reader.
    """
    taken = {
        channel.source: f"channel {channel.id}"
        for channel in lineup.spec.channels
        if any(not isinstance(path, CdnPath) for path in channel.delivery)
    }
    for way in ways:
        if way.path.source in taken:
            yield Problem(
                f"the source feeds {taken[way.path.source]} already, and a contribution port has one reader",
                "add a source on a port of its own that gets the same programme",
                key=f"{way.key}.source",
                value=way.path.source,
            )
        else:
            taken[way.path.source] = way.name
    yield from unique(
        "its objects would lie where those of another path lie: {first}",
        "choose another bucket",
        (
            (f"{w.key}.origin.bucket", (w.path.origin.endpoint, w.path.origin.bucket, w.channel.id), w.name)
            for w in ways
        ),
    )
    yield from unique(
        "the host serves this channel already: {first}",
        "choose another host, or add the sites to that path",
        ((f"{w.key}.host", (w.path.host, w.channel.id), w.path.host) for w in ways),
    )


def ladder_problems(ways: list[Way]) -> Iterator[Problem]:
    """An encoder adds nothing: a rendition of more than what comes in is a waste of every link."""
    for way in ways:
        if way.path.ladder is None or way.source is None:
            continue
        best = way.path.ladder[0]
        if best.bitrate_bps > way.source.bitrate_bps:
            yield Problem(
                f"the rendition has {best.bitrate_bps} bit/s, and its source {way.source.id} {way.source.bitrate_bps}",
                "lower the rendition's bitrate, or let the source bring more",
                key=f"{way.key}.ladder[0].bitrate",
                value=best.id,
            )
