"""Decoders of other people for X2 and X3: Wireshark, and pycrate for what TS 33.128 defines."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pycrate_asn1dir import LIX3GPP

LINK = 'uat:user_dlts:"User 0 (DLT=147)","li5g","0","","0",""'


def tshark(pdus: Iterable[bytes], folder: Path) -> list[dict[str, Any]]:
    """What Wireshark reads in each PDU: field -> values."""
    capture = folder / "pdus.pcap"
    with capture.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 147))
        for number, pdu in enumerate(pdus):
            file.write(struct.pack("<IIII", number, 0, len(pdu), len(pdu)) + pdu)
    argv = ["tshark", "-r", str(capture), "-o", LINK, "-T", "ek"]
    ran = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=280)
    lines = [json.loads(line) for line in ran.stdout.splitlines() if '"layers"' in line]
    return [line["layers"] for line in lines]


def xiri(octets: bytes) -> tuple[str, dict[str, Any]]:
    """(event, its fields) by pycrate's release 16; what was read is written again, octet by octet the same."""
    payload = LIX3GPP.TS33128Payloads.XIRIPayload
    payload.from_ber(octets)
    found = payload.get_val()
    assert payload.to_ber() == octets
    name, value = found["event"]
    return name, value
