"""LineUp: channels, and for each the ways it reaches people. Path types are registered by domains."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from nf.documents.model import API_VERSION, Document, DocumentModel, Form, Metadata, Name, Port, RuleError, Whole
from nf.documents.quantities import BitRate, DurationMs

TagUri = Annotated[
    str,
    Form(
        r"tag:[a-z0-9.@-]+,\d{4}(-\d\d){0,2}:.+",
        "a uid is a tag URI (RFC 4151)",
        "write it as tag:DOMAIN,YEAR:NAME, such as tag:streamverse.test,2026:ch1",
    ),
]


class Source(DocumentModel):
    """Where a contribution enters the network: MPEG-TS over UDP to `port` of the appliance that takes it in.

    `appliance` must have the function `ingest` (placement, fleet document).
    """

    id: Name
    type: Literal["udp"] = "udp"
    appliance: Name
    port: Port
    bitrate_bps: BitRate = Field(alias="bitrate")


class DeliveryPath(DocumentModel):
    """What every delivery path has. Domains derive from it and fix `type` with a Literal."""

    id: Name
    type: str
    priority: Annotated[Whole, Field(ge=1, le=9)] = 1
    rate_bps: BitRate = Field(alias="rate")


class Steering(DocumentModel):
    """How long players keep what the steering server said: `ttl_calm` when all is well, `ttl_alert` otherwise."""

    ttl_calm_ms: Annotated[DurationMs, Field(le=3_600_000)] = Field(alias="ttl_calm", default=300_000)
    ttl_alert_ms: Annotated[DurationMs, Field(ge=10_000)] = Field(alias="ttl_alert", default=10_000)

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if self.ttl_alert_ms > self.ttl_calm_ms:
            raise RuleError("ttl_alert is more than ttl_calm", "lower ttl_alert or raise ttl_calm")
        if self.ttl_calm_ms % 1000 or self.ttl_alert_ms % 1000:
            raise RuleError("players count whole seconds", "round ttl_calm and ttl_alert")
        return self


class Channel(DocumentModel):
    """One programme. `lcn`: logical channel number on the remote; `uid`: tag URI, RFC 4151."""

    id: Name
    name: Annotated[str, Field(min_length=1, max_length=100)]
    lcn: Annotated[Whole, Field(ge=1, le=9999)]
    uid: TagUri
    source: Name
    delivery: tuple[SerializeAsAny[DeliveryPath], ...] = ()


class OverridePolicy(DocumentModel):
    """Bounds on what may deviate from the intent for a while."""

    max_ttl_ms: DurationMs = Field(alias="max_ttl", default=86_400_000)


class Policy(DocumentModel):
    """`deadline`: the whole of a commit at its slowest, undo included, fits into it or the commit is refused.

    A box with routing, caches, packager and sources takes less than 500 s at its slowest.
    """

    deadline_ms: DurationMs = Field(alias="deadline", default=1_200_000)
    reconcile_ms: DurationMs = Field(alias="reconcile", default=10_000)
    overrides: OverridePolicy = OverridePolicy()
    steering: Steering = Steering()


class LineUpSpec(DocumentModel):
    sources: tuple[Source, ...] = ()
    channels: tuple[Channel, ...] = ()
    policy: Policy = Policy()


class LineUp(Document):
    kind: Literal["LineUp"]
    spec: LineUpSpec

    @classmethod
    def empty(cls, name: str = "empty") -> LineUp:
        """The line-up without channels: compiled with a fleet it gives the underlay."""
        return cls(api_version=API_VERSION, kind="LineUp", metadata=Metadata(name=name), spec=LineUpSpec())
