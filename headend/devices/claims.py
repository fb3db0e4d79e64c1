"""Who alone sets what on a device: other parts of a fleet's equipment say so, without devices knowing them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Claim:
    """`parameters` of `device`, by their keys in the model's file (every row), are set by `owner` alone.

    remedy   what a person does instead who wants another value
    """

    device: str
    parameters: frozenset[str]
    owner: str
    remedy: str


@runtime_checkable
class ClaimsDevices(Protocol):
    """A part of a fleet's equipment that sets devices."""

    def device_claims(self) -> Iterable[Claim]: ...
