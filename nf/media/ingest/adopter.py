"""Contributions that something stands before, from what runs back to the line-up's sources. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from nf.documents.lineup import Source, SourceSwitch
from nf.documents.quantities import format_duration
from nf.media.documents import IngestSection, IngestSource

_BITRATE_BPS = 1_000_000
"""Nothing shows what a contribution may have; who reads it names a better one."""


def contributions(received: Mapping[str, IngestSection], rates_bps: Mapping[tuple[str, int], int]) -> Iterator[Source]:
    """With their backups, which are sources of their own. `rates_bps`: by appliance and port, what is read there."""
    for appliance, section in sorted(received.items()):
        names = {entry.port: entry.source for entry in section.sources}
        for entry in section.sources:
            rate_bps = rates_bps.get((appliance, entry.port), _BITRATE_BPS)
            yield _source(appliance, entry, names, rate_bps)
            if entry.backup_port is not None and entry.backup_port not in names:
                backup = _name(appliance, entry.backup_port)
                yield Source(id=backup, appliance=appliance, port=entry.backup_port, bitrate_bps=rate_bps)


def _source(appliance: str, entry: IngestSource, names: Mapping[int, str], rate_bps: int) -> Source:
    backup, switch = None, None
    if entry.backup_port is not None:
        backup = names.get(entry.backup_port, _name(appliance, entry.backup_port))
        detect = format_duration(entry.detect_ms)
        switch = SourceSwitch(detect_ms=detect)
        if entry.failback_ms is not None:
            switch = SourceSwitch(detect_ms=detect, failback="auto", hold_ms=format_duration(entry.failback_ms))
    return Source(
        id=entry.source,
        type=entry.type,
        appliance=appliance,
        port=entry.port,
        bitrate_bps=rate_bps,
        arrival=entry.arrival,
        peer=entry.peer,
        latency_ms=None if entry.type == "udp" else format_duration(entry.latency_ms),
        backup=backup,
        switch=switch,
    )


def _name(appliance: str, port: int) -> str:
    return f"{appliance[:33].rstrip('-')}-{port}"


def arrivals(section: IngestSection | None, port: int) -> Iterable[int]:
    """Where what is found at `port` comes in: what pushes to it pushes there."""
    entries = section.sources if section is not None else ()
    return (entry.arrival for entry in entries if entry.port == port and entry.arrival is not None)
