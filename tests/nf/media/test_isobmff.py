"""What a probe takes for media, and what not."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.errors import InputError
from nf.media.isobmff import boxes, segment_fault


def box(kind: bytes, content: bytes = b"") -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def test_a_media_segment_of_cmaf() -> None:
    data = box(b"styp", b"cmfs") + box(b"moof", b"x" * 30) + box(b"mdat", b"y" * 100)
    assert segment_fault(data) == ""
    assert [kind for kind, _ in boxes(data)] == ["styp", "moof", "mdat"]


def test_large_and_last_boxes() -> None:
    large = (1).to_bytes(4, "big") + b"moof" + (20).to_bytes(8, "big") + b"abcd"
    assert segment_fault(large + b"\0\0\0\0mdat" + b"z" * 9) == ""


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "the segment is empty"),
        (box(b"styp"), "the segment has no mdat and no moof"),
        (box(b"moof") + box(b"mdat", b"x" * 50)[:-1], "does not fit"),
        (b"<html>not here</html>", "does not fit"),
        (b"\x47" + bytes(187) + b"\x46" + bytes(187), "sync bytes are missing"),
    ],
)
def test_what_is_no_segment_is_told(data: bytes, fault: str) -> None:
    assert fault in segment_fault(data)


def test_a_transport_stream() -> None:
    assert segment_fault((b"\x47" + bytes(187)) * 5) == ""


@given(st.binary(max_size=80))
def test_any_octets_are_judged(data: bytes) -> None:
    assert isinstance(segment_fault(data), str)
    with contextlib.suppress(InputError):
        assert sum(size for _, size in boxes(data)) == len(data)
