"""The lab's internet and what measures it, without either."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Address, IPv4Network

import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from lab.mobile import asking, internet

NAMES = {"cdn.streamverse.test": IPv4Address("203.0.113.10")}


def told(name: str, kind: str = "A") -> dns.message.Message:
    answer = internet.answer(dns.message.make_query(name, kind).to_wire(), NAMES)
    assert answer is not None
    return dns.message.from_wire(answer)


def test_a_name_is_told_whatever_its_case() -> None:
    for name in ("cdn.streamverse.test.", "CDN.StreamVerse.test."):
        (answer,) = told(name).answer
        assert [str(one) for one in answer] == ["203.0.113.10"]


def test_a_name_without_such_an_address_is_not_denied() -> None:
    answer = told("cdn.streamverse.test.", "AAAA")
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])


def test_an_unknown_name_is_denied() -> None:
    assert told("www.example.test.").rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("data", [b"", b"\0" * 12, b"x" * 40])
def test_what_is_no_query_gets_no_answer(data: bytes) -> None:
    assert internet.answer(data, NAMES) is None


def test_the_far_edge_stands_for_the_whole_prefix() -> None:
    text = internet.rules((IPv4Network("203.0.113.0/24"), IPv4Address("10.3.2.1")))
    assert "ip daddr 203.0.113.0/24 counter dnat to 10.3.2.1" in text


def test_the_longest_time_between_answers_is_told_with_its_beginning() -> None:
    asked = asking.Asked(last=10.0)
    asked.take(10.1, good=True)
    asked.take(10.4, good=False)
    asked.take(10.9, good=True)
    asked.take(11.0, good=True)
    assert (asked.answers, asked.failures) == (3, 1)
    assert asked.stall_s == pytest.approx(0.8)
    assert asked.stalled_at == pytest.approx(10.1)


@pytest.fixture
def server() -> Iterator[int]:
    class Request(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/?well=1" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Silent."""

    with HTTPServer(("127.0.0.1", 0), Request) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made.server_address[1]
        made.shutdown()
        thread.join()


def test_only_success_is_an_answer(server: int) -> None:
    assert asking.ask("127.0.0.1", server, "/?well=1")
    assert not asking.ask("127.0.0.1", server, "/missing")
    assert not asking.ask("127.0.0.1", 1, "/")
