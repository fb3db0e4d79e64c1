"""curl and openssl speak with an element: what another vendor's ADMF, and a stranger, meet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from lxml import etree

from lawful_intercept import pki
from lawful_intercept.x1 import codec
from lawful_intercept.x1 import exchange as e
from lawful_intercept.x1.element import Element
from lawful_intercept.x1.faults import Code
from lawful_intercept.x1.messages import Header
from lawful_intercept.x1.server import X1Server
from lawful_intercept.x1.services import ElementService
from nf.clock import RealClock
from tests.lawful_intercept.x1.conftest import Certificates, Owner
from tests.lawful_intercept.x1.test_codec_round_trip import schema

pytestmark = pytest.mark.daemon  # curl, openssl

BY_HAND = """<?xml version="1.0" encoding="utf-8"?>
<ns1:X1Request xmlns:ns1="http://uri.etsi.org/03221/X1/2017/10"
    xmlns:ns2="http://uri.etsi.org/03280/common/2017/07" xmlns:i="http://www.w3.org/2001/XMLSchema-instance">
  <ns1:x1RequestMessage i:type="ns1:CreateDestinationRequest">
    <ns1:admfIdentifier>admf</ns1:admfIdentifier>
    <ns1:neIdentifier>poi1</ns1:neIdentifier>
    <ns1:messageTimestamp>{now}</ns1:messageTimestamp>
    <ns1:version>v1.6.1</ns1:version>
    <ns1:x1TransactionId>{first}</ns1:x1TransactionId>
    <ns1:destinationDetails>
      <ns1:dId>19867c20-8c94-473e-b9cd-8b72b7b05fd4</ns1:dId>
      <ns1:friendlyName>MDF</ns1:friendlyName>
      <ns1:deliveryType>X2andX3</ns1:deliveryType>
      <ns1:deliveryAddress>
        <ns1:ipAddressAndPort>
          <ns2:address><ns2:IPv4Address>192.0.2.9</ns2:IPv4Address></ns2:address>
          <ns2:port><ns2:TCPPort>49000</ns2:TCPPort></ns2:port>
        </ns1:ipAddressAndPort>
      </ns1:deliveryAddress>
    </ns1:destinationDetails>
  </ns1:x1RequestMessage>
  <ns1:x1RequestMessage i:type="ns1:ActivateTaskRequest">
    <ns1:admfIdentifier>admf</ns1:admfIdentifier>
    <ns1:neIdentifier>poi1</ns1:neIdentifier>
    <ns1:messageTimestamp>{now}</ns1:messageTimestamp>
    <ns1:version>v1.6.1</ns1:version>
    <ns1:x1TransactionId>{second}</ns1:x1TransactionId>
    <ns1:taskDetails>
      <ns1:xId>29f28e1c-f230-486a-a860-f5a784ab9172</ns1:xId>
      <ns1:targetIdentifiers>
        <ns1:targetIdentifier><ns1:e164Number>4940100</ns1:e164Number></ns1:targetIdentifier>
      </ns1:targetIdentifiers>
      <ns1:deliveryType>X2andX3</ns1:deliveryType>
      <ns1:listOfDIDs><ns1:dId>19867c20-8c94-473e-b9cd-8b72b7b05fd4</ns1:dId></ns1:listOfDIDs>
    </ns1:taskDetails>
  </ns1:x1RequestMessage>
</ns1:X1Request>"""


def by_hand() -> bytes:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return BY_HAND.format(now=now, first=uuid4(), second=uuid4()).encode()


async def run(*command: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(stdin), 20)
    return process.returncode or 0, out, err


class Place:
    def __init__(self, certificates: Certificates, owner: Owner) -> None:
        self.certificates = certificates
        self.owner = owner
        self.element = Element(owner, RealClock(), mediation=False, report=lambda _: None)
        self.server = X1Server(
            "poi1",
            ElementService(self.element),
            certificates.server("poi1"),
            address="127.0.0.1",
            port=0,
            peers={"admf"},
        )

    def curl(self, files: pki.Issued | None, *more: str, path: str = "/X1/NE") -> list[str]:
        own = ["--cert", str(files.certificate), "--key", str(files.key)] if files else []
        command = ["curl", "-sS", "-i", "--max-time", "10", "--cacert", str(self.certificates.files("admf").authority)]
        return [*command, *own, *more, f"https://127.0.0.1:{self.server.port}{path}"]

    async def post(self, octets: bytes, *more: str, name: str = "admf", kind: str = "application/xml") -> bytes:
        command = self.curl(
            self.certificates.files(name), "-H", f"Content-Type: {kind}", "-H", "Expect:", "--data-binary", "@-", *more
        )
        code, out, err = await run(*command, stdin=octets)
        assert code == 0, err
        return out


@pytest.fixture
async def place(certificates: Certificates, owner: Owner) -> AsyncIterator[Place]:
    made = Place(certificates, owner)
    await made.element.start()
    async with made.server:
        yield made


def bodies(answer: bytes) -> list[e.ResponseBody]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.splitlines()[0].startswith(b"HTTP/1.1 200")
    schema().assertValid(etree.fromstring(body))
    found = codec.decode_responses(body)
    assert not isinstance(found, e.TopLevelError)
    return [response.body for response in found]


async def test_curl_activates_a_task_that_was_written_by_hand(place: Place) -> None:
    octets = by_hand()
    assert all(isinstance(body, e.Done) for body in bodies(await place.post(octets)))
    assert list(place.owner.active) == [UUID("29f28e1c-f230-486a-a860-f5a784ab9172")]
    # The same once more is answered as before, and not carried out.
    told = list(place.owner.told)
    assert all(isinstance(body, e.Done) for body in bodies(await place.post(octets)))
    assert place.owner.told == told
    # With other transaction ids it is another request.
    again = bodies(await place.post(by_hand()))
    assert [body.code for body in again if isinstance(body, e.Refusal)] == [Code.DID_EXISTS, Code.XID_EXISTS]


async def test_the_answer_keeps_the_version_that_was_asked_in(place: Place) -> None:
    answer = await place.post(by_hand())
    assert answer.count(b">v1.6.1<") == 2
    assert b"server:" not in answer.lower()


@pytest.mark.parametrize("path", ["/", "/X1/ADMF", "/X1/NE/", "/x1/ne", "/X1/NE/../NE2"])
async def test_other_paths_are_not_there(place: Place, path: str) -> None:
    _, out, _ = await run(*place.curl(place.certificates.files("admf"), "--path-as-is", path=path))
    assert out.startswith(b"HTTP/1.1 404")
    assert out.endswith(b"\r\n\r\n")


async def test_other_methods_and_types_are_not_taken(place: Place) -> None:
    _, out, _ = await run(*place.curl(place.certificates.files("admf")))
    assert out.startswith(b"HTTP/1.1 405")
    assert (await place.post(by_hand(), kind="application/json")).startswith(b"HTTP/1.1 415")
    assert place.owner.told == []


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\xff\xfe<",
        b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
        b"<a>" * 1000,
    ],
)
async def test_what_cannot_be_read_gets_a_top_level_error(place: Place, octets: bytes) -> None:
    head, _, body = (await place.post(octets)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"root:" not in body
    schema().assertValid(etree.fromstring(body))
    found = codec.decode_responses(body)
    assert isinstance(found, e.TopLevelError)
    assert (found.header.admf, found.header.element) == ("admf", "poi1")


async def test_too_much_is_refused(place: Place) -> None:
    assert (await place.post(by_hand() + b" " * (1 << 20))).startswith(b"HTTP/1.1 413")


async def test_a_message_of_yesterday_is_not_carried_out(place: Place) -> None:
    header = Header("admf", "poi1", datetime(2026, 1, 1, tzinfo=UTC), uuid4())
    octets = codec.encode_requests([e.Request(header, e.Command.KEEPALIVE)])
    (body,) = bodies(await place.post(octets))
    assert isinstance(body, e.Refusal)
    assert body.code == Code.GENERIC


async def test_a_transaction_id_serves_one_request(place: Place) -> None:
    header = Header("admf", "poi1", datetime.now(UTC), uuid4())
    first, second = (codec.encode_requests([e.Request(header, e.DeactivateTask(uuid4()))]) for _ in range(2))
    answers = [bodies(await place.post(octets))[0] for octets in (first, second, first)]
    assert [answer.code for answer in answers if isinstance(answer, e.Refusal)] == [
        Code.XID_UNKNOWN,
        Code.GENERIC,
        Code.XID_UNKNOWN,
    ]


async def test_curl_without_a_certificate_or_with_a_stranger_s(place: Place, strangers: Certificates) -> None:
    for files in (None, strangers.files("admf")):
        code, out, err = await run(*place.curl(files))
        assert (out, code != 0) == (b"", True), err


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_openssl_proves_the_element_and_itself(place: Place, version: str) -> None:
    files = place.certificates.files("admf")
    connect = ["openssl", "s_client", "-connect", f"127.0.0.1:{place.server.port}", version, "-verify_return_error"]
    command = [*connect, "-CAfile", str(files.authority), "-cert", str(files.certificate), "-key", str(files.key)]
    octets = by_hand()
    request = b"POST /X1/NE HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: text/xml; charset=utf-8\r\n"
    request += b"content-length: " + str(len(octets)).encode() + b"\r\n\r\n" + octets
    code, out, err = await run(*command, "-ign_eof", stdin=request)
    assert code == 0, err
    assert b"Verify return code: 0" in out
    assert out.count(b"AcknowledgedAndCompleted") == 2


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
async def test_openssl_with_an_old_tls_is_refused(place: Place, version: str) -> None:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{place.server.port}", version]
    code, _, _ = await run(*command, "-cipher", "ALL:@SECLEVEL=0")
    assert code != 0


async def test_nothing_of_it_is_in_a_log(
    place: Place, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    await place.post(by_hand())
    await place.post(b"<x/>")
    await place.post(by_hand(), name="poi2")
    place.owner.fails = RuntimeError("4940100")
    await place.post(by_hand())
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")
