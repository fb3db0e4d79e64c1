from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.mfc.codec import Entry, encode_entry, encode_vif, numbers, parse_vifs

SHOWN = """Interface      BytesIn  PktsIn  BytesOut PktsOut Flags Local    Remote
 0 pimreg            0       0         0       0 00004 00000000 00000000
 1 eth2         264768     197         0       0 00008 00000003 00000000
12 eth1.4000       100       1    264768     197 00008 00000002 00000000
"""


def test_virtual_interfaces_as_the_kernel_shows_them() -> None:
    vifs = parse_vifs(SHOWN)
    assert vifs == {"pimreg": 0, "eth2": 1, "eth1.4000": 12}
    assert numbers(vifs, ("eth2", "eth1.4000")) == {1, 12}
    assert numbers(vifs, ("eth2", "eth9")) is None


def test_an_entry_has_the_layout_of_struct_mfcctl() -> None:
    data = encode_entry(Entry(IPv4Address("10.1.0.10"), IPv4Address("232.1.1.1"), 2, frozenset({1, 31})))
    assert len(data) == 60
    assert data[:10] == bytes([10, 1, 0, 10, 232, 1, 1, 1]) + (2).to_bytes(2, "little")
    assert [vif for vif, ttl in enumerate(data[10:42]) if ttl] == [1, 31]
    assert len(encode_vif(3, 7)) == 16


@given(st.integers(32, 70_000) | st.integers(-9, -1))
def test_a_number_beyond_the_table_is_an_error(vif: int) -> None:
    with pytest.raises(ValueError, match="0 to 31"):
        encode_entry(Entry(IPv4Address(1), IPv4Address(2), vif, frozenset()))
    with pytest.raises(ValueError, match="0 to 31"):
        encode_vif(vif, 1)
