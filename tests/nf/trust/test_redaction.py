"""Secrets leave no text, whatever form they are written in; and what is no secret stays."""

from __future__ import annotations

import base64
import json
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.trust.identity import key_pem, new_key
from nf.trust.redaction import REMOVED, Scrubber, is_secret_name, secrets_of

SECRET = "Zt4-plan/ted"

FORMS = [
    "password={}",
    "password: {}",
    'password: "{}"',
    "DB_PASSWORD={} user=root",
    '{{"password": "{}", "port": 5432}}',
    '{{\\"secret_key\\": \\"{}\\"}}',
    "{{'api_key': '{}'}}",
    "aws_secret_access_key = {}",
    "--token {} --verbose",
    "--client-secret={}",
    "Authorization: Bearer {}",
    "authorization: Basic {}",
    "curl -H 'Authorization: Bearer {}' http://x",
    "connecting to nats://user:{}@10.0.0.1:4222/",
    "snmp community={}",
    "  private_key: {}",
    "passphrase => {}",
    "X-Auth-Token: {}",
    "ENROLMENT_TOKEN={}",
    "the session-key: {}, next",
    "login with password '{}' failed",
    'its passphrase is "{}"',
]


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_in_every_form_goes(form: str) -> None:
    line = form.format(SECRET)
    scrubbed = Scrubber().text(f"before\n{line}\nafter")
    assert SECRET not in scrubbed
    assert REMOVED in scrubbed
    assert scrubbed.startswith("before\n")
    assert scrubbed.endswith("\nafter")


def test_private_keys_go_whole_and_certificates_stay() -> None:
    pem = key_pem(new_key()).decode()
    body = pem.splitlines()[1]
    for text in (f"a\n{pem}\nb", json.dumps({"pem": pem}), pem[: len(pem) // 2], json.dumps(pem.replace("\n", " "))):
        assert body[:20] not in Scrubber().text(text)
    certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
    assert Scrubber().text(certificate) == certificate


def test_tokens_are_known_by_their_shape() -> None:
    for _ in range(50):
        token = secrets.token_urlsafe(32)
        assert token not in Scrubber().text(f"enrolling with {token} now")
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"
    assert jwt not in Scrubber().text(f"cookie set {jwt}")
    assert "AKIAIOSFODNN7EXAMPLE" not in Scrubber().text("key AKIAIOSFODNN7EXAMPLE used")


@given(st.text(min_size=6, max_size=40), st.text(max_size=60), st.text(max_size=60))
def test_what_is_known_goes_wherever_it_stands(secret: str, before: str, after: str) -> None:
    scrubbed = Scrubber([secret]).text(f"{before}{secret}{after}")
    assert secret not in scrubbed.replace(REMOVED, "") or secret in before + after


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.dictionaries(st.text(), inner, max_size=4)))
def test_scrubbing_never_fails_and_json_stays_json(value: object) -> None:
    scrubber = Scrubber(["planted secret"])
    once = scrubber.json(value)  # type: ignore[arg-type]
    assert json.loads(json.dumps(once)) == once


def test_json_goes_by_name() -> None:
    value = {"password": {"value": SECRET}, "tokens": [SECRET, "x"], "env": {"S3_SECRET": SECRET}, "note": "fine"}
    text = json.dumps(Scrubber().json(value))
    assert SECRET not in text
    assert "fine" in text
    encoded = base64.b64encode(SECRET.encode()).decode()
    assert encoded not in Scrubber([SECRET]).text(f"auth {encoded}")


@pytest.mark.parametrize(
    "text",
    [
        "ch1/iptv: bitrate 1000000, 0 continuity errors",
        "interface eth1 up, 10.1.0.1/24",
        '{"token_sha256": "ab12", "certificate_expires": 1700000000.0}',
        "spiffe://tv.example/operator/eve committed revision 12",
        "ssm.tree=10.1.0.10,232.10.1.1@pop1",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "http://10.0.0.1:8333/origin/ch1/manifest.mpd",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Scrubber().text(text) == text


def test_names() -> None:
    assert is_secret_name("AWS_SECRET_ACCESS_KEY")
    assert is_secret_name("Authorization")
    assert not is_secret_name("token_sha256")
    assert not is_secret_name("bitrate_bps")
    assert secrets_of({"HOME": "/root", "S3_PASSWORD": "abc", "EMPTY_TOKEN": ""}) == {"abc"}
