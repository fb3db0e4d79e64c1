"""What the agency reads is what was written; of rubbish it reads nothing, and says so in one way."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.handover.decoder import Content, Tri, byte_counter, decode, decrypt
from lawful_intercept.handover.encryption import Algorithm, PayloadCipher
from lawful_intercept.handover.ps_pdu import CcKind, CcTemplate, Header, IriTemplate
from lawful_intercept.handover.reading import PduError, time_ns
from nf.errors import InputError
from tests.lawful_intercept.handover import vectors
from tests.lawful_intercept.handover.test_ps_pdu import HEADERS, PACKETS, TIMES, U32

ALL = [vectors.KEEP_ALIVE, vectors.CC, vectors.IRI, vectors.HASH, vectors.ENCRYPTED]


def test_vectors() -> None:
    media, message, alive = decode(vectors.CC), decode(vectors.IRI), decode(vectors.KEEP_ALIVE)
    assert (media.version, media.liid, media.cin, media.sequence, media.at_ns) == (
        40,
        b"LIID-0001",
        7,
        0,
        vectors.AT_NS,
    )
    (cc,) = media.cc
    assert (cc.direction, cc.content, cc.octets, cc.frame_type) == (0, Content.RTP, vectors.RTP, 2)
    (iri,) = message.iri
    assert (iri.iri_type, iri.content, iri.octets) == (2, Content.SIP, vectors.SIP)
    assert (iri.source, iri.destination) == ("10.0.0.1", "10.0.0.2")
    assert (alive.tri, alive.cin) == (Tri.KEEP_ALIVE, None)


def test_decryption_vector() -> None:
    sealed = decode(vectors.ENCRYPTED)
    assert sealed.encrypted is not None
    assert sealed.cc == ()
    assert decrypt(sealed, vectors.KEY).cc == decode(vectors.CC).cc
    assert byte_counter(sealed, vectors.KEY) == 1_700_000_000 << 32


@given(HEADERS, U32, U32, TIMES, st.integers(0, 4), PACKETS, st.sampled_from(CcKind), st.booleans())
def test_media(  # noqa: PLR0917 - each a field
    header: Header, cin: int, sequence: int, at_ns: int, direction: int, octets: bytes, kind: CcKind, sealed: bool
) -> None:
    key = bytes(range(32))
    cipher = PayloadCipher(key, Algorithm.AES_256_CBC, 7) if sealed else None
    pdu = decode(CcTemplate(header, cin, kind, cipher=cipher).encode(sequence, at_ns, direction, octets, b"1"))
    pdu = decrypt(pdu, key)
    assert (pdu.liid, pdu.operator, pdu.element) == (header.liid, header.operator, header.element)
    assert (pdu.cin, pdu.sequence, pdu.point, pdu.version) == (cin, sequence, header.point, header.version)
    assert pdu.at_ns == at_ns // 1000 * 1000
    (cc,) = pdu.cc
    assert (cc.direction, cc.octets) == (direction, octets)
    assert cc.content is (Content.RTP if kind is CcKind.RTP else Content.PACKET)


@given(st.binary(min_size=32, max_size=32).filter(lambda key: key != bytes(32)), PACKETS)
def test_another_key_opens_nothing(key: bytes, octets: bytes) -> None:
    cipher = PayloadCipher(bytes(32), Algorithm.AES_256_CBC, 7)
    with pytest.raises(PduError):
        decrypt(decode(CcTemplate(vectors.HEADER, 1, cipher=cipher).encode(1, 0, 0, octets)), key)


def test_a_key_of_another_length() -> None:
    with pytest.raises(InputError, match="24 octets"):
        decrypt(decode(vectors.ENCRYPTED), bytes(32))


@given(st.sampled_from(ALL), st.data())
def test_changed_octets(octets: bytes, data: st.DataObject) -> None:
    changed = bytearray(octets)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    with contextlib.suppress(PduError):
        decrypt(decode(bytes(changed)), vectors.KEY)


@given(st.binary(max_size=200))
def test_rubbish(octets: bytes) -> None:
    with pytest.raises(PduError):
        decode(octets)


def test_deep_nesting_and_many_fields_end() -> None:
    for octets in (
        b"\x30\x80" * 100_000,
        b"\x30\x82\xff\xfa" + b"\x81\x00" * 32_765,
        b"\x30\x82\xff\xfa" + b"\x9f\x81" * 32_765,
    ):
        with pytest.raises(PduError):
            decode(octets)


@pytest.mark.parametrize(
    ("written", "ns"),
    [
        (b"20231114221320.123456Z", vectors.AT_NS),
        (b"20231114221320Z", 1_700_000_000_000_000_000),
        (b"20231115111320,5+1300", 1_700_000_000_500_000_000),
        (b"19691231235959.5Z", -500_000_000),
    ],
)
def test_times(written: bytes, ns: int) -> None:
    assert time_ns(written) == ns


@pytest.mark.parametrize(
    "written", [b"", b"20231314221320Z", b"20231114221320", b"20231114221320.Z", b"2023-11-14", b"20231115111320+9900"]
)
def test_times_that_are_none(written: bytes) -> None:
    with pytest.raises(PduError):
        time_ns(written)


def test_nothing_of_a_target_shows() -> None:
    shown: list[Any] = [vectors.HEADER, decode(vectors.CC), decode(vectors.IRI), decode(vectors.ENCRYPTED)]
    shown += [shown[1].cc[0], shown[2].iri[0], shown[3].encrypted, IriTemplate(vectors.HEADER, 1)]
    assert not any("LIID" in repr(one) or "BYE" in repr(one) for one in shown)
