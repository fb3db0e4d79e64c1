"""The admission contract: a domain's word on an order before the NOC takes it (group `nf.admissions`).

An order is a fleet operation with a number: the NOC keeps it in its ledger, and who was away gets it by its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from nf.contracts.json import JsonObject


@dataclass(frozen=True, slots=True)
class Admitted:
    """`id`: the same id for the same object is the same order, and is done once. `arguments`: for the drivers.

    `not_before`, `expires`: seconds since the epoch.
    """

    id: str
    arguments: JsonObject
    not_before: float
    expires: float


class Admission(Protocol):
    @property
    def name(self) -> str:
        """Of the operation; equals the name of the entry point."""

    def admit(self, target: str, arguments: JsonObject, now: float, *, author: str) -> Admitted:
        """`author`: SPIFFE id of who gives it. Raises InputError with everything that is wrong."""
