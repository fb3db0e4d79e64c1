"""Datagrams of any kind: heads are parsed or refused, and the receiver counts each of them once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headend.snmp import header
from headend.snmp.ber import BerError
from headend.snmp.notification import Reason
from headend.snmp.target import Community
from headend.snmp.traps import OwnEngine, TrapReceiver
from nf.clock import RealClock
from tests.headend.snmp.messages import TRAP_OID, trap_v2c, trap_v3
from tests.support.snmp import usm

OWN = OwnEngine(bytes.fromhex("80000000aa01"), 1)
SENDER = bytes.fromhex("80000000bb02")
SOUND = [
    trap_v2c("public", TRAP_OID),
    trap_v3(SENDER, usm(), boots=1, time_s=100),
    trap_v3(SENDER, usm(), boots=1, time_s=100, encrypt=False),
    header.discovery_request(1),
]


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A sound message with some octets changed, cut out, put in, or the end cut off."""
    octets = bytearray(draw(st.sampled_from(SOUND)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(octets) - 1))
        kind = draw(st.sampled_from(["change", "cut", "add", "end"]))
        if kind == "change":
            octets[at] = draw(st.integers(0, 255))
        elif kind == "cut" and len(octets) > 1:
            del octets[at]
        elif kind == "add":
            octets.insert(at, draw(st.integers(0, 255)))
        else:
            del octets[at + 1 :]
    return bytes(octets)


@given(st.one_of(st.binary(max_size=300), spoilt()))
def test_heads(datagram: bytes) -> None:
    try:
        head = header.parse(datagram)
    except BerError:
        return
    assert isinstance(head, header.Head)


@cache
def receiver() -> TrapReceiver:
    """One for all: its engine takes a while to make."""
    made = TrapReceiver("127.0.0.1", 0, RealClock(), own=OWN, communities=[Community("public")])
    made.enrol(SENDER, usm())
    return made


async def _receive(datagrams: Sequence[bytes]) -> tuple[int, int]:
    before = receiver().dropped.total()
    for datagram in datagrams:
        receiver()._arrive(datagram, ("127.0.0.1", 1))
    delivered = [notification async for notification in receiver()]
    assert Reason.QUEUE_FULL not in receiver().dropped
    return len(delivered), receiver().dropped.total() - before


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(st.binary(max_size=300), spoilt()), max_size=40))
def test_every_datagram_is_delivered_or_counted(datagrams: list[bytes]) -> None:
    delivered, dropped = asyncio.run(_receive(datagrams))
    assert delivered + dropped == len(datagrams)


def test_the_sound_ones_are_sound() -> None:
    assert asyncio.run(_receive(SOUND)) == (2, 2)
