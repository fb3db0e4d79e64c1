"""LineUp: channels, and for each the ways it reaches people. Path types are registered by domains."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from nf.documents.model import API_VERSION, Document, DocumentModel, Form, Metadata, Name, Port, RuleError, Whole
from nf.documents.quantities import BitRate, DurationMs, format_duration

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
    """What every delivery path has. Domains derive from it and fix `type` with a Literal.

    `scrambled`: what is delivered is (conditional access, DRM); a clear path does not stand in for such a one unless
    `failover.allow_clear` says so.
    """

    id: Name
    type: str
    priority: Annotated[Whole, Field(ge=1, le=9)] = 1
    rate_bps: BitRate = Field(alias="rate")
    scrambled: bool = False


class Failback(DocumentModel):
    """The way back: when the better path has been up for `after` without a break, and who lets it happen."""

    after_ms: DurationMs = Field(alias="after", default=300_000)
    approve: Literal["operator", "auto"] = "operator"


class Failover(DocumentModel):
    """When a channel leaves a path for the next one, and when it returns.

    detect        so long a path is bad before it counts
    hold_down     so long nothing is switched after a switch
    max_per_hour  switches of a channel at a site in any hour, the way back included; 0: never by itself
    allow_clear   whether a scrambled path may be replaced by a clear one
    prefer        paths, or types of paths, the first to be taken before the others; who is not named comes after
                  them. Empty: by `priority`, then as they are written
    """

    detect_ms: Annotated[DurationMs, Field(ge=100, le=60_000)] = Field(alias="detect", default=500)
    hold_down_ms: Annotated[DurationMs, Field(le=86_400_000)] = Field(alias="hold_down", default=30_000)
    max_per_hour: Annotated[Whole, Field(ge=0, le=60)] = 4
    failback: Failback = Failback()
    allow_clear: bool = False
    prefer: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if self.hold_down_ms <= 2 * self.detect_ms:
            raise RuleError(
                "hold_down has to be more than twice detect: a switch would be judged before it has shown its effect",
                f"write hold_down: {format_duration(2 * self.detect_ms + 1_000)} or more",
            )
        if len(set(self.prefer)) != len(self.prefer):
            raise RuleError("prefer names a path twice", "name each once")
        return self


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
    """One programme. `lcn`: logical channel number on the remote; `uid`: tag URI, RFC 4151.

    `failover`: of this channel, in place of `policy.failover` as a whole.
    """

    id: Name
    name: Annotated[str, Field(min_length=1, max_length=100)]
    lcn: Annotated[Whole, Field(ge=1, le=9999)]
    uid: TagUri
    source: Name
    delivery: tuple[SerializeAsAny[DeliveryPath], ...] = ()
    failover: Failover | None = None


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
    failover: Failover = Failover()
    steering: Steering = Steering()


class LineUpSpec(DocumentModel):
    sources: tuple[Source, ...] = ()
    channels: tuple[Channel, ...] = ()
    policy: Policy = Policy()


class LineUp(Document):
    kind: Literal["LineUp"]
    spec: LineUpSpec

    def failover(self, channel: Channel) -> Failover:
        """Its own, or the line-up's."""
        return channel.failover or self.spec.policy.failover

    @classmethod
    def empty(cls, name: str = "empty") -> LineUp:
        """The line-up without channels: compiled with a fleet it gives the underlay."""
        return cls(api_version=API_VERSION, kind="LineUp", metadata=Metadata(name=name), spec=LineUpSpec())
