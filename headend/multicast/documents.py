"""What the IPTV tree adds to the documents: the path type `ssm` and the sections of its drivers."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headend.multicast import addresses
from headend.multicast.access.documents import AccessSection
from headend.multicast.amt.documents import AmtSection
from headend.multicast.bgp.documents import BgpEquipment, BgpSection
from headend.multicast.equipment import MulticastEquipment
from nf.documents.lineup import DeliveryPath
from nf.documents.model import (
    Address,
    Address6,
    DocumentModel,
    InterfaceAddress,
    InterfaceName,
    Name,
    Port,
    RuleError,
    Whole,
)
from nf.documents.quantities import BitRate
from nf.documents.registry import Extension

SsmGroup = addresses.SsmGroup


class SecondFeed(DocumentModel):
    """Leg b of a protected path. `source`: of the line-up, the other encoder (protection: switch only)."""

    source: Name | None = None
    group: addresses.AnySsmGroup | None = None


class SsmOutput(DocumentModel):
    """What receivers join instead of the feed: (S, group):port, S being the PoP's own address on their LAN.

    Without `group` one is allocated; without `port` it is the path's.
    """

    group: addresses.AnySsmGroup | None = None
    port: Port | None = None


class SsmPath(DeliveryPath):
    """IPTV multicast: the channel as (S, G), S being the address of the function `multicast-source` (placement).

    sites       the PoP sites whose receivers are served; `rate` is reserved on every link of the tree
    group       allocated from the fleet's pool (equipment, multicast) when not given, of `family`
    source      a source of the line-up of its own; the channel's when not given
    protection  hot-hot: one RTP stream sent twice over two disjoint trees, merged by the PoP (SMPTE ST 2022-7);
                switch: two encoders, the PoP takes the first that is sound
    output      the PoP gives it out as its own (S, G); a protected path always does
    admission   mandatory: counted against the budget that links keep for such; optional: against what is left
    bundle      channels whose sum a link may cap (fleet, equipment, multicast, links)
    pinned      sites to which it flows also while nobody there asks for it
    """

    type: Literal["ssm"]
    group: addresses.AnySsmGroup | None = None
    family: Literal["ipv4", "ipv6"] = "ipv4"
    port: Port = 5000
    sites: Annotated[tuple[Name, ...], Field(min_length=1)]
    source: Name | None = None
    protection: Literal["none", "hot-hot", "switch"] = "none"
    second: SecondFeed | None = None
    output: SsmOutput | None = None
    admission: Literal["mandatory", "optional"] = "optional"
    bundle: Name | None = None
    dscp: addresses.ServiceClass = 0
    pinned: tuple[Name, ...] = ()

    @property
    def protected(self) -> bool:
        return self.protection != "none"

    @property
    def given_out(self) -> bool:
        """Receivers get it from the output stage of their PoP."""
        return self.protected or self.output is not None

    @model_validator(mode="after")
    def _family_of_groups(self) -> Self:
        version = 6 if self.family == "ipv6" else 4
        holders = {"group": self, "second.group": self.second, "output.group": self.output}
        for key, holder in holders.items():
            group = holder.group if holder is not None else None
            if group is not None and group.version != version:
                other = f"ipv{group.version}"
                rule = f"{key} {group} is of the family {other}, and the path is of {self.family}"
                raise RuleError(rule, f"choose another group, or write family: {other}")
        return self

    @model_validator(mode="after")
    def _second_fits_protection(self) -> Self:
        source = self.second.source if self.second else None
        if self.protection == "switch" and source is None:
            raise RuleError("switch takes a second encoder", "add second: {source: ...}, a source of the line-up")
        if self.protection == "hot-hot" and source is not None:
            rule = f"hot-hot sends one stream twice: it has no second source, and second.source is {source}"
            raise RuleError(rule, "remove second.source, or write protection: switch for two encoders")
        if self.protection == "none" and self.second is not None:
            raise RuleError("a path without protection has no second feed", "add protection, or remove second")
        return self

    @model_validator(mode="after")
    def _pinned_where_served(self) -> Self:
        stray = [site for site in self.pinned if site not in self.sites]
        if stray:
            raise RuleError(f"pinned to {', '.join(stray)}, not among its sites", "add to sites, or remove from pinned")
        return self


class InterfaceConfig(DocumentModel):
    """`secondary`: more addresses of the same interface, such as S of protected channels. `pair`: the interface is one
    end of a veth pair that is made here; the other end, of that name, has the address `pair_address`. `made_by`:
    the section of the same appliance that makes it, a bridge; it gets its address after that."""

    name: InterfaceName
    address: InterfaceAddress
    secondary: tuple[InterfaceAddress, ...] = ()
    pair: InterfaceName | None = None
    pair_address: InterfaceAddress | None = None
    made_by: Literal["multicast-access"] | None = None


class InterfacesSection(DocumentModel):
    """Section `interfaces`: addresses of the data plane, all set up; `loopback` is a /32 on lo, `loopback6` a /128."""

    loopback: Address | None = None
    loopback6: Address6 | None = None
    forwarding: bool = False
    interfaces: tuple[InterfaceConfig, ...] = ()


class FrrInterface(DocumentModel):
    """`ospf`: its subnet is advertised. `passive`: that, and no adjacency. `bfd`: on OSPF and PIM together, since BFD
    on PIM alone buys nothing."""

    name: InterfaceName
    ospf: bool = True
    cost: Annotated[Whole, Field(ge=1, le=65535)] = 10
    passive: bool = False
    pim: bool = True
    igmp: bool = False
    bfd: bool = False


class ReversePath(DocumentModel):
    """From where this router takes everything of `source` (static RPF): the address of its neighbour.

    Where the neighbour's interface is down, OSPF's path is taken.
    """

    source: Address
    neighbour: Address


class FrrTimers(DocumentModel):
    """PIM hello and its hold time (RFC 7761 section 4.3); IGMP query interval and what decides that the last member
    has left (RFC 3376 section 8). The unit of `last_member_query_interval_ds` is a tenth of a second, as on the wire.
    """

    pim_hello_s: Annotated[Whole, Field(ge=1, le=180)] = 1
    pim_hold_s: Annotated[Whole, Field(ge=2, le=630)] = 4
    igmp_query_interval_s: Annotated[Whole, Field(ge=10, le=1800)] = 10
    last_member_query_count: Annotated[Whole, Field(ge=1, le=7)] = 1
    last_member_query_interval_ds: Annotated[Whole, Field(ge=1, le=255)] = 1

    @model_validator(mode="after")
    def _hold_outlives_hello(self) -> Self:
        if self.pim_hold_s <= self.pim_hello_s:
            raise RuleError("a neighbour is held for longer than its hello", "set pim_hold_s above pim_hello_s")
        return self


class FrrSection(DocumentModel):
    """Section `frr`: OSPF area 0, PIM-SSM, IGMPv3 and BFD of one router.

    `igmp_max_memberships`: groups that one socket of this machine may join, as the PoP's stages do.
    """

    router_id: Address
    interfaces: tuple[FrrInterface, ...] = ()
    reverse_paths: tuple[ReversePath, ...] = ()
    timers: FrrTimers = FrrTimers()
    igmp_max_memberships: Annotated[Whole, Field(ge=20, le=10_000)] = 1000


class ProxySection(DocumentModel):
    """Section `multicast-proxy`: IGMPv3 proxy (RFC 4605) of a small PoP that runs no routing daemons.

    Asks on `uplink` for what is asked for on `access`, where it is the querier. `sources` are reached by `gateway`, the
    router on the uplink. Intervals as in FrrTimers.
    """

    uplink: InterfaceName
    access: Annotated[tuple[InterfaceName, ...], Field(min_length=1, max_length=30)]
    gateway: Address
    sources: tuple[Address, ...] = ()
    query_interval_s: Annotated[Whole, Field(ge=2, le=1800)] = 10
    last_member_query_count: Annotated[Whole, Field(ge=1, le=7)] = 1
    last_member_query_interval_ds: Annotated[Whole, Field(ge=1, le=255)] = 1

    @model_validator(mode="after")
    def _ends_differ(self) -> Self:
        if self.uplink in self.access or len(set(self.access)) < len(self.access):
            raise RuleError("an interface is named twice", "name the uplink and each access interface once")
        return self


Leg = Literal["a", "b"]
"""Of a channel that is sent twice."""


class PinnedRoute(DocumentModel):
    """A static entry of the kernel's multicast table: (S, G) goes out on `outputs` also when nobody asks for it."""

    outputs: Annotated[tuple[InterfaceName, ...], Field(min_length=1)]


class TreeEntry(DocumentModel):
    """One (S, G) that this router may carry. `requires`/`provides`: ordering facts along the tree.

    `leg`: which of the channel's two trees it belongs to; only where both may meet (`meets`) may a router carry both.
    """

    channel: Name
    path: Name
    source: Address
    group: SsmGroup
    port: Port
    leg: Leg | None = None
    meets: bool = False
    pinned: PinnedRoute | None = None
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


class TreeSection(DocumentModel):
    """Section `multicast-tree`: the only (S, G) that may cross this router; all other 232/8 is dropped."""

    entries: tuple[TreeEntry, ...] = ()


Dscp = Annotated[Whole, Field(ge=0, le=63)]
"""Differentiated services code point, RFC 2474; 34 is AF41."""

Encapsulation = Literal["ts", "rtp"]
"""What a datagram holds: TS packets, or those behind an RTP header (RFC 2250)."""


class Flow(DocumentModel):
    """One more (S, G) that a stage sends the same datagrams to."""

    source: Address
    group: SsmGroup
    port: Port


class SourceStage(DocumentModel):
    """Takes the contribution on UDP `contribution_port` and emits it as (source, group):port.

    `leg`: of the path's two encoders, where it has two (protection: switch); else None.
    `encapsulation` ts: datagrams leave as they came; rtp: each behind an RTP header. `second`: the same datagrams, with
    the same RTP sequence numbers, are sent there too (SMPTE ST 2022-7).
    """

    channel: Name
    path: Name
    leg: Leg | None = None
    contribution_port: Port
    source: Address
    group: SsmGroup
    port: Port
    rate_bps: BitRate = Field(alias="rate")
    dscp: Dscp = 0
    encapsulation: Encapsulation = "ts"
    second: Flow | None = None
    provides: tuple[str, ...] = ()


class SourceSection(DocumentModel):
    """Section `multicast-source`: one stage for each channel that is committed."""

    stages: tuple[SourceStage, ...] = ()


class Feed(DocumentModel):
    """One way by which an output gets its stream: (source, group):port.

    `alternates`: addresses of neighbours by which the source is reached as well; empty where there is but one way.
    """

    source: Address
    group: SsmGroup
    port: Port
    encapsulation: Encapsulation = "ts"
    alternates: tuple[Address, ...] = ()


class OutputMode(Enum):
    """merge: both feeds are one RTP stream, every packet is taken once, from whichever brings it first (ST 2022-7).
    switch: the first feed that is sound, in their order (MoFRR-like, RFC 7431). single: one feed, which may be taken
    by another neighbour when it falls silent."""

    MERGE = "merge"
    SWITCH = "switch"
    SINGLE = "single"


class Output(DocumentModel):
    """What a PoP gives to its receivers: (S, group):port from each address of `addresses`, always as TS over UDP,
    whichever feed is behind it. Facts as in a tree's entry.

    `window_ms`: so long a merge waits for a packet that one leg did not bring; what the legs' delays may differ by.
    """

    channel: Name
    path: Name
    mode: OutputMode
    feeds: Annotated[tuple[Feed, ...], Field(min_length=1, max_length=2)]
    addresses: Annotated[tuple[Address, ...], Field(min_length=1)]
    group: SsmGroup
    port: Port
    rate_bps: BitRate = Field(alias="rate")
    dscp: Dscp = 0
    window_ms: Annotated[Whole, Field(ge=1, le=450)] = 50
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


class OutputSection(DocumentModel):
    """Section `multicast-output`: the output stage of a PoP.

    It asks for its feeds on `tap`, the far end of the pair whose near end the router serves with IGMP; so that the
    tree's own LANs never carry a feed.
    """

    tap: InterfaceName
    outputs: tuple[Output, ...] = ()


class Watch(DocumentModel):
    """A flow that the PoP's monitor measures where it comes in."""

    channel: Name
    path: Name
    leg: Leg | None = None
    source: Address
    group: SsmGroup
    port: Port
    encapsulation: Encapsulation = "ts"
    rate_bps: BitRate = Field(alias="rate")


class MonitorSection(DocumentModel):
    """Section `multicast-monitor`: continuity, MDI (RFC 4445), rate and PCR jitter on the interfaces named."""

    interfaces: tuple[InterfaceName, ...] = ()
    flows: tuple[Watch, ...] = ()


class SsmProbeArguments(DocumentModel):
    """Arguments of a probe target of kind `ssm`. `interface`: address of the receiving interface."""

    source: Address
    group: SsmGroup
    port: Port
    interface: Address
    rate_bps: BitRate = Field(alias="rate")


EXTENSION = Extension(
    path_types={"ssm": SsmPath},
    sections={
        "interfaces": InterfacesSection,
        "frr": FrrSection,
        "multicast-proxy": ProxySection,
        "multicast-tree": TreeSection,
        "multicast-source": SourceSection,
        "multicast-output": OutputSection,
        "multicast-monitor": MonitorSection,
        "multicast-access": AccessSection,
        "multicast-amt": AmtSection,
        "bgp": BgpSection,
    },
    equipment={"multicast": MulticastEquipment, "bgp": BgpEquipment},
)
