"""Session descriptions: written and read back, answered as RFC 3264 says."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.errors import InputError
from sip.calling.sdp import Description, answer, offer

directions = st.sampled_from(["sendrecv", "sendonly", "recvonly", "inactive"])


@given(st.integers(0, 65_535), directions, st.integers(0, 65_535), st.booleans())
def test_it_is_read_back(port: int, direction: str, rtcp_port: int, mux: bool) -> None:
    made = Description("10.0.0.1", port, {0: "PCMU/8000", 101: "telephone-event/8000"}, direction, rtcp_port, mux)  # type: ignore[arg-type]
    assert Description.parse(made.to_bytes()) == made


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_description_or_an_error(data: bytes) -> None:
    for text in (data, b"v=0\r\n" + data, offer("10.0.0.1", 4000, session=1).to_bytes() + data):
        with contextlib.suppress(InputError):
            Description.parse(text)


def test_the_first_audio_stream_and_what_holds_for_it() -> None:
    text = (
        "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\na=sendonly\r\n"
        "m=video 7000 RTP/AVP 96\r\nc=IN IP4 10.0.0.8\r\na=inactive\r\na=rtcp:9999\r\n"
        "m=audio 6000 RTP/SAVPF 111 8 0\r\nc=IN IP4 10.0.0.7\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-mux\r\n"
        "m=audio 8000 RTP/AVP 0\r\nc=IN IP4 10.0.0.6\r\n"
    )
    found = Description.parse(text.encode())
    assert (found.address, found.port, found.control_port) == ("10.0.0.7", 6000, 6000)
    assert found.direction == "sendonly"
    assert found.formats == {111: "opus/48000/2", 8: "PCMA/8000", 0: "PCMU/8000"}


def test_an_answer_turns_the_direction_and_takes_pcmu() -> None:
    held = Description("10.0.0.1", 4000, {8: "PCMA/8000", 0: "PCMU/8000"}, "sendonly")
    given_ = answer(held, "10.0.0.2", 5000, session=2, rtcp_port=5001)
    assert (given_.direction, given_.formats, given_.control_port) == ("recvonly", {0: "PCMU/8000"}, 5001)
    with pytest.raises(InputError, match="no PCMU, but G729/8000"):
        answer(Description("10.0.0.1", 4000, {18: "G729/8000"}), "10.0.0.2", 5000, session=2)


@pytest.mark.parametrize(
    ("line", "rule"),
    [("m=audio x RTP/AVP 0", "not a number"), ("m=audio 5 RTP/AVP 200", "not a number"), ("nonsense", "not a line")],
)
def test_the_line_that_is_wrong_is_named(line: str, rule: str) -> None:
    with pytest.raises(InputError, match=rule) as error:
        Description.parse(f"v=0\r\nc=IN IP4 10.0.0.1\r\n{line}\r\n".encode())
    assert error.value.where == line
