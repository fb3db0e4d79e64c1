"""What the process reads: the JSON of a `ReceivedCarrier`, as far as it concerns the stream."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from headend.satellite.feed.policy import AS_BEFORE, rules_from
from nf.errors import InputError
from nf.policy.model import Rules


@dataclass(frozen=True, slots=True)
class Fallback:
    """The same programme as (source, group) on UDP `port`; `rtp`: each datagram behind an RTP header."""

    source: IPv4Address
    group: IPv4Address
    port: int
    rtp: bool = False

    def __str__(self) -> str:
        return f"({self.source}, {self.group}):{self.port}"


@dataclass(frozen=True, slots=True)
class Handed:
    """The same programme, sent to an own address of the machine."""

    address: IPv4Address
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """One service: which it is in the multiplex, and where it goes, from each address of `outputs`.

    `rules`: when it goes to its fallback, and when it returns.
    """

    channel: str
    path: str
    transport_stream_id: int
    service_id: int
    group: IPv4Address
    port: int
    outputs: tuple[IPv4Address, ...]
    fallback: Fallback | Handed | None = None
    rules: Rules = AS_BEFORE

    @property
    def key(self) -> str:
        """How people call it: `ch1/satellite`."""
        return f"{self.channel}/{self.path}"


@dataclass(frozen=True, slots=True)
class FeedConfig:
    """`digest` tells two texts of it apart."""

    carrier: str
    address: IPv4Address
    port: int
    services: tuple[ServiceConfig, ...]
    digest: str


def digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def load(path: Path) -> FeedConfig:
    """Raises InputError when the file cannot be read or does not say what it should."""
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error


def parse(text: bytes) -> FeedConfig:
    """Raises InputError."""
    try:
        data = json.loads(text)
        return FeedConfig(
            str(data["carrier"]),
            IPv4Address(data["input"]),
            int(data["input_port"]),
            tuple(_service(data, entry) for entry in data.get("services", ())),
            digest(text),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"no configuration of a carrier's feed: {error!r}", where="satellite-feed") from error


def _service(carrier: dict[str, Any], data: dict[str, Any]) -> ServiceConfig:
    return ServiceConfig(
        str(data["channel"]),
        str(data["path"]),
        int(carrier["transport_stream_id"]),
        int(data["service_id"]),
        IPv4Address(data["group"]),
        int(data["port"]),
        tuple(IPv4Address(address) for address in data["outputs"]),
        _fallback(data),
        rules_from(data["failover"]) if "failover" in data else AS_BEFORE,
    )


def _fallback(data: dict[str, Any]) -> Fallback | Handed | None:
    if data.get("fallback_address") is not None:
        return Handed(IPv4Address(data["fallback_address"]), int(data["fallback_port"]))
    source, group, port = (data.get(f"fallback_{name}") for name in ("source", "group", "port"))
    if source is None or group is None or port is None:
        return None
    return Fallback(
        IPv4Address(source), IPv4Address(group), int(port), data.get("fallback_encapsulation", "ts") == "rtp"
    )
