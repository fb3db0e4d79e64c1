"""Whom observation points are asked for: in their own spelling, all of it or nothing."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.observation.sessions import comparable
from core5g.observation.sessions import matchable as matchable_5g
from lawful_intercept.administration.elements import FORMS
from lawful_intercept.administration.warrants import Service
from lawful_intercept.identifiers import RULES, TargetIdentifier, address_of
from lawful_intercept.points.identities import (
    DEFAULTS,
    UnmatchableError,
    check_digit,
    identities_of,
    planned,
    target_of,
)
from nf.contracts.interception import Identity, IdentityKind
from sip.interception.identities import matchable as matchable_sip

VALUES = {
    "e164Number": "491700000001",
    "imsi": "001010000000001",
    "imei": "49015420323751",
    "sipUri": "sip:alice@example.net",
    "telUri": "tel:+491700000001",
    "impu": "sip:alice@example.net",
    "nai": "alice@example.net",
    "supiimsi": "001010000000001",
    "supinai": "alice@example.net",
    "gpsiMsisdn": "491700000001",
    "gpsiNai": "alice@example.net",
    "peiImei": "49015420323751",
    "peiImeisv": "4901542032375101",
    "ipv4Address": "192.0.2.1",
    "ipv6Address": "2001:0db8:0000:0000:0000:0000:0000:0001",
}


def target(form: str) -> TargetIdentifier:
    return TargetIdentifier(form, VALUES[form])


def test_every_form_is_matched_by_a_point() -> None:
    assert set(VALUES) == set(RULES)
    for form in RULES:
        assert identities_of(target(form))


def test_administration_and_points_agree_about_who_matches_what() -> None:
    for service, name in ((Service.VOICE, "sip"), (Service.DATA, "core5g")):
        assert {form for form in RULES if name in planned_anywhere(form)} == FORMS[service]


def planned_anywhere(form: str) -> set[str]:
    return set(planned([target(form)], DEFAULTS))


@pytest.mark.parametrize("form", sorted(RULES))
def test_points_take_what_they_are_asked_for(form: str) -> None:
    for name, sought in planned([target(form)], DEFAULTS).items():
        for one in sought:
            assert (matchable_sip if name == "sip" else matchable_5g)(one.identity)


@given(st.from_regex(r"[0-9]{5,15}", fullmatch=True), st.from_regex(r"[0-9]{14}", fullmatch=True))
def test_numbers_of_any_length_are_taken(number: str, imei: str) -> None:
    for form, value in (("e164Number", number), ("peiImei", imei)):
        for name, sought in planned([TargetIdentifier(form, value)], DEFAULTS).items():
            for one in sought:
                assert (matchable_sip if name == "sip" else matchable_5g)(one.identity)


def test_a_number_is_asked_for_at_both_points() -> None:
    found = planned([target("e164Number")], DEFAULTS)
    assert [one.identity.value for one in found["sip"]] == ["tel:+491700000001"]
    assert [one.identity.value for one in found["core5g"]] == ["msisdn-491700000001"]


def test_what_no_point_here_matches_refuses_the_whole_task() -> None:
    """Leaving it out would narrow the interception."""
    with pytest.raises(UnmatchableError) as refused:
        planned([target("e164Number"), target("ipv4Address")], {"sip": DEFAULTS["sip"]})
    assert "192.0.2.1" not in str(refused.value)
    only_5g = {"core5g": DEFAULTS["core5g"]}
    with pytest.raises(UnmatchableError):
        planned([target("supiimsi"), target("sipUri")], only_5g)
    assert list(planned([target("e164Number")], only_5g)) == ["core5g"]
    with pytest.raises(UnmatchableError):
        planned([target("supiimsi")], {})
    with pytest.raises(UnmatchableError):  # too short for a GPSI, and no proxy here
        planned([TargetIdentifier("e164Number", "110")], only_5g)


def test_the_same_target_twice_is_one_order() -> None:
    found = planned([target("supiimsi"), target("imsi"), target("impu"), target("sipUri")], DEFAULTS)
    assert [one.target.form for one in found["core5g"]] == ["supiimsi"]
    assert [one.target.form for one in found["sip"]] == ["impu"]


def test_a_check_digit() -> None:
    """TS 23.003 annex B; the number is a well-known example."""
    assert check_digit("49015420323751") == "8"
    device = identities_of(target("peiImei"))[0]
    assert comparable(device) == comparable(Identity(IdentityKind.PEI, "imeisv-4901542032375199"))


def test_an_nai_is_asked_for_as_either() -> None:
    assert [one.identity.value for one in planned([target("nai")], DEFAULTS)["core5g"]] == [
        "nai-alice@example.net",
        "extid-alice@example.net",
    ]


@given(st.ip_addresses())
def test_an_address_is_the_same_in_x1_and_at_the_point(address: IPv4Address | IPv6Address) -> None:
    asked = address_of(str(address))
    (identity,) = identities_of(asked)
    assert ip_address(identity.value) == address
    assert target_of(identity) == asked


def test_a_prefix_of_a_ue_has_no_form_of_x1() -> None:
    assert target_of(Identity(IdentityKind.UE_ADDRESS, "2001:db8:cafe:1::/64")) is None


@given(st.sampled_from(sorted(RULES)))
def test_an_identity_is_written_as_x1_has_it(form: str) -> None:
    for identity in identities_of(target(form)):
        back = target_of(identity)
        assert back is not None
        assert identity in identities_of(back)


@given(st.sampled_from(IdentityKind), st.text(max_size=30))
def test_what_is_no_identity_of_x1_is_none(kind: IdentityKind, value: str) -> None:
    found = target_of(Identity(kind, value))
    assert found is None or found.form in RULES
