"""Sections of appliances that carry functions of Open5GS: `open5gs` and `n6-network`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from core5g.documents import DnnName, FunctionKind, Prefix
from nf.documents.model import Address, DocumentModel, InterfaceName, Name, RuleError, Whole
from nf.documents.registry import Extension

OPEN5GS, N6_NETWORK = "open5gs", "n6-network"

ManagedKind = FunctionKind | Literal["upf"]

MAX_SESSIONS = 16
"""OGS_MAX_NUM_OF_DEV and OGS_MAX_NUM_OF_SUBNET of Open5GS (lib/pfcp/context.h)."""


def _interface(value: object) -> object:
    if isinstance(value, IPv4Interface | IPv6Interface):
        return value
    try:
        if isinstance(value, str) and re.search(r"/\d+$", value):
            return ip_interface(value)
    except ValueError:
        pass
    raise RuleError("must be an address with its prefix length", "write it as 10.45.0.1/16 or 2001:db8:45::1/48")


Gateway = Annotated[IPv4Interface | IPv6Interface, BeforeValidator(_interface), PlainSerializer(str, when_used="json")]
"""The address of a TUN device, with the prefix length of the pool behind it."""


class ManagedFunction(DocumentModel):
    """One function of Open5GS on this appliance.

    name        how people know it: a UPF's id, otherwise its kind
    config      its YAML file, as Open5GS reads it; credentials of the database are named in it, not written
    peers       of a UPF or an SGW-U: who alone may speak PFCP with it; empty: anybody
    requires    ordering facts that hold before it starts; `provides`: those that hold while it runs with this file
    """

    kind: ManagedKind
    name: Name
    config: Mapping[str, Any]
    peers: tuple[Address, ...] = ()
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


class Open5gsSection(DocumentModel):
    """Section `open5gs`: at most one function of each kind."""

    functions: Annotated[tuple[ManagedFunction, ...], Field(min_length=1)]


class TunDevice(DocumentModel):
    """A persistent TUN device that the UPF attaches to; the UPF itself gives it no address."""

    name: InterfaceName
    dnn: DnnName
    gateways: Annotated[tuple[Gateway, ...], Field(min_length=1)]


class N6NetworkSection(DocumentModel):
    """Section `n6-network`: where what UEs send comes out of the UPF, and its default exit.

    gateway      the router behind `exit` that gets all that UEs send (IPv4); None: the appliance's own routes say
    masquerade   pools whose UEs leave by `exit` with its address (IPv4)
    """

    tuns: Annotated[tuple[TunDevice, ...], Field(min_length=1, max_length=MAX_SESSIONS)]
    exit: InterfaceName
    gateway: Address | None = None
    masquerade: tuple[Prefix, ...] = ()
    mtu: Annotated[Whole, Field(ge=1280, le=9000)] = 1400
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


EXTENSION = Extension(sections={OPEN5GS: Open5gsSection, N6_NETWORK: N6NetworkSection})
