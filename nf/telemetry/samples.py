"""Samples: measured values with their time, subject and quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Quality(Enum):
    GOOD = "good"
    STALE = "stale"  # the source stopped answering; the value is the last one known
    SUSPECT = "suspect"  # read, but outside what the source can mean


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of one subject at one instant.

    kind     "path.hop" (a channel measured inside the network), "path.probe" (at the receiver), "unit", ...
    labels   what it is about: channel, path, point, unit; never a URL and never a subscriber
    values   numbers with their unit in the name: bitrate_bps, continuity_errors, age_ms, packets
    """

    kind: str
    at: float
    labels: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    text: str = ""
    quality: Quality = Quality.GOOD
