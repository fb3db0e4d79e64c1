"""A subscriber as people write it: without keys, which are a matter of their own (`keys`)."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_network
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from core5g.documents import DnnName
from nf.documents.model import Address, DocumentModel, Form, RuleError, Whole
from nf.documents.quantities import BitRate

MAX_SLICES, MAX_SESSIONS_PER_SLICE, MAX_MSISDN = 8, 4, 2
"""Of Open5GS. It aborts when it reads more: the UDR, for everybody."""

_NON_GBR = frozenset({5, 6, 7, 8, 9, 10, 69, 70, 79, 80})
_GBR = frozenset({1, 2, 3, 4, 65, 66, 67, 71, 72, 73, 74, 75, 76, *range(82, 91)})
_OPERATORS_OWN = frozenset(range(128, 255))
_LARGEST_VALUE = 2**31 - 1

Imsi = Annotated[
    str,
    Form(
        r"[0-9]{14,15}",
        "an IMSI has 15 digits, seldom 14 (ITU-T E.212)",
        "write all digits, leading zeros too; a spreadsheet keeps them where the column is text",
    ),
]
Msisdn = Annotated[
    str,
    Form(
        r"[0-9]{3,15}",
        "an MSISDN is 3 to 15 digits (E.164)",
        "write it without +, spaces and leading zeros, such as 4915110000001",
    ),
]
Imeisv = Annotated[str, Form(r"[0-9]{16}", "an IMEISV has 16 digits (TS 23.003)", "write digits only")]
SliceText = Annotated[
    str,
    Form(
        r"([1-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])(-[0-9a-f]{6})?",
        "a slice is its SST (1 to 255), and a hyphen and six hexadecimal digits where it has an SD (TS 23.003)",
        "write it as 1 or 1-00002a",
    ),
]


def _storable(bps: int) -> int:
    """Open5GS keeps a 32-bit number and a power of 1,000."""
    if rate_parts(bps) is None:
        raise RuleError("Open5GS cannot keep this bit rate exactly", "round it to whole kbit/s")
    return bps


def rate_parts(bps: int) -> tuple[int, int] | None:
    """Value and unit (0 bit/s, 1 kbit/s, 2 Mbit/s, 3 Gbit/s, 4 Tbit/s), the largest that is exact."""
    for unit in range(4, -1, -1):
        if bps % 1000**unit == 0 and 0 < bps // 1000**unit <= _LARGEST_VALUE:
            return bps // 1000**unit, unit
    return None


Rate = Annotated[BitRate, AfterValidator(_storable)]


def _ipv6(value: object) -> object:
    if isinstance(value, IPv6Address):
        return value
    try:
        if isinstance(value, str) and "%" not in value:
            return IPv6Address(value)
    except ValueError:
        pass
    raise RuleError("must be an IPv6 address", "write it as 2001:db8:45::7")


Address6 = Annotated[IPv6Address, BeforeValidator(_ipv6), PlainSerializer(str, when_used="json")]


def _default_flow(index: int) -> int:
    if index not in _NON_GBR | _OPERATORS_OWN:
        raise RuleError("a session's own 5QI is a non-GBR one (TS 23.501 clause 5.7.2.7)", "write 9, or 5 for IMS")
    return index


def _known_5qi(index: int) -> int:
    if index not in _NON_GBR | _GBR | _OPERATORS_OWN:
        raise RuleError("no such 5QI (TS 23.501 table 5.7.4-1)", "take a standard one, or 128 to 254 of your own")
    return index


class Priority(DocumentModel):
    """ARP, TS 23.501 clause 5.7.2.2."""

    arp: Annotated[Whole, Field(ge=1, le=15)] = 8
    preempt: bool = False
    preemptable: bool = False


_END = r"([!-~]+)(?: [0-9][0-9,-]*)?"
_FLOW = re.compile(rf"permit out (?:ip|[0-9]{{1,3}}) from {_END} to {_END}")


def _filter_rule(text: str) -> str:
    match = _FLOW.fullmatch(text)
    if match is None:
        raise RuleError(
            "a flow is written downlink-wise: permit out PROTOCOL from SOURCE to DESTINATION",
            "write it as permit out ip from 203.0.113.0/24 to assigned",
        )
    for address in match.groups():
        if address not in ("any", "assigned"):
            try:
                ip_network(address)
            except ValueError:
                raise RuleError(
                    "an end of a flow is any, assigned, or an address or prefix", "write it as 203.0.113.0/24"
                ) from None
    return text


class Flow(DocumentModel):
    """An IP filter rule (RFC 6733 clause 4.3) as Open5GS takes it: what is wrong in it would match everything."""

    direction: Literal["downlink", "uplink"]
    description: Annotated[str, AfterValidator(_filter_rule)]


class BitRates(DocumentModel):
    downlink_bps: Rate = Field(alias="downlink")
    uplink_bps: Rate = Field(alias="uplink")


class PccRule(Priority):
    """A QoS flow of its own for some traffic. `guaranteed` for a GBR 5QI only."""

    qos_index: Annotated[Whole, AfterValidator(_known_5qi)] = Field(alias="5qi")
    flows: Annotated[tuple[Flow, ...], Field(min_length=1, max_length=8)]
    maximum: BitRates | None = None
    guaranteed: BitRates | None = None

    @model_validator(mode="after")
    def _guaranteed_where_it_can_be(self) -> Self:
        if self.qos_index in _GBR and (self.guaranteed is None or self.maximum is None):
            raise RuleError("this 5QI guarantees a bit rate, and none is here", "add guaranteed and maximum")
        if self.qos_index in _NON_GBR and self.guaranteed is not None:
            raise RuleError("this 5QI guarantees no bit rate", "remove guaranteed, or take a GBR 5QI")
        return self


class SubscribedSession(Priority):
    """What a subscriber may have of one DNN in one slice."""

    dnn: DnnName
    slice: SliceText
    type: Literal["ipv4", "ipv6", "ipv4v6"]
    qos_index: Annotated[Whole, AfterValidator(_default_flow)] = Field(9, alias="5qi")
    downlink_bps: Rate = Field(10**9, alias="downlink")
    uplink_bps: Rate = Field(10**9, alias="uplink")
    ipv4: Address | None = None
    ipv6: Address6 | None = None
    pcc_rules: Annotated[tuple[PccRule, ...], Field(max_length=8)] = ()

    @model_validator(mode="after")
    def _addresses_of_its_type(self) -> Self:
        if self.ipv4 is not None and self.type == "ipv6":
            raise RuleError("an IPv6 session has no IPv4 address", "remove ipv4, or write type ipv4v6")
        if self.ipv6 is not None and self.type == "ipv4":
            raise RuleError("an IPv4 session has no IPv6 address", "remove ipv6, or write type ipv4v6")
        return self


class Subscriber(DocumentModel):
    """`sqn` is for new subscribers only: where a SIM comes from another core, its sequence number comes with it."""

    imsi: Imsi
    msisdn: Annotated[tuple[Msisdn, ...], Field(max_length=MAX_MSISDN)] = ()
    imeisv: tuple[Imeisv, ...] = ()
    status: Literal["granted", "barred"] = "granted"
    barring: Annotated[Whole, Field(ge=0, le=8)] = 0
    access_restriction: Annotated[Whole, Field(ge=0, le=0x7FFFFFFF)] = 32
    access_mode: Literal["packet-and-circuit", "packet"] = "packet-and-circuit"
    timer_min: Annotated[Whole, Field(ge=1, le=186 * 60)] = 12
    downlink_bps: Rate = Field(10**9, alias="ue_downlink")
    uplink_bps: Rate = Field(10**9, alias="ue_uplink")
    default_slices: tuple[SliceText, ...] = ()
    sessions: Annotated[tuple[SubscribedSession, ...], Field(min_length=1)]
    sqn: Annotated[Whole, Field(ge=0, lt=2**48)] | None = None

    @model_validator(mode="after")
    def _fits_open5gs(self) -> Self:
        by_slice: dict[str, list[str]] = {}
        for session in self.sessions:
            by_slice.setdefault(session.slice, []).append(session.dnn)
        if len(by_slice) > MAX_SLICES:
            raise RuleError(f"Open5GS takes {MAX_SLICES} slices for a subscriber", "leave some out")
        for name, dnns in by_slice.items():
            if len(dnns) > MAX_SESSIONS_PER_SLICE:
                raise RuleError(
                    f"Open5GS takes {MAX_SESSIONS_PER_SLICE} DNNs in a slice; {name} has more", "remove some"
                )
            if len(set(dnns)) != len(dnns):
                raise RuleError(f"a DNN stands twice in slice {name}", "remove one of them")
        if strangers := set(self.default_slices) - set(by_slice):
            raise RuleError(f"no session is in the default slice {min(strangers)}", "add a session, or remove it there")
        return self

    def slices(self) -> tuple[str, ...]:
        """In the order of the sessions."""
        return tuple(dict.fromkeys(session.slice for session in self.sessions))
