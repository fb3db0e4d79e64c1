"""How receivers take a delivery path, for documents that tell them: service lists, steering manifests.

A domain that owns a path type says so by a function `(LineUp, Fleet) -> iterable of Reception`, an entry point of the
group `nf.receptions`. It is pure; a path that cannot be planned is left out, since the planners say why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final, Literal, TypeAlias

from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp

_log = logging.getLogger(__name__)

GROUP: Final = "nf.receptions"


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A service of a DVB-S, S2 or S2X carrier. `position_deg`: east positive; None: the fleet does not say.

    `modulation`, `fec`: as in EN 302 307, such as `8PSK` and `3/4`. `polarization` circular: of unknown hand.
    """

    transport_stream_id: int
    service_id: int
    position_deg: float | None
    frequency_hz: int
    polarization: Literal["horizontal", "vertical", "circular"]
    symbol_rate_baud: int
    roll_off: float
    system: str
    modulation: str
    fec: str


@dataclass(frozen=True, slots=True)
class Multicast:
    """MPEG-TS to (S, G):port. `encapsulation`: UDP, or RTP (RFC 2250)."""

    source: str
    group: str
    port: int
    encapsulation: Literal["udp", "rtp"]
    rate_bps: int


@dataclass(frozen=True, slots=True)
class Adaptive:
    """HLS and DASH below `//HOST/...`: network-path references (RFC 3986 section 4.2), the scheme is the reader's."""

    hls: str
    dash: str
    rate_bps: int


Way: TypeAlias = Broadcast | Multicast | Adaptive


@dataclass(frozen=True, slots=True)
class Reception:
    """`site`: where it holds; empty = wherever the path reaches."""

    channel: str
    path: str
    site: str
    way: Way


Receptions: TypeAlias = Callable[[LineUp, Fleet], Iterable[Reception]]


def load_receptions() -> tuple[Receptions, ...]:
    """Of everything that is installed; a domain that cannot be loaded is logged and left out."""
    found: list[Receptions] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        try:
            found.append(point.load())
        except Exception:  # noqa: BLE001 - a domain's fault of any kind must not take the others' paths away
            _log.exception("the receptions of %s cannot be loaded", point.name)
    return tuple(found)
