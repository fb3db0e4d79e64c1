"""The judge of what tests put on a wire: it cuts as lengths say, passes what is good, and finds what is spoiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.x2x3.codec import PayloadDirection, PayloadFormat, keepalive, x3_template
from tests.lawful_intercept.handover import vectors
from tests.lawful_intercept.wire import Cut, Wire, judge

RTP = bytes.fromhex("800004d2000000a0deadbeef") + bytes(160)
X3 = x3_template(UUID(int=7).bytes, 9, PayloadFormat.RTP).encode(1, 10**18, PayloadDirection.FROM_TARGET, RTP)


def seen(*, handed_over: list[bytes] | None = None, intercepted: list[bytes] | None = None) -> Wire:
    made = Wire()
    made.handed_over, made.intercepted = handed_over or [], intercepted or []
    return made


@given(st.lists(st.integers(1, 300)))
def test_pdus_are_cut_out_of_a_stream_however_it_comes(sizes: list[int]) -> None:
    pdus = [keepalive(1), X3, keepalive(2), X3]
    stream, cut, found = b"".join(pdus), Cut(), []
    for size in sizes:
        found += cut.feed(stream[:size])
        stream = stream[size:]
    assert found + cut.feed(stream) == pdus


def test_what_is_good_passes(module: Any, tmp_path: Path) -> None:
    judge(
        seen(handed_over=[vectors.KEEP_ALIVE, vectors.HASH], intercepted=[keepalive(1), X3]), lambda: module, tmp_path
    )


def test_a_spoiled_pdu_of_the_handover_is_found(module: Any, tmp_path: Path) -> None:
    long_form = vectors.HASH[:1] + b"\x82" + len(vectors.HASH[2:]).to_bytes(2) + vectors.HASH[2:]  # BER, and not DER
    with pytest.raises(AssertionError):
        judge(seen(handed_over=[long_form]), lambda: module, tmp_path)


@pytest.mark.daemon
def test_a_spoiled_pdu_of_x3_is_found(tmp_path: Path, require_programs: Callable[..., None]) -> None:
    require_programs("tshark")
    with pytest.raises(AssertionError):
        judge(seen(intercepted=[X3[:60]]), lambda: None, tmp_path)
