"""What both mechanisms of steering answer to: policy at N6 (`n6-steering`), uplink classifier (`pfcp-proxy`).

Their drivers offer three operations with the same arguments and results, which the planner makes operations of the
fleet: of one UPF by its id, and of all of them (`EVERY`).

    steer-list      {}                                   -> Listing
    steer-explain   {"ue", "destination"}                -> Explanation
    influence       {"id", "action": "add" | "remove", "prefixes", "ues", "ports"}    -> {"state": "active"}
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Literal, Self, TypeAlias, get_args

from core5g.documents import Network
from nf.contracts.json import Json, JsonObject
from nf.errors import DriverError, InputError

N6_DRIVER: Final = "n6-steering"
CLASSIFIER_DRIVER: Final = "pfcp-proxy"

STEER_LIST: Final = "steer-list"
STEER_EXPLAIN: Final = "steer-explain"
INFLUENCE: Final = "influence"

EVERY: Final = "*"
"""In place of a UPF's id: all that steer. No UPF can be called so."""

UeAddress: TypeAlias = IPv4Address | IPv6Address
MechanismName = Literal["n6", "classifier"]
Exit = Literal["cache", "partly", "default", "unknown-ue"]
"""`partly`: of a prefix, or of what a name resolves to, some goes to the cache and some by the default exit."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a flow of a UE leaves, and by what rule."""

    exit: Exit
    why: str
    rule: str = ""
    cache: str | None = None

    @classmethod
    def of(cls, result: JsonObject) -> Self:
        """Raises DriverError when it is none."""
        leaves = result.get("exit")
        if leaves not in get_args(Exit):
            raise DriverError(f"not an exit: {str(leaves)[:40]!r}", where=STEER_EXPLAIN, remedy="upgrade the appliance")
        cache = result.get("cache")
        return cls(leaves, _text(result, "why"), _text(result, "rule"), str(cache) if cache else None)  # type: ignore[arg-type]

    def to_json(self) -> JsonObject:
        return {"exit": self.exit, "why": self.why, "rule": self.rule, "cache": self.cache}


@dataclass(frozen=True, slots=True)
class Listing:
    """Result of `steer-list`. Packets are counted since the mechanism began, at an N6; a classifier counts `sessions`,
    and how many of them are steered. `since`: seconds since the epoch."""

    mechanism: MechanismName
    upf: str
    open: bool
    why: str
    since: float
    prefixes: int
    names: tuple[str, ...] = ()
    steered_packets: int = 0
    default_packets: int = 0
    sessions: int = 0
    steered_sessions: int = 0
    influences: frozenset[str] = frozenset()
    """Ids of the TrafficInfluence resources that it holds."""

    @classmethod
    def of(cls, result: JsonObject) -> Self:
        """Raises DriverError when it is none."""
        mechanism = result.get("mechanism")
        if mechanism not in get_args(MechanismName):
            raise DriverError(f"not a mechanism: {str(mechanism)[:40]!r}", where=STEER_LIST)
        return cls(
            mechanism=mechanism,  # type: ignore[arg-type]
            upf=_text(result, "upf"),
            open=result.get("open") is True,
            why=_text(result, "why"),
            since=float(_number(result, "since")),
            prefixes=int(_number(result, "prefixes")),
            names=tuple(str(name) for name in _list(result, "names")),
            steered_packets=int(_number(result, "steered_packets")),
            default_packets=int(_number(result, "default_packets")),
            sessions=int(_number(result, "sessions")),
            steered_sessions=int(_number(result, "steered")),
            influences=frozenset(
                str(one.get("id", "")) if isinstance(one, dict) else str(one) for one in _list(result, "influences")
            ),
        )

    @property
    def counted(self) -> tuple[str, str]:
        """(steered, by the default exit), as people read it."""
        if self.mechanism == "classifier":
            rest = self.sessions - self.steered_sessions
            return f"{self.steered_sessions} session{'s' * (self.steered_sessions != 1)}", str(rest)
        return f"{self.steered_packets} packet{'s' * (self.steered_packets != 1)}", str(self.default_packets)


@dataclass(frozen=True, slots=True)
class InfluenceOrder:
    """Arguments of `influence`; one of the same id is replaced.

    ues     prefixes of UEs, such as 10.45.0.2/32; empty: all
    ports   TCP ports; empty: those that the mechanism steers anyway
    """

    id: str
    action: Literal["add", "remove"]
    prefixes: tuple[Network, ...] = ()
    ues: tuple[Network, ...] = ()
    ports: tuple[int, ...] = ()

    def to_json(self) -> JsonObject:
        return {
            "id": self.id,
            "action": self.action,
            "prefixes": [str(prefix) for prefix in self.prefixes],
            "ues": [str(ue) for ue in self.ues],
            "ports": [*self.ports],
        }


def parse_ue(text: str) -> str:
    """A UE as people name it: its address, `imsi-...`, or an IMSI alone (TS 23.003 clause 2.2). Raises InputError."""
    digits = text.removeprefix("imsi-")
    if digits.isdecimal() and digits.isascii() and 6 <= len(digits) <= 15:
        return f"imsi-{digits}"
    try:
        return str(ip_address(text))
    except ValueError:
        remedy = "write its address, such as 10.45.0.2, or its SUPI, such as imsi-999700000000001"
        raise InputError("names no UE", where=text[:80], remedy=remedy) from None


def _text(result: JsonObject, key: str) -> str:
    value = result.get(key)
    return value if isinstance(value, str) else ""


def _number(result: JsonObject, key: str) -> float | int:
    value = result.get(key)
    return value if isinstance(value, int | float) else 0


def _list(result: JsonObject, key: str) -> list[Json]:
    value = result.get(key)
    return value if isinstance(value, list) else []
