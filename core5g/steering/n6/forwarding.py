"""What a forwarder of DNS looks at in queries and answers (RFC 1035). Pure; dnspython parses."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from ipaddress import ip_address

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.svcbbase import ParamKey, SVCBBase

from core5g.steering.n6.documents import IpAddress

_HEAD = struct.Struct("!6H")
_QR = 0x8000
_OPCODE_AND_RD = 0x7900
_REFUSED_TYPES = frozenset({dns.rdatatype.AXFR, dns.rdatatype.IXFR, dns.rdatatype.ANY})
MOST_LIFE_S = 86_400
_HINTS = (ParamKey.IPV4HINT, ParamKey.IPV6HINT)


class QueryError(Exception):
    """No query that is forwarded. `answer`: what is said to it; None: nothing, since it is no query at all."""

    def __init__(self, reason: str, answer: bytes | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answer = answer


def read_query(data: bytes) -> dns.message.Message:
    """Raises QueryError, never anything else."""
    if len(data) < _HEAD.size or _HEAD.unpack_from(data)[1] & _QR:
        raise QueryError("no-query", None)
    try:
        query = dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError, IndexError, struct.error, AssertionError) as error:
        raise QueryError("malformed", failure(data, dns.rcode.FORMERR)) from error
    if query.opcode() != dns.opcode.QUERY:
        raise QueryError("opcode", failure(data, dns.rcode.NOTIMP))
    if len(query.question) != 1 or query.question[0].rdclass != dns.rdataclass.IN:
        raise QueryError("question", failure(data, dns.rcode.FORMERR))
    if query.question[0].rdtype in _REFUSED_TYPES:
        raise QueryError("type", failure(data, dns.rcode.REFUSED))
    return query


def failure(query: bytes, code: dns.rcode.Rcode) -> bytes:
    """A head alone, with this code: what the rest of the query is, nobody has to know."""
    identity, flags, *_ = _HEAD.unpack_from(query)
    return _HEAD.pack(identity, _QR | flags & _OPCODE_AND_RD | code, 0, 0, 0, 0)


def with_identity(data: bytes, identity: int) -> bytes:
    return identity.to_bytes(2, "big") + data[2:]


def read_answer(data: bytes, query: dns.message.Message, identity: int) -> dns.message.Message | None:
    """None when it is no answer to this query that was sent with `identity`; what is too long is an answer as well."""
    try:
        answer = dns.message.from_wire(data, ignore_trailing=True, raise_on_truncation=False)
    except (dns.exception.DNSException, ValueError, IndexError, struct.error, AssertionError):
        return None
    is_answer = answer.flags & dns.flags.QR and answer.id == identity
    return answer if is_answer and answer.question == query.question else None


def addresses_of(answer: dns.message.Message, names: Collection[str]) -> dict[IpAddress, int]:
    """Address -> for how many seconds it may be used, of an answer for one of `names`; aliases on the way count."""
    question = answer.question[0]
    if question.name.canonicalize().to_text(omit_final_dot=True) not in names:
        return {}
    found: dict[IpAddress, int] = {}
    for rrset in answer.answer:
        for record in rrset:
            for text in _addresses(record):
                address = ip_address(text)
                if not (address.is_loopback or address.is_multicast or address.is_unspecified or address.is_link_local):
                    found[address] = max(found.get(address, 0), min(int(rrset.ttl), MOST_LIFE_S))
    return found


def _addresses(record: object) -> Iterator[str]:
    """Of a record as it is typed: one of another class, or whose octets are none of its type, has no address."""
    if isinstance(record, A | AAAA):
        yield str(record.address)
    elif isinstance(record, SVCBBase):  # RFC 9460 section 7.3: players connect to hints
        for key in _HINTS:
            yield from map(str, getattr(record.params.get(key), "addresses", ()))


def capped(answer: dns.message.Message, data: bytes) -> bytes:
    """The answer as it came; anew when something in it would be kept longer than it is steered."""
    rrsets = [rrset for section in (answer.answer, answer.authority) for rrset in section]
    if all(rrset.ttl <= MOST_LIFE_S for rrset in rrsets):
        return data
    for rrset in rrsets:
        rrset.ttl = min(rrset.ttl, MOST_LIFE_S)
    return answer.to_wire()
