"""Every message of X1 is written and read back as it was, and stands in the order that the schema wants."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from lawful_intercept.x1 import codec, lost
from lawful_intercept.x1 import exchange as e
from lawful_intercept.x1 import extensions as x
from lawful_intercept.x1.faults import X1Fault
from lawful_intercept.x1.messages import Extension, Header, ReportType
from tests.support import x1

SCHEMA = Path(__file__).parents[2] / "data" / "x1" / "order.xsd"


@cache
def schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(str(SCHEMA)))


@settings(max_examples=60)
@given(st.lists(st.builds(e.Request, x1.headers, x1.requests), min_size=1, max_size=3))
def test_requests_come_back_as_they_were(requests: list[e.Request]) -> None:
    octets = codec.encode_requests(requests)
    assert codec.decode_requests(octets) == tuple(requests)
    schema().assertValid(etree.fromstring(octets))


@settings(max_examples=60)
@given(st.lists(st.builds(e.Response, x1.headers, x1.responses), min_size=1, max_size=3))
def test_responses_come_back_as_they_were(responses: list[e.Response]) -> None:
    octets = codec.encode_responses(responses)
    assert codec.decode_responses(octets) == tuple(responses)
    schema().assertValid(etree.fromstring(octets))


@given(x1.headers)
def test_a_top_level_error_comes_back_without_its_transaction(header: Header) -> None:
    octets = codec.encode_top_level_error(header)
    found = codec.decode_responses(octets)
    assert isinstance(found, e.TopLevelError)
    assert (found.header.admf, found.header.element, found.header.at) == (header.admf, header.element, header.at)
    schema().assertValid(etree.fromstring(octets))


@given(x1.handovers)
def test_handover_settings_come_back_as_they_were(settings: x.HandoverSettings) -> None:
    assert x.handover_of([x.handover_extension(settings)]) == settings


@given(x1.headers, st.builds(lost.Lost, st.integers(0, 1 << 60), st.integers(0, 1 << 60), uncounted=st.booleans()))
def test_what_is_lost_comes_back_as_it_was(header: Header, told: lost.Lost) -> None:
    extension = lost.lost_extension(told)
    assert lost.lost_of([Extension("another"), extension]) == told
    report = e.ReportTaskIssue(UUID(int=1), ReportType.WARNING, extensions=(extension,))
    octets = codec.encode_requests([e.Request(header, report)])
    (read,) = codec.decode_requests(octets)
    assert read.body == report


@pytest.mark.parametrize(
    "content",
    [
        (),
        (b"<a/>",),
        (lost.lost_extension(lost.Lost()).content[0].replace(b"<cc>0</cc>", b""),),
        (lost.lost_extension(lost.Lost()).content[0].replace(b"<cc>0</cc>", b"<cc>-1</cc>"),),
    ],
)
def test_a_loss_that_is_no_number_is_refused(content: tuple[bytes, ...]) -> None:
    with pytest.raises(X1Fault):
        lost.lost_of([Extension(x.OWNER, content)])


def test_every_name_of_the_standard_is_known() -> None:
    """RequestMessageType of the schema, but for its name for what is none of them."""
    namespaces = {"xs": "http://www.w3.org/2001/XMLSchema"}
    listed = etree.parse(str(SCHEMA)).xpath(
        "//xs:simpleType[@name='MessageName']//xs:enumeration/@value", namespaces=namespaces
    )
    assert set(listed) - {e.EXTENDED} == e.MESSAGES
