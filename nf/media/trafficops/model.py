"""What Traffic Ops answers, as far as we use it (docs/source/api/v5 of apache/trafficcontrol 8.1.0). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nf.errors import IntegrityError


class Status(StrEnum):
    """ONLINE, OFFLINE: as configured, nobody polls it. REPORTED: as Traffic Monitor says. ADMIN_DOWN: polled, and out
    by hand."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    REPORTED = "REPORTED"
    ADMIN_DOWN = "ADMIN_DOWN"


class Invalidation(StrEnum):
    """REFRESH: stale, asked for again with a condition. REFETCH: as if it were not there; Traffic Ops has to allow it
    (parameter `refetch_enabled`)."""

    REFRESH = "REFRESH"
    REFETCH = "REFETCH"


@dataclass(frozen=True, slots=True)
class CacheGroup:
    id: int
    name: str
    type: str
    parent: str
    secondary_parent: str


@dataclass(frozen=True, slots=True)
class ServerInterface:
    """`addresses`: with their prefix length; `service`: caches are asked at one of them."""

    name: str
    addresses: tuple[str, ...]
    service: bool


@dataclass(frozen=True, slots=True)
class Server:
    id: int
    host: str
    domain: str
    cache_group: str
    cdn: str
    type: str
    status: str
    offline_reason: str
    management: str
    interfaces: tuple[ServerInterface, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """`parents`: cache group -> those that it asks, the first before the second."""

    name: str
    parents: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Job:
    id: int
    delivery_service: str
    asset_url: str
    invalidation: str
    start: str
    ttl_hours: int
    created_by: str


class Reader:
    """Members of one JSON object; what is missing or of another kind raises IntegrityError that names it."""

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise _strange(what, "no object")
        self._value: dict[str, Any] = value
        self._what = what

    def text(self, name: str, *, required: bool = True) -> str:
        found = self._value.get(name)
        if found is None and not required:
            return ""
        if not isinstance(found, str):
            raise _strange(f"{self._what}.{name}", "no text")
        return found

    def whole(self, name: str) -> int:
        found = self._value.get(name)
        if not isinstance(found, int) or isinstance(found, bool):
            raise _strange(f"{self._what}.{name}", "no whole number")
        return found

    def list(self, name: str) -> list[Any]:
        found = self._value.get(name)
        if not isinstance(found, list):
            raise _strange(f"{self._what}.{name}", "no list")
        return found


def _strange(where: str, why: str) -> IntegrityError:
    return IntegrityError(
        f"Traffic Ops answered something else than API 5.0 says: {why}", where=where, remedy="see which version it is"
    )


def cache_group_of(value: object) -> CacheGroup:
    read = Reader(value, "cachegroup")
    return CacheGroup(
        read.whole("id"),
        read.text("name"),
        read.text("typeName"),
        read.text("parentCachegroupName", required=False),
        read.text("secondaryParentCachegroupName", required=False),
    )


def server_of(value: object) -> Server:
    read = Reader(value, "server")
    return Server(
        id=read.whole("id"),
        host=read.text("hostName"),
        domain=read.text("domainName"),
        cache_group=read.text("cachegroup"),
        cdn=read.text("cdnName"),
        type=read.text("type"),
        status=read.text("status"),
        offline_reason=read.text("offlineReason", required=False),
        management=read.text("mgmtIpAddress", required=False),
        interfaces=tuple(map(_interface_of, read.list("interfaces"))),
    )


def _interface_of(value: object) -> ServerInterface:
    read = Reader(value, "server.interfaces")
    addresses = [
        (Reader(one, "ipAddresses").text("address"), one.get("serviceAddress")) for one in read.list("ipAddresses")
    ]
    return ServerInterface(
        read.text("name"), tuple(text for text, _ in addresses), any(service is True for _, service in addresses)
    )


def topology_of(value: object) -> Topology:
    read = Reader(value, "topology")
    nodes = [Reader(node, "topology.nodes") for node in read.list("nodes")]
    names = [node.text("cachegroup") for node in nodes]
    parents: dict[str, tuple[str, ...]] = {}
    for name, node in zip(names, nodes, strict=True):
        indexes = node.list("parents")
        if not all(isinstance(index, int) and 0 <= index < len(names) for index in indexes):
            raise _strange(f"topology {read.text('name')}, {name}", "a parent that is no node")
        parents[name] = tuple(names[index] for index in indexes)
    return Topology(read.text("name"), parents)


def job_of(value: object) -> Job:
    read = Reader(value, "job")
    return Job(
        read.whole("id"),
        read.text("deliveryService"),
        read.text("assetUrl"),
        read.text("invalidationType"),
        read.text("startTime"),
        read.whole("ttlHours"),
        read.text("createdBy"),
    )
