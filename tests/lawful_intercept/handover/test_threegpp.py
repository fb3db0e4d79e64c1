"""TS 33.128: what the handover makes of an xIRI, as pycrate's release 16 reads it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrate_asn1dir import LIX3GPP  # type: ignore[import-untyped]

from lawful_intercept.handover import threegpp
from lawful_intercept.handover.reading import PduError
from lawful_intercept.handover.values import IriType
from lawful_intercept.identifiers import TargetIdentifier
from nf.errors import InputError
from tests.lawful_intercept.handover import vectors

PAYLOADS = LIX3GPP.TS33128Payloads
TARGETS = {
    ("supiimsi", "001010000000001"): ("sUPI", ("iMSI", "001010000000001")),
    ("supinai", "a@example.org"): ("sUPI", ("nAI", "a@example.org")),
    ("imsi", "001010000000001"): ("iMSI", "001010000000001"),
    ("peiImei", "01234567890123"): ("pEI", ("iMEI", "01234567890123")),
    ("peiImeisv", "0123456789012345"): ("pEI", ("iMEISV", "0123456789012345")),
    ("imei", "01234567890123"): ("iMEI", "01234567890123"),
    ("gpsiMsisdn", "99001"): ("gPSI", ("mSISDN", "99001")),
    ("gpsiNai", "a@example.org"): ("gPSI", ("nAI", "a@example.org")),
    ("e164Number", "99001"): ("mSISDN", "99001"),
    ("nai", "a@example.org"): ("nAI", "a@example.org"),
    ("ipv4Address", "192.0.2.1"): ("iPv4Address", bytes([192, 0, 2, 1])),
    ("ipv6Address", "2001:0db8:0000:0000:0000:0000:0000:0001"): (
        "iPv6Address",
        b"\x20\x01\x0d\xb8" + bytes(11) + b"\1",
    ),
}


def read(octets: bytes) -> dict[str, Any]:
    PAYLOADS.IRIPayload.from_ber(octets)
    assert PAYLOADS.IRIPayload.to_der() == octets
    value = PAYLOADS.IRIPayload.get_val()
    assert isinstance(value, dict)
    return value


def test_an_event_stays_what_it_was() -> None:
    PAYLOADS.XIRIPayload.from_ber(vectors.XIRI)
    was = PAYLOADS.XIRIPayload.get_val()
    value = read(threegpp.iri_from_xiri(vectors.XIRI))
    assert value["iRIPayloadOID"] == (4, 19, 16, 5, 3)
    assert value["event"] == was["event"]
    assert "targetIdentifiers" not in value
    assert threegpp.read_iri(threegpp.iri_from_xiri(vectors.XIRI)) == was["event"]


@pytest.mark.parametrize("target", TARGETS)
def test_identifiers(target: tuple[str, str]) -> None:
    value = read(threegpp.iri_from_xiri(vectors.XIRI, [TargetIdentifier(*target)]))
    assert value["targetIdentifiers"] == [{"identifier": TARGETS[target], "provenance": "lEAProvided"}]


def test_identifiers_that_33_128_has_no_form_for_are_left_out() -> None:
    targets = [TargetIdentifier("sipUri", "sip:a@example.org"), TargetIdentifier("imsi", "001010000000001")]
    assert len(read(threegpp.iri_from_xiri(vectors.XIRI, targets))["targetIdentifiers"]) == 1
    assert "targetIdentifiers" not in read(threegpp.iri_from_xiri(vectors.XIRI, targets[:1]))


@given(st.binary(max_size=300))
def test_packets(packet: bytes) -> None:
    octets = threegpp.cc(packet)
    PAYLOADS.CCPayload.from_ber(octets)
    assert PAYLOADS.CCPayload.to_der() == octets
    assert PAYLOADS.CCPayload.get_val() == {"cCPayloadOID": (4, 19, 16, 5, 4), "pDU": ("uPFCCPDU", packet)}


def test_types() -> None:
    by_tag = {
        6: IriType.BEGIN,
        7: IriType.CONTINUE,
        8: IriType.END,
        9: IriType.BEGIN,
        10: IriType.REPORT,
        1: IriType.REPORT,
    }
    for tag, kind in by_tag.items():
        xiri = vectors.XIRI[:11] + bytes((0xA0 | tag,)) + vectors.XIRI[12:]
        assert threegpp.iri_type(xiri) is kind
    later = b"\x30\x0d\x81\x05\x04\x13\x11\x01\x01\xa2\x04\xbf\x69\x01\x00"
    assert threegpp.iri_type(later) is IriType.REPORT


def test_an_event_of_a_later_release_passes() -> None:
    later = b"\x30\x0d\x81\x05\x04\x13\x11\x01\x01\xa2\x04\xbf\x69\x01\x00"
    assert threegpp.iri_from_xiri(later) == b"\x30\x0d\x81\x05\x04\x13\x11\x01\x03\xa2\x04\xbf\x69\x01\x00"


@given(st.binary(max_size=100))
def test_rubbish(octets: bytes) -> None:
    with pytest.raises(PduError):
        threegpp.iri_from_xiri(octets)
    with pytest.raises(PduError):
        threegpp.iri_type(octets)


@given(st.data())
def test_changed_octets(data: st.DataObject) -> None:
    changed = bytearray(vectors.XIRI)
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        threegpp.read_iri(threegpp.iri_from_xiri(bytes(changed)))
    except InputError:
        return


def test_too_long() -> None:
    with pytest.raises(PduError):
        threegpp.iri_from_xiri(bytes(70_000))
