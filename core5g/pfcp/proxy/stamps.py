"""Recovery time stamps (TS 29.244 clause 19A and 8.2.65): one of the proxy's own to each side, which moves only when
the peer on the other side really restarted. A restart of the proxy itself is none: it loses no session.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from core5g.pfcp.scalars import SECONDS_1900_TO_1970
from nf.contracts.json import JsonObject
from nf.errors import IntegrityError


@dataclass(slots=True)
class Stamps:
    """Seconds since 1900. to_upf, to_smf, to_edge: what they are told; seen: what each peer last said, by address."""

    to_upf: int
    to_smf: int
    to_edge: int
    seen: dict[str, int] = field(default_factory=dict)

    @classmethod
    def begun(cls, at: float) -> Stamps:
        """`at`: seconds since the Unix epoch."""
        stamp = _stamp(at)
        return cls(stamp, stamp, stamp)

    def take(self, peer: str, stamp: int) -> bool:
        """Whether the peer restarted: it is known and says a later time than before. An earlier one is a message that
        was overtaken; the count wraps in 2036, so later is ahead by less than half of the range."""
        before = self.seen.get(peer)
        if before is None or 0 < (stamp - before) % (1 << 32) < 1 << 31:
            self.seen[peer] = stamp
        return before is not None and self.seen[peer] != before

    def pass_on_to_upf(self, at: float) -> None:
        self.to_upf = max(_stamp(at), self.to_upf + 1)

    def pass_on_to_smf(self, at: float) -> None:
        self.to_smf = max(_stamp(at), self.to_smf + 1)

    def to_json(self) -> JsonObject:
        return {"to_upf": self.to_upf, "to_smf": self.to_smf, "to_edge": self.to_edge, "seen": {**self.seen}}

    @classmethod
    def from_json(cls, data: JsonObject) -> Stamps:
        """Raises IntegrityError."""
        try:
            seen = data["seen"]
            peers = {host: int(str(stamp)) for host, stamp in seen.items()} if isinstance(seen, dict) else {}
            return cls(int(str(data["to_upf"])), int(str(data["to_smf"])), int(str(data["to_edge"])), peers)
        except (KeyError, ValueError) as error:
            raise IntegrityError(f"kept time stamps cannot be read: {error}", where="pfcp-proxy") from error


def _stamp(at: float) -> int:
    return (int(at) + SECONDS_1900_TO_1970) & 0xFFFFFFFF
