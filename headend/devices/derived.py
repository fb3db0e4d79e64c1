"""Redundancy groups that other parts of a fleet's equipment need: they say so, without devices knowing them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from headend.devices.documents import RedundancyGroup
from nf.documents.lineup import LineUp


@dataclass(frozen=True, slots=True)
class DerivedGroup:
    """`key`: the place in the fleet document that wants it. It may switch what the part itself claims."""

    key: str
    group: RedundancyGroup


@runtime_checkable
class GroupsDevices(Protocol):
    """A part of a fleet's equipment that has redundancy groups made."""

    def device_groups(self, lineup: LineUp) -> Iterable[DerivedGroup]:
        """Pure. Groups for what is delivered; none while nothing is."""
