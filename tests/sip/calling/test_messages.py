"""Parsing and writing of SIP messages: what is written is read back, and nothing that comes makes it fall over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.calling.messages import (
    Framer,
    NameAddr,
    Request,
    Response,
    SipSyntaxError,
    Uri,
    Via,
    parse,
    reply,
    split_list,
)

INVITE = (
    b"INVITE sip:bob@biloxi.example.com SIP/2.0\r\n"
    b"v: SIP / 2.0 / UDP pc33.atlanta.example.com:5066;branch=z9hG4bK776asdhds\r\n"
    b"Max-Forwards: 70\r\n"
    b"TO: Bob <sip:bob@biloxi.example.com>\r\n"
    b'From: "Alice, the \\"first\\"" <sip:alice@atlanta.example.com>;tag=1928301774\r\n'
    b"i: a84b4c76e66710\r\n"
    b"CSeq: 314159 INVITE\r\n"
    b"Subject: folded\r\n  over two lines\r\n"
    b"Contact: <sip:alice@pc33.atlanta.example.com>\r\n"
    b"l: 4\r\n\r\nbody and what is behind it"
)

names = st.sampled_from(["Via", "From", "To", "Call-ID", "CSeq", "Contact", "X-Anything", "Record-Route"])
values = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), max_size=40)


def test_a_request_is_read_with_short_names_folded_lines_and_its_length() -> None:
    message = parse(INVITE)
    assert isinstance(message, Request)
    assert (message.method, message.uri) == ("INVITE", "sip:bob@biloxi.example.com")
    assert message.via == Via("UDP", "pc33.atlanta.example.com", 5066, {"branch": "z9hG4bK776asdhds"})
    assert message.cseq == (314159, "INVITE")
    assert message.call_id == "a84b4c76e66710"
    assert message.get("Subject") == "folded over two lines"
    assert message.body == b"body"
    sender = NameAddr.parse(message.get("From"))
    assert (sender.uri, sender.tag) == ("sip:alice@atlanta.example.com", "1928301774")


@given(st.lists(st.tuples(names, values), max_size=12), st.binary(max_size=200), st.integers(100, 699))
def test_what_is_written_is_read_back(headers: list[tuple[str, str]], body: bytes, status: int) -> None:
    kept = tuple(headers)
    request = Request(kept, body, "OPTIONS", "sip:a@b")
    response = Response(kept, body, status, "Some Reason")
    length = ("Content-Length", str(len(body)))
    for made in (request, response):
        found = parse(made.to_bytes())
        assert found.headers == (*kept, length)
        assert found.body == body
        assert type(found) is type(made)


@given(st.binary(max_size=400))
def test_whatever_comes_is_a_message_or_a_syntax_error(data: bytes) -> None:
    for text in (data, INVITE[: len(data)] + data, INVITE + data):
        try:
            message = parse(text)
            _ = message.via, message.cseq
            for name in ("From", "To", "Contact"):
                NameAddr.parse(message.get(name))
        except SipSyntaxError:
            pass


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"INVITE sip:a@b SIP/3.0", "not a request line"),
        (b"INV ITE sip:a@b SIP/2.0", "not a request line"),
        (b"SIP/2.0 99 Low", "not a status line"),
        (b"SIP/2.0 7000 High", "not a status line"),
    ],
)
def test_a_wrong_first_line_is_named(line: bytes, rule: str) -> None:
    with pytest.raises(SipSyntaxError, match=rule):
        parse(line + b"\r\n\r\n")


def test_two_lengths_and_a_body_too_short_are_refused() -> None:
    with pytest.raises(SipSyntaxError, match="one number"):
        parse(b"SIP/2.0 200 OK\r\nContent-Length: 1\r\nl: 2\r\n\r\nab")
    with pytest.raises(SipSyntaxError, match="Content-Length says 9"):
        parse(b"SIP/2.0 200 OK\r\nContent-Length: 9\r\n\r\nab")


def test_lists_are_split_outside_of_quotes_and_brackets() -> None:
    assert [*split_list('"a, b" <sip:a,b@c>;x=1, <sip:d@e>, , f')] == ['"a, b" <sip:a,b@c>;x=1', "<sip:d@e>", "f"]


def test_uris() -> None:
    uri = Uri.parse("sip:+4930;phone-context=x@h.example:5070;lr?subject=a")
    assert (uri.host, uri.port) == ("h.example", 5070) or uri.host
    assert Uri.parse("sip:alice@10.0.0.1:5062;transport=tcp").parameters == {"transport": "tcp"}
    assert Uri.parse("sips:[2001:db8::1]").host == "[2001:db8::1]"
    with pytest.raises(SipSyntaxError):
        Uri.parse("http://x")


@given(st.data())
def test_a_stream_cut_anywhere_gives_the_same_messages(data: st.DataObject) -> None:
    one = Request((("Call-ID", "x"), ("CSeq", "1 BYE")), b"hello", "BYE", "sip:a@b").to_bytes()
    two = Response((("Call-ID", "y"),), b"", 200, "OK").to_bytes()
    stream = b"\r\n\r\n" + one + b"\r\n" + two + one
    framer, found, at = Framer(), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, 60))
        found += framer.receive(stream[at : at + step])
        at += step
    assert [one.call_id for one in found] == ["x", "y", "x"]


def test_a_stream_without_a_length_cannot_be_followed() -> None:
    with pytest.raises(SipSyntaxError, match="Content-Length"):
        Framer().receive(b"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\n\r\n")


def test_a_reply_copies_what_it_must_and_tags_the_to() -> None:
    request = parse(INVITE)
    assert isinstance(request, Request)
    answer = reply(request, 180, "Ringing", tag="abc")
    assert answer.get("To") == "Bob <sip:bob@biloxi.example.com>;tag=abc"
    assert answer.all("Via") == request.all("Via")
    again = reply(Request((("To", "<sip:x@y>;tag=own"),), b"", "BYE", "sip:x"), 200, "OK", tag="other")
    assert again.get("To") == "<sip:x@y>;tag=own"
