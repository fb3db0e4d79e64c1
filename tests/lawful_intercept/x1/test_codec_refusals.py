"""What X1 must not accept: each document is refused with its code, and what it carried is in no text."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import UUID

import pytest

from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.x1 import codec, xml
from lawful_intercept.x1 import exchange as e
from lawful_intercept.x1.faults import Code, X1Fault
from lawful_intercept.x1.messages import (
    DeliveryType,
    Extension,
    HandoverType,
    Header,
    MediationDetails,
    ServiceType,
    TaskDetails,
)

XID = UUID("29f28e1c-f230-486a-a860-f5a784ab9172")
DID = UUID("7dd1f4f9-6a1c-4b07-9cd2-90d1e2b1a001")
HEADER = Header("admf", "poi1", datetime(2026, 11, 22, 16, 0, 0, 123456, UTC), UUID(int=7))
TASK = TaskDetails(
    XID,
    (TargetIdentifier("sipUri", "sip:alice@tv.example"), TargetIdentifier("e164Number", "4940100")),
    DeliveryType.X2_AND_X3,
    (DID,),
    (MediationDetails("LIID-0001", HandoverType.HI2_ONLY, HEADER.at),),
    7,
    product=XID,
    services=(ServiceType.VOICE,),
    extensions=(Extension("Another", (b'<a xmlns="urn:a">b</a>',)),),
)
GOOD = codec.encode_requests([e.Request(HEADER, e.ActivateTask(TASK))]).decode()
SECRETS = ("alice", "4940100", "LIID-0001", str(XID), str(DID))

MESSAGE = re.compile(r"<x1:x1RequestMessage.*</x1:x1RequestMessage>", re.DOTALL)


def change(old: str, new: str, count: int = 1) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new, count).encode()


def test_what_the_corpus_is_made_from_is_accepted() -> None:
    most = codec.encode_requests([e.Request(HEADER, e.Command.PING)] * codec.MESSAGE_LIMIT)
    assert len(codec.decode_requests(most)) == codec.MESSAGE_LIMIT
    (request,) = codec.decode_requests(GOOD.encode())
    assert request == e.Request(HEADER, e.ActivateTask(TASK))


LAUGHS = "<!DOCTYPE lolz [<!ENTITY lol 'lol'>" + "".join(
    f"<!ENTITY lol{n} '{f'&lol{n - 1 or str()};' * 10}'>" for n in range(1, 10)
)

DOCUMENTS = {
    "empty": b"",
    "not XML": b"hello",
    "cut short": GOOD[:-9].encode(),
    "two roots": GOOD.encode() + b"<a/>",
    "not UTF-8": change("alice", "\N{LATIN SMALL LETTER E WITH ACUTE}").replace(b"\xc3\xa9", b"\xe9"),
    "UTF-16": GOOD.replace("UTF-8", "UTF-16").encode("utf-16"),
    "declared as Latin-1": change("UTF-8", "ISO-8859-1"),
    "declared as UTF-7": change("UTF-8", "UTF-7"),
    "a NUL": change("alice", "al\0ice"),
    "XXE": change("?>", "?><!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>").replace(b"alice", b"&x;"),
    "XXE by HTTP": change("?>", "?><!DOCTYPE a SYSTEM 'http://192.0.2.1/a.dtd'>"),
    "parameter entity": change("?>", "?><!DOCTYPE a [<!ENTITY % x SYSTEM 'file:///etc/passwd'> %x;]>"),
    "billion laughs": change("?>", "?>" + LAUGHS + "]>").replace(b"alice", b"&lol9;"),
    "billion laughs in an attribute": change("?>", "?>" + LAUGHS + "]>").replace(b"<x1:xId", b"<x1:xId a='&lol9;'"),
    "an entity of nobody": change("alice", "&alice;"),
    "a DTD alone": change("?>", "?><!DOCTYPE X1Request>"),
    "a DTD in a comment, which nobody needs": change("?>", "?><!-- <!DOCTYPE a> -->"),
    "deep nesting": b"<a>" * 200 + b"</a>" * 200,
    "deeper nesting": b"<a>" * 100_000,
    "deep nesting where anything may stand": change("<a xmlns", "<b><a xmlns")
    .replace(b"<b>", b"<c:b>" * 40)
    .replace(b"b</a>", b"b</a>" + b"</c:b>" * 40),
    "oversize": GOOD.encode() + b" " * xml.REQUEST_LIMIT,
    "another root": change("X1Request", "X1Response", 2),
    "a top-level error": codec.encode_top_level_error(HEADER),
    "wrong namespace": change("X1/2017/10", "X1/2017/11"),
    "no namespace": GOOD.replace("x1:", "").encode(),
    "an attribute on the root": change("<x1:X1Request", "<x1:X1Request a='1'"),
    "no message": MESSAGE.sub("", GOOD).encode(),
    "too many messages": codec.encode_requests([e.Request(HEADER, e.Command.PING)] * (codec.MESSAGE_LIMIT + 1)),
    "text between messages": change("</x1:x1RequestMessage>", "</x1:x1RequestMessage>alice"),
    "an element beside messages": change("</x1:x1RequestMessage>", "</x1:x1RequestMessage><x1:xId/>"),
    "header in another order": change(
        "<x1:admfIdentifier>admf</x1:admfIdentifier><x1:neIdentifier>poi1</x1:neIdentifier>",
        "<x1:neIdentifier>poi1</x1:neIdentifier><x1:admfIdentifier>admf</x1:admfIdentifier>",
    ),
    "no transaction id": re.sub("<x1:x1TransactionId>.*?</x1:x1TransactionId>", "", GOOD).encode(),
    "no UUID as transaction id": change("00000000-0000-0000-0000-000000000007", "7"),
    "upper case in the transaction id": change("00000000-0000-0000-0000-000000000007", str(XID).upper()),
    "time without fraction": change("16:00:00.123456Z", "16:00:00Z"),
    "time with milliseconds": change("16:00:00.123456Z", "16:00:00.123Z"),
    "time without zone": change("16:00:00.123456Z", "16:00:00.123456"),
    "time that is none": change("2026-11-22T16", "2026-13-22T16"),
    "time zone that is none": change("123456Z", "123456+15:00"),
    "time before time": change("2026-11-22T16:00:00.123456Z", "0001-01-01T00:00:00.000000+01:00"),
    "time with digits of another script": change("2026", "\N{ARABIC-INDIC DIGIT TWO}026"),
    "version that is none": change("v1.22.1", "1.22.1"),
    "no identifier": change("<x1:admfIdentifier>admf<", "<x1:admfIdentifier> <"),
    "an attribute on a message": change("xsi:type=", "a='1' xsi:type="),
    "an element within the identifier": change(">admf<", "><x1:xId/>admf<"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_refused_as_a_whole(name: str) -> None:
    with pytest.raises(X1Fault) as caught:
        codec.decode_requests(DOCUMENTS[name])
    assert caught.value.code == Code.SYNTAX
    assert not any(secret in str(caught.value) for secret in SECRETS)


S, T, C, N, U = Code.SYNTAX, Code.TARGET_TYPE, Code.COMBINATION, Code.UNSUPPORTED, Code.OBJECT_UNKNOWN
LAST = "</x1:taskDetails>"
SIP = "<x1:sipUri>sip:alice@tv.example</x1:sipUri>"

MESSAGES: dict[str, tuple[bytes, Code]] = {
    "newer version": (change("v1.22.1", "v1.23.1"), Code.VERSION),
    "another major version": (change("v1.22.1", "v2.1.1"), Code.VERSION),
    "unknown type": (change("ActivateTaskRequest", "ActivateEverythingRequest"), N),
    "a response as a request": (change("ActivateTaskRequest", "ActivateTaskResponse"), S),
    "type without prefix": (change("x1:ActivateTaskRequest", "ActivateTaskRequest"), S),
    "type of another namespace": (change("x1:ActivateTaskRequest", "c:ActivateTaskRequest"), S),
    "type of a prefix that nobody declared": (change("x1:ActivateTaskRequest", "y:ActivateTaskRequest"), S),
    "type of the base": (change("x1:ActivateTaskRequest", "x1:X1RequestMessage"), S),
    "no type": (re.sub(" xsi:type=.x1:ActivateTaskRequest.", "", GOOD).encode(), S),
    "no body": (re.sub("<x1:taskDetails>.*</x1:taskDetails>", "", GOOD).encode(), S),
    "a body of another message": (change("ActivateTaskRequest", "DeactivateTaskRequest"), S),
    "something after the body": (change(LAST, LAST + "<x1:xId/>"), S),
    "the body twice": (re.sub("<x1:taskDetails>.*</x1:taskDetails>", lambda m: m[0] * 2, GOOD).encode(), S),
    "delivery before targets": (
        re.sub(
            "(<x1:targetIdentifiers>.*</x1:targetIdentifiers>)(<x1:deliveryType>.*?</x1:deliveryType>)", r"\2\1", GOOD
        ).encode(),
        S,
    ),
    "an element that nobody knows": (change(LAST, f"<x1:endOfWorld>alice</x1:endOfWorld>{LAST}"), S),
    "an element of another namespace": (change(LAST, f"<a xmlns='urn:a'>alice</a>{LAST}"), S),
    "upper case XID": (change(str(XID), str(XID).upper()), S),
    "XID in braces": (change(str(XID), f"{{{XID}}}"), S),
    "XID with an attribute": (change("<x1:xId>", "<x1:xId a='1'>"), S),
    "no target": (re.sub("<x1:targetIdentifier>.*</x1:targetIdentifier>", "", GOOD).encode(), S),
    "an empty target": (change(SIP, ""), S),
    "two in one target": (change(SIP, SIP + SIP), S),
    "a number with plus": (change(">4940100<", ">+4940100<"), S),
    "a number that is too long": (change(">4940100<", ">1234567890123456<"), S),
    "short IPv6": (change(SIP, "<x1:ipv6Address>2001:db8::1</x1:ipv6Address>"), S),
    "IPv4 with a zero in front": (change(SIP, "<x1:ipv4Address>192.0.2.01</x1:ipv4Address>"), S),
    "a target by MAC": (change(SIP, "<x1:macAddress>02:00:00:00:00:01</x1:macAddress>"), T),
    "a target by role": (change(SIP, "<x1:callPartyRole>Originating</x1:callPartyRole>"), T),
    "a target by extension": (change(SIP, "<x1:targetIdentifierExtension/>"), T),
    "a target nobody knows": (change(SIP, "<x1:shoeSize>43</x1:shoeSize>"), S),
    "a target of another namespace": (change(SIP, "<c:sipUri>sip:alice@tv.example</c:sipUri>"), S),
    "delivery type that is none": (change(">X2andX3<", ">X2andx3<"), S),
    "delivery type with spaces": (change(">X2andX3<", "> X2andX3<"), S),
    "a set of destinations": (change(f"<x1:dId>{DID}</x1:dId>", f"<x1:dSId>{DID}</x1:dSId>"), U),
    "negative correlation": (change("<x1:correlationID>7<", "<x1:correlationID>-7<"), S),
    "correlation above 64 bits": (change("<x1:correlationID>7<", f"<x1:correlationID>{2**64}<"), S),
    "a service that is none": (change(">voice<", ">video<"), S),
    "an empty list of services": (change("<x1:serviceType>voice</x1:serviceType>", ""), S),
    "a traffic policy": (change(LAST, f"<x1:listOfTrafficPolicyReferences/>{LAST}"), C),
    "scoping of services": (
        change("</x1:mediationDetails>", "<x1:serviceScopingOptions/></x1:mediationDetails>"),
        C,
    ),
    "LIID in lower case": (change("<x1:LIID>LIID-0001</x1:LIID>", "<x1:liid>LIID-0001</x1:liid>"), S),
    "LIID with a space": (change("LIID-0001", "LIID 0001"), S),
    "LIID that is too long": (change("LIID-0001", "L" * 26), S),
    "an extension without owner": (change("<x1:Owner>Another</x1:Owner>", ""), S),
    "an extension of X1's own namespace": (change('<a xmlns="urn:a">b</a>', "<x1:xId/>"), S),
    "an extension in a relative namespace": (change('<a xmlns="urn:a">', '<a xmlns="a:/../b" xmlns:b="b">'), S),
    "nothing where text belongs": (change("<x1:deliveryType>X2andX3</x1:deliveryType>", "<x1:deliveryType/>"), S),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_refused_alone(name: str) -> None:
    octets, code = MESSAGES[name]
    bad, good = codec.decode_requests(
        octets.replace(b"</x1:X1Request>", MESSAGE.search(GOOD)[0].encode() + b"</x1:X1Request>")  # type: ignore[index]
    )
    assert isinstance(bad, codec.Unreadable)
    assert (bad.fault.code, bad.header.transaction) == (code, HEADER.transaction)
    assert bad.message in e.MESSAGES | {e.EXTENDED}
    assert not any(secret in str(bad.fault) for secret in SECRETS)
    assert good == e.Request(HEADER, e.ActivateTask(TASK))


def test_what_other_programs_write_differently_is_accepted() -> None:
    """Other prefixes, a default namespace, comments, white space, CDATA, an offset, a hint to the schema, a BOM."""
    text = GOOD.replace("<x1:", "<").replace("</x1:", "</").replace("xmlns:x1=", "xmlns=")
    text = text.replace('xsi:type="x1:', 'xsi:type=" ').replace("<xId>", "<!-- task --><xId>\n  ", 1)
    text = text.replace("<X1Request ", '<X1Request xsi:schemaLocation="http://uri.etsi.org/03221/X1/2017/10 a.xsd" ')
    text = text.replace("sip:alice", "<![CDATA[sip:al]]><!-- --><?pi?>ice").replace("2026-11-22T16", "2026-11-22T17", 1)
    text = text.replace("123456Z", "123456+01:00", 1).replace("v1.22.1", "v1.6.1").replace('encoding="UTF-8"', "")
    text = re.sub(r"<\?xml.*?\?>", "", text)
    (request,) = codec.decode_requests(b"\xef\xbb\xbf" + text.encode())
    assert isinstance(request, e.Request)
    assert request.body == e.ActivateTask(TASK)
    assert (request.header.at, request.header.version) == (HEADER.at, "v1.6.1")


def test_two_prefixes_of_one_namespace_are_one_after_reading() -> None:
    twice = '<p:a xmlns:p="urn:a"><q:a xmlns:q="urn:a">b</q:a></p:a>'
    (first,) = codec.decode_requests(change('<a xmlns="urn:a">b</a>', twice))
    assert isinstance(first, e.Request)
    assert codec.decode_requests(codec.encode_requests([first])) == (first,)
    assert isinstance(first.body, e.ActivateTask)
    assert first.body.details.extensions[0].content == (b'<p:a xmlns:p="urn:a"><p:a>b</p:a></p:a>',)


def test_texts_of_values_show_nothing() -> None:
    for value in (TASK, TASK.targets[0], e.ActivateTask(TASK), e.Request(HEADER, e.ActivateTask(TASK))):
        assert not any(secret in repr(value) for secret in SECRETS)


RESPONSES = {
    "a request": GOOD.encode(),
    "no type": b"<X1Response xmlns='http://uri.etsi.org/03221/X1/2017/10'><x1ResponseMessage/></X1Response>",
    "empty": codec.encode_responses([]),
    "OK that is none": codec.encode_responses([e.Response(HEADER, e.Done("Ping"))]).replace(b"AcknowledgedAnd", b"Not"),
    "an error of no message": codec.encode_responses([e.Response(HEADER, e.Refusal("Ping", 1, ""))]).replace(
        b">Ping<", b">Pong<"
    ),
    "an answer of no message": codec.encode_responses([e.Response(HEADER, e.Done("Ping"))]).replace(
        b"PingResponse", b"PongResponse"
    ),
    "an error code that is no number": codec.encode_responses(
        [e.Response(HEADER, e.Refusal("Ping", 1010, ""))]
    ).replace(b"1010", b"10.10"),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_an_answer_that_is_none_is_not_read(name: str) -> None:
    with pytest.raises(X1Fault):
        codec.decode_responses(RESPONSES[name])
