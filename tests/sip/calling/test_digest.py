"""Digest credentials, against the worked example of RFC 7616."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.errors import IdentityError, IntegrityError
from sip.calling.digest import Account, Challenge, account_of

CHALLENGE = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def response(value: str) -> str:
    match = re.search(r'response="([0-9a-f]+)"', value)
    assert match is not None
    return match[1]


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_example_of_rfc_7616_section_3_9_1(algorithm: str, expected: str) -> None:
    account = Account.of("Mufasa", "http-auth@example.org", "Circle of Life")
    challenge = Challenge.parse(CHALLENGE.format(algorithm))
    _, value = account.answer([challenge], "GET", "/dir/index.html", cnonce=CNONCE, count=1)
    assert response(value) == expected
    assert f"algorithm={algorithm}" in value
    assert "nc=00000001" in value
    assert 'opaque="FQhe' in value


def test_without_qop_it_is_rfc_2069() -> None:
    account = Account.of("u", "r", "p")
    _, value = account.answer([Challenge("r", "n")], "REGISTER", "sip:r", cnonce="c", count=1)
    ha2 = hashlib.md5(b"REGISTER:sip:r").hexdigest()  # noqa: S324 - RFC 2069
    assert response(value) == hashlib.md5(f"{account.ha1['MD5']}:n:{ha2}".encode()).hexdigest()  # noqa: S324 - RFC 2069
    assert "cnonce" not in value


def test_the_first_challenge_that_can_be_answered_is() -> None:
    only_md5 = Account("u", "r", {"MD5": "0" * 32})
    chosen, _ = only_md5.answer(
        [Challenge("r", "1", "SHA-512-256"), Challenge("r", "2", "SHA-256"), Challenge("r", "3")], "BYE", "sip:r",
        cnonce="c", count=1,
    )  # fmt: skip
    assert chosen.nonce == "3"
    with pytest.raises(IdentityError, match="no credentials for other by MD5"):
        only_md5.answer([Challenge("other", "1")], "BYE", "sip:r", cnonce="c", count=1)


def test_a_secret_has_a_line_for_each_account_and_algorithm() -> None:
    made = Account.of("alice", "d.test", "x")
    text = f"bob:d.test:{'1' * 32}\n" + "".join(f"alice:d.test:{one}\n" for one in made.ha1.values())
    assert account_of(text, "alice", "d.test", where="secret:a") == made
    assert "x" not in repr(made).replace("d.test", "")
    with pytest.raises(IntegrityError, match=r"no HA1 of carol@d\.test"):
        account_of(text, "carol", "d.test", where="secret:a")
    with pytest.raises(IntegrityError) as error:
        account_of("alice:d.test:password", "alice", "d.test", where="secret:a")
    assert "password" not in str(error.value)


@given(st.text(max_size=80))
def test_whatever_a_server_asks_is_a_challenge_or_an_error(text: str) -> None:
    for value in (text, f"Digest {text}", f'Digest realm="{text}", nonce="n"'):
        try:
            Challenge.parse(value)
        except IdentityError:
            continue


def test_stale_and_quoted() -> None:
    found = Challenge.parse(r'Digest realm="a \"b\"", nonce="n", stale=TRUE')
    assert (found.realm, found.stale) == ('a "b"', True)
