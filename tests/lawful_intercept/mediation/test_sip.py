from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.mediation.sip import SipError, read, without_content

INVITE = (
    b"INVITE sip:bob@example.net SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n"
    b'f: "a;tag=no <x>" <sip:alice@example.net;tag=neither>;tag=one\r\nTo: <sip:bob@example.net>\r\n'
    b"Call-ID: abc@host\r\nCSeq: 7\r\n\t INVITE\r\nContent-Type: application/sdp\r\nContent-Length: 4\r\n\r\nv=0\n"
)


def test_a_request() -> None:
    message = read(INVITE)
    assert (message.method, message.status, message.number) == ("INVITE", 0, 7)
    assert (message.call_id, message.from_tag, message.to_tag) == ("abc@host", "one", "")


def test_a_reply() -> None:
    message = read(b"SIP/2.0 200 OK\r\ni: x\r\nf: <sip:a@b>;tag=1\r\nt: <sip:c@d> ; TAG = 2\r\nCSeq: 2 bye\r\n\r\n")
    assert (message.method, message.status, message.from_tag, message.to_tag) == ("BYE", 200, "1", "2")


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nCall-ID: x\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nCall-ID: x\r\nCSeq: 4294967296 INVITE\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nCall-ID: " + b"x" * 5000 + b"\r\nCSeq: 1 INVITE\r\n\r\n",
        b"SIP/2.0 999 no\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n",
        b"GET / HTTP/1.1\r\nCall-ID: x\r\nCSeq: 1 GET\r\n\r\n",
    ],
)
def test_what_is_none(octets: bytes) -> None:
    with pytest.raises(SipError):
        read(octets)


def test_a_body_is_left_out_but_a_session_description() -> None:
    assert without_content(INVITE) == INVITE
    text = b"MESSAGE sip:a SIP/2.0\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
    assert without_content(text) == text[:-5]
    assert without_content(b"no body at all") == b"no body at all"


def test_keys_to_media_are_content() -> None:
    sdp = b"v=0\r\nk=clear:x\r\nm=audio 9 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc\r\na=sendrecv\r\n"
    found = without_content(INVITE.replace(b"v=0\n", sdp))
    assert found.endswith(b"\r\n\r\nv=0\r\nm=audio 9 RTP/SAVP 0\r\na=sendrecv\r\n")


_PARTS = st.sampled_from(
    [
        b"INVITE ",
        b"SIP/2.0",
        b" 200",
        b"\r\n",
        b"\n",
        b" ",
        b"Call-ID:",
        b"CSeq:",
        b"1 INVITE",
        b"To:",
        b";tag=",
        b'"',
        b"<",
        b">",
        b"\\",
        b"x",
    ]
)


@given(st.one_of(st.binary(max_size=400), st.lists(_PARTS, max_size=60).map(b"".join)))
def test_nothing_else_is_raised(octets: bytes) -> None:
    try:
        message = read(octets)
    except SipError:
        return
    assert message.call_id
    without_content(octets)
