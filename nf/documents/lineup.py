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


class DeliveryPath(DocumentModel):
    """What every delivery path has. Domains derive from it and fix `type` with a Literal."""

    id: Name
    type: str
    priority: Annotated[Whole, Field(ge=1, le=9)] = 1
    rate_bps: BitRate = Field(alias="rate")


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
