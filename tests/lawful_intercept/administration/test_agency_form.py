"""The administrator's form of an agency."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.administration import agency_form
from lawful_intercept.administration.agencies import AGENCY, AGENCY_SETTINGS
from lawful_intercept.x1.extensions import (
    EncryptionAlgorithm,
    HandoverSettings,
    HashAlgorithm,
    SignatureAlgorithm,
    TimeForm,
    handover_of,
)
from nf.errors import DocumentError, InputError
from tests.support.administration import site

LEAST = """\
name: police
address: 10.9.0.7
port: 9700
authorisationCountry: NZ
deliveryCountry: NZ
operator: svnf
"""
WHOLE = (
    LEAST
    + """\
element: pop
point: A1
hi2Port: 9701
hi3Port: 9702
tls: false
domainVersion: 40
timeForm: generalized
acknowledgements: true
keepaliveSeconds: 60
keepaliveLiid: KEEP
mediation: mdf1
encryption: {algorithm: aes-192-cbc, key: "file:/etc/nf-li/police.key"}
integrity: {hash: sha-512, pdus: 10, afterMs: 20, signature: {algorithm: eddsa, key: "pkcs11:object=x"}}
"""
)


def test_the_least() -> None:
    settings = agency_form.read(LEAST.encode(), file="a.yaml")
    assert settings.handover == HandoverSettings("NZ", "NZ", "svnf")
    assert (str(settings.address), settings.port, settings.mediation) == ("10.9.0.7", 9700, "")


def test_everything() -> None:
    settings = agency_form.read(WHOLE.encode(), file="a.yaml")
    handover = settings.handover
    assert handover.encryption is not None
    assert handover.encryption.algorithm is EncryptionAlgorithm.AES_192_CBC
    assert handover.integrity is not None
    assert (handover.integrity.hash, handover.integrity.after_ms) == (HashAlgorithm.SHA_512, 20)
    assert handover.integrity.signature is not None
    assert handover.integrity.signature.algorithm is SignatureAlgorithm.EDDSA
    assert (handover.time_form, handover.domain_version) == (TimeForm.GENERALIZED, 40)
    assert AGENCY_SETTINGS.read(AGENCY_SETTINGS.json(settings)) == settings


def test_the_form_itself_names_every_key() -> None:
    keys = {line.lstrip("# ").partition(":")[0] for line in agency_form.FORM.splitlines()[1:]}
    fields = agency_form.AgencyForm.model_fields
    assert {field.alias or name for name, field in fields.items()} <= keys


def test_settings_travel_to_mediation() -> None:
    agency = site().agencies["police"]
    assert handover_of(agency.destination.extensions) == agency.settings.handover
    assert AGENCY.read(AGENCY.json(agency)) == agency
    assert "police" not in repr(agency)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("police", "The Police", "name"),
        ("10.9.0.7", "somewhere", "address"),
        ("9700", "0", "port"),
        ("authorisationCountry: NZ", "authorisationCountry: nz", "authorisationCountry"),
        ("svnf", "a name that is too long", "operator"),
        ("aes-192-cbc", "rot13", "encryption.algorithm"),
        ("file:/etc/nf-li/police.key", "000102", "encryption.key"),
        ("afterMs: 20", "afterMs: 0", "integrity.afterMs"),
        ("eddsa", "dsa", "integrity.signature.algorithm"),
        ("tls: false", "tls: maybe", "tls"),
        ("hi2Port", "hi2port", "hi2port"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(old: str, new: str, key: str) -> None:
    with pytest.raises(DocumentError) as caught:
        agency_form.read(WHOLE.replace(old, new, 1).encode(), file="a.yaml")
    assert [one.key for one in caught.value.problems] == [key]
    assert all(one.line and one.rule and one.remedy for one in caught.value.problems)


PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=10)


@given(st.dictionaries(st.text(max_size=10), PLAIN | st.lists(PLAIN, max_size=3), max_size=5) | PLAIN)
def test_whatever_json_is_sent_is_refused(data: object) -> None:
    with pytest.raises(InputError):
        AGENCY_SETTINGS.read(data)  # type: ignore[arg-type]
