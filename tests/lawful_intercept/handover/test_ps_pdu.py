"""Templates: golden vectors, and every field that pycrate's coder writes the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.handover.encryption import Algorithm, PayloadCipher
from lawful_intercept.handover.ps_pdu import CcKind, CcTemplate, DataType, Header, IriTemplate, Qualifier
from nf.errors import InputError
from tests.lawful_intercept.handover import vectors

U32 = st.integers(0, 0xFFFF_FFFF) | st.sampled_from([0, 0x7F, 0x80, 0x7FFF, 0x8000, 0x7FFF_FFFF, 0x8000_0000])
TIMES = st.integers(0, 4_102_444_800_000_000_000) | st.sampled_from(
    [0, 1_700_000_000_000_000_000, 1_700_000_000_120_000_000, 2_147_483_647_999_999_999, 2_147_483_648_000_127_000]
)
HEADERS = st.builds(
    Header,
    st.binary(min_size=1, max_size=25),
    st.sampled_from(["NZ", "PT"]),
    st.binary(min_size=1, max_size=16),
    st.binary(max_size=16),
    st.sampled_from(["NZ", "DE"]),
    version=st.integers(0, 16_383),
    time_form=st.sampled_from(["microseconds", "generalized"]),
    point=st.text("Pop123 ", max_size=8),
)
PACKETS = st.binary(max_size=40) | st.sampled_from([bytes(n) for n in (127, 128, 172, 255, 256, 1500, 65_600)])


def same(module: Any, octets: bytes) -> dict[str, Any]:
    """The value, after it was written anew to the same octets."""
    module.PS_PDU.from_ber(octets)
    assert module.PS_PDU.to_der() == octets
    value = module.PS_PDU.get_val()
    assert isinstance(value, dict)
    return value


def test_media_vector() -> None:
    template = CcTemplate(vectors.HEADER, 7)
    assert template.encode(0, vectors.AT_NS, 0, vectors.RTP) == vectors.CC
    assert template.encode(0, vectors.AT_NS, 0, vectors.RTP) == vectors.CC, "by the layout that was kept"


def test_sip_vector() -> None:
    template = IriTemplate(vectors.HEADER, 7)
    assert template.sip(1, vectors.AT_NS, 2, "10.0.0.1", "10.0.0.2", vectors.SIP) == vectors.IRI


def test_encryption_vector() -> None:
    cipher = PayloadCipher(vectors.KEY, Algorithm.AES_192_CBC, 1_700_000_000)
    template = CcTemplate(vectors.HEADER, 7, cipher=cipher)
    assert template.encode(3, vectors.AT_NS, 0, vectors.RTP) == vectors.ENCRYPTED


@given(
    HEADERS,
    U32,
    st.sampled_from(CcKind),
    st.lists(st.tuples(U32, TIMES, st.integers(0, 4), PACKETS, st.binary(max_size=4)), min_size=1, max_size=6),
)
def test_media(module: Any, header: Header, cin: int, kind: CcKind, packets: list[Any]) -> None:
    template = CcTemplate(header, cin, kind, qualifier=Qualifier.MEDIATION)
    for sequence, at_ns, direction, octets, stream in [*packets, *packets]:
        value = same(module, template.encode(sequence, at_ns, direction, octets, stream))
        head(value["pSHeader"], header, cin, sequence, at_ns)
        assert value["pSHeader"]["timeStampQualifier"] == "timeOfMediation"
        name, (cc,) = value["payload"]
        assert name == "cCPayloadSequence"
        assert (
            cc["payloadDirection"]
            == ["fromTarget", "toTarget", "indeterminate", "combined", "notapplicable"][direction]
        )
        form, contents = cc["cCContents"]
        if kind is CcKind.UPF:
            assert form == "threeGPP33128DefinedCC"
            assert contents.endswith(octets)
            continue
        assert form == "iPMMCC"
        assert contents["mMCCContents"] == octets
        assert contents.get("streamIdentifier", b"") == stream
        assert contents["frameType"] == ("rtpFrame" if kind is CcKind.RTP else "ipFrame")


@given(
    HEADERS,
    st.integers(1, 3),
    U32,
    TIMES,
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(-40_000_000, 700_000_000),
            st.sampled_from([0, 1]),
            st.sampled_from([b"", bytes(13), bytes(172), bytes(173)]),
            st.sampled_from([b"", b"", b"", b"s"]),
        ),
        min_size=2,
        max_size=40,
    ),
)
def test_streams_that_go_on_are_written_as_each_packet_by_itself(
    header: Header, streams: int, first: int, at_ns: int, packets: list[tuple[int, int, int, bytes, bytes]]
) -> None:
    """Whatever is kept from one packet to the next, and by streams that look alike."""
    cins = (7, 8, 1 << 31)[:streams]
    templates = [CcTemplate(header, cin) for cin in cins]
    sequence = min(first, 0xFFFF_FFFF - len(packets))
    for which, later_ns, direction, octets, stream in packets:
        at_ns = max(0, at_ns + later_ns)
        sequence += 1
        at = which % streams
        alone = CcTemplate(header, cins[at])._whole(sequence, at_ns, direction, octets, stream)
        assert templates[at].encode(sequence, at_ns, direction, octets, stream) == alone


@pytest.mark.parametrize("edge", [0, 1 << 7, 1 << 15, 1 << 23, 1 << 31, 1 << 32])
def test_numbers_become_wider(edge: int) -> None:
    """Also beyond what a sequence number can be, as it is the caller's to keep."""
    template = CcTemplate(vectors.HEADER, 7)
    for sequence in [number for number in range(edge - 3, edge + 3) if number >= 0] * 2:
        for at_ns in (vectors.AT_NS, vectors.AT_NS + 1_000_000_000):
            alone = CcTemplate(vectors.HEADER, 7)._whole(sequence, at_ns, 1, vectors.RTP, b"")
            assert template.encode(sequence, at_ns, 1, vectors.RTP) == alone


def head(value: dict[str, Any], header: Header, cin: int | None, sequence: int, at_ns: int) -> None:
    assert value["li-psDomainId"] == (0, 4, 0, 2, 2, 5, 1, header.version)
    assert value["lawfulInterceptionIdentifier"] == header.liid
    assert value["sequenceNumber"] == sequence
    who = value["communicationIdentifier"]
    assert who.get("communicationIdentityNumber") == cin
    assert who["networkIdentifier"].get("networkElementIdentifier", b"") == header.element
    assert value.get("interceptionPointID", "") == header.point
    seconds, microseconds = divmod(at_ns // 1000, 1_000_000)
    if header.time_form == "microseconds":
        assert value["microSecondTimeStamp"] == {"seconds": seconds, "microSeconds": microseconds}
        return
    assert "microSecondTimeStamp" not in value
    *date, fraction, zone = value["timeStamp"]
    assert zone == "Z"
    assert tuple(map(int, date)) == datetime.fromtimestamp(seconds, UTC).timetuple()[:6]
    assert (fraction or "").ljust(6, "0") == f"{microseconds:06d}"
    assert not (fraction or "").endswith("0"), "strict DER"


@given(HEADERS, U32, U32, TIMES, st.integers(1, 4), st.binary(max_size=300), st.booleans(), st.booleans())
def test_sip(  # noqa: PLR0917 - each a field
    module: Any, header: Header, cin: int, sequence: int, at_ns: int, kind: int, octets: bytes, six: bool, only: bool
) -> None:
    source, destination = ("2001:db8::1", "2001:db8::2") if six else ("192.0.2.1", "192.0.2.2")
    pdu = IriTemplate(header, cin).sip(sequence, at_ns, kind, source, destination, octets, iri_only=only)
    value = same(module, pdu)
    head(value["pSHeader"], header, cin, sequence, at_ns)
    (iri,) = value["payload"][1]
    assert iri["iRIType"] == ["iRI-Begin", "iRI-End", "iRI-Continue", "iRI-Report"][kind - 1]
    form, message = iri["iRIContents"][1]["iPMMIRIContents"]
    assert form == ("iRIOnlySIPMessage" if only else "sIPMessage")
    assert message["sIPContent"] == octets
    assert message["iPSourceAddress"]["iP-type"] == ("iPv6" if six else "iPv4")
    assert message["iPSourceAddress"].get("iPv6PrefixLength") == (128 if six else None)


@given(HEADERS, U32, U32, TIMES, st.binary(max_size=200))
def test_threegpp(  # noqa: PLR0917 - each a field
    module: Any, header: Header, cin: int, sequence: int, at_ns: int, payload: bytes
) -> None:
    pdu = IriTemplate(header, cin).threegpp(sequence, at_ns, 1, payload, qualifier=Qualifier.MEDIATION)
    (iri,) = same(module, pdu)["payload"][1]
    assert iri["iRIContents"] == ("threeGPP33128DefinedIRI", payload)


@given(HEADERS, U32, TIMES, st.sampled_from(Algorithm), st.binary(max_size=200))
def test_encrypted(  # noqa: PLR0917 - each a field
    module: Any, header: Header, sequence: int, at_ns: int, algorithm: Algorithm, octets: bytes
) -> None:
    key = bytes(24 if algorithm is Algorithm.AES_192_CBC else 32)
    cipher = PayloadCipher(key, algorithm, 1)
    pdu = CcTemplate(header, 1, cipher=cipher).encode(sequence, at_ns, 0, octets)
    name, container = same(module, pdu)["payload"]
    assert name == "encryptionContainer"
    assert container["encryptedPayloadType"] == "part5"
    assert len(container["encryptedPayload"]) % 16 == 0


def test_byte_counters_grow_by_what_was_sent_of_their_own_type(module: Any) -> None:
    from lawful_intercept.handover.decoder import byte_counter, decode

    cipher = PayloadCipher(vectors.KEY, Algorithm.AES_192_CBC, 1_700_000_000)
    media, iri = CcTemplate(vectors.HEADER, 7, cipher=cipher), IriTemplate(vectors.HEADER, 7, cipher=cipher)
    first = media.encode(0, vectors.AT_NS, 0, vectors.RTP)
    message = iri.sip(0, vectors.AT_NS, 1, "10.0.0.1", "10.0.0.2", vectors.SIP)
    second = media.encode(1, vectors.AT_NS, 0, vectors.RTP)
    start = 1_700_000_000 << 32
    counters = [byte_counter(decode(one), vectors.KEY) for one in (first, message, second)]
    assert counters == [start, start, start + len(first)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"liid": b""},
        {"liid": bytes(26)},
        {"authorisation_country": "nz"},
        {"delivery_country": "NZL"},
        {"operator": b""},
        {"operator": bytes(17)},
        {"element": bytes(17)},
        {"version": -1},
        {"version": 16_384},
        {"point": "123456789"},
        {"point": "a\n"},
    ],
)
def test_headers_that_do_not_fit(wrong: dict[str, Any]) -> None:
    given: dict[str, Any] = {
        "liid": b"x",
        "authorisation_country": "NZ",
        "operator": b"o",
        "element": b"e",
        "delivery_country": "NZ",
    }
    with pytest.raises(InputError):
        Header(**given | wrong)


def test_layouts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lawful_intercept.handover.ps_pdu.LAYOUTS_KEPT", 4)
    template = CcTemplate(vectors.HEADER, 7)
    for length in range(50):
        template.encode(0, vectors.AT_NS, 0, bytes(length))
        assert len(template._layouts) <= 4


def test_a_key_that_was_overwritten_writes_nothing() -> None:
    cipher = PayloadCipher(bytearray(vectors.KEY), Algorithm.AES_192_CBC, 0)
    kept = cipher._key
    cipher.close()
    assert kept == bytearray(24)
    with pytest.raises(Exception, match="overwritten"):
        cipher.container(DataType.CC, 0, b"", 5)


def test_keys_of_another_length() -> None:
    with pytest.raises(InputError, match="32 octets"):
        PayloadCipher(bytes(24), Algorithm.AES_256_CBC, 0)


@pytest.mark.parametrize("cin", [-1, 1 << 32])
def test_cins_that_do_not_fit(cin: int) -> None:
    with pytest.raises(InputError):
        CcTemplate(vectors.HEADER, cin)


def test_addresses_that_are_none() -> None:
    with pytest.raises(InputError):
        IriTemplate(vectors.HEADER, 1).sip(0, 0, 1, "host", "10.0.0.1", b"")
