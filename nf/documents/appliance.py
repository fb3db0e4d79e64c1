"""ApplianceConfig: what one appliance is to be, compiled from the line-up and the fleet. Drivers own its sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, SerializeAsAny

from nf.documents.model import Document, DocumentModel, Name
from nf.documents.quantities import DurationMs


class ProbeTarget(DocumentModel):
    """One delivery path to be proved by the appliance that is given it.

    `budget`: how long `verify` of a commit waits for the probe to be up. One that is not `required` is measured and
    shown, and no commit waits for it: what it proves takes an act of its own, such as enabling transmission.
    """

    id: str
    kind: Name
    channel: Name
    path: Name
    arguments: Mapping[str, Any] = Field(default_factory=dict)
    budget_ms: DurationMs = Field(alias="budget", default=15_000)
    required: bool = True


class ApplianceConfig(Document):
    """`sections` maps a section's name to its model (group `nf.documents`); the driver of that name makes it true."""

    kind: Literal["ApplianceConfig"] = "ApplianceConfig"
    appliance: Name
    site: Name
    sections: Mapping[str, SerializeAsAny[DocumentModel]] = Field(default_factory=dict)
    probes: tuple[ProbeTarget, ...] = ()
