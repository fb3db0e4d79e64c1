"""What steering at N6 adds to the documents: section `n6-steering`, and what an influence is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_address
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from core5g.documents import HostName, Network, Prefix
from nf.documents.model import Address, Address6, DocumentModel, InterfaceName, Name, RuleError, Whole
from nf.documents.quantities import BitRate
from nf.documents.registry import Extension

SECTION = "n6-steering"
IpAddress = IPv4Address | IPv6Address


def _ip(value: object) -> object:
    if isinstance(value, IPv4Address | IPv6Address):
        return value
    try:
        return ip_address(value if isinstance(value, str) else "")
    except ValueError:
        raise RuleError("must be an IP address", "write it as 10.1.0.10 or 2001:db8::10") from None


def _ipv4(value: object) -> object:
    found = _ip(value)
    if not isinstance(found, IPv4Address):
        raise RuleError("must be an IPv4 address", "write it as 10.1.0.10")
    return found


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def collapsed(networks: Iterable[Network]) -> tuple[Network, ...]:
    """The fewest prefixes that cover the same addresses, IPv4 first, in order: as the kernel's sets are read back."""
    every = tuple(networks)
    v4 = collapse_addresses(network for network in every if isinstance(network, IPv4Network))
    v6 = collapse_addresses(network for network in every if isinstance(network, IPv6Network))
    return (*v4, *v6)


_TEXT = PlainSerializer(str, when_used="json")
AnyIp = Annotated[IpAddress, BeforeValidator(_ip), _TEXT]
Ipv4 = Annotated[IPv4Address, BeforeValidator(_ipv4), _TEXT]
Prefixes = Annotated[tuple[Prefix, ...], AfterValidator(collapsed)]
TcpPort = Annotated[Whole, Field(ge=1, le=65535)]
Ports = Annotated[tuple[TcpPort, ...], AfterValidator(lambda ports: tuple(sorted(set(ports))))]


class CacheHealth(DocumentModel):
    """How the gate asks the cache whether it is well: `GET path` with `Host: host` at `port` of its address.

    Well is an answer of 200 to 399 within `timeout_ms`, and one to a TLS handshake at `tls_port` where that is given;
    two failures in a row shut the gate, and it opens again when the cache has been well for `hold_ms`.
    """

    host: HostName
    path: Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=500)] = "/"
    port: TcpPort = 80
    tls_port: TcpPort | None = None
    interval_ms: Annotated[Whole, Field(ge=20, le=5000)] = 150
    timeout_ms: Annotated[Whole, Field(ge=20, le=5000)] = 250
    hold_ms: Annotated[Whole, Field(ge=0, le=600_000)] = 2000


class PortForward(DocumentModel):
    """A cache of this appliance listens on `to` for what UEs send to `port`."""

    port: TcpPort
    to: TcpPort


class N6Cache(DocumentModel):
    """The cache that answers for the CDN: it has the certificates of the CDN's names.

    local        it runs on this appliance. The CDN's addresses are none of this host's, so the destination of a flow
                 is translated to `address` (`address6`) and the port of `forwards`, or the same port. It must listen
                 there: not on a loopback address, which the kernel does not accept from elsewhere
    interface    of a cache on another host: traffic is routed to it by this interface, unchanged, so that it answers
                 for the CDN's own addresses; by `via` (`via6`) where a router is between, else by its address
    address6     None: IPv6 is not steered
    """

    address: Ipv4
    address6: Address6 | None = None
    local: bool = False
    interface: InterfaceName | None = None
    via: Ipv4 | None = None
    via6: Address6 | None = None
    forwards: tuple[PortForward, ...] = ()
    health: CacheHealth

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.local and (self.interface is not None or self.via is not None or self.via6 is not None):
            raise RuleError("a local cache is behind no interface", "leave out interface, via and via6")
        if not self.local and self.interface is None:
            raise RuleError("the cache is behind no interface", "name its interface, or write local: true")
        if not self.local and self.forwards:
            raise RuleError("only for a local cache is the port translated", "leave out forwards")
        if self.address.is_loopback or (self.address6 is not None and self.address6.is_loopback):
            raise RuleError("UEs cannot be sent to a loopback address", "let the cache listen on an address of its own")
        twice = [port for port, count in Counter(forward.port for forward in self.forwards).items() if count > 1]
        if twice:
            raise RuleError(f"port {twice[0]} is forwarded twice", "leave one of them out")
        return self

    def port(self, steered: int) -> int:
        """Where the cache listens for what is sent to the port `steered`."""
        return next((forward.to for forward in self.forwards if forward.port == steered), steered)


class N6Resolver(DocumentModel):
    """A DNS forwarder for UEs on `listen`, asked by the TUN devices alone; it asks `upstreams` in their order."""

    listen: Annotated[tuple[AnyIp, ...], BeforeValidator(_one_or_more), Field(min_length=1, max_length=8)]
    port: TcpPort = 53
    upstreams: Annotated[tuple[AnyIp, ...], BeforeValidator(_one_or_more), Field(min_length=1, max_length=8)]
    upstream_port: TcpPort = 53


class N6Path(DocumentModel):
    """A delivery path of the line-up that is steered here; `of`: the path whose cache serves it."""

    channel: Name
    path: Name
    of: Name
    rate_bps: BitRate = Field(alias="rate")


class N6Section(DocumentModel):
    """Section `n6-steering`: of what comes in by `tuns`, new TCP flows to `ports` of the CDN go to the cache.

    n3, smfs   of the UPF, and of the core: the SMFs' info APIs tell which UE has which address at which UPF
    prefixes   of the CDN; kept as the fewest that say the same
    names      of the CDN: what they resolve to, when a UE asks `resolver`, is steered as well
    quic       `reject`: a new flow of UDP to port 443 of the CDN is refused with ICMP while the gate is open, so that a
               player takes TCP at once, which the cache speaks; `pass`: it leaves by the default exit
    requires   ordering facts, such as those of the TUN devices; provides: those that hold while it stands
    """

    upf: Name | None = None
    n3: Address | None = None
    smfs: tuple[Address, ...] = ()
    tuns: Annotated[tuple[InterfaceName, ...], Field(min_length=1, max_length=16)]
    cache: N6Cache
    ports: Annotated[Ports, Field(min_length=1)] = (80, 443)
    prefixes: Annotated[Prefixes, Field(max_length=100_000)] = ()
    names: Annotated[tuple[HostName, ...], Field(max_length=200)] = ()
    resolver: N6Resolver | None = None
    quic: Literal["reject", "pass"] = "reject"
    paths: tuple[N6Path, ...] = ()
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.tuns)) != len(self.tuns):
            raise RuleError("a TUN device is named twice", "name each once")
        if self.cache.interface in self.tuns:
            raise RuleError("the cache is not behind the UEs' TUN device", "name the interface that leads to it")
        if self.names and self.resolver is None:
            raise RuleError("nobody learns what the names resolve to", "add a resolver, or give prefixes alone")
        return self


class Influence(DocumentModel):
    """A TrafficInfluence resource as this mechanism holds it: beside the section, until it is removed.

    ues     prefixes of UEs that it is for; empty: all
    ports   TCP ports; empty: those of the section
    """

    id: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")]
    prefixes: Annotated[Prefixes, Field(min_length=1, max_length=1000)]
    ues: Annotated[Prefixes, Field(max_length=1000)] = ()
    ports: Ports = ()


EXTENSION = Extension(sections={SECTION: N6Section})
