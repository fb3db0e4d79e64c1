from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.devices.credentials import parse_credentials
from headend.snmp.target import AuthProtocol, Community, PrivacyProtocol, Usm
from nf.errors import IntegrityError

WHERE = "secret:headend-devices"


def test_a_community() -> None:
    assert parse_credentials("community lab-readwrite\n", WHERE) == Community("lab-readwrite")


@pytest.mark.parametrize(
    ("auth", "privacy", "expected"),
    [
        ("SHA-256", "AES-128", (AuthProtocol.SHA256, PrivacyProtocol.AES128)),
        ("sha256", "aes", (AuthProtocol.SHA256, PrivacyProtocol.AES128)),
        ("MD5", "DES", (AuthProtocol.MD5, PrivacyProtocol.DES)),
        ("SHA-512", "AES256", (AuthProtocol.SHA512, PrivacyProtocol.AES256)),
    ],
)
def test_a_user_with_both_protocols(auth: str, privacy: str, expected: tuple[AuthProtocol, PrivacyProtocol]) -> None:
    found = parse_credentials(f"v3 noc {auth} authentic8 {privacy} private88\n", WHERE)
    assert isinstance(found, Usm)
    assert (found.user, found.auth_protocol, found.privacy_protocol) == ("noc", *expected)
    assert (found.auth_key.get_secret_value(), found.privacy_key.get_secret_value()) == ("authentic8", "private88")


def test_a_user_without_privacy_or_without_keys() -> None:
    plain, signed = parse_credentials("v3 noc", WHERE), parse_credentials("v3 noc SHA authentic8", WHERE)
    assert plain == Usm("noc")
    assert isinstance(signed, Usm)
    assert (signed.auth_protocol, signed.privacy_protocol) == (AuthProtocol.SHA, None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not one line"),
        ("community a\ncommunity b", "not one line"),
        ("community", "neither a community nor a v3 user"),
        ("community two words", "neither a community nor a v3 user"),
        ("v3 noc SHA", "neither a community nor a v3 user"),
        ("v3 noc SHA-3 authentic8", "unknown authentication protocol"),
        ("v3 noc SHA authentic8 ROT13 private88", "unknown privacy protocol"),
        ("v3 noc SHA short", "fewer than 8 characters"),
        ('{"community": "public"}', "neither a community nor a v3 user"),
    ],
)
def test_what_is_none_is_refused_and_not_shown(text: str, why: str) -> None:
    with pytest.raises(IntegrityError, match=why) as refused:
        parse_credentials(text, WHERE)
    assert refused.value.where == WHERE
    for word in ("authentic8", "private88", "ROT13", "public", "short"):
        assert word not in str(refused.value)


words = st.one_of(
    st.sampled_from(
        ["community", "v3", "SHA", "SHA-256", "AES", "AES-128", "DES", "\n", " ", "authentic8", "k" * 3000]
    ),
    st.text(max_size=12),
)


@given(st.lists(words, max_size=9).map(" ".join))
def test_any_text_is_taken_or_refused_without_a_word_of_it(text: str) -> None:
    try:
        found = parse_credentials(text, WHERE)
    except IntegrityError as error:
        told = f"{error} {error.remedy} {error.__cause__}"
    else:
        told = repr(found)
    for key in text.split()[3::2]:
        known = ("SHA-256", "AES-128", "KEY", "community", "v3", "USER")
        assert len(key) < 8 or key in known or key not in told
