"""Whose address it is, and at which UPF, as the SMFs tell it."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from core5g.open5gs.poller import PduSession, TunnelEnd
from core5g.steering.n6.who import judged

SUPI, N3, ELSEWHERE = "imsi-999700000000001", "10.50.1.3", "10.50.2.3"


def session(supi: str = SUPI, ipv4: str = "10.45.0.2", ipv6: str = "", upf: str | None = N3) -> PduSession:
    end = None if upf is None else TunnelEnd(1, upf)
    return PduSession(supi, 1, "internet", ipv4=ipv4, ipv6=ipv6, upf=end)


@pytest.mark.parametrize(
    ("ue", "known", "found"),
    [
        (SUPI, [session()], ["10.45.0.2"]),
        (SUPI, [session(SUPI.removeprefix("imsi-"), upf=None)], ["10.45.0.2"]),
        (SUPI, [session(ipv6="2001:db8:45:1::/64")], ["10.45.0.2", "2001:db8:45:1::"]),
        (SUPI, [session(upf=ELSEWHERE), session(ipv4="10.46.0.9")], ["10.46.0.9"]),
        ("10.45.0.2", [session("imsi-2", "10.45.0.3"), session()], ["10.45.0.2"]),
        ("2001:db8:45:1::77", [session(ipv6="2001:db8:45:1::1")], ["2001:db8:45:1::77"]),
    ],
)
def test_a_ue_that_has_a_session_here(ue: str, known: list[PduSession], found: list[str]) -> None:
    assert judged(ue, known, [], N3) == (tuple(map(ip_address, found)), "")


@pytest.mark.parametrize("ue", [SUPI, "10.45.0.2"])
def test_one_whose_session_is_elsewhere_or_nowhere(ue: str) -> None:
    assert judged(ue, [session(upf=ELSEWHERE)], [], N3) == ((), f"its session is at the UPF with N3 {ELSEWHERE}")
    assert judged(ue, [], [], N3) == ((), "the SMFs know no session of it")


def test_where_the_smfs_are_silent_an_address_is_judged_by_its_route() -> None:
    for known, silent in ((None, []), ([], ["10.50.9.2"])):
        assert judged("10.45.0.2", known, silent, N3) == ((ip_address("10.45.0.2"),), "")
        assert judged(SUPI, known, silent, N3)[0] == ()
    assert "10.50.9.2 does not answer" in judged(SUPI, [], ["10.50.9.2"], N3)[1]
    assert "there is no SMF here" in judged(SUPI, None, [], N3)[1]


BOTH = session(ipv6="2001:db8:45:1::1")


@pytest.mark.parametrize(
    ("ue", "version", "known", "found"),
    [
        ("10.45.0.2", 6, BOTH, ["2001:db8:45:1::1"]),
        ("2001:db8:45:1::77", 4, BOTH, ["10.45.0.2"]),
        ("2001:db8:45:1::77", 6, BOTH, ["2001:db8:45:1::77"]),
        (SUPI, 6, BOTH, ["2001:db8:45:1::1"]),
        (SUPI, 6, session(), ["10.45.0.2"]),
        ("10.45.0.2", 6, session(), ["10.45.0.2"]),
    ],
)
def test_who_has_both_versions_of_ip_is_known_by_the_one_that_is_asked_about(
    ue: str, version: int, known: PduSession, found: list[str]
) -> None:
    assert judged(ue, [known], [], N3, version) == (tuple(map(ip_address, found)), "")
