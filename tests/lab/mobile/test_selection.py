"""How the SMF model gives UPFs and addresses: as the facts of Open5GS say."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from lab.mobile.config import Pool
from lab.mobile.selection import Addresses, Selection, Upf


def _upf(address: str, **keys: object) -> Upf:
    (made,) = Upf.of({"address": address, **keys}, 8805)
    made.associated = True
    return made


def test_any_one_match_is_enough() -> None:
    upf = _upf("10.0.0.1", dnn="internet", tac=[7, "9-11"], nr_cell_id="000000010")
    assert upf.suits("INTERNET", None, None)
    assert upf.suits("ims", 10, None)
    assert upf.suits("ims", None, 0x10)
    assert not upf.suits("ims", 8, 0x11)


def test_those_that_suit_take_turns() -> None:
    first, second, edge = _upf("10.0.0.1", dnn="a"), _upf("10.0.0.2", dnn="a"), _upf("10.0.0.3", dnn="b")
    selection = Selection([first, second, edge])
    assert [selection.choose("a", None, None) for _ in range(3)] == [first, second, first]


def test_without_a_match_all_take_turns_edge_ones_too() -> None:
    first, edge = _upf("10.0.0.1", dnn="a"), _upf("10.0.0.3", tac=7)
    selection = Selection([first, edge])
    assert {upf.peer[0] for upf in (selection.choose("x", None, None), selection.choose("x", None, None)) if upf} == {
        "10.0.0.1",
        "10.0.0.3",
    }


def test_without_round_robin_it_is_the_first_even_when_that_is_not_there() -> None:
    first, edge = _upf("10.0.0.1", dnn="a"), _upf("10.0.0.3", tac=7)
    first.associated = False
    assert Selection([first, edge], no_round_robin=True).choose("x", None, None) is first


def test_none_is_there() -> None:
    gone = _upf("10.0.0.1")
    gone.associated = False
    assert Selection([gone]).choose("a", None, None) is None
    assert Selection([]).choose("a", None, None) is None


def test_addresses_are_of_the_dnns_pool() -> None:
    pools = [
        Pool(ip_network("10.45.0.0/30"), ip_address("10.45.0.1"), "internet", "ogstun"),
        Pool(ip_network("10.46.0.0/16"), ip_address("10.46.0.1"), None, "ogstun2"),
        Pool(ip_network("2001:db8:45::/48"), None, "internet", "ogstun"),
    ]
    addresses = Addresses(pools)
    assert addresses.take("internet", 4) == ip_address("10.45.0.2")
    assert addresses.take("internet", 4) is None
    assert addresses.take("other", 4) == ip_address("10.46.0.2")
    assert addresses.take("internet", 6) == ip_address("2001:db8:45:1::1")
    assert addresses.take("internet", 6) == ip_address("2001:db8:45:2::1")
    assert not addresses.claim(ip_address("10.45.0.2"))
    addresses.free(ip_address("10.45.0.2"), None)
    assert addresses.claim(ip_address("10.45.0.2"))
