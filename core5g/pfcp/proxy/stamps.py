"""Recovery time stamps (TS 29.244 clause 19A and 8.2.65): one of the proxy's own to each side, which moves only when
the peer on the other side really restarted. A restart of the proxy itself is none: it loses no session.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nf.contracts.json import JsonObject
from nf.errors import IntegrityError

SECONDS_1900_TO_1970 = 2_208_988_800


@dataclass(slots=True)
class Stamps:
    """Seconds since 1900. to_upf, to_smf: what the sides are told; seen: what each peer last said, by address."""

    to_upf: int
    to_smf: int
    seen: dict[str, int] = field(default_factory=dict)

    @classmethod
    def begun(cls, at: float) -> Stamps:
        """`at`: seconds since the Unix epoch."""
        stamp = _stamp(at)
        return cls(stamp, stamp)

    def take(self, peer: str, stamp: int) -> bool:
        """Whether the peer restarted: it is known and says another time than before."""
        before = self.seen.get(peer)
        self.seen[peer] = stamp
        return before is not None and before != stamp

    def pass_on_to_upf(self, at: float) -> None:
        self.to_upf = max(_stamp(at), self.to_upf + 1)

    def pass_on_to_smf(self, at: float) -> None:
        self.to_smf = max(_stamp(at), self.to_smf + 1)

    def to_json(self) -> JsonObject:
        return {"to_upf": self.to_upf, "to_smf": self.to_smf, "seen": {**self.seen}}

    @classmethod
    def from_json(cls, data: JsonObject) -> Stamps:
        """Raises IntegrityError."""
        try:
            seen = data["seen"]
            peers = {host: int(str(stamp)) for host, stamp in seen.items()} if isinstance(seen, dict) else {}
            return cls(int(str(data["to_upf"])), int(str(data["to_smf"])), peers)
        except (KeyError, ValueError) as error:
            raise IntegrityError(f"kept time stamps cannot be read: {error}", where="pfcp-proxy") from error


def _stamp(at: float) -> int:
    return (int(at) + SECONDS_1900_TO_1970) & 0xFFFFFFFF
