"""A site of lawful intercept for tests: points, mediation, agencies, warrants, and elements of memory alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from uuid import UUID

from lawful_intercept.administration import warrants
from lawful_intercept.administration.agencies import Agency, AgencySettings
from lawful_intercept.administration.elements import Element, ElementSettings, Kind
from lawful_intercept.administration.reconcile import Request, applied
from lawful_intercept.administration.tasking import Site
from lawful_intercept.administration.warrants import Content, Scope, Service, Warrant
from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.x1.exchange import AllDetails, name_of
from lawful_intercept.x1.extensions import Encryption, EncryptionAlgorithm, HandoverSettings
from lawful_intercept.x1.messages import ElementStatus

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SIP = TargetIdentifier("sipUri", "sip:alice@voice.example")
NUMBER = TargetIdentifier("e164Number", "491700000001")
IMSI = TargetIdentifier("supiimsi", "001010000000001")
ADDRESS = TargetIdentifier("ipv4Address", "10.45.0.2")
SECRETS = ("alice", "491700000001", "001010000000001", "10.45.0.2", "NZ-0001", "police", "HC 2026")
"""What stands for targets, LIIDs and agencies here, and may be seen nowhere else."""

POP1 = ElementSettings("pop1", Kind.POINT, "https://127.0.0.1:8443/X1/NE", frozenset({Service.VOICE, Service.DATA}))
POP2 = ElementSettings("pop2", Kind.POINT, "https://127.0.0.1:8444/X1/NE", frozenset({Service.VOICE}))
MDF1 = ElementSettings(
    "mdf1",
    Kind.MEDIATION,
    "https://127.0.0.1:8445/X1/NE",
    address=IPv4Address("127.0.0.1"),
    x2_port=9442,
    x3_port=9443,
)
POLICE = AgencySettings("police", IPv4Address("127.0.0.1"), 9700, HandoverSettings("NZ", "NZ", "svnf"))
AES = Encryption(EncryptionAlgorithm.AES_256_CBC, "file:/etc/nf-li/{liid}.key")
CUSTOMS = AgencySettings("customs", IPv4Address("127.0.0.2"), 9700, HandoverSettings("NZ", "NZ", "svnf"))


def element(settings: ElementSettings, number: int = 100) -> Element:
    return Element(settings, UUID(int=number), UUID(int=number + 1))


def site(*extra: ElementSettings) -> Site:
    elements = {one.name: element(one, 100 * n) for n, one in enumerate((POP1, POP2, MDF1, *extra), 1)}
    agencies = {one.name: Agency(UUID(int=n), UUID(int=50 + n), one) for n, one in enumerate((POLICE, CUSTOMS), 1)}
    return Site(elements, agencies)


def content(**other: object) -> Content:
    fields: dict[str, object] = {
        "liid": "NZ-0001",
        "reference": "HC 2026/4711",
        "agency": "police",
        "targets": (SIP,),
        "services": frozenset({Service.VOICE}),
        "scope": Scope.IRI_AND_CC,
        "start": NOON,
        "stop": NOON + HOUR,
    }
    return Content(**{**fields, **other})  # type: ignore[arg-type]


def approved(number: int = 1, **other: object) -> Warrant:
    at = NOON - HOUR
    made = warrants.create(UUID(int=number), UUID(int=1000 + number), content(**other), "anna", at)
    return warrants.approve(warrants.submit(made, "anna", at), "bob", at)


def active(number: int = 1, **other: object) -> Warrant:
    return warrants.activate(approved(number, **other), NOON)


def encrypted(key: str = AES.key, agency: AgencySettings = POLICE) -> AgencySettings:
    return replace(agency, handover=replace(agency.handover, encryption=replace(AES, key=key)))


class Memory:
    """An element without a wire, as `links.Asker`. `failure`: what every call raises while it is set."""

    def __init__(self) -> None:
        self.held = AllDetails(ElementStatus())
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.refused: dict[str, Exception] = {}

    @property
    def xids(self) -> set[UUID]:
        return {record.details.xid for record in self.held.tasks}

    @property
    def dids(self) -> set[UUID]:
        return {record.details.did for record in self.held.destinations}

    async def all_details(self) -> AllDetails:
        self._called("GetAllDetails")
        return self.held

    async def do(self, request: Request) -> None:
        self._called(name_of(request))
        self.held = applied(self.held, request)

    async def keepalive(self) -> None:
        self._called("Keepalive")

    async def close(self) -> None:
        self.asked.append("close")

    def _called(self, name: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.asked.append(name)
        if name in self.refused:
            raise self.refused[name]

    def changes(self) -> list[str]:
        return [name for name in self.asked if name not in ("GetAllDetails", "Keepalive")]


def requests(found: Iterable[object]) -> list[str]:
    return [type(one).__name__ for one in found]
