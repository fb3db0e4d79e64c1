from __future__ import annotations

from ipaddress import IPv4Address

from headend.multicast.output.ways import parse

CACHE = """Group    Origin   Iif     Pkts    Bytes    Wrong Oifs
010A0AE8 0A00010A 1         12    16128        0  2:1
020A0AE8 0A00010A -1         0        0        0
"""
INTERFACES = """Interface      BytesIn  PktsIn  BytesOut PktsOut Flags Local    Remote
 0 pimreg          0       0         0       0 00004 FF01A8C0 00000000
 1 eth1        16128      12         0       0 00000 0A00010A 00000000
"""


def test_the_way_of_each_stream_is_read() -> None:
    assert parse(CACHE, INTERFACES) == {(IPv4Address("10.1.0.10"), IPv4Address("232.10.10.1")): "eth1"}
    assert parse("", "") == {}
