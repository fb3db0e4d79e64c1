"""The seed: what is taken, what is refused and how that is told, and that no text whatsoever breaks the reader."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from images.appliance import seed_file
from images.appliance.seed import Seed, load_seed
from nf.errors import DocumentError, Problem
from nf.trust.certificates import fingerprint

_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGRhdGFkYXRhZGF0YWRhdGFkYXRhZGF0YWRhdGFkYXRh pat@desk"
_TOKEN = "t0ken-that-nobody-may-see"


def _ca() -> bytes:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


_CA = _ca()


def enrolment(**more: Any) -> dict[str, Any]:
    return {
        "appliance": "pop1",
        "serial": "SN1",
        "token": _TOKEN,
        "domain": "example.net",
        "noc": ["10.0.0.1:7400"],
        "enrolment": ["10.0.0.1:7401"],
        "ca_sha256": fingerprint(_CA),
        "ca_pem": _CA.decode(),
        **more,
    }


def _load(**more: Any) -> Seed:
    return load_seed(json.dumps({"serial": "SN1", **more}), file="seed.json")


def _problems(data: object) -> tuple[Problem, ...]:
    try:
        load_seed(json.dumps(data), file="seed.json")
    except DocumentError as error:
        return error.problems
    return ()


def _rules(**more: Any) -> str:
    with pytest.raises(DocumentError) as caught:
        _load(**more)
    return "\n".join(map(str, caught.value.problems))


def test_everything_it_may_say() -> None:
    seed = _load(
        hostname="pop1",
        management={"mac": "52-54-00-AB-00-01", "address": "10.0.0.5/24", "gateway": "10.0.0.1", "dns": ["10.0.0.2"]},
        interfaces={"eth1": {"mac": "52:54:00:ab:00:02"}},
        enrolment=enrolment(),
        ssh={"authorized_keys": [_KEY]},
    )
    assert seed.management.mac == "52:54:00:ab:00:01"
    assert load_seed(seed_file.to_bytes(seed.to_json()), file="again") == seed


def test_the_least_is_a_serial() -> None:
    seed = _load()
    assert seed.management.address == "dhcp"
    assert seed.host == "sn1"
    assert seed.ssh.authorized_keys == ()


def test_a_problem_has_its_line_value_rule_and_remedy() -> None:
    text = '{\n  "serial": "SN1",\n  "management": {\n    "adress": "dhcp",\n    "mac": "nonsense"\n  }\n}'
    with pytest.raises(DocumentError) as caught:
        load_seed(text, file="seed.json")
    unknown, mac = caught.value.problems
    assert (unknown.line, unknown.key, unknown.remedy) == (4, "management.adress", "did you mean address?")
    assert (mac.line, mac.value, mac.rule) == (5, '"nonsense"', "must be a MAC address")


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ({"serial": "S N"}, "a serial number is"),
        ({"serial": 7}, "must be text"),
        ({"hostname": "Pop_1"}, "a host name is"),
        ({"management": {"address": "10.0.0.5"}}, "must be dhcp, or"),
        ({"management": {"address": "10.0.0.0/24"}}, "the network itself"),
        ({"management": {"address": "10.0.0.255/24"}}, "its broadcast"),
        ({"management": {"address": "10.0.0.5/24", "gateway": "10.0.1.1"}}, "no other host of 10.0.0.0/24"),
        ({"management": {"address": "10.0.0.5/24", "gateway": "10.0.0.5"}}, "no other host"),
        ({"management": {"gateway": "10.0.0.1"}}, "DHCP brings its own"),
        ({"management": {"interface": "eth0", "mac": "52:54:00:ab:00:01"}}, "names the interface twice"),
        ({"management": {"interface": "eth0\nActivationPolicy=down"}}, "an interface name"),
        ({"management": {"ntp": ["a\nDHCP=yes"]}}, "must be an address or a host name"),
        ({"interfaces": {"eth1": {"mac": "01:00:5e:00:00:01"}}}, "group address"),
        (
            {"interfaces": {"eth1": {"mac": "52:54:00:ab:00:01"}, "eth2": {"mac": "52-54-00-AB-00-01"}}},
            "two interfaces",
        ),
        ({"ssh": {"authorized_keys": ['command="sh" ' + _KEY]}}, "one line of an SSH public key"),
        ({"ssh": {"authorized_keys": [_KEY + "\n" + _KEY]}}, "one line of an SSH public key"),
        ({"ssh": {"authorized_keys": [_KEY.replace("ssh-ed25519", "ssh-rsa")]}}, "not of the type"),
        ({"enrolment": enrolment(serial="SN2")}, "the enrolment is for serial SN2"),
        ({"enrolment": enrolment(ca_sha256="0" * 64)}, "its CA is not the one"),
        ({"enrolment": enrolment(ca_pem="none")}, "its CA is no certificate"),
    ],
)
def test_refused(more: dict[str, Any], rule: str) -> None:
    assert rule in _rules(**more)


def test_a_token_is_never_repeated() -> None:
    assert _TOKEN not in _rules(enrolment=enrolment(token=_TOKEN * 40))
    assert _TOKEN not in _rules(enrolment=enrolment(serial="SN2"))


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
@example(b"\xff")
@example(b'{"serial": "a", "serial": "b"}')
def test_no_text_breaks_the_reader(data: bytes) -> None:
    with contextlib.suppress(DocumentError):
        load_seed(data, file="seed.json")
    seed_file.strip_token(data)
    seed_file.has_token(data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["serial", "hostname", "management", "interfaces", "enrolment", "ssh", "other"]), _JSON
    ),
    st.dictionaries(st.sampled_from(["interface", "mac", "address", "gateway", "dns", "ntp"]), _JSON),
)
def test_no_shape_breaks_the_model(top: dict[str, Any], management: dict[str, Any]) -> None:
    for data in (top, {**top, "management": management}):
        assert all(problem.rule and problem.remedy for problem in _problems(data))


@given(st.dictionaries(st.sampled_from(["serial", "enrolment", "ssh"]), _JSON))
def test_stripping_takes_the_enrolment_and_nothing_else(seed: dict[str, Any]) -> None:
    data = json.dumps(seed).encode()
    stripped = seed_file.strip_token(data)
    assert json.loads(stripped) == {key: value for key, value in seed.items() if key != "enrolment"}
    assert seed_file.has_token(data) is ("enrolment" in seed)
    assert not seed_file.has_token(stripped)
