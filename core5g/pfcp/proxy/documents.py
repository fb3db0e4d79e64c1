"""Section `pfcp-proxy` of an appliance's configuration."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from core5g.documents import HostName, Prefix
from nf.documents.model import Address, Address6, DocumentModel, Name, Port, RuleError, Whole
from nf.documents.registry import Extension

SECTION = "pfcp-proxy"
PFCP_PORT = 8805

MAX_OWN_PDRS = 12
"""A stock UPF takes 16 PDRs a session, of which a stock SMF uses four."""
MAX_FILTERS = 8
"""SDF filters that a stock UPF keeps of one PDR; it drops more without a cause."""
MAX_SDF = (MAX_OWN_PDRS - 1) * MAX_FILTERS
"""Filters of a whole session: one PDR is for the way back."""

TrafficPort = Annotated[Whole, Field(ge=1, le=65535)]


class ClassifierRule(DocumentModel):
    """What of a UE's traffic goes to the edge: to `prefixes`, and there to `ports` (TCP; all while empty).

    names          of the CDN, for people: rules go by prefix
    channel, path  what it is for
    """

    id: Name
    prefixes: Annotated[tuple[Prefix, ...], Field(min_length=1)]
    ports: tuple[TrafficPort, ...] = ()
    names: tuple[HostName, ...] = ()
    channel: Name | None = None
    path: Name | None = None


class ServedUpf(DocumentModel):
    """The UPF behind the proxy; `address`: of its N4."""

    id: Name
    address: Address


class EdgeUpf(DocumentModel):
    """The UPF that breaks traffic out, by its N4 and N3 addresses.

    `gate`: its N6 steering runs on this appliance too, and nothing is sent there while its gate is closed.
    """

    id: Name
    n4: Address
    n3: Address
    gate: bool = False


class ProxySection(DocumentModel):
    """A PFCP proxy at `listen`, which is what the SMFs have for their UPF and what the UPFs have for their SMF.

    smfs      who may associate and set up sessions; everybody else is refused
    edge      None: it only relays
    cache     where what goes to the edge is answered, `cache6` by IPv6, which goes there only then. No cache: all of it
    requires  ordering facts, `provides`: those that hold while it relays
    """

    listen: Address
    port: Port = PFCP_PORT
    smfs: Annotated[tuple[Address, ...], Field(min_length=1)]
    upf: ServedUpf
    edge: EdgeUpf | None = None
    rules: tuple[ClassifierRule, ...] = ()
    cache: Address | None = None
    cache6: Address6 | None = None
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()

    @property
    def versions(self) -> frozenset[int]:
        """Of IP: what of a UE's traffic is sent to the edge."""
        return frozenset({4} if self.cache is not None and self.cache6 is None else {4, 6})

    def answering(self, version: int) -> str | None:
        """The cache's address of this version of IP."""
        found = self.cache if version == 4 else self.cache6
        return None if found is None else str(found)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        ends = [self.listen, *self.smfs, self.upf.address, *([self.edge.n4] if self.edge else [])]
        if len(set(ends)) != len(ends):
            raise RuleError(
                "proxy, SMFs and UPFs have addresses of their own: it knows its peers by them",
                "give each its own address",
            )
        return self

    @model_validator(mode="after")
    def _fits(self) -> Self:
        ids = [rule.id for rule in self.rules]
        if len(set(ids)) != len(ids):
            raise RuleError("two rules have one id", "rename one")
        if self.rules and self.edge is None:
            raise RuleError("rules without an edge UPF lead nowhere", "name the edge, or leave the rules out")
        for version in (4, 6):
            count = sum(
                (len(rule.ports) or 1) for rule in self.rules for prefix in rule.prefixes if prefix.version == version
            )
            if count > MAX_SDF:
                raise RuleError(
                    f"{count} filters for IPv{version}, a session takes {MAX_SDF}",
                    "aggregate the prefixes, or steer at the UPF's N6, which takes thousands",
                )
        return self


EXTENSION = Extension(sections={SECTION: ProxySection})
