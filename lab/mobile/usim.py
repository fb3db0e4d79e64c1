"""A USIM: its keys, what it answers to a challenge (TS 33.102 clause 6.3.3), which numbers it takes (annex C.2)."""

from __future__ import annotations

import csv
import hmac
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.mobile.config import ConfigError
from lab.mobile.milenage import Milenage, opc_of

_INDEX_BITS = 5
_FURTHEST = 1 << 28
"""How far a number may be ahead of the highest that was taken: delta of annex C.2.1."""
_RESYNC_AMF = bytes(2)


class MacError(Exception):
    """The challenge is not from who has the key."""


class SyncError(Exception):
    """The challenge has been there before. `auts`: what the network takes the right number from, 14 octets."""

    def __init__(self, auts: bytes) -> None:
        super().__init__("the sequence number has been there before")
        self.auts = auts


@dataclass(frozen=True, slots=True)
class Answer:
    """To a challenge. `sqn_xor_ak`: as it came."""

    res: bytes
    ck: bytes
    ik: bytes
    sqn_xor_ak: bytes


@dataclass(slots=True)
class Usim:
    """`imsi`: digits. `taken`: the highest SEQ of each IND, as a SIM keeps them."""

    imsi: str
    k: bytes
    opc: bytes
    taken: dict[int, int] = field(default_factory=dict)

    def answer(self, rand: bytes, autn: bytes) -> Answer:
        """Raises MacError, SyncError."""
        milenage = Milenage(self.k, self.opc)
        res, ak = milenage.res_ak(rand)
        hidden, amf, mac = autn[:6], autn[6:8], autn[8:]
        sqn = bytes(a ^ b for a, b in zip(hidden, ak, strict=True))
        if not hmac.compare_digest(milenage.macs(rand, sqn, amf)[0], mac):
            raise MacError
        seq, index = divmod(int.from_bytes(sqn), 1 << _INDEX_BITS)
        highest = max(self.taken.values(), default=0)
        if not self.taken.get(index, 0) < seq <= highest + _FURTHEST:
            raise SyncError(self._auts(milenage, rand))
        self.taken[index] = seq
        return Answer(res, milenage.ck(rand), milenage.ik(rand), hidden)

    def _auts(self, milenage: Milenage, rand: bytes) -> bytes:
        sqn = self.highest.to_bytes(6)
        mac = milenage.macs(rand, sqn, _RESYNC_AMF)[1]
        return bytes(a ^ b for a, b in zip(sqn, milenage.ak_resync(rand), strict=True)) + mac

    @property
    def highest(self) -> int:
        """The highest number that it has taken, 48 bits."""
        index, seq = max(self.taken.items(), key=lambda entry: entry[1], default=(0, 0))
        return seq << _INDEX_BITS | index

    def start_at(self, sqn: int) -> None:
        """The highest number that it has taken so far, 48 bits."""
        seq, index = divmod(sqn, 1 << _INDEX_BITS)
        self.taken = {index: seq}


def usims(file: Path) -> dict[str, Usim]:
    """By SUPI, of a file as `nf subscriber import` takes it with its keys open: CSV, or JSON. Raises ConfigError."""
    try:
        text = file.read_text(encoding="utf-8")
        rows = _json(text) if text.lstrip().startswith(("{", "[")) else list(_csv(text))
        found = [usim_of(row) for row in rows]
    except OSError as error:
        raise ConfigError(f"cannot open `{file}`: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"`{file}`: {error!r}") from error
    return {f"imsi-{usim.imsi}": usim for usim in found}


def usim_of(row: dict[str, Any]) -> Usim:
    """`imsi`, `k`, `opc` or `op`, `sqn` if it has taken one: octets in hex. Raises ValueError, KeyError."""
    k = bytes.fromhex(row["k"])
    opc = bytes.fromhex(row["opc"]) if row.get("opc") else opc_of(k, bytes.fromhex(row["op"]))
    Milenage(k, opc)
    made = Usim(str(row["imsi"]), k, opc)
    if not (made.imsi.isdecimal() and len(made.imsi) in (14, 15)):
        raise ValueError(f"imsi {made.imsi}")
    if row.get("sqn"):
        made.start_at(int(str(row["sqn"]), 16))
    return made


def _csv(text: str) -> list[dict[str, Any]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return list(csv.DictReader(lines))


def _json(text: str) -> list[dict[str, Any]]:
    data = json.loads(text)
    entries = data["subscribers"] if isinstance(data, dict) else data
    return [{"imsi": entry["imsi"], **entry.get("security", {})} for entry in entries]
