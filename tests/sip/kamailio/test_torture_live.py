"""The classes of messages of RFC 4475 ("SIP torture test messages"), each of our own making, against a live proxy.

What is asked of it: what is valid is understood, what is not is refused or passed over, nothing wrong reaches a
subscriber, and whoever calls next is served.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

import pytest

from tests.sip.kamailio.daemon import DOMAIN, PASSWORD, Proxy, Relay, running, section
from tests.sip.kamailio.phones import Endpoint

pytestmark = [pytest.mark.daemon, pytest.mark.timeout(300)]

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
SILENCE: Final = 0
CHALLENGED: Final = frozenset({401, 407})
REFUSED: Final = frozenset(range(400, 500)) | {SILENCE, 501, 505, 513}
_numbers = count(1)


@dataclass(frozen=True)
class Case:
    """`text` with {id}, {branch} for what is new in each run; `codes`: one of these is the final answer."""

    name: str
    clause: str
    text: str
    codes: frozenset[int]
    tail: bytes = b""


def request(
    start: str,
    *,
    cseq: str = "",
    via: str = "SIP/2.0/UDP 127.0.0.1:6009;rport;branch=z9hG4bK{branch}",
    to: str = f"<sip:{BOB}>",
    sender: str = f"<sip:{ALICE}>;tag={{id}}",
    forwards: str = "70",
    extra: str = "",
    length: str = "0",
    body: str = "",
) -> str:
    """A request as it should be, but for what is given."""
    method = start.partition(" ")[0]
    head = [
        start,
        f"Via: {via}",
        f"Max-Forwards: {forwards}",
        f"From: {sender}",
        f"To: {to}",
        "Call-ID: {id}@torture",
        f"CSeq: {cseq or f'1 {method}'}",
        "Contact: <sip:alice@127.0.0.1:6009>",
        *([extra] if extra else []),
        f"Content-Length: {length}",
    ]
    return "\r\n".join(head) + "\r\n\r\n" + body


INVITE, REGISTER = f"INVITE sip:{BOB} SIP/2.0", f"REGISTER sip:{DOMAIN} SIP/2.0"
OPTIONS: Final = f"OPTIONS sip:{DOMAIN} SIP/2.0"

VALID = [
    # Kamailio 5.6 passes over a CSeq that goes on in another line; all else may be folded.
    Case(
        "tortuous",
        "3.1.1.1",
        f"INVITE sip:{BOB};unknownparam SIP/2.0\r\n"
        f"TO :\r\n sip:{BOB} ;   x-param    = 1  \r\n"
        f'from   : "J Rosenberg \\\\\\""       <sip:{ALICE}>\r\n  ;\r\n  tag = {{id}}\r\n'
        "MaX-fOrWaRdS: 0068\r\n"
        "Call-ID: {id}@torture\r\n"
        "cseq: 0009    INVITE\r\n"
        "Via  : SIP  /   2.0\r\n /UDP\r\n    127.0.0.1:6009;rport;branch=z9hG4bK{branch}\r\n"
        "s :\r\n"
        "NewFangledHeader:   newfangled value\r\n continued newfangled value\r\n"
        "UnknownHeaderWithUnusualValue: ;;,,;;,;\r\n"
        "Route:\r\n <sip:127.0.0.1;lr;unknownwith=value;unknown-no-value>\r\n"
        'm:"Quoted string \\"\\"" <sip:alice@127.0.0.1:6009> ; newparam =\r\n      newvalue ; q = 0.33\r\n'
        "Content-Length: 0\r\n\r\n",
        CHALLENGED,
    ),
    Case(
        "characters of a method",
        "3.1.1.2",
        request(f"!interesting-Method0123456789_*+`.%indeed'~ sip:{DOMAIN} SIP/2.0"),
        frozenset({405, 501}),
    ),
    Case(
        "escapes in addresses",
        "3.1.1.3",
        request(f"INVITE sip:sips%3Auser%40example.com@{DOMAIN} SIP/2.0", to=f"sip:%75se%72@{DOMAIN}"),
        CHALLENGED | {404},
    ),
    Case(
        "escaped nulls",
        "3.1.1.4",
        request(REGISTER, to=f"sip:null-%00-null@{DOMAIN}", sender=f"sip:null-%00-null@{DOMAIN};tag={{id}}"),
        CHALLENGED | {400},
    ),
    Case(
        "an escape in a method is none", "3.1.1.5", request(f"RE%47IST%45R sip:{DOMAIN} SIP/2.0"), frozenset({405, 501})
    ),
    Case(
        "no space before an angle bracket",
        "3.1.1.6",
        request(f"OPTIONS sip:{DOMAIN} SIP/2.0", sender=f"caller<sip:{ALICE}>;tag={{id}}"),
        frozenset({200}),
    ),
    Case(
        "long values",
        "3.1.1.7",
        request(
            OPTIONS,
            to=f'"{"I have a user name of extreme proportion " * 8}"<sip:{BOB}>',
            extra=f"Unknown-{'Long' * 25}-Name: {'long-value' * 40}",
        ),
        frozenset({200}),
    ),
    # RFC 3261 section 18.3 has what follows discarded; to refuse what two readers may read differently is as safe.
    Case("octets after the end", "3.1.1.8", request(OPTIONS), frozenset({200, 400}), b"INVITE sip:other@x SIP/2.0\r\n"),
    Case(
        "semicolons in a user",
        "3.1.1.9",
        request(f"OPTIONS sip:user;par=u%40example.net@{DOMAIN} SIP/2.0"),
        frozenset({200, 404}),
    ),
    Case(
        "transports",
        "3.1.1.10",
        request(
            OPTIONS,
            via="SIP/2.0/UDP 127.0.0.1:6009;rport;branch=z9hG4bK{branch}\r\n"
            "Via: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKkl\r\nVia: SIP/2.0/UNKNOWN t5.example.com;branch=z9hG4bKpo",
        ),
        frozenset({200}),
    ),
]

INVALID = [
    Case("separators too many", "3.1.2.1", request(INVITE, extra="Contact: ;;,,;;,;"), REFUSED),
    Case("a length above the body", "3.1.2.2", request(INVITE, length="9999", body="v=0\r\n"), REFUSED),
    Case("a negative length", "3.1.2.3", request(INVITE, length="-999", body="v=0\r\n"), REFUSED),
    Case(
        "numbers too large",
        "3.1.2.4",
        request(REGISTER, cseq="36893488147419103232 REGISTER", forwards="300", extra="Expires: 1" + "0" * 100),
        REFUSED,
    ),
    Case("an open quotation", "3.1.2.6", request(INVITE, to=f'"Mr. J. User <sip:{BOB}>'), REFUSED),
    Case("brackets around the address", "3.1.2.7", request(f"INVITE <sip:{BOB}> SIP/2.0"), REFUSED),
    Case("spaces in the address", "3.1.2.8", request(f"INVITE sip:{BOB}; lr SIP/2.0"), REFUSED),
    Case("spaces in the first line", "3.1.2.9", request(f"INVITE  sip:{BOB}  SIP/2.0", cseq="1 INVITE"), REFUSED),
    Case("a space at its end", "3.1.2.10", request(f"INVITE sip:{BOB} SIP/2.0 "), REFUSED),
    Case("headers in the address", "3.1.2.11", request(f"INVITE sip:{BOB}?Route=%3Csip:x%3E SIP/2.0"), REFUSED),
    Case("a date in another zone", "3.1.2.12", request(INVITE, extra="Date: Fri, 01 Jan 2010 16:00:00 EST"), REFUSED),
    Case("a contact without brackets", "3.1.2.13", request(REGISTER, extra=f"Contact: sip:{ALICE}?Route=x"), REFUSED),
    Case("spaces in an address", "3.1.2.14", request(INVITE, to=f'"Watson" < sip:{BOB} >'), REFUSED),
    Case("a name that is no token", "3.1.2.15", request(INVITE, to=f"Bell, Alexander <sip:{BOB}>"), REFUSED),
    Case("another version", "3.1.2.16", request(f"INVITE sip:{BOB} SIP/7.0"), REFUSED),
    Case("two methods", "3.1.2.17", request(OPTIONS, cseq="8 INVITE"), REFUSED),
    Case("two unknown methods", "3.1.2.18", request(f"NEWMETHOD sip:{DOMAIN} SIP/2.0", cseq="8 INVITE"), REFUSED),
    Case(
        "what is needed is missing",
        "3.3.1",
        f"INVITE sip:{BOB} SIP/2.0\r\nCSeq: 1 INVITE\r\n"
        "Via: SIP/2.0/UDP 127.0.0.1:6009;rport;branch=z9hG4bK{branch}\r\nContent-Length: 0\r\n\r\n",
        REFUSED,
    ),
    Case("an unknown scheme", "3.3.2", request("OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0"), REFUSED),
    Case("a known scheme that is not SIP's", "3.3.3", request("OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0"), REFUSED),
    Case(
        "unknown schemes in headers",
        "3.3.4",
        request(REGISTER, to="isbn:2983792873", sender="<http://x>;tag={id}"),
        REFUSED,
    ),
    Case("an unknown extension", "3.3.5", request(INVITE, extra="Proxy-Require: nothingSupportsThis"), REFUSED),
    Case(
        "an unknown way to authenticate",
        "3.3.7",
        request(REGISTER, extra="Authorization: NoOneKnowsThisScheme opaque-data=here"),
        REFUSED,
    ),
    Case(
        "headers twice",
        "3.3.8",
        request(INVITE, extra="Call-ID: other@torture\r\nCSeq: 59 INVITE\r\nFrom: <sip:x@y>;tag=1"),
        REFUSED,
    ),
    Case("lengths twice", "3.3.9", request(INVITE, extra="Content-Length: 5"), REFUSED),
    Case("no hop left", "3.3.11", request(INVITE, forwards="0"), frozenset({483})),
    Case(
        "a contact's parameters unknown",
        "3.3.12",
        request(REGISTER, extra="Contact: <sip:+19725552222@127.0.0.1;unknownparam>"),
        REFUSED,
    ),
    Case(
        "an empty branch",
        "3.2.1",
        request(OPTIONS, via="SIP/2.0/UDP 127.0.0.1:6009;rport;branch=z9hG4bK"),
        REFUSED | {200},
    ),
    Case(
        "of RFC 2543",
        "3.4.1",
        f"INVITE sip:{BOB} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:6009\r\nFrom: <sip:{ALICE}>\r\nTo: <sip:{BOB}>\r\n"
        "Call-ID: {id}@torture\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@127.0.0.1:6009>\r\n\r\n",
        REFUSED,
    ),
]
RESPONSES = [
    Case("an unusual reason", "3.1.1.12", "SIP/2.0 200 = 2**3 * 5**2 \u043d\u043e", frozenset()),
    Case("no reason", "3.1.1.13", "SIP/2.0 100 ", frozenset()),
    Case(
        "numbers too large",
        "3.1.2.5",
        "SIP/2.0 503 Unavailable\r\nRetry-After: 949302838503028349304023988",
        frozenset(),
    ),
    Case("a code too large", "3.1.2.19", "SIP/2.0 4294967301 better not break the receiver", frozenset()),
    Case("to a broadcast address", "3.3.10", "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.255.255.255", frozenset()),
]
_REST: Final = "\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:y@x>;tag=2\r\nCall-ID: {id}@torture\r\nCSeq: 1 INVITE\r\n\r\n"


@pytest.fixture(scope="module")
def proxy(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running(tmp_path_factory.mktemp("proxy"), section()) as found:
        yield found


@pytest.fixture(scope="module")
def phones(proxy: Proxy) -> Iterator[tuple[Endpoint, Endpoint]]:
    with Endpoint("127.0.0.1", 6009) as sender, Endpoint("127.0.0.1", 6002) as bob:
        assert bob.register("bob", DOMAIN, PASSWORD).code == 200
        yield sender, bob


@pytest.fixture
def sender(phones: tuple[Endpoint, Endpoint]) -> Endpoint:
    phones[0].heard.clear()
    return phones[0]


@pytest.fixture
def bob(phones: tuple[Endpoint, Endpoint]) -> Endpoint:
    phones[1].heard.clear()
    return phones[1]


def sent(sender: Endpoint, case: Case, text: str) -> str:
    """Sends it; returns what is new in it."""
    new = f"t{next(_numbers)}"
    sender.send(text.replace("{id}", new).replace("{branch}", new).encode() + case.tail)
    return new


def answered(proxy: Proxy, sender: Endpoint) -> None:
    """What the proxy had before has been read: it takes a socket's datagrams in turn, in several processes."""
    for _ in range(8):
        new = f"after{next(_numbers)}"
        sender.send(request(OPTIONS).replace("{id}", new).replace("{branch}", new))
        sender.wait(lambda one, new=new: one.code == 200 and new in one.call_id)


@pytest.mark.parametrize("case", VALID + INVALID, ids=lambda case: f"{case.clause} {case.name}")
def test_each_is_answered_as_it_has_to_be(proxy: Proxy, sender: Endpoint, bob: Endpoint, case: Case) -> None:
    pid = proxy.pid
    new = sent(sender, case, case.text)
    if SILENCE in case.codes:
        answered(proxy, sender)
    else:
        sender.wait(lambda one: one.code >= 200 and new in one.text)
    finals = {one.code for one in sender.heard if one.code >= 200 and new in one.text}
    assert len(finals) <= 1
    assert (finals or {SILENCE}) <= case.codes
    assert bob.heard == []
    assert proxy.calls() == 0
    assert proxy.pid == pid
    assert proxy.rpc("core.uptime")


def test_responses_of_no_call_break_nothing(proxy: Proxy, sender: Endpoint, bob: Endpoint) -> None:
    for case in RESPONSES:
        first, _, more = case.text.partition("\r\n")
        via = (
            "Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK{branch}\r\nVia: SIP/2.0/UDP 127.0.0.1:6002;branch=z9hG4bKx"
        )
        sent(sender, case, "\r\n".join(part for part in (first, via, more) if part) + _REST)
    answered(proxy, sender)
    assert proxy.calls() == 0
    assert all(one.method != "INVITE" for one in bob.heard)


def test_who_calls_after_all_of_them_is_served_and_the_log_is_short(
    proxy: Proxy, relay: Relay, sender: Endpoint, bob: Endpoint
) -> None:
    before = len(proxy.text())
    for _ in range(20):
        for case in VALID + INVALID:
            sent(sender, case, case.text)
        answered(proxy, sender)
    call = sender.invite(ALICE, f"sip:{BOB}", PASSWORD)
    assert call.code == 200
    assert call.bye().code == 200
    proxy.idle()
    assert len(proxy.text()) - before < 20_000
