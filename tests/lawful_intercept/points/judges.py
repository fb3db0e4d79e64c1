"""Decoders of other people for X2 and X3: Wireshark, and pycrate for what TS 33.128 defines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pycrate_asn1dir import LIX3GPP

from tests.lawful_intercept import wire


def tshark(pdus: Iterable[bytes], folder: Path) -> list[dict[str, Any]]:
    """What Wireshark reads in each PDU: field -> values."""
    told = wire.tshark(pdus, folder, wire.X2X3, "-T", "ek")
    lines = [json.loads(line) for line in told.splitlines() if '"layers"' in line]
    return [line["layers"] for line in lines]


def xiri(octets: bytes) -> tuple[str, dict[str, Any]]:
    """(event, its fields) by pycrate's release 16; what was read is written again, octet by octet the same."""
    payload = LIX3GPP.TS33128Payloads.XIRIPayload
    payload.from_ber(octets)
    found = payload.get_val()
    assert payload.to_ber() == octets
    name, value = found["event"]
    return name, value
