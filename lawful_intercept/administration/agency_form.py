"""An agency as an LI administrator writes it: a YAML form, whose errors name line, key, value, rule and remedy."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, IPvAnyAddress

from lawful_intercept.administration.agencies import AgencySettings
from lawful_intercept.x1.extensions import (
    Encryption,
    EncryptionAlgorithm,
    HandoverSettings,
    HashAlgorithm,
    Integrity,
    Signature,
    SignatureAlgorithm,
    TimeForm,
)
from nf.documents.loader import load_model
from nf.documents.model import DocumentModel, Form, Name, Whole
from nf.errors import DocumentError, InputError, Problem

FORM: Final = """\
# An agency. What is behind # is the default, or an example.
name: ""                       # lower-case letters, digits, hyphens
address: ""                    # where its receiver listens
port: 9700                     # of HI2 and HI3, unless hi2Port and hi3Port name others
authorisationCountry: ""       # ISO 3166, such as NZ
deliveryCountry: ""
operator: ""                   # operatorIdentifier that was agreed, at most 16 characters
# element: ""                  # networkElementIdentifier
# point: ""                    # interceptionPointID, at most 8 characters
# hi2Port: 9701
# hi3Port: 9702
# tls: true
# domainVersion: 17            # last arc of li-psDomainId: 17 is read by the most receivers
# timeForm: microseconds       # or generalized
# acknowledgements: false      # pDUAcknowledgement is asked for
# keepaliveSeconds: 300
# keepaliveLiid: "-"
# mediation: ""                # the element that hands over, where there is more than one
# encryption: {algorithm: aes-256-cbc, key: "file:/etc/nf-li/police/{liid}.key"}    a key for each LIID
# integrity: {hash: sha-256, pdus: 1000, afterMs: 1000,
#             signature: {algorithm: ecdsa, key: "file:/etc/nf-li/sign.key", hashes: 15, afterMs: 30000}}
"""

_Country = Annotated[str, Form(r"[A-Z]{2}", "a country is two capital letters", "write its ISO 3166 code, such as NZ")]
_Port = Annotated[Whole, Field(ge=0, le=65535)]
_Key = Annotated[
    str,
    Form(
        r"(?:file|pkcs11):[!-~]{1,500}",
        "is no reference to a key",
        "write file:PATH or pkcs11:... as mediation reads it",
    ),
]


class EncryptionForm(DocumentModel):
    algorithm: Literal["aes-192-cbc", "aes-256-cbc"]
    key: _Key


class SignatureForm(DocumentModel):
    algorithm: Literal["ecdsa", "eddsa"]
    key: _Key
    hashes: Annotated[Whole, Field(ge=1, le=100_000)] = 15
    after_ms: Annotated[Whole, Field(ge=1, le=3_600_000, alias="afterMs")] = 30_000


class IntegrityForm(DocumentModel):
    hash: Literal["sha-1", "sha-256", "sha-384", "sha-512"] = "sha-256"
    pdus: Annotated[Whole, Field(ge=1, le=100_000)] = 1000
    after_ms: Annotated[Whole, Field(ge=1, le=3_600_000, alias="afterMs")] = 1000
    signature: SignatureForm | None = None


class AgencyForm(DocumentModel):
    name: Name
    address: IPvAnyAddress
    port: Annotated[Whole, Field(ge=2, le=65535)]
    authorisation_country: _Country = Field(alias="authorisationCountry")
    delivery_country: _Country = Field(alias="deliveryCountry")
    operator: Annotated[
        str, Form(r"[!-~]{1,16}", "is no operator identifier", "write 1 to 16 characters without spaces")
    ]
    element: Annotated[
        str, Form(r"[!-~]{0,16}", "is no element identifier", "at most 16 characters without spaces")
    ] = ""
    point: Annotated[str, Field(max_length=8)] = ""
    hi2_port: _Port = Field(default=0, alias="hi2Port")
    hi3_port: _Port = Field(default=0, alias="hi3Port")
    tls: bool = True
    domain_version: Annotated[Whole, Field(ge=0, le=16383)] = Field(default=17, alias="domainVersion")
    time_form: Literal["microseconds", "generalized"] = Field(default="microseconds", alias="timeForm")
    acknowledgements: bool = False
    keepalive_s: Annotated[Whole, Field(ge=1, le=86_400)] = Field(default=300, alias="keepaliveSeconds")
    keepalive_liid: Annotated[str, Form(r"[!-~]{1,25}", "is no LIID", "1 to 25 characters without spaces")] = Field(
        default="-", alias="keepaliveLiid"
    )
    mediation: str = ""
    encryption: EncryptionForm | None = None
    integrity: IntegrityForm | None = None

    def settings(self) -> AgencySettings:
        """Raises InputError for what only the whole shows."""
        handover = HandoverSettings(
            authorisation_country=self.authorisation_country,
            delivery_country=self.delivery_country,
            operator=self.operator,
            element=self.element,
            point=self.point,
            domain_version=self.domain_version,
            time_form=TimeForm(self.time_form),
            encryption=_encryption(self.encryption),
            integrity=_integrity(self.integrity),
            acknowledgements=self.acknowledgements,
            hi2_port=self.hi2_port,
            hi3_port=self.hi3_port,
            tls=self.tls,
            keepalive_s=self.keepalive_s,
            keepalive_liid=self.keepalive_liid,
        )
        return AgencySettings(self.name, self.address, self.port, handover, self.mediation)


def _encryption(form: EncryptionForm | None) -> Encryption | None:
    return None if form is None else Encryption(EncryptionAlgorithm(form.algorithm), form.key)


def _integrity(form: IntegrityForm | None) -> Integrity | None:
    if form is None:
        return None
    signature = None
    if (signing := form.signature) is not None:
        signature = Signature(SignatureAlgorithm(signing.algorithm), signing.key, signing.hashes, signing.after_ms)
    return Integrity(HashAlgorithm(form.hash), form.pdus, form.after_ms, signature)


def read(text: bytes, *, file: str) -> AgencySettings:
    """Raises DocumentError with every problem. Its values are the administrator's own: for that terminal alone."""
    form = load_model(AgencyForm, text, file=file)
    try:
        return form.settings()
    except InputError as error:
        raise DocumentError([Problem(error.message, error.remedy, file=file)], where=file) from None
