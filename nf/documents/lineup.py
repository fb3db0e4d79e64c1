"""LineUp: channels, and for each the ways it reaches people. Path types are registered by domains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

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


Peer = Annotated[
    str,
    Form(
        r"(\d{1,3}\.){3}\d{1,3}:\d{1,5}",
        "a peer is an IPv4 address and a port",
        "write it as 10.0.9.2:9000",
    ),
]


class SourceSwitch(DocumentModel):
    """When the backup of a source takes over, and how the primary is taken back.

    detect    silence of the primary after which the backup goes out; what viewers miss is no longer than this
    failback  manual: when an operator says so (operation `ingest.failback`); auto: when it was back for `hold`
    """

    detect_ms: Annotated[DurationMs, Field(ge=100, le=10_000)] = Field(alias="detect", default=400)
    failback: Literal["manual", "auto"] = "manual"
    hold_ms: Annotated[DurationMs, Field(ge=1_000, le=3_600_000)] = Field(alias="hold", default=30_000)


class Source(DocumentModel):
    """Where a contribution enters the network; its readers find it as MPEG-TS over UDP at `port` of `appliance`.

    `appliance` must have the function `ingest` (placement, fleet document).

    type     udp: it is sent to `port`. srt, rist: it is received at the UDP port `arrival` and given to `port`
    peer     srt only, instead of `arrival`: it is called there
    latency  srt, rist: how long lost packets may be asked for again
    backup   another source of the appliance that takes over when this one falls silent; a udp source then comes in at
             `arrival`, since what stands between gives it to `port`
    """

    id: Name
    type: Literal["udp", "srt", "rist"] = "udp"
    appliance: Name
    port: Port
    bitrate_bps: BitRate = Field(alias="bitrate")
    arrival: Port | None = None
    peer: Peer | None = None
    latency_ms: Annotated[DurationMs, Field(ge=20, le=8_000)] | None = Field(alias="latency", default=None)
    backup: Name | None = None
    switch: SourceSwitch | None = None

    @property
    def is_received(self) -> bool:
        """A process stands between where it comes in and `port`."""
        return self.type != "udp" or self.backup is not None

    @model_validator(mode="after")
    def _comes_in_somewhere(self) -> Self:
        if self.peer is not None and self.type != "srt":
            raise RuleError("only a source of type srt calls its peer", "remove peer, and name the port in arrival")
        if self.is_received and (self.arrival is None) is (self.peer is None):
            rule = "a source of type srt or rist, or with a backup, comes in at one place: arrival, or a peer (srt)"
            raise RuleError(rule, "add arrival, a UDP port other than port")
        if not self.is_received and self.arrival is not None:
            raise RuleError("a udp source without a backup comes in at port", "remove arrival")
        if self.arrival == self.port:
            raise RuleError("arrival and port are the same", "choose another port for arrival: readers keep port")
        if self.latency_ms is not None and self.type == "udp":
            raise RuleError("a udp source has no latency: nothing is sent again", "remove latency")
        if self.switch is not None and self.backup is None:
            raise RuleError("nothing to switch to", "name a backup, or remove switch")
        return self


@dataclass(frozen=True, slots=True)
class Taking:
    """The PoPs of `sites` take `path` of the same channel while the path that says so is of no use to them."""

    path: str
    sites: tuple[str, ...]


class DeliveryPath(DocumentModel):
    """What every delivery path has. Domains derive from it and fix `type` with a Literal.

    `scrambled`: what is delivered is (conditional access, DRM); a clear path does not stand in for such a one unless
    `failover.allow_clear` says so. `can_be_handed_over`: an appliance can have it as a transport stream of its own
    (`nf.documents.handovers`).
    """

    can_be_handed_over: ClassVar[bool] = False

    id: Name
    type: str
    priority: Annotated[Whole, Field(ge=1, le=9)] = 1
    rate_bps: BitRate = Field(alias="rate")
    scrambled: bool = False

    def takes(self) -> Taking | None:
        """What a PoP takes in its place."""
        return None


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

    deadline_ms: DurationMs = Field(alias="deadline", default=1_800_000)
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
