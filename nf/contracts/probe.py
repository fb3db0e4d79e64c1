"""The probe contract: proof of a delivery path from the receiver's side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from nf.contracts.driver import Context
from nf.documents.appliance import ProbeTarget


@dataclass(frozen=True, slots=True)
class PathSample:
    """One measurement of a delivery path.

    at                 seconds since the epoch
    up                 the path delivers, by the probe's own criterion
    bitrate_bps        payload over the sample's interval
    packets            since the probe started; continuity_errors likewise
    age_ms             time since the last useful packet or segment; None = nothing has come yet
    join_ms            from asking for the path to its first packet; None until then
    detail             one line for an operator: why it is not up, or what it carries
    """

    target: str
    channel: str
    path: str
    at: float
    up: bool
    bitrate_bps: float
    packets: int
    continuity_errors: int
    age_ms: float | None
    join_ms: float | None
    detail: str = ""


class Probe(Protocol):
    @property
    def kind(self) -> str:
        """The `ProbeTarget.kind` it serves; equals the name of its entry point (group `nf.probes`)."""

    def run(self, target: ProbeTarget, context: Context) -> AsyncIterator[PathSample]:
        """Measure until the caller stops iterating (or `context.cancel` is set): about two samples a second."""
