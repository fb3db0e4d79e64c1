"""Hashes and signatures: golden vector, rhythm, counters, and what a changed octet does."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.handover.decoder import Tri, decode
from lawful_intercept.handover.integrity import (
    CheckType,
    HashAlgorithm,
    IntegrityStream,
    KeySigner,
    PrivateKey,
    Rhythm,
    read_check,
)
from lawful_intercept.handover.ps_pdu import CcTemplate, DataType, Qualifier
from lawful_intercept.handover.reading import PduError
from lawful_intercept.handover.tri import information
from tests.lawful_intercept.handover import vectors
from tests.lawful_intercept.handover.test_ps_pdu import same

NS = 1_000_000_000


def stream(**options: Any) -> IntegrityStream:
    return IntegrityStream(vectors.HEADER, 7, DataType.CC, **options)


def test_vector() -> None:
    checks = stream(qualifier=Qualifier.INTERCEPTION)
    assert checks.add(0, vectors.CC, vectors.AT_NS) == []
    assert checks.close(vectors.AT_NS) == [vectors.HASH]
    assert read_check(decode(vectors.HASH)).is_hash_of([vectors.CC])


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=20), st.sampled_from(HashAlgorithm))
def test_hashes_cover_everything_once_in_order(packets: list[bytes], algorithm: HashAlgorithm) -> None:
    checks, media = stream(algorithm=algorithm, rhythm=Rhythm(hash_pdus=3)), CcTemplate(vectors.HEADER, 7)
    sent = [media.encode(number, 0, 0, packet) for number, packet in enumerate(packets)]
    made = [one for number, pdu in enumerate(sent) for one in checks.add(number, pdu, number)]
    made += checks.close(99)
    numbers: list[int] = []
    for count, one in enumerate(made, 1):
        pdu = decode(one)
        check = read_check(pdu)
        assert (pdu.sequence, check.check_type, check.data_type) == (count, CheckType.HASH, DataType.CC)
        assert check.is_hash_of([sent[number] for number in check.numbers])
        assert not check.is_hash_of([sent[number] + b"\0" for number in check.numbers])
        numbers += check.numbers
    assert numbers == list(range(len(packets)))


@pytest.mark.parametrize(
    "key", [generate_private_key(SECP256R1()), Ed25519PrivateKey.generate(), Ed448PrivateKey.generate()]
)
def test_signatures(module: Any, key: PrivateKey) -> None:
    checks = stream(signer=KeySigner(key), rhythm=Rhythm(hash_pdus=1, signature_hashes=2), first_hash=5)
    made = [one for number in range(4) for one in checks.add(number, vectors.CC, number)]
    kinds = [read_check(decode(one)).check_type for one in made]
    assert kinds == [CheckType.HASH, CheckType.HASH, CheckType.SIGNATURE] * 2
    first, second = (decode(made[place]) for place in (2, 5))
    assert (first.sequence, second.sequence) == (1, 2), "a counter of their own"
    assert read_check(first).numbers == (5, 6)
    assert read_check(second).numbers == (7, 8)
    assert read_check(first).is_signed_by(key.public_key())
    assert not read_check(first).is_signed_by(Ed25519PrivateKey.generate().public_key())
    for one in made:
        assert same(module, one)["payload"][1][0] == "integrityCheck"


def test_rhythm_by_time() -> None:
    checks = stream(signer=KeySigner(Ed25519PrivateKey.generate()))
    assert checks.next_due_ns is None
    assert checks.add(0, vectors.CC, 10 * NS) == []
    assert checks.next_due_ns == 11 * NS
    assert checks.due(11 * NS - 1) == []
    (hashed,) = checks.due(11 * NS)
    assert read_check(decode(hashed)).value == hashlib.sha256(vectors.CC).digest()
    assert checks.next_due_ns == 41 * NS
    (signed,) = checks.due(41 * NS)
    assert read_check(decode(signed)).check_type is CheckType.SIGNATURE
    assert checks.next_due_ns is None
    assert checks.close(50 * NS) == []


@given(st.binary(max_size=60))
def test_rubbish(contents: bytes) -> None:
    with pytest.raises(PduError):
        read_check(decode(information(vectors.HEADER, 1, 0, None, Tri.INTEGRITY_CHECK, contents)))
