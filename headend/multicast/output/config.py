"""What the process reads: the JSON of an `OutputSection`, as far as it concerns the stream."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from nf.errors import InputError

MERGE, SWITCH, SINGLE = "merge", "switch", "single"


@dataclass(frozen=True, slots=True)
class FeedConfig:
    source: IPv4Address
    group: IPv4Address
    port: int
    rtp: bool = False
    alternates: tuple[IPv4Address, ...] = ()

    @property
    def flow(self) -> tuple[IPv4Address, IPv4Address, int]:
        return self.source, self.group, self.port

    def __str__(self) -> str:
        return f"({self.source}, {self.group}):{self.port}"


@dataclass(frozen=True, slots=True)
class OutputConfig:
    channel: str
    path: str
    mode: str
    feeds: tuple[FeedConfig, ...]
    addresses: tuple[IPv4Address, ...]
    group: IPv4Address
    port: int
    dscp: int = 0
    window_s: float = 0.05

    @property
    def key(self) -> str:
        """How people call it: `ch1/iptv`."""
        return f"{self.channel}/{self.path}"


@dataclass(frozen=True, slots=True)
class StageConfig:
    """`digest` tells two texts of it apart."""

    tap: str
    outputs: tuple[OutputConfig, ...]
    digest: str


def digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def load(path: Path) -> StageConfig:
    """Raises InputError when the file cannot be read or does not say what it should."""
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error


def parse(text: bytes) -> StageConfig:
    """Raises InputError."""
    try:
        data = json.loads(text)
        return StageConfig(str(data["tap"]), tuple(map(_output, data.get("outputs", ()))), digest(text))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"no configuration of an output stage: {error!r}", where="multicast-output") from error


def _output(data: dict[str, Any]) -> OutputConfig:
    mode, feeds = str(data["mode"]), tuple(map(_feed, data["feeds"]))
    if mode not in (MERGE, SWITCH, SINGLE) or not 1 <= len(feeds) <= 2:
        raise ValueError("a mode is merge, switch or single, with one feed or two")
    return OutputConfig(
        str(data["channel"]),
        str(data["path"]),
        mode,
        feeds,
        tuple(IPv4Address(address) for address in data["addresses"]),
        IPv4Address(data["group"]),
        _port(data["port"]),
        int(data.get("dscp", 0)) & 0x3F,
        int(data.get("window_ms", 50)) / 1000,
    )


def _feed(data: dict[str, Any]) -> FeedConfig:
    return FeedConfig(
        IPv4Address(data["source"]),
        IPv4Address(data["group"]),
        _port(data["port"]),
        data.get("encapsulation", "ts") == "rtp",
        tuple(IPv4Address(address) for address in data.get("alternates", ())),
    )


def _port(value: Any) -> int:
    port = int(value)
    if not 0 < port < 1 << 16:
        raise ValueError(f"no port: {port}")
    return port
