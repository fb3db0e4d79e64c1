"""What is handed over to whom: from X1's tasks and destinations to products. Pure.

A product is what one warrant (LIID) makes of one task for one destination, IRI or CC. Two warrants for one target are
two products each way, with numbers, times, settings and spools of their own: neither knows of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from lawful_intercept.handover.values import DataType, Header
from lawful_intercept.identifiers import TargetIdentifier, liid_octets
from lawful_intercept.x1.extensions import HandoverSettings, handover_of
from lawful_intercept.x1.faults import Code, X1Fault
from lawful_intercept.x1.messages import (
    DeliveryType,
    DestinationDetails,
    HandoverType,
    MediationDetails,
    SocketAddress,
    TaskDetails,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EVER: Final = 1 << 63
_KINDS: Final = {
    HandoverType.HI2_ONLY: (DataType.IRI,),
    HandoverType.HI3_ONLY: (DataType.CC,),
    HandoverType.HI2_AND_HI3: (DataType.IRI, DataType.CC),
}
_NEEDED: Final = {DataType.IRI: DeliveryType.X2_ONLY, DataType.CC: DeliveryType.X3_ONLY}


@dataclass(frozen=True, slots=True, repr=False)
class Product:
    """start_ns, end_ns  nanoseconds since the epoch; what happened before the one or from the other on is dropped
    iri_only             of a warrant without CC: what a SIP message carries beside its signalling is left out
    targets              whom the warrant names
    """

    xid: UUID
    liid: str
    did: UUID
    kind: DataType
    settings: HandoverSettings
    iri_only: bool = False
    start_ns: int = 0
    end_ns: int = _EVER
    targets: tuple[TargetIdentifier, ...] = ()

    def covers(self, at_ns: int) -> bool:
        return self.start_ns <= at_ns < self.end_ns

    @property
    def stream(self) -> tuple[str, str, int]:
        """Within a session, what has a sequence number of its own."""
        return self.liid, str(self.did), int(self.kind)

    def header(self) -> Header:
        """Raises InputError."""
        said = self.settings
        return Header(
            liid=liid_octets(self.liid),
            authorisation_country=said.authorisation_country,
            operator=said.operator.encode(),
            element=said.element.encode(),
            delivery_country=said.delivery_country,
            version=said.domain_version,
            time_form=said.time_form.value,
            point=said.point,
        )


def nanoseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1) * 1000


def products_of(task: TaskDetails, destinations: Mapping[UUID, DestinationDetails]) -> tuple[Product, ...]:
    """All of a task. Raises X1Fault: less than it asks for would be delivered, or to nowhere."""
    if not task.mediation:
        raise X1Fault(Code.COMBINATION, "a task of mediation has no mediation details")
    found: list[Product] = []
    for mediation in task.mediation:
        found += _products(task, mediation, destinations)
    streams = [(product.liid, product.did, product.kind) for product in found]
    if len({*streams}) != len(streams):
        raise X1Fault(Code.COMBINATION, "one LIID is delivered to one destination twice")
    return tuple(found)


def _products(
    task: TaskDetails, mediation: MediationDetails, destinations: Mapping[UUID, DestinationDetails]
) -> list[Product]:
    dids = mediation.destinations or task.destinations
    if not dids or len({*dids}) != len(dids):
        raise X1Fault(Code.DELIVERY_TYPE, "mediation details have no destination, or one twice")
    found: list[Product] = []
    for kind in _KINDS[mediation.delivery]:
        if not task.delivery.covers(_NEEDED[kind]):
            raise X1Fault(Code.DELIVERY_TYPE, "mediation details ask for more than their task delivers")
        delivering = [one for one in (_known(did, destinations) for did in dids) if one.delivery.covers(_NEEDED[kind])]
        if not delivering:
            raise X1Fault(Code.DELIVERY_TYPE, "no destination of mediation details takes what they ask for")
        found += (_product(task, mediation, one, kind) for one in delivering)
    unused = {*dids} - {product.did for product in found}
    if unused:
        raise X1Fault(Code.DELIVERY_TYPE, "a destination of mediation details takes nothing of what they ask for")
    return found


def _known(did: UUID, destinations: Mapping[UUID, DestinationDetails]) -> DestinationDetails:
    if did not in destinations:
        raise X1Fault(Code.DID_UNKNOWN)
    return destinations[did]


def _product(
    task: TaskDetails, mediation: MediationDetails, destination: DestinationDetails, kind: DataType
) -> Product:
    settings = handover_of(mediation.extensions) or handover_of(destination.extensions)
    if settings is None:
        raise X1Fault(Code.COMBINATION, "there are no handover settings, neither of the mediation nor its destination")
    return Product(
        xid=task.xid,
        liid=mediation.liid,
        did=destination.did,
        kind=kind,
        settings=settings,
        iri_only=mediation.delivery is HandoverType.HI2_ONLY,
        start_ns=0 if mediation.start is None else nanoseconds(mediation.start),
        end_ns=_EVER if mediation.end is None else nanoseconds(mediation.end),
        targets=task.targets,
    )


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """Where a destination's HI2 or HI3 listens. `name`: what settings know its certificates by."""

    did: UUID
    kind: DataType
    name: str
    host: str
    port: int
    settings: HandoverSettings

    @property
    def label(self) -> str:
        return f"{self.did}/{int(self.kind)}"


def targets_of(destination: DestinationDetails) -> tuple[Target, ...]:
    """Raises X1Fault."""
    settings = handover_of(destination.extensions)
    if settings is None:
        raise X1Fault(Code.CREATE_DESTINATION_FAILED, "a destination of mediation has no handover settings")
    address = destination.address
    if not isinstance(address, SocketAddress):
        raise X1Fault(Code.ADDRESS_TYPE, "a destination of mediation is an IP address and a TCP port")
    ports = {DataType.IRI: settings.hi2_port, DataType.CC: settings.hi3_port}
    return tuple(
        Target(destination.did, kind, destination.name, str(address.address), ports[kind] or address.port, settings)
        for kind in DataType
        if destination.delivery.covers(_NEEDED[kind])
    )


def liids(products: Iterable[Product]) -> set[str]:
    return {product.liid for product in products}
