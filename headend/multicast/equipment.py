"""Part `multicast` of a fleet's equipment: what the IPTV tree has beyond appliances and links."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from headend.multicast.addresses import InterfaceAddress6, PoolV4, PoolV6
from nf.documents.fleet import Endpoint, Fleet
from nf.documents.model import Address, Address6, DocumentModel, InterfaceName, Name, Port, RuleError, Whole
from nf.documents.quantities import BitRate, format_bitrate

PART: Final = "multicast"


class GroupPool(DocumentModel):
    """Where groups that no document names come from. The larger, the rarer is a collision: 232.0.0.0/9 at best."""

    v4: PoolV4 | None = None
    v6: PoolV6 | None = None


class SourcePair(DocumentModel):
    """The two further addresses of a source appliance from which protected channels are sent, one for each leg.

    Each in a subnet of one of its interfaces. `a6` and `b6`: the same for IPv6 groups.
    """

    appliance: Name
    a: Address
    b: Address
    a6: Address6 | None = None
    b6: Address6 | None = None

    @model_validator(mode="after")
    def _differ(self) -> Self:
        for a, b in ((self.a, self.b), (self.a6, self.b6)):
            if a is not None and a == b:
                raise RuleError(f"both legs have the address {a}", "give each leg an address of its own")
        return self


class Bundle(DocumentModel):
    """At most `limit` for the paths whose `bundle` is this id."""

    id: Name
    limit_bps: BitRate = Field(alias="limit")


class LinkAdmission(DocumentModel):
    """What multicast may use of a link, in each direction (after the MCAC that operators know from SR OS).

    unconstrained  for all channels together
    mandatory      of that, kept for mandatory channels: they must fit in it, optional ones into the rest
    """

    link: Name
    unconstrained_bps: BitRate = Field(alias="unconstrained")
    mandatory_bps: BitRate | None = Field(alias="mandatory", default=None)
    bundles: tuple[Bundle, ...] = ()

    @model_validator(mode="after")
    def _within(self) -> Self:
        most = format_bitrate(self.unconstrained_bps)
        if self.mandatory_bps is not None and self.mandatory_bps > self.unconstrained_bps:
            kept = format_bitrate(self.mandatory_bps)
            raise RuleError(f"mandatory {kept} is more than unconstrained {most}", "lower mandatory")
        for bundle in self.bundles:
            if bundle.limit_bps > self.unconstrained_bps:
                limit = format_bitrate(bundle.limit_bps)
                rule = f"limit {limit} of the bundle {bundle.id} is more than unconstrained {most}: it caps nothing"
                raise RuleError(rule, "lower the limit, or remove the bundle")
        twice = [name for name, count in Counter(bundle.id for bundle in self.bundles).items() if count > 1]
        if twice:
            raise RuleError(f"the bundle {twice[0]} is listed twice", "write one limit for each bundle")
        return self


class Bouquet(DocumentModel):
    """Channels that are sold together."""

    id: Name
    channels: tuple[Name, ...] = ()


class SubscriberPort(DocumentModel):
    """A port to subscribers. `channels` and `bouquets` are what it is entitled to; all, while neither is given."""

    name: InterfaceName
    max_channels: Annotated[Whole, Field(ge=1, le=1000)] = 8
    igmp_rate: Annotated[Whole, Field(ge=1, le=10_000)] = 20
    fast_leave: bool = True
    channels: tuple[Name, ...] | None = None
    bouquets: tuple[Name, ...] | None = None


class SubscriberLan(DocumentModel):
    """`bridge`: an interface of the PoP that is a bridge of `ports`; without it, `ports` is one interface."""

    bridge: InterfaceName | None = None
    ports: Annotated[tuple[SubscriberPort, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_port_without_bridge(self) -> Self:
        if self.bridge is None and len(self.ports) != 1:
            raise RuleError("several ports need a bridge", "name it: bridge: br-access")
        return self


class AccessEdge(DocumentModel):
    appliance: Name
    lans: Annotated[tuple[SubscriberLan, ...], Field(min_length=1)]


class ProxyPop(DocumentModel):
    """A PoP that runs no routing daemons: an IGMPv3 proxy (RFC 4605) behind the one router on the link of `uplink`."""

    appliance: Name
    uplink: InterfaceName


class AmtRelayPlace(DocumentModel):
    """A router that gives channels to gateways by tunnel (RFC 7450), at `address`, one of its own.

    `max_gateways` and `max_flows` of each: what the plan needs, with room for restarts, where they are not given.
    """

    appliance: Name
    address: Address
    port: Port = 2268
    max_gateways: Annotated[Whole, Field(ge=1, le=10_000)] | None = None
    max_flows: Annotated[Whole, Field(ge=1, le=1000)] | None = None


class AmtGatewayPlace(DocumentModel):
    """A PoP whose uplink carries no multicast: what it gives out comes by tunnel from `relay`, an appliance."""

    appliance: Name
    relay: Name


class AmtTunnels(DocumentModel):
    relays: tuple[AmtRelayPlace, ...] = ()
    gateways: tuple[AmtGatewayPlace, ...] = ()


class InterfaceV6(DocumentModel):
    """The IPv6 address of an interface that the fleet lists. Planned with; nothing programs it yet."""

    interface: Endpoint
    address: InterfaceAddress6


class MulticastEquipment(DocumentModel):
    pool: GroupPool = GroupPool()
    sources: tuple[SourcePair, ...] = ()
    links: tuple[LinkAdmission, ...] = ()
    bouquets: tuple[Bouquet, ...] = ()
    access: tuple[AccessEdge, ...] = ()
    proxies: tuple[ProxyPop, ...] = ()
    amt: AmtTunnels = AmtTunnels()
    addresses_v6: tuple[InterfaceV6, ...] = ()


def multicast_equipment(fleet: Fleet) -> MulticastEquipment:
    """The fleet's part; an empty one where it has none."""
    found = fleet.spec.equipment.get(PART)
    return found if isinstance(found, MulticastEquipment) else MulticastEquipment()
