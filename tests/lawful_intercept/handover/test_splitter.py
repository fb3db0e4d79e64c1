"""PS-PDUs out of a stream, however it is cut, and out of rubbish nothing but the splitter's own error."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.handover.decoder import decode
from lawful_intercept.handover.reading import PduError
from lawful_intercept.handover.splitter import Splitter
from tests.lawful_intercept.handover import vectors

PLAIN = [vectors.KEEP_ALIVE, vectors.CC, vectors.IRI, vectors.HASH, vectors.ENCRYPTED]


def indefinite(octets: bytes) -> bytes:
    """The same PDU, every constructed value of it of indefinite length."""
    from lawful_intercept.handover.reading import elements

    made = b""
    for element in elements(octets):
        if element.constructed:
            made += bytes((element.tag, 0x80)) + indefinite(element.contents) + b"\0\0"
        else:
            size = len(element.contents)
            made += bytes((element.tag,)) + (bytes((size,)) if size < 128 else b"\x82" + size.to_bytes(2, "big"))
            made += element.contents
    return made


PDUS = st.sampled_from([*PLAIN, *map(indefinite, PLAIN)])


@given(st.lists(PDUS, max_size=8), st.data())
def test_however_it_is_cut(pdus: list[bytes], data: st.DataObject) -> None:
    stream, splitter, found, at = b"".join(pdus), Splitter(), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, 400))
        found += splitter.feed(stream[at : at + step])
        at += step
    assert found == pdus
    assert splitter.waiting == 0


@pytest.mark.parametrize("octets", PLAIN)
def test_octet_by_octet(octets: bytes) -> None:
    for whole in (octets, indefinite(octets)):
        splitter = Splitter()
        found = [pdu for at in range(len(whole)) for pdu in splitter.feed(whole[at : at + 1])]
        assert found == [whole]


def test_indefinite_reads_the_same() -> None:
    for octets in PLAIN:
        read, other = decode(octets), decode(indefinite(octets))
        assert (read.liid, read.sequence, read.tri, read.at_ns) == (other.liid, other.sequence, other.tri, other.at_ns)


@pytest.mark.parametrize(
    "octets",
    [
        b"\x31\x00",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x89" + bytes(9),
        b"\x30\x80" + b"\xa1\x84\x7f\xff\xff\xff",
        b"\x30\x80" * 40,
        b"\x30\x80" + b"\xbf\xff\xff\xff\xff\xff\xff",
        b"\x30\x83\x04\x00\x01",
    ],
)
def test_what_is_refused_before_it_is_buffered(octets: bytes) -> None:
    splitter = Splitter()
    with pytest.raises(PduError):
        splitter.feed(octets)
    assert splitter.waiting == 0
    with pytest.raises(PduError):
        splitter.feed(vectors.CC)


def test_an_endless_indefinite_one_is_refused() -> None:
    splitter = Splitter(largest=1000)
    with pytest.raises(PduError):
        splitter.feed(b"\x30\x80" + b"\x81\x01\x00" * 400)


def test_what_was_whole_before_the_fault_is_handed_over() -> None:
    splitter = Splitter()
    assert splitter.feed(vectors.CC + b"\x31") == [vectors.CC]
    assert splitter.broken
    with pytest.raises(PduError):
        splitter.feed(b"")


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_rubbish(pieces: list[bytes]) -> None:
    splitter = Splitter(largest=500)
    with contextlib.suppress(PduError):
        for piece in pieces:
            splitter.feed(b"\x30\x80" + piece)
            assert splitter.waiting <= 1200
