"""PS-PDUs as tshark's and openssl's BER readers see them."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from lawful_intercept.handover.encryption import Algorithm, PayloadCipher
from lawful_intercept.handover.ps_pdu import CcKind, CcTemplate, Header, IriTemplate
from lawful_intercept.handover.threegpp import iri_from_xiri
from tests.lawful_intercept.handover import vectors

GENERALIZED = Header(b"x" * 25, "PT", b"operator", b"", "PT", time_form="generalized", point="pop1")


def written() -> list[bytes]:
    cipher = PayloadCipher(bytes(32), Algorithm.AES_256_CBC, 1)
    made = [vectors.KEEP_ALIVE, vectors.HASH]
    for header in (vectors.HEADER, GENERALIZED):
        iri = IriTemplate(header, 0xFFFF_FFFF)
        made += [
            CcTemplate(header, 1, kind).encode(0x8000_0000, vectors.AT_NS, 1, bytes(1400), b"0") for kind in CcKind
        ]
        made.append(CcTemplate(header, 1, cipher=cipher).encode(1, vectors.AT_NS, 1, bytes(172)))
        made.append(iri.sip(1, vectors.AT_NS, 1, "2001:db8::1", "2001:db8::2", vectors.SIP))
        made.append(iri.threegpp(2, vectors.AT_NS, 4, iri_from_xiri(vectors.XIRI)))
    return made


@pytest.mark.daemon
def test_openssl() -> None:
    for pdu in written():
        told = subprocess.run(
            ["openssl", "asn1parse", "-inform", "DER", "-i"], input=pdu, capture_output=True, check=True, timeout=30
        )
        lines = told.stdout.decode().splitlines()
        assert "SEQUENCE" in lines[0]
        assert f"l={len(pdu) - (2 if pdu[1] < 128 else 2 + pdu[1] - 128):4d}" in lines[0]
        assert any("cont [ 2 ]" in line for line in lines)
        assert not told.stderr


@pytest.mark.daemon
def test_tshark(tmp_path: Path) -> None:
    pdus = written()
    capture = tmp_path / "pdus.pcap"
    packets = b"".join(struct.pack("<IIII", 1, 0, len(pdu), len(pdu)) + pdu for pdu in pdus)
    capture.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 147) + packets)
    told = subprocess.run(
        ["tshark", "-r", str(capture), "-V", "-o", 'uat:user_dlts:"User 0 (DLT=147)","ber","0","","0",""'],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout.decode()
    assert told.count("Basic Encoding Rules") == len(pdus)
    assert "BER Error" not in told
    assert "Malformed" not in told
