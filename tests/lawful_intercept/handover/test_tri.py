"""Transport information: golden vectors, and pycrate's view of each PDU."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lawful_intercept.handover import tri
from lawful_intercept.handover.decoder import Tri, decode
from lawful_intercept.handover.ps_pdu import Header
from lawful_intercept.handover.reading import PduError
from nf.errors import InputError
from tests.lawful_intercept.handover import vectors
from tests.lawful_intercept.handover.test_ps_pdu import HEADERS, TIMES, U32, same


def test_vectors() -> None:
    assert tri.keep_alive(vectors.HEADER, 1, vectors.AT_NS) == vectors.KEEP_ALIVE
    assert tri.keep_alive_response(vectors.HEADER, 1, vectors.AT_NS) == vectors.KEEP_ALIVE_RESPONSE
    assert tri.answer(decode(vectors.KEEP_ALIVE), Tri.KEEP_ALIVE_RESPONSE) == vectors.KEEP_ALIVE_RESPONSE


@given(HEADERS, U32, U32, TIMES)
def test_each(module: Any, header: Header, cin: int, sequence: int, at_ns: int) -> None:
    message = tri.operator_message(header, cin, sequence, at_ns, tri.Priority.ERROR, message="copies lost")
    made = {
        "keep-alive": tri.keep_alive(header, sequence, at_ns),
        "keep-aliveResponse": tri.keep_alive_response(header, sequence, at_ns),
        "firstSegmentFlag": tri.segment_flag(header, cin, sequence, first=True),
        "lastSegmentFlag": tri.segment_flag(header, cin, sequence, first=False),
        "cINReset": tri.cin_reset(header, cin, sequence, at_ns),
        "operatorLeaMessage": message,
        "optionRequest": tri.option_request(header, sequence, at_ns),
        "optionComplete": tri.option_complete(header, sequence, at_ns),
        "pDUAcknowledgementRequest": tri.acknowledgement_request(header, sequence, at_ns),
    }
    made["optionResponse"] = tri.option_response(decode(made["optionRequest"]), [tri.ACKNOWLEDGEMENT])
    made["pDUAcknowledgementResponse"] = tri.acknowledgement_response(decode(made["pDUAcknowledgementRequest"]))
    for name, pdu in made.items():
        value = same(module, pdu)
        assert value["payload"][1][0] == name
        assert value["pSHeader"]["sequenceNumber"] == sequence
        timed = value["pSHeader"].keys() & {"timeStamp", "microSecondTimeStamp"}
        assert bool(timed) is not name.endswith("Flag")
    assert tri.read_operator_message(decode(message)) == (1, "copies lost")


def test_options_that_are_not_known_are_declined(module: Any) -> None:
    asked = decode(
        tri.information(vectors.HEADER, None, 0, vectors.AT_NS, Tri.OPTION_REQUEST, b"\xa0\x04\x80\x00\x85\x00")
    )
    response = decode(tri.option_response(asked, [tri.ACKNOWLEDGEMENT]))
    assert tri.accepted_options(response) == (tri.ACKNOWLEDGEMENT,)
    assert response.tri_octets == bytes.fromhex("a0028000a1028500")
    refused = tri.option_response(decode(tri.option_request(vectors.HEADER, 0, vectors.AT_NS)), [])
    answer = same(module, refused)["payload"][1][1]
    assert answer == {"acceptedOptions": [], "declinedOptions": [("pDUAcknowledgement", 0)]}


@pytest.mark.parametrize("message", ["", "x" * 256])
def test_messages_that_do_not_fit(message: str) -> None:
    with pytest.raises(InputError):
        tri.operator_message(vectors.HEADER, None, 0, 0, tri.Priority.ERROR, message=message)


@given(st.binary(max_size=40))
@example(b"\xa0\x05\xbf\xff\x01\x00\x00")
@example(b"\x80\x00\x81\x01x")
def test_rubbish_in_options(contents: bytes) -> None:
    pdu = decode(tri.information(vectors.HEADER, None, 0, None, Tri.OPTION_REQUEST, contents))
    for read in (tri.accepted_options, tri.read_operator_message, lambda one: tri.option_response(one, [])):
        try:
            read(pdu)
        except PduError:
            continue
