"""Codecs and the dialplan, without any network."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.voice import digest, rtp
from lab.voice.freeswitch.dialplan import Action, Hunter, expand
from lab.voice.g711 import PCMA, PCMU, decode, encode
from lab.voice.message import Message, NameAddress, SipError, Stream, Uri, parse, split_list
from lab.voice.sdp import Audio, SdpError

INVITE = (
    b"INVITE sip:9001@10.0.0.1 SIP/2.0\r\nv: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKa , SIP/2.0/TCP p;branch=z9hG4bKb\r\n"
    b'f: "A, <b>" <sip:a@b>;tag=1\r\nt: sip:9001@10.0.0.1\r\ni: x@y\r\nCSeq: 1  INVITE\r\nSubject: a\r\n b\r\n'
    b"m: <sip:a@10.0.0.2;transport=tcp>\r\nl: 3\r\n\r\nabcdef"
)


def test_a_message_is_read_as_rfc_3261_writes_it() -> None:
    message = parse(INVITE)
    assert (message.method, message.cseq, message.body) == ("INVITE", (1, "INVITE"), b"abc")
    assert len(message.all("via")) == 2
    assert NameAddress.parse(message.get("from")).display == "A, <b>"
    assert message.get("subject") == "a b"
    assert NameAddress.parse(message.get("contact")).uri.transport == "tcp"
    assert parse(message.encode()) == parse(parse(message.encode()).encode())


@given(st.binary(max_size=400), st.integers(0, len(INVITE)), st.binary(max_size=8))
def test_no_bytes_do_harm(data: bytes, at: int, put: bytes) -> None:
    for one in (data, INVITE[:at] + put + INVITE[at:]):
        with contextlib.suppress(SipError):
            parse(one).encode()
        with contextlib.suppress(SipError):
            list(Stream().feed(one))
        with contextlib.suppress(SdpError):
            Audio.parse(one)
        rtp.decode(one)
        digest.fields(one.decode("latin-1"))


@given(st.integers(1, 60))
def test_a_stream_gives_whole_messages_however_it_is_cut(size: int) -> None:
    data = b"\r\n\r\n" + parse(INVITE).encode() * 3
    stream = Stream()
    found = [one for at in range(0, len(data), size) for one in stream.feed(data[at : at + size])]
    assert [parse(one).body for one in found] == [b"abc"] * 3


@pytest.mark.parametrize("text", ["sip:a@b:99999", "http://x", ""])
def test_what_is_no_uri_is_refused(text: str) -> None:
    with pytest.raises(SipError):
        Uri.parse(text)


@given(st.lists(st.sampled_from(["a", '"b, c"', "<sip:d,e@f>;x=1"]), min_size=1, max_size=5))
def test_lists_are_parted_outside_of_quotes(parts: list[str]) -> None:
    assert split_list(" , ".join(parts)) == parts


def test_digest_is_that_of_rfc_2617() -> None:
    given_ = digest.fields(
        'Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b"'
    )
    assert digest.response("GET", "Circle Of Life", given_) == "6629fae49393a05397450978507c4ef1"


@pytest.mark.parametrize("codec", [PCMU, PCMA])
def test_g711_is_near_enough_and_keeps_its_codes(codec: int) -> None:
    every = np.arange(-32768, 32768, 7, dtype=np.int16)
    again = decode(codec, encode(codec, every)).astype(np.int32)
    assert (
        np.abs(again - every) <= np.maximum(16, np.abs(every.astype(np.int32)) // 16 + 700 * (np.abs(again) > 31000))
    ).all()
    codes = decode(codec, bytes(range(256)))
    assert (decode(codec, encode(codec, codes)) == codes).all()


@given(st.builds(rtp.Packet, st.integers(0, 63), st.booleans(), *[st.integers(0, 0xFFFF)] * 3, st.binary(max_size=20)))
def test_rtp_is_read_as_it_was_written(packet: rtp.Packet) -> None:
    assert rtp.decode(rtp.encode(packet)) == packet


def test_loss_is_counted_over_the_wrap_of_sequence_numbers() -> None:
    receiver = rtp.Receiver()
    for step, number in enumerate([65533, 65534, 65535, 1, 2, 5]):
        receiver.take(rtp.Packet(0, False, number, 160 * step, 1, b""), step * 0.02)
    assert (receiver.expected, receiver.received) == (9, 6)
    assert receiver.jitter == pytest.approx(0, abs=1e-6)


def hunt(xml: str, **values: str) -> tuple[Action, ...]:
    context = ET.fromstring(f"<context>{xml}</context>")  # noqa: S314

    def lookup(name: str) -> str:
        return values.get(name, "")

    def inline(_application: str, data: str) -> None:
        name, _, value = data.partition("=")
        values[name] = value

    return Hunter(lookup, inline).hunt([context]).actions


@pytest.mark.parametrize(
    ("breaking", "number", "wanted"),
    [
        ("on-false", "12", ["a", "c"]),
        ("on-false", "9", ["b"]),
        ("on-true", "12", ["a"]),
        ("on-true", "9", ["b", "d"]),
        ("always", "12", ["a"]),
        ("never", "9", ["b", "d"]),
    ],
)
def test_break_says_whether_further_conditions_are_looked_at(breaking: str, number: str, wanted: list[str]) -> None:
    found = hunt(
        f'<extension><condition field="destination_number" expression="^1" break="{breaking}">'
        '<action application="a"/><anti-action application="b"/></condition>'
        '<condition field="destination_number" expression="2$"><action application="c"/><anti-action application="d"/>'
        "</condition></extension>",
        destination_number=number,
    )
    assert [one.application for one in found] == wanted


def test_inline_actions_count_at_once_and_groups_are_put_in() -> None:
    found = hunt(
        '<extension continue="true"><condition field="destination_number" expression="^(\\d)(\\d+)$">'
        '<action application="set" data="first=$1" inline="true"/></condition></extension>'
        '<extension><condition field="${first}" expression="^4$"/><condition regex="any">'
        '<regex field="destination_number" expression="^x"/><regex field="destination_number" expression="^4(.*)$"/>'
        '<action application="bridge" data="sofia/internal/$1"/></condition></extension>',
        destination_number="4711",
    )
    assert found == (Action("bridge", "sofia/internal/711"),)


def test_variables_are_put_in_and_cut() -> None:
    values = {"a": "12345", "b": "${a}"}
    assert expand("${b:1:2}-${a:-2}-${none}", lambda name: values.get(name, "")) == "23-45-"


def test_an_offer_is_answered_with_one_codec_and_every_stream() -> None:
    offer = Audio.parse(
        b"v=0\r\nc=IN IP4 10.0.0.9\r\na=sendonly\r\nm=video 4000 RTP/AVP 96\r\nm=audio 5000 RTP/AVP 18 8 0 97\r\n"
        b"a=rtpmap:97 telephone-event/8000\r\n"
    )
    answer = offer.answered("10.0.0.1", 6000)
    assert (offer.codecs, offer.events, answer.codecs, answer.direction) == ((8, 0), 97, (8,), "recvonly")
    assert b"m=video 0 RTP/AVP 96" in answer.encode()
    with pytest.raises(SdpError):
        Audio.parse(b"v=0\r\nm=audio 5000 RTP/AVP 18\r\n").answered("10.0.0.1", 6000)


def test_messages_without_what_sip_needs_are_refused() -> None:
    message = Message(method="BYE", uri="sip:a@b")
    with pytest.raises(SipError, match="Via"):
        parse(message.encode())
