"""Filters, GTP-U, reassembly: bytes as others send them (scapy is the judge), and bytes that nobody would send."""

from __future__ import annotations

import contextlib
import struct
from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.gtp import GTP_U_Header, GTPPDUSessionContainer
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from core5g.observation.filters import EVERYTHING, MOST_INSTRUCTIONS, NOTHING, Instruction, assembled, by_teid, by_ue
from core5g.observation.packets import Reassembly, ends, gtpu
from core5g.observation.sessions import ue_addresses
from core5g.pfcp.gtpu import GtpuError
from tests.core5g.observation import world

INNER = bytes(IP(src="10.45.0.2", dst="192.0.2.9") / UDP(sport=1, dport=2) / Raw(b"hello"))


def passes(program: tuple[Instruction, ...], packet: bytes) -> bool:
    """A machine for the instructions that the filters use (the kernel's own runs them in test_live.py)."""
    a = x = at = 0
    sizes = {0x20: ("!I", 0), 0x28: ("!H", 0), 0x30: ("!B", 0), 0x40: ("!I", 1), 0x48: ("!H", 1), 0x50: ("!B", 1)}
    while True:
        code, jt, jf, k = program[at]
        at += 1
        try:
            if code in sizes:
                form, relative = sizes[code]
                (a,) = struct.unpack_from(form, packet, k + x * relative)
            elif code == 0xB1:
                x = (packet[k] & 0xF) * 4
            elif code == 0x54:
                a &= k
            elif code == 0x15:
                at += jt if a == k else jf
            elif code == 0x45:
                at += jt if a & k else jf
            elif code == 0x05:
                at += k
            else:
                return bool(k)
        except (struct.error, IndexError):
            return False  # the kernel ends a program that reads beyond the packet


ADDRESSES = st.one_of(
    st.integers(0, 5).map(lambda n: f"10.45.0.{n}"), st.integers(0, 5).map(lambda n: f"2001:db8:cafe:{n}::{n}")
)


@given(st.sets(ADDRESSES, max_size=6), ADDRESSES, ADDRESSES)
def test_the_filter_passes_what_is_from_or_to_a_target(targets: set[str], source: str, destination: str) -> None:
    if ip_address(source).version != ip_address(destination).version:
        return
    wanted = set(ue_addresses(targets))
    packet = world.udp(source, destination, b"x")
    assert passes(by_ue(wanted), packet) is bool(wanted & {*ue_addresses([source, destination])})


@given(st.sets(st.integers(1, 40), max_size=6), st.integers(1, 40), st.booleans())
def test_the_filter_passes_a_targets_teid(targets: set[int], teid: int, extended: bool) -> None:
    outer = world.udp("10.0.0.1", "10.0.0.2", world.gtpu(teid, INNER, qfi=1 if extended else None), 2152)
    assert passes(by_teid(targets), outer) is (teid in targets)
    other_port = world.udp("10.0.0.1", "10.0.0.2", world.gtpu(teid, INNER), 2153)
    assert not passes(by_teid(targets), other_port)
    assert all(passes(by_teid(targets), part) is bool(targets) for part in world.fragments(outer, 16))


@given(st.binary(max_size=60))
def test_whatever_comes_is_passed_or_not(packet: bytes) -> None:
    passes(by_ue(ue_addresses(["10.45.0.2", "2001:db8::1"])), packet)
    passes(by_teid([1, 2]), packet)
    ends(packet)
    with contextlib.suppress(GtpuError):
        gtpu(packet)


def test_programs_are_never_longer_than_the_kernel_takes() -> None:
    assert by_ue([]) == by_teid([]) == NOTHING
    many = [IPv4Address(number) for number in range(1, 1000)]
    assert len(by_ue(many)) <= MOST_INSTRUCTIONS
    assert by_ue([IPv4Address(number) for number in range(1, 3000)]) == EVERYTHING
    assert by_teid(range(1, 5000)) == EVERYTHING
    assert len(assembled(NOTHING)) == 8


@pytest.mark.parametrize(
    "tunnel",
    [
        GTP_U_Header(teid=7, gtp_type=255) / Raw(INNER),
        GTP_U_Header(teid=7, gtp_type=255, S=1, seq=9) / Raw(INNER),
        GTP_U_Header(teid=7, gtp_type=255, E=1, next_ex=0x85) / GTPPDUSessionContainer(type=1, QFI=5) / Raw(INNER),
    ],
)
def test_gtpu_as_scapy_makes_it(tunnel: object) -> None:
    packet = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=2152, dport=2152) / tunnel)
    found = gtpu(packet)
    assert found is not None
    assert (str(found.destination), found.teid, found.packet) == ("10.0.0.2", 7, INNER)


@pytest.mark.parametrize(
    "octets",
    [
        world.gtpu(7, INNER)[:-1],  # ends before it should
        b"\x20" + world.gtpu(7, INNER)[1:],  # GTP'
        struct.pack("!BBHI", 0x34, 255, 8, 7) + bytes((0, 0, 0, 0x85, 0, 0, 0, 0)),  # an extension without length
        struct.pack("!BBHI", 0x34, 255, 4, 7) + bytes((0, 0, 0, 0x85)),
    ],
)
def test_what_is_malformed_is_said_to_be(octets: bytes) -> None:
    with pytest.raises(GtpuError):
        gtpu(world.udp("10.0.0.1", "10.0.0.2", octets, 2152))


def test_what_is_no_g_pdu_is_none() -> None:
    error_indication = b"\x30\x1a" + world.gtpu(7, INNER)[2:]
    assert gtpu(world.udp("10.0.0.1", "10.0.0.2", error_indication, 2152)) is None
    assert gtpu(world.udp("10.0.0.1", "10.0.0.2", world.gtpu(7, INNER), 2153)) is None


@given(st.integers(8, 400), st.randoms(use_true_random=False), st.binary(min_size=1, max_size=1500))
def test_fragments_in_any_order_make_the_packet(size: int, random: object, payload: bytes) -> None:
    packet = IP(src="10.0.0.1", dst="10.0.0.2", id=9) / UDP(sport=9, dport=9999) / Raw(payload)
    parts = [bytes(part) for part in fragment(packet, fragsize=size // 8 * 8)]
    random.shuffle(parts)  # type: ignore[attr-defined]
    reassembly = Reassembly()
    found = [whole for part in (*parts[:1], *parts) if (whole := reassembly.packet(part, 0.0)) is not None]
    assert [IP(one)[UDP].payload.load for one in found if IP(one).haslayer(Raw)][:1] == [payload]


def test_fragments_that_never_become_whole_go_and_are_counted() -> None:
    reassembly = Reassembly()
    for number in range(300):
        part = world.fragments(world.udp("10.0.0.1", "10.0.0.2", bytes(64), identifier=number), 32)[0]
        assert reassembly.packet(part, 0.0) is None
    assert reassembly.given_up > 0
    before = reassembly.given_up
    assert reassembly.packet(world.fragments(world.udp("10.0.0.1", "10.0.0.3", bytes(64)), 32)[0], 99.0) is None
    assert reassembly.given_up - before > 200


def test_ends_of_ipv6_are_prefixes() -> None:
    packet = bytes(IPv6(src="2001:db8:cafe:1::77", dst="2001:db8:1::9") / UDP() / Raw(b"x"))
    assert ends(packet) == ue_addresses(["2001:db8:cafe:1::/64", "2001:db8:1::/64"])
    assert ends(b"\x00" * 40) is None
