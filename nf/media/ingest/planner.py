"""Which contributions are received for others, and where (pure)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from typing import Final

from nf.documents.lineup import LineUp, Source, SourceSwitch
from nf.documents.rules import unique, unknown
from nf.errors import Problem
from nf.media.documents import IngestSection, IngestSource

INGEST: Final = "ingest"
"""Section and driver."""

FAILBACK: Final = "ingest.failback"
"""Operation of the driver, for the contribution of that name."""

DEFAULT_LATENCY_MS: Final = 200


def ingests(lineup: LineUp, appliances: Container[str]) -> dict[str, IngestSection]:
    """Appliance -> its section; appliances without such a source have none."""
    sources = {source.id: source for source in lineup.spec.sources}
    found: dict[str, list[IngestSource]] = defaultdict(list)
    for source in lineup.spec.sources:
        if source.is_received and source.appliance in appliances:
            found[source.appliance].append(_entry(source, sources.get(source.backup or "")))
    return {
        name: IngestSection(sources=tuple(sorted(entries, key=lambda entry: entry.source)))
        for name, entries in found.items()
    }


def _entry(source: Source, backup: Source | None) -> IngestSource:
    switch = source.switch or SourceSwitch()
    return IngestSource(
        source=source.id,
        type=source.type,
        port=source.port,
        arrival=source.arrival,
        peer=source.peer,
        latency_ms=source.latency_ms or DEFAULT_LATENCY_MS,
        backup_port=None if backup is None else backup.port,
        detect_ms=switch.detect_ms,
        failback_ms=switch.hold_ms if backup is not None and switch.failback == "auto" else None,
    )


def source_problems(lineup: LineUp, packaged: Sequence[str]) -> Iterator[Problem]:
    """A backup is another source of the same appliance that nobody else reads; a port has one that listens there.

    `packaged`: the sources that paths of ours read, beside those of the channels.
    """
    keyed = [(f"spec.sources[{number}]", source) for number, source in enumerate(lineup.spec.sources)]
    sources = {source.id: source for source in lineup.spec.sources}
    read = {*packaged, *(channel.source for channel in lineup.spec.channels)}
    ports = [(f"{key}.port", (s.appliance, s.port), f"{s.id}, port") for key, s in keyed]
    ports += [(f"{key}.arrival", (s.appliance, s.arrival), f"{s.id}, arrival") for key, s in keyed if s.arrival]
    if any(source.arrival for source in sources.values()):
        rule = "this port of the appliance is taken by source {first}"
        yield from unique(rule, "choose another port", ports)
    backups = [(f"{key}.backup", source.backup, source.id) for key, source in keyed if source.backup]
    yield from unique("it is the backup of {first} already", "give every source a backup of its own", backups)
    for key, source in keyed:
        if source.backup is None:
            continue
        place, backup = f"{key}.backup", sources.get(source.backup)
        if backup is None:
            yield unknown("source in spec.sources", place, source.backup, sources)
        elif backup.id == source.id or backup.backup is not None:
            rule = "a backup is another source, without a backup of its own"
            yield Problem(rule, "name a source that stands alone", key=place, value=backup.id)
        elif backup.appliance != source.appliance:
            rule = f"the backup comes in at {backup.appliance}, and {source.appliance} has to switch to it"
            yield Problem(rule, f"let it come in at {source.appliance}", key=place, value=backup.id)
        elif backup.id in read:
            rule = "a channel or a path reads the backup itself, and a contribution port has one reader"
            yield Problem(rule, "add a source on a port of its own that gets the same programme", key=place)
