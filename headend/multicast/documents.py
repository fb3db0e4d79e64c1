"""What the IPTV tree adds to the documents: the path type `ssm` and the sections of its drivers."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from nf.documents.lineup import DeliveryPath
from nf.documents.model import (
    Address,
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


def _ssm_group(group: IPv4Address) -> IPv4Address:
    low = int(group) & 0x7FFFFF
    if int(group) >> 24 != 232:
        raise RuleError("a source-specific group is in 232.0.0.0/8 (RFC 4607)", "choose one such as 232.10.1.1")
    if low < 0x100:
        raise RuleError(
            "the low 23 bits may not be 0.0.x: such groups share Ethernet addresses with 224.0.0.x",
            "choose a group outside 232.0.0.0/24 and 232.128.0.0/24",
        )
    return group


SsmGroup = Annotated[Address, AfterValidator(_ssm_group)]


class SsmPath(DeliveryPath):
    """IPTV multicast: the channel as (S, G), S being the address of the function `multicast-source` (placement).

    `sites` are the PoP sites whose receivers are served; `rate` is reserved on every link of the tree.
    """

    type: Literal["ssm"]
    group: SsmGroup
    port: Port = 5000
    sites: Annotated[tuple[Name, ...], Field(min_length=1)]


class InterfaceConfig(DocumentModel):
    name: InterfaceName
    address: InterfaceAddress


class InterfacesSection(DocumentModel):
    """Section `interfaces`: addresses of the data plane, all set up; `loopback` is a /32 on lo."""

    loopback: Address | None = None
    forwarding: bool = False
    interfaces: tuple[InterfaceConfig, ...] = ()


class FrrInterface(DocumentModel):
    """`passive`: advertised, no adjacency. `bfd`: on OSPF and PIM together, since BFD on PIM alone buys nothing."""

    name: InterfaceName
    cost: Annotated[Whole, Field(ge=1, le=65535)] = 10
    passive: bool = False
    pim: bool = True
    igmp: bool = False
    bfd: bool = False


class FrrSection(DocumentModel):
    """Section `frr`: OSPF area 0, PIM-SSM, IGMPv3 and BFD of one router."""

    router_id: Address
    interfaces: tuple[FrrInterface, ...] = ()


class TreeEntry(DocumentModel):
    """One (S, G) that this router may carry. `requires`/`provides`: ordering facts along the tree."""

    channel: Name
    path: Name
    source: Address
    group: SsmGroup
    port: Port
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


class TreeSection(DocumentModel):
    """Section `multicast-tree`: the only (S, G) that may cross this router; all other 232/8 is dropped."""

    entries: tuple[TreeEntry, ...] = ()


class SourceStage(DocumentModel):
    """Takes the contribution on UDP `contribution_port` and emits it as (source, group):port, unchanged."""

    channel: Name
    path: Name
    contribution_port: Port
    source: Address
    group: SsmGroup
    port: Port
    rate_bps: BitRate = Field(alias="rate")
    provides: tuple[str, ...] = ()


class SourceSection(DocumentModel):
    """Section `multicast-source`: one stage for each channel that is committed."""

    stages: tuple[SourceStage, ...] = ()


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
        "multicast-tree": TreeSection,
        "multicast-source": SourceSection,
    },
)
