"""What programs and servers answer is not ours: whatever it is, it is read or refused, in the house's words."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socketserver
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nf.errors import DeniedError, DriverError, NfError, StorageError
from nf.media.edge import render as edge
from nf.media.edge import telemetry as edge_telemetry
from nf.media.origin.client import S3, AbsentError, NotOfferedError, Upload, mapped
from nf.media.shield import render as shield
from nf.media.shield.varnish import parse_statistics, parse_vcl_list
from nf.trust.secrets import Credentials

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
LIKELY = st.dictionaries(
    st.sampled_from(["counters", "global", "name", "status", "value", "MAIN.cache_hit"]),
    JSON | st.dictionaries(st.sampled_from(["a", "value"]), JSON | st.dictionaries(st.just("value"), JSON)),
)
TEXTS = st.text(max_size=80) | (JSON | LIKELY | st.lists(LIKELY, max_size=3)).map(json.dumps)


@given(TEXTS)
def test_varnish(text: str) -> None:
    with contextlib.suppress(DriverError):
        assert all(isinstance(value, int) for value in parse_statistics(text).values())
    with contextlib.suppress(DriverError):
        assert all(isinstance(value, str) for value in parse_vcl_list(text).values())
    shield.section_of(text)
    shield.section_of(f"vcl 4.1;\n# section {text}")


def test_the_list_of_vcl_as_varnish_prints_it() -> None:
    head = [2, ["vcl.list", "-j"], 1795405772.0]
    entries = [{"status": "available", "name": "boot"}, {"status": "active", "state": "auto", "name": "nf_1"}]
    assert parse_vcl_list(json.dumps([*head, *entries])) == {"boot": "available", "nf_1": "active"}


@given(TEXTS)
def test_traffic_server(text: str) -> None:
    with contextlib.suppress(ValueError):
        edge_telemetry.check_statistics(text.encode())
    for remap in (text, f"# section {text}"):
        edge.section_of({edge.REMAP: remap})
        edge.generation_of({edge.REMAP: remap})


@given(
    st.text(max_size=20) | st.sampled_from(["NoSuchKey", "AccessDenied", "QuotaExceeded", "NotImplemented"]),
    st.text(max_size=20),
    st.integers(0, 999),
    st.booleans(),
)
def test_what_s3_says_is_an_error_of_the_house(code: str, message: str, status: int, storing: bool) -> None:
    error = mapped("http://10.1.0.20:8333", code, message, status, storing=storing)
    assert isinstance(error, DeniedError | StorageError | DriverError | AbsentError | NotOfferedError)
    assert error.where
    assert isinstance(error, AbsentError | NotOfferedError) or error.remedy


HEADS = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Not Found", b"HTTP/1.1 403 Forbidden", b"HTTP/1.1 500 Oops", b"HTTP/9 x", b""]
)
BODIES = st.binary(max_size=60) | st.sampled_from(
    [
        b"<Error><Code>NoSuchBucket</Code></Error>",
        b"<Tagging/>",
        b"<Tagging><TagSet><Tag><Key>x</Key></Tag></TagSet></Tagging>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><Contents/><MaxKeys>many</MaxKeys></ListBucketResult>",
        b"<DeleteResult><Error/></DeleteResult>",
    ]
)

CALLS: dict[str, Callable[[S3], Awaitable[object]]] = {
    "owner": lambda s3: s3.owner("media"),
    "exists": lambda s3: s3.exists("media"),
    "keys": lambda s3: s3.keys("media", "ch1/", limit=3),
    "get": lambda s3: s3.get("media", "ch1/x"),
    "put": lambda s3: s3.put("media", Upload("ch1/x", b"x", "text/plain", "no-store")),
    "try_write": lambda s3: s3.try_write("media", "ch1/x"),
    "delete": lambda s3: s3.delete("media", ["ch1/x"]),
}


class Answering(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        head, body = getattr(self.server, "answer", (b"", b""))
        with contextlib.suppress(ConnectionError):
            self.wfile.write(head + b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)


@pytest.fixture(scope="module")
def strange() -> Iterator[tuple[Any, S3]]:
    """An origin that answers whatever its `answer` is."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server, S3(f"http://127.0.0.1:{server.server_address[1]}", Credentials("a", "b"))
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("call", sorted(CALLS))
@settings(max_examples=20, deadline=None)
@given(answer=st.tuples(HEADS, BODIES))
def test_whatever_an_origin_answers(strange: tuple[Any, S3], call: str, answer: tuple[bytes, bytes]) -> None:
    server, s3 = strange
    server.answer = answer
    with contextlib.suppress(NfError):
        asyncio.run(_call(s3, call))


async def _call(s3: S3, call: str) -> None:
    await CALLS[call](s3)
