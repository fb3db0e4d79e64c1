"""What tests saw on a wire of interception, for decoders of other people to judge."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

LINK_TYPE: Final = 147
_LENGTHS: Final = struct.Struct("!HHII")
BER: Final = f'uat:user_dlts:"User 0 (DLT={LINK_TYPE})","ber","0","","0",""'
X2X3: Final = f'uat:user_dlts:"User 0 (DLT={LINK_TYPE})","li5g","0","","0",""'
DECODED: Final = 20_000
"""PS-PDUs of a module of tests that pycrate reads, about a millisecond each; of more, every n-th. tshark reads all."""

PORTION: Final = 10_000


class Wire:
    """handed_over  PS-PDUs, as they came at an agency
    intercepted  PDUs of X2 and X3, as they came at mediation
    """

    def __init__(self) -> None:
        self.handed_over: list[bytes] = []
        self.intercepted: list[bytes] = []

    def taken(self) -> Wire:
        """What was seen so far, which is not kept here any more."""
        found = Wire()
        found.handed_over, self.handed_over = self.handed_over, []
        found.intercepted, self.intercepted = self.intercepted, []
        return found


SEEN: Final = Wire()
"""Of the module of tests that runs."""


class Cut:
    """PDUs of X2 and X3 out of a connection's octets (TS 103 221-2, 5.1), by their lengths alone."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, octets: bytes) -> list[bytes]:
        self._held += octets
        found, at = [], 0
        while len(self._held) - at >= _LENGTHS.size:
            _, _, header, payload = _LENGTHS.unpack_from(self._held, at)
            if len(self._held) - at < header + payload:
                break
            found.append(self._held[at : at + header + payload])
            at += header + payload
        self._held = self._held[at:]
        return found


def judge(seen: Wire, module: Callable[[], Any], folder: Path) -> None:
    """Every one is read by others, and PS-PDUs are written again to the same octets. `module`: compiled by pycrate."""
    if seen.handed_over:
        ps_pdu = module().PS_PDU
        for octets in seen.handed_over[:: 1 + len(seen.handed_over) // DECODED]:
            ps_pdu.from_ber(octets)
            assert ps_pdu.to_der() == octets, octets.hex()
    if shutil.which("tshark") is None:
        return
    for pdus in _portions(seen.handed_over):
        said = tshark(pdus, folder, BER, "-V")
        assert said.count("Basic Encoding Rules") == len(pdus), said[-2000:]
        assert "BER Error" not in said, said[-2000:]
        assert "Malformed" not in said, said[-2000:]
    for pdus in _portions(seen.intercepted):
        said = tshark(pdus, folder, X2X3, "-T", "fields", "-e", "li5g.type", "-e", "_ws.malformed")
        found = zip(said.splitlines(), pdus, strict=True)
        told = [(line.rstrip("\t"), str(int.from_bytes(octets[2:4])), octets.hex()) for line, octets in found]
        wrong = [one for one in told if one[0] != one[1]]
        assert not wrong, wrong[:3]


def _portions(pdus: list[bytes]) -> Iterator[list[bytes]]:
    """What tshark prints of so many fits into memory."""
    for start in range(0, len(pdus), PORTION):
        yield pdus[start : start + PORTION]


def tshark(pdus: Iterable[bytes], folder: Path, reader: str, *shape: str) -> str:
    """What it prints of them, each a packet of its own."""
    capture = folder / "pdus.pcap"
    with capture.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, LINK_TYPE))
        for octets in pdus:
            file.write(struct.pack("<IIII", 1, 0, len(octets), len(octets)) + octets)
    argv = ["tshark", "-r", str(capture), "-o", reader, *shape]
    told = subprocess.run(argv, capture_output=True, check=True, timeout=600).stdout.decode()
    capture.unlink()
    return told
