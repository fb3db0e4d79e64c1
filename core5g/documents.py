"""What the 5G core adds to the documents: the fleet's equipment `core5g` and the path type `upf-breakout`.

Sections of appliances stand with their drivers: `core5g.open5gs.documents`, `core5g.steering.documents`.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from nf.documents.lineup import DeliveryPath
from nf.documents.model import Address, DocumentModel, Form, InterfaceName, Name, RuleError, Whole
from nf.documents.registry import Extension

EQUIPMENT = "core5g"

FUNCTIONS = (
    *("nrf", "scp", "ausf", "udm", "udr", "pcf", "bsf", "nssf", "amf", "smf"),
    *("hss", "pcrf", "mme", "sgwc", "sgwu"),
)
"""What a fleet can place, in the order in which Open5GS wants it started. UPFs are listed by themselves."""

FunctionKind = Literal[
    "nrf", "scp", "ausf", "udm", "udr", "pcf", "bsf", "nssf", "amf", "smf", "hss", "pcrf", "mme", "sgwc", "sgwu"
]

Mcc = Annotated[str, Form(r"[0-9]{3}", "a mobile country code has three digits (ITU-T E.212)", 'write it as "999"')]
Mnc = Annotated[str, Form(r"[0-9]{2,3}", "a mobile network code has two or three digits (E.212)", 'write it as "70"')]
SliceDifferentiator = Annotated[
    str, Form(r"[0-9a-f]{6}", "a slice differentiator has six hexadecimal digits (TS 23.003)", 'write it as "00002a"')
]
DnnName = Annotated[
    str,
    Form(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
        "a DNN is labels of lower-case letters, digits and hyphens, with dots between them (TS 23.003)",
        "write it as internet",
    ),
]
HostName = Annotated[
    str,
    Form(
        r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+",
        "a host is a DNS name of two labels or more, in lower case",
        "write it as cdn.streamverse.test",
    ),
]

MAX_MVNOS = 5
"""Open5GS takes six PLMNs."""

Network = IPv4Network | IPv6Network


def _network(value: object) -> object:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        if isinstance(value, str) and "/" in value:
            return ip_network(value)
    except ValueError as error:
        if "host bits" in str(error):
            cleared = ip_network(str(value), strict=False)
            raise RuleError("the address has bits beyond its prefix length", f"clear them: {cleared}") from None
    raise RuleError("must be an IP prefix", "write it as 203.0.113.0/24 or 2001:db8:cd::/48")


Prefix = Annotated[Network, BeforeValidator(_network), PlainSerializer(str, when_used="json")]


class Plmn(DocumentModel):
    """A public land mobile network (TS 23.003): ours, or that of an MVNO."""

    mcc: Mcc
    mnc: Mnc


class Slice(DocumentModel):
    """S-NSSAI (TS 23.003 clause 28.4)."""

    sst: Annotated[Whole, Field(ge=1, le=255)]
    sd: SliceDifferentiator | None = None


class DataNetwork(DocumentModel):
    """A DNN and the pools its UEs get their addresses from. Open5GS chooses a pool by DNN, never by UPF."""

    dnn: DnnName
    pools: Annotated[tuple[Prefix, ...], Field(min_length=1)]


class CoreFunction(DocumentModel):
    """A function of the control plane at an address of its appliance."""

    kind: FunctionKind
    appliance: Name
    address: Address


class Upf(DocumentModel):
    """A user plane function.

    n3, n4     its GTP-U and PFCP addresses on `appliance`
    dnns       it serves; tacs, dnns: by which the SMF selects it. Open5GS takes any one match: it is an OR
    exit       the interface of the default N6, `gateway` the router behind it: all that UEs send goes there, whatever
               routes the appliance has itself. None: by the appliance's own routes. `nat`: UEs leave by it with its
               address (IPv4)
    steering   how traffic for the CDN leaves at it: `n6` by policy at its own N6, `classifier` by an uplink classifier
               (`classifiers`), `none`
    """

    id: Name
    appliance: Name
    n3: Address
    n4: Address
    dnns: Annotated[tuple[DnnName, ...], Field(min_length=1)]
    tacs: tuple[Annotated[Whole, Field(ge=0, le=0xFFFFFF)], ...] = ()
    exit: InterfaceName
    gateway: Address | None = None
    nat: bool = True
    steering: Literal["n6", "classifier", "none"] = "none"


class Classifier(DocumentModel):
    """An uplink classifier (TS 23.501 clause 5.6.4.2): a PFCP proxy between the SMFs and `upf`.

    It adds rules to the sessions of `upf`, by which traffic for the CDN goes to the UPF `edge` over N9.
    `address`: of the proxy, on `appliance`; it is what the SMF has for its UPF.
    """

    id: Name
    appliance: Name
    address: Address
    upf: Name
    edge: Name


class UserEquipment(DocumentModel):
    """An appliance of role probe that is a UE behind `upf`: it proves what mobile people get."""

    appliance: Name
    upf: Name


class Core5g(DocumentModel):
    """Part `core5g` of a fleet's equipment: one PLMN's core, which MVNOs may share.

    mvnos      networks of others whose subscribers it serves by its own radio cells: a subscriber is of `plmn` or of
               one of these, and of nobody else's
    database   where subscribers are, `mongodb://HOST:PORT/NAME`; credentials in it are named: `secret:core5g-db`
    resolvers  given to UEs; ours where a UPF steers by name
    """

    plmn: Plmn
    mvnos: Annotated[tuple[Plmn, ...], Field(max_length=MAX_MVNOS)] = ()
    tacs: Annotated[tuple[Annotated[Whole, Field(ge=0, le=0xFFFFFF)], ...], Field(min_length=1)]
    slices: Annotated[tuple[Slice, ...], Field(min_length=1)]
    networks: Annotated[tuple[DataNetwork, ...], Field(min_length=1)]
    functions: tuple[CoreFunction, ...] = ()
    upfs: tuple[Upf, ...] = ()
    classifiers: tuple[Classifier, ...] = ()
    equipment: tuple[UserEquipment, ...] = ()
    database: str | None = None
    resolvers: tuple[Address, ...] = ()
    mtu: Annotated[Whole, Field(ge=1280, le=9000)] = 1400

    @property
    def plmns(self) -> tuple[Plmn, ...]:
        """All that it serves, its own first."""
        return (self.plmn, *self.mvnos)

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        codes = sorted(plmn.mcc + plmn.mnc for plmn in self.plmns)
        for one, following in pairwise(codes):
            if one == following:
                raise RuleError(f"PLMN {one} is named twice", "name each network once, ours as plmn alone")
            if following.startswith(one):
                rule = f"an IMSI of {following} would be one of {one} too"
                raise RuleError(rule, "write network codes of one country with the same length (E.212)")
        return self


class BreakoutPath(DeliveryPath):
    """Mobile: what UEs ask of the CDN leaves at the near UPF, to the cache that serves the path `of` at its site.

    of                the path of type cdn, of the same channel
    upfs              where it leaves (fleet equipment `core5g`)
    prefixes, names   by which the CDN is known: where its names resolve to, and the names
    """

    type: Literal["upf-breakout"]
    of: Name
    upfs: Annotated[tuple[Name, ...], Field(min_length=1)]
    prefixes: tuple[Prefix, ...] = ()
    names: tuple[HostName, ...] = ()

    @model_validator(mode="after")
    def _known_by_something(self) -> Self:
        if not self.prefixes and not self.names:
            raise RuleError("neither a prefix nor a name says what the CDN's traffic is", "add prefixes or names")
        return self


EXTENSION = Extension(path_types={"upf-breakout": BreakoutPath}, equipment={EQUIPMENT: Core5g})
