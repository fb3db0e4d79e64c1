"""What `nf-li run mdf --config FILE.yaml` reads."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, IPvAnyAddress

from lawful_intercept.configuration import Listen, ProcessSettings, TcpPort, TlsFiles
from nf.documents.model import DocumentModel, Name, Whole

Octets = Annotated[Whole, Field(ge=1 << 20, le=1 << 44)]
_ANY: Final = 0


class Server(DocumentModel):
    """A server: where it listens, and its certificates."""

    listen: Listen
    tls: TlsFiles


class Admf(DocumentModel):
    """name  its identifier, the name in its certificate
    url     of its X1, where alarms are told
    tls     for that; its authority is the one of X1
    """

    name: Name
    url: str
    tls: TlsFiles


class X1Settings(Server):
    """admf         who tasks this element
    keepalive_s     without a word of the ADMF for so long tasks end; 0: they end by their own times alone
    """

    admf: Admf
    keepalive_s: Annotated[Whole, Field(ge=0, le=86_400)] = 0


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
    media_lost_s: Annotated[Whole, Field(ge=10, le=86_400)] = 300
    silent_call_s: Annotated[Whole, Field(ge=60, le=604_800)] = 43_200


class MediationSettings(ProcessSettings):
    """x2x3     where points deliver: `points` are the names in their certificates, empty = any element of `domain`
    domain      trust domain of lawful intercept
    plain       handover without TLS is allowed where a destination says so: for laboratories
    """

    domain: str
    x1: X1Settings
    x2x3: Server
    points: tuple[Name, ...] = ()
    agencies: tuple[AgencyLink, ...] = ()
    spools: SpoolSettings = SpoolSettings()
    rules: RuleSettings = RuleSettings()
    plain: bool = False
