"""Credentials that expire by themselves."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from nf.documents.model import RuleError
from nf.errors import RefusedError
from sip.webrtc import secret
from sip.webrtc.credentials import janus_token, turn_credentials


def test_turn_credentials_are_those_of_the_rest_api() -> None:
    found = turn_credentials("north", "alice", 1_433_895_918.7)
    assert found.username == "1433895918:alice"
    digest = hmac.new(b"north", b"1433895918:alice", hashlib.sha1).digest()
    assert base64.b64decode(found.password) == digest
    assert found.password not in repr(found)


@pytest.mark.parametrize("user", ["", "a:b", "line\nbreak", "x" * 401])
def test_a_user_that_coturn_would_read_otherwise_is_refused(user: str) -> None:
    with pytest.raises(RuleError, match="a user of TURN"):
        turn_credentials("north", user, 0)


def test_a_token_names_its_plugins() -> None:
    stated, _, digest = janus_token("north", ("sip", "echotest", "sip"), 99.9).partition(":")
    assert stated == "99,janus,janus.plugin.echotest,janus.plugin.sip"
    assert base64.b64decode(digest) == hmac.new(b"north", stated.encode(), hashlib.sha1).digest()
    with pytest.raises(RuleError, match="one plugin or more"):
        janus_token("north", (), 0)
    with pytest.raises(RuleError, match="one plugin or more"):
        janus_token("north", ("a,b",), 0)


@pytest.mark.parametrize("value", ["short", "a" * 15, 'sixteen letters "', "x" * 129, "line\nbreak of sixteen"])
def test_a_secret_that_a_file_cannot_hold_is_refused_and_not_quoted(value: str) -> None:
    with pytest.raises(RefusedError) as caught:
        secret.shared(value, "secret:turn")
    assert value not in str(caught.value)


def test_a_secret_has_no_line_end() -> None:
    assert secret.shared("a-secret-of-sixteen\n", "secret:turn") == "a-secret-of-sixteen"
