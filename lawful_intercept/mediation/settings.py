"""What `nf-li run mdf --config FILE.yaml` reads."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, IPvAnyAddress, field_validator

from lawful_intercept.configuration import Listen, ProcessSettings, TcpPort, TlsFiles
from nf.documents.model import DocumentModel, Name, RuleError, Whole

Octets = Annotated[Whole, Field(ge=1 << 20, le=1 << 44)]
_ANY: Final = 0


class Admf(DocumentModel):
    """Who tasks this element, and hears its alarms. `name`: in its certificate and in X1."""

    name: Name
    url: str

    @field_validator("url")
    @classmethod
    def _https(cls, value: str) -> str:
        if not value.startswith("https://"):
            raise RuleError("X1 is HTTPS", "write https://ADDRESS:PORT/X1/ADMF")
        return value


class Intake(DocumentModel):
    """Where points deliver X2 and X3. `points`: names that their certificates may have; empty: any element's."""

    listen: Listen
    tls: TlsFiles
    points: tuple[Name, ...] = ()


class AgencyLink(DocumentModel):
    """Certificates for handover to one agency: an authority of its own for each.

    address, port  of its destination; 0.0.0.0 and 0: any
    domain, peer   trust domain and element name in its certificate; peer "": any of that domain
    """

    address: IPvAnyAddress
    port: TcpPort = _ANY
    domain: str
    peer: str = ""
    tls: TlsFiles

    def fits(self, host: str, port: int) -> bool:
        return (self.address.is_unspecified or str(self.address) == host) and self.port in {_ANY, port}

    @property
    def exactness(self) -> int:
        return 2 * (not self.address.is_unspecified) + (self.port != _ANY)


class SpoolSettings(DocumentModel):
    """Bounds of each destination's two spools; what is oldest is given up there, and told."""

    iri_octets: Octets = 4 << 30
    cc_octets: Octets = 64 << 30


class RuleSettings(DocumentModel):
    """late_product_s  product that happened before a warrant's end is taken for so long after it
    media_lost_s       a call whose media stay away for so long has ended
    silent_call_s      a call of which nothing comes for so long has ended
    """

    late_product_s: Annotated[Whole, Field(ge=0, le=86_400)] = 300
    media_lost_s: Annotated[Whole, Field(ge=10, le=86_400)] = 1800
    silent_call_s: Annotated[Whole, Field(ge=60, le=604_800)] = 43_200


class MediationSettings(ProcessSettings):
    """listen, tls  X1, where the ADMF tasks this element
    keepalive_s   without a keepalive of the ADMF for so long, all tasks end; 0: they end by their own times alone
    plain         handover without TLS is allowed where a destination says so: for laboratories
    """

    listen: Listen
    tls: TlsFiles
    admf: Admf
    x2x3: Intake
    agencies: tuple[AgencyLink, ...] = ()
    spools: SpoolSettings = SpoolSettings()
    rules: RuleSettings = RuleSettings()
    keepalive_s: Annotated[Whole, Field(ge=0, le=86_400)] = 0
    plain: bool = False
