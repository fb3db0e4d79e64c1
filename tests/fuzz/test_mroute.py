"""What no kernel ever wrote must not stop the decoder of multicast routes; what one did write stands."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.tree.mroute import Message, MulticastRoute, RouteChange, decode, dump_request, encode_route

counts = st.integers(0, 2**64 - 1)
addresses = st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number)))
routes = st.builds(
    MulticastRoute,
    source=addresses,
    group=addresses,
    packets=counts,
    octets=counts,
    wrong_if=counts,
    outputs=st.lists(st.integers(1, 2**31 - 1), max_size=32).map(tuple),
    input=st.integers(0, 2**32 - 1),
    idle_s=st.none() | st.integers(0, 10**9).map(lambda hundredths: hundredths / 100),
)


@given(st.lists(st.tuples(routes, st.booleans()), max_size=5))
def test_what_a_kernel_tells_is_read(told: list[tuple[MulticastRoute, bool]]) -> None:
    data = b"".join(encode_route(route, gone=gone) for route, gone in told)
    assert list(decode(data)) == [Message(RouteChange(route, gone)) for route, gone in told]


@given(routes, st.integers(1, 252))
def test_other_tables_are_not_ours(route: MulticastRoute, table: int) -> None:
    assert list(decode(encode_route(route, table=table))) == []


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    assert all(message.change is None or message.change.route.forwarded >= 0 for message in decode(data))


@given(routes, st.data())
def test_a_damaged_message(route: MulticastRoute, data: st.DataObject) -> None:
    whole = bytearray(encode_route(route))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    assert len(list(decode(bytes(whole[:cut])))) <= 1 + len(whole) // 16


def test_an_answer_of_an_error_and_the_end_of_a_dump() -> None:
    refused = struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -95)
    ended = struct.pack("=IHHIIi", 20, 3, 0x12, 1, 0, 0)
    assert list(decode(refused + ended)) == [Message(error=95), Message(done=True, torn=True)]
    assert list(decode(dump_request(1))) == []
