"""How many players ask, from where, and on which pathway they say they are (`_HLS_pathway`, `_DASH_pathway`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

OTHER: Final = "other"
"""A pathway that the path does not have: labels are not for anybody's words."""

FIRST: Final = "none"
"""The player names no pathway: it is its first request."""

_MBIT = (0.5e6, 1e6, 2e6, 5e6, 10e6, 25e6, 100e6)


class Counts:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "streamverse_steering_requests_total",
            "Steering manifests that players asked for, by the pathway that they were on",
            ("channel", "form", "site", "pathway"),
            registry=self._registry,
        )
        self._throughput = Histogram(
            "streamverse_steering_throughput_bits_per_second",
            "What players measured on their pathway",
            ("channel", "form"),
            buckets=_MBIT,
            registry=self._registry,
        )

    def count(self, channel: str, form: str, site: str, query: Mapping[str, str], known: Iterable[str]) -> None:
        """`query`: of the request. Pathways may be quoted, and several with DASH: separated by commas."""
        prefix = f"_{form.upper()}_"
        pathways = _pathways(query.get(f"{prefix}pathway", ""), frozenset(known))
        for pathway in pathways:
            self._requests.labels(channel, form, site or "unknown", pathway).inc()
        throughput = _last_number(query.get(f"{prefix}throughput", ""))
        if throughput is not None and pathways != (FIRST,):
            self._throughput.labels(channel, form).observe(throughput)

    def exposition(self) -> bytes:
        return generate_latest(self._registry)


def _pathways(text: str, known: frozenset[str]) -> tuple[str, ...]:
    named = [one.strip().strip('"') for one in text.split(",")[:20]]
    found = dict.fromkeys(one if one in known else OTHER for one in named if one)
    return tuple(found) or (FIRST,)


def _last_number(text: str) -> int | None:
    last = text.rpartition(",")[2].strip()
    return int(last) if last.isascii() and last.isdigit() and len(last) <= 12 else None
