"""The event socket's octets: every way to cut them gives the same messages; what cannot be framed is said once."""

from __future__ import annotations

import json
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.errors import InputError
from sip.freeswitch import codec
from sip.freeswitch.codec import (
    AuthRequest,
    Decoder,
    Disconnect,
    Event,
    LogLine,
    Message,
    Rejection,
    Reply,
    Response,
    Unknown,
    encode,
    subscription,
)
from sip.freeswitch.errors import FrameError
from tests.sip.freeswitch import events

NOTICE = b"Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"
WIRE: list[tuple[bytes, Message]] = [
    (b"Content-Type: auth/request\n\n", AuthRequest()),
    (
        b"Content-Type: command/reply\nReply-Text: +OK accepted\n\n",
        Reply("+OK accepted", {"Content-Type": "command/reply", "Reply-Text": "+OK accepted"}),
    ),
    (
        b"Content-Type: command/reply\nReply-Text: +OK Job-UUID: 7f4d\nJob-UUID: 7f4d\n\n",
        Reply(
            "+OK Job-UUID: 7f4d",
            {"Content-Type": "command/reply", "Reply-Text": "+OK Job-UUID: 7f4d", "Job-UUID": "7f4d"},
        ),
    ),
    (b"Content-Type: api/response\nContent-Length: 10\n\n\n0 total.\n", Response("\n0 total.\n")),
    (b"Content-Type: api/response\nContent-Length: 0\n\n", Response("")),
    (
        events.framed(
            "text/event-plain", b"Event-Name: HEARTBEAT\nUp-Time: 0%20years,%201%20day\nSession-Count: 3\n\n"
        ),
        Event({"Event-Name": "HEARTBEAT", "Up-Time": "0 years, 1 day", "Session-Count": "3"}),
    ),
    (
        events.framed(
            "text/event-plain",
            b"Event-Name: BACKGROUND_JOB\nJob-UUID: a\nJob-Command: status\nContent-Length: 7\n\n+OK\n\nx\n",
        ),
        Event(
            {"Event-Name": "BACKGROUND_JOB", "Job-UUID": "a", "Job-Command": "status", "Content-Length": "7"},
            "+OK\n\nx\n",
        ),
    ),
    (
        events.framed("text/event-json", '{"Event-Name": "MESSAGE", "from": "Jürgen", "_body": "hallo\\n"}'.encode()),
        Event({"Event-Name": "MESSAGE", "from": "Jürgen"}, "hallo\n"),
    ),
    (b"Content-Type: log/data\nContent-Length: 4\nLog-Level: 7\n\nx\n\ny", LogLine({}, "")),
    (b"Content-Type: text/disconnect-notice\nContent-Length: 67\n\n" + NOTICE, Disconnect(NOTICE.decode())),
    (
        b"Content-Type: text/disconnect-notice\nContent-Disposition: linger\nLinger-Time: 9\nContent-Length: 3\n\nbye",
        Disconnect("bye", 9),
    ),
    (
        b"Content-Type: text/rude-rejection\nContent-Length: 24\n\nAccess Denied, go away.\n",
        Rejection("Access Denied, go away.\n"),
    ),
    (b"Content-Type: text/event-xml\nContent-Length: 3\n\n<a>", Unknown("text/event-xml", {}, b"<a>")),
]
STREAM = b"".join(octets for octets, _ in WIRE)


def whole(data: bytes) -> list[Message]:
    return Decoder().receive(data)


def pieces(*parts: bytes) -> list[Message]:
    decoder = Decoder()
    found = [message for part in parts for message in decoder.receive(part)]
    assert decoder.held == 0
    return found


@pytest.mark.parametrize(("octets", "message"), WIRE, ids=range(len(WIRE)))
def test_what_freeswitch_writes_is_read(octets: bytes, message: Message) -> None:
    (found,) = whole(octets)
    if isinstance(message, LogLine):
        assert isinstance(found, LogLine)
        assert (found.text, found.headers["Log-Level"]) == ("x\n\ny", "7")
    elif isinstance(message, Unknown):
        assert isinstance(found, Unknown)
        assert (found.content_type, found.body) == (message.content_type, message.body)
    else:
        assert found == message


def test_every_place_to_cut_gives_the_same() -> None:
    want = whole(STREAM)
    assert len(want) == len(WIRE)
    for at in range(len(STREAM) + 1):
        assert pieces(STREAM[:at], STREAM[at:]) == want, at
    assert pieces(*(STREAM[at : at + 1] for at in range(len(STREAM)))) == want


@given(st.lists(st.integers(0, len(STREAM)), max_size=40))
def test_however_it_is_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert pieces(*(STREAM[a:b] for a, b in pairwise(edges))) == whole(STREAM)


_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
_NAME = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,20}", fullmatch=True).filter(
    lambda name: name.lower() not in {"content-length", "event-name", "_body"}
)


@given(st.dictionaries(_NAME, _TEXT, max_size=12), _TEXT)
def test_plain_and_json_say_the_same(headers: dict[str, str], body: str) -> None:
    named = {"Event-Name": "CUSTOM", **headers}
    plain, as_json = events.plain(named, body), events.as_json(named, body)
    (first, second) = whole(plain + as_json)
    assert isinstance(first, Event)
    assert isinstance(second, Event)
    assert second == Event(named, body)
    assert ({name: first.headers[name] for name in named}, first.body) == (named, body)


def test_several_values_of_a_header_read_the_same_in_both_formats() -> None:
    body = json.dumps({"Event-Name": "CUSTOM", "hosts": ["a", "b"], "number": 3}).encode()
    (event,) = whole(events.framed("text/event-json", body))
    assert isinstance(event, Event)
    assert event.headers == {"Event-Name": "CUSTOM", "hosts": "ARRAY::a|:b", "number": "3"}


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"a": 1}', b"\xff\xfe", b"[" * 100_000])
def test_json_that_is_no_event_is_passed_over_and_the_next_is_read(body: bytes) -> None:
    found = whole(events.framed("text/event-json", body) + events.plain({"Event-Name": "HEARTBEAT"}))
    assert [type(one) for one in found] == [Unknown, Event]


@pytest.mark.parametrize(
    ("octets", "rule"),
    [
        (b"Content-Length: -1\n\n", "Content-Length is '-1'"),
        (b"Content-Length: 1_0\n\n", "Content-Length is '1_0'"),
        (b"Content-Length: 99999999999999999999\n\n", "Content-Length"),
        (b"Content-Length: 2000001\n\n", "a body of 2,000,001 octets, more than 2,000,000"),
        (b"A: " + b"b" * 70_000, "more than 65,536 octets of headers"),
    ],
)
def test_what_cannot_be_framed_is_said_after_what_was_whole_and_ever_after(octets: bytes, rule: str) -> None:
    decoder = Decoder(max_body=2_000_000)
    with pytest.raises(FrameError, match=rule):
        decoder.receive(WIRE[0][0] + octets)
    assert decoder.rest == (AuthRequest(),)
    with pytest.raises(FrameError, match=rule):
        decoder.receive(WIRE[0][0])


def test_a_long_header_that_comes_octet_by_octet_is_searched_once() -> None:
    """Were it searched anew each time, this would take minutes."""
    decoder = Decoder(max_headers=1_000_000)
    for _ in range(300_000):
        assert decoder.receive(b"x") == []
    assert decoder.held == 300_000


@given(st.binary(max_size=400))
def test_fuzz_nothing_but_its_own_error_comes_out(data: bytes) -> None:
    decoder = Decoder(max_headers=300, max_body=300)
    try:
        decoder.receive(data)
    except FrameError:
        return
    assert decoder.held <= 1000


@given(st.integers(0, 2**32), st.integers(1, 20))
def test_fuzz_of_real_streams(seed: int, changes: int) -> None:
    random = Random(seed)  # noqa: S311 - no secret
    data = bytearray(STREAM)
    for _ in range(changes):
        data[random.randrange(len(data))] = random.randrange(256)
    decoder = Decoder()
    try:
        for at in range(0, len(data), 37):
            decoder.receive(bytes(data[at : at + 37]))
    except FrameError:
        pass


def test_of_a_name_that_comes_twice_the_first_counts_and_lines_without_a_colon_are_nothing() -> None:
    (reply,) = whole(b"Content-Type: command/reply\nReply-Text: +OK\nReply-Text: -ERR\nstray\nEmpty:\n\n")
    assert isinstance(reply, Reply)
    assert (reply.text, reply.headers["Empty"]) == ("+OK", "")


def test_a_command_is_one_command() -> None:
    assert encode("api status") == b"api status\n\n"
    assert encode("sendevent NOTIFY", [("profile", "voice")], "é") == (
        b"sendevent NOTIFY\nprofile: voice\ncontent-length: 2\n\n" + "é".encode()
    )
    for bad in ("api x\n\nauth y", "api x\r", "", "  ", "a\0"):
        with pytest.raises(InputError):
            encode(bad)
    for name, value in (("a b", "c"), ("", "c"), ("a", "b\nc")):
        with pytest.raises(InputError):
            encode("sendevent X", [(name, value)])


def test_subclasses_come_last() -> None:
    names = ("CUSTOM sofia::register", "HEARTBEAT", "CHANNEL_ANSWER", "CUSTOM conference::maintenance")
    assert (
        subscription(names, "json")
        == "event json CHANNEL_ANSWER HEARTBEAT CUSTOM conference::maintenance sofia::register"
    )
    assert codec.MAX_HEADERS == 65_536
