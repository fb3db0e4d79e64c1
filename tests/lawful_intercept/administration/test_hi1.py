"""Warrants as HI1 XML: written and read, judged by lxml, and whatever is not understood refused."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from lawful_intercept.administration import hi1
from lawful_intercept.administration.hi1 import Party
from lawful_intercept.administration.warrants import Content, Scope, Service
from lawful_intercept.identifiers import TargetIdentifier, address_of
from nf.errors import InputError
from tests.support.administration import ADDRESS, IMSI, NOON, NUMBER, SECRETS, SIP, content

LEA, CSP = Party("NZ", "police"), Party("NZ", "svnf")
TARGETS = st.sampled_from(
    [
        *(SIP, NUMBER, IMSI, ADDRESS, address_of("2001:db8:cafe:1::5")),
        TargetIdentifier("peiImei", "35209900176148"),
        TargetIdentifier("telUri", "tel:+491700000001"),
    ]
)


def written(*contents: Content) -> bytes:
    return hi1.write({UUID(int=n): one for n, one in enumerate(contents, 1)}, LEA, CSP, NOON)


@given(
    st.lists(TARGETS, min_size=1, max_size=5, unique=True),
    st.sampled_from(Scope),
    st.frozensets(st.sampled_from(Service), min_size=1),
)
def test_what_is_written_is_read(targets: list[TargetIdentifier], scope: Scope, services: frozenset[Service]) -> None:
    one = content(targets=tuple(targets), scope=scope, services=services)
    two = content(liid="NZ-0002", stop=NOON + timedelta(days=30))
    message = hi1.read(written(one, two))
    assert message.contents == (one, two)
    assert message.sender == LEA


def test_the_shape_by_another_reader() -> None:
    names = {"c": hi1.CORE, "t": hi1.TASK, "a": hi1.AUTHORISATION, "m": hi1.COMMON, "x": hi1.XSI}
    root = etree.fromstring(written(content()))
    find = lambda path: root.xpath(path, namespaces=names)  # noqa: E731
    assert find("string(/c:HI1Message/c:Header/c:SenderIdentifier/c:UniqueIdentifier)") == "police"
    assert find("string(//c:Timestamp)") == "2026-11-30T12:00:00.000000Z"
    assert find("//c:ActionIdentifier/text()") == ["0", "1"]
    assert find("//c:HI1Object/@x:type") == ["auth:AuthorisationObject", "task:LITaskObject"]
    assert find("string(//t:Reference)") == "NZ-0001"
    assert find("string(//t:TargetIdentifierValue/t:FormatType/t:FormatName)") == "SIPURI"
    assert find("string(//t:TargetIdentifierValue/t:Value)") == SIP.value
    assert find("string(//t:DeliveryType/m:Value)") == "IRIandCC"
    assert find("string(//a:AuthorisationTimespan/a:EndTime)") == "2026-11-30T13:00:00Z"
    assert find("string(//c:AssociatedObject) = string(//c:HI1Object[1]/c:ObjectIdentifier)")


VOICE, DATA = frozenset({Service.VOICE}), frozenset({Service.DATA})


def without_services(octets: bytes) -> bytes:
    root = etree.fromstring(octets)
    for entry in root.iter(f"{{{hi1.TASK}}}ServiceType"):
        entry.getparent().remove(entry)
    return etree.tostring(root)


def test_services_that_follow_from_the_targets_are_not_written() -> None:
    for targets, services in (((SIP,), VOICE), ((IMSI,), DATA), ((SIP, IMSI), VOICE | DATA)):
        octets = written(content(targets=targets, services=services))
        assert b"ServiceType" not in octets
        assert hi1.read(octets).contents[0].services == services


def test_a_number_is_of_the_service_that_is_named() -> None:
    silent = without_services(written(content(targets=(SIP, NUMBER), services=VOICE)))
    with pytest.raises(InputError, match="voice or data"):
        hi1.read(silent)
    for services in (VOICE, DATA, VOICE | DATA):
        assert hi1.read(silent, services=services).contents[0].services == services
        said = written(content(targets=(NUMBER,), services=services))
        assert hi1.read(said, services=VOICE).contents[0].services == services, "the message's own word counts"


@pytest.mark.parametrize(
    "other",
    [
        {"reference": " HC 2026/4711"},
        {"targets": (TargetIdentifier("sipUri", "sip:a\x01b@voice.example"),)},
    ],
)
def test_what_xml_cannot_say_is_not_written(other: dict[str, object]) -> None:
    with pytest.raises(InputError):
        written(content(**other))


def test_the_agency_may_have_another_name_here() -> None:
    assert hi1.read(written(content()), agency="customs").contents[0].agency == "customs"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("IRIandCC", "CCOnly"),
        ("SIPURI", "SIPURL"),
        ("<task:FormatOwner>ETSI", "<task:FormatOwner>XX"),
        ("2026-11-30T12:00:00Z", "2026-11-30T11:00:00Z"),
        ("2026-11-30T13:00:00Z", "2026-11-30T13:00:00"),
        ("task:LITaskObject", "task:LDTaskObject"),
        ("task:LITaskObject", "other:LITaskObject"),
        ("<task:TargetIdentifierValues>", "<task:ServiceType/><task:TargetIdentifierValues>"),
        ("CREATE", "UPDATE"),
        ("Approved", "Suspended"),
        ("<task:Reference>", "<task:Flags/><task:Reference>"),
        ("<task:Reference>NZ-0001", "<task:Reference>NZ 0001"),
        ("00000000-0000-0000-0000-000000000001", "not-a-uuid"),
        ("HI1Message", "HI2Message"),
        ("</task:Timespan>", "</task:Timespan><task:Timespan/>"),
    ],
)
def test_what_is_not_understood_is_refused(old: str, new: str) -> None:
    text = written(content()).decode()
    assert old in text
    # The first place of a time is the authorisation's: the task then reaches beyond it, or is not its equal.
    changed = text.replace(old, new) if old != "2026-11-30T12:00:00Z" else new.join(text.rsplit(old, 1))
    with pytest.raises(InputError) as caught:
        hi1.read(changed.encode())
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"<a/>",
        b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
        b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x 'xxxxxxxxxx'>]><a>&x;&x;</a>",
        b"<a>" * 100_000,
        b"<a>" + b"<b/>" * 30_000 + b"</a>",
        b" " * (1 << 21),
        b"\xff\xfe\x00",
    ],
)
def test_hostile_xml(octets: bytes) -> None:
    with pytest.raises(InputError):
        hi1.read(octets)


WHOLE = written(content())


@given(st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)), st.binary(max_size=3))
def test_damaged_messages_are_refused_or_mean_something(begin: int, end: int, middle: bytes) -> None:
    told = ""
    try:
        hi1.read(WHOLE[:begin] + middle + WHOLE[end:])
    except InputError as error:
        told = str(error)
    assert not [secret for secret in SECRETS if secret in told]
