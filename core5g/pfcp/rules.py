"""Detection and forwarding rules as values (TS 29.244, 7.5.2 to 7.5.4): what a classifier makes and an observer reads.

IEs without a field here are kept in `other`, in their order. `decode` raises PfcpError, with reason `missing` where a
mandatory IE is not there; `ie()` raises it for values that do not fit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from core5g.pfcp.ies import (
    ApplicationId,
    ApplyAction,
    DestinationInterface,
    FarId,
    FTeid,
    InterfaceType3gpp,
    NetworkInstance,
    OuterHeaderCreation,
    OuterHeaderRemoval,
    PdrId,
    Precedence,
    QerId,
    Qfi,
    SdfFilter,
    SourceInterface,
    TrafficEndpointId,
    UeIpAddress,
    UrrId,
    Value,
    ie,
    read,
    read_all,
    require,
)
from core5g.pfcp.wire import Ie, IeType, find, group, grouped, need


def _rest(ies: Iterable[Ie], known: frozenset[int]) -> tuple[Ie, ...]:
    return tuple(one for one in ies if one.type not in known)


def _present(*values: Value | None) -> list[Ie]:
    return [ie(value) for value in values if value is not None]


_PDI = frozenset(
    {
        IeType.SOURCE_INTERFACE,
        IeType.F_TEID,
        IeType.NETWORK_INSTANCE,
        IeType.UE_IP_ADDRESS,
        IeType.TRAFFIC_ENDPOINT_ID,
        IeType.SDF_FILTER,
        IeType.APPLICATION_ID,
        IeType.QFI,
        IeType.INTERFACE_TYPE_3GPP,
    }
)
_PDR = frozenset(
    {
        IeType.PDR_ID,
        IeType.PRECEDENCE,
        IeType.PDI,
        IeType.OUTER_HEADER_REMOVAL,
        IeType.FAR_ID,
        IeType.URR_ID,
        IeType.QER_ID,
    }
)
_FORWARDING = frozenset(
    {
        IeType.DESTINATION_INTERFACE,
        IeType.NETWORK_INSTANCE,
        IeType.OUTER_HEADER_CREATION,
        IeType.INTERFACE_TYPE_3GPP,
    }
)
_FAR = frozenset({IeType.FAR_ID, IeType.APPLY_ACTION, IeType.FORWARDING_PARAMETERS})
_UPDATE_FAR = frozenset({IeType.FAR_ID, IeType.APPLY_ACTION, IeType.UPDATE_FORWARDING_PARAMETERS})


@dataclass(frozen=True, slots=True)
class Pdi:
    """Which packets (table 7.5.2.2-2). All that is named must match, of the SDF filters one."""

    source: SourceInterface
    fteid: FTeid | None = None
    network_instance: NetworkInstance | None = None
    ue_ips: tuple[UeIpAddress, ...] = ()
    sdf_filters: tuple[SdfFilter, ...] = ()
    interface_type: InterfaceType3gpp | None = None
    qfis: tuple[Qfi, ...] = ()
    application: ApplicationId | None = None
    traffic_endpoint: TrafficEndpointId | None = None
    other: tuple[Ie, ...] = ()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        ies = grouped(value)
        return cls(
            require(SourceInterface, ies),
            read(FTeid, ies),
            read(NetworkInstance, ies),
            read_all(UeIpAddress, ies),
            read_all(SdfFilter, ies),
            read(InterfaceType3gpp, ies),
            read_all(Qfi, ies),
            read(ApplicationId, ies),
            read(TrafficEndpointId, ies),
            _rest(ies, _PDI),
        )

    def ie(self) -> Ie:
        members = _present(self.source, self.fteid, self.network_instance, *self.ue_ips, self.traffic_endpoint)
        members += _present(*self.sdf_filters, self.application, *self.qfis, self.interface_type)
        return group(IeType.PDI, (*members, *self.other))


@dataclass(frozen=True, slots=True)
class CreatePdr:
    """Table 7.5.2.2-1. The standard lets `far_id` be missing; Open5GS rejects it and, before its PR 4774, wipes the
    session."""

    id: PdrId
    precedence: Precedence
    pdi: Pdi
    outer_header_removal: OuterHeaderRemoval | None = None
    far_id: FarId | None = None
    urr_ids: tuple[UrrId, ...] = ()
    qer_ids: tuple[QerId, ...] = ()
    other: tuple[Ie, ...] = ()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        ies = grouped(value)
        return cls(
            require(PdrId, ies),
            require(Precedence, ies),
            Pdi.decode(need(ies, IeType.PDI)),
            read(OuterHeaderRemoval, ies),
            read(FarId, ies),
            read_all(UrrId, ies),
            read_all(QerId, ies),
            _rest(ies, _PDR),
        )

    def ie(self) -> Ie:
        head = (*_present(self.id, self.precedence), self.pdi.ie())
        tail = _present(self.outer_header_removal, self.far_id, *self.urr_ids, *self.qer_ids)
        return group(IeType.CREATE_PDR, (*head, *tail, *self.other))


@dataclass(frozen=True, slots=True)
class UpdatePdr:
    """Table 7.5.4.2-1: what changes; a PDI replaces the former one as a whole."""

    id: PdrId
    precedence: Precedence | None = None
    pdi: Pdi | None = None
    outer_header_removal: OuterHeaderRemoval | None = None
    far_id: FarId | None = None
    urr_ids: tuple[UrrId, ...] = ()
    qer_ids: tuple[QerId, ...] = ()
    other: tuple[Ie, ...] = ()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        ies = grouped(value)
        pdi = find(ies, IeType.PDI)
        return cls(
            require(PdrId, ies),
            read(Precedence, ies),
            None if pdi is None else Pdi.decode(pdi),
            read(OuterHeaderRemoval, ies),
            read(FarId, ies),
            read_all(UrrId, ies),
            read_all(QerId, ies),
            _rest(ies, _PDR),
        )

    def ie(self) -> Ie:
        members = _present(self.id, self.outer_header_removal, self.precedence)
        members += [] if self.pdi is None else [self.pdi.ie()]
        members += _present(self.far_id, *self.urr_ids, *self.qer_ids)
        return group(IeType.UPDATE_PDR, (*members, *self.other))


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Forwarding parameters, new (table 7.5.2.3-2) or updated (7.5.4.3-2). Open5GS forwards nothing to Core without an
    interface type that it knows, and takes GTP-U headers only."""

    destination: DestinationInterface | None = None
    network_instance: NetworkInstance | None = None
    outer_header: OuterHeaderCreation | None = None
    interface_type: InterfaceType3gpp | None = None
    other: tuple[Ie, ...] = ()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        ies = grouped(value)
        return cls(
            read(DestinationInterface, ies),
            read(NetworkInstance, ies),
            read(OuterHeaderCreation, ies),
            read(InterfaceType3gpp, ies),
            _rest(ies, _FORWARDING),
        )

    def ie(self, ie_type: IeType) -> Ie:
        """As IE 4 (Forwarding Parameters) or 11 (Update Forwarding Parameters)."""
        members = _present(self.destination, self.network_instance, self.outer_header, self.interface_type)
        return group(ie_type, (*members, *self.other))


@dataclass(frozen=True, slots=True)
class CreateFar:
    """Table 7.5.2.3-1."""

    id: FarId
    apply_action: ApplyAction
    forwarding: Forwarding | None = None
    other: tuple[Ie, ...] = ()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        ies = grouped(value)
        forwarding = find(ies, IeType.FORWARDING_PARAMETERS)
        return cls(
            require(FarId, ies),
            require(ApplyAction, ies),
            None if forwarding is None else Forwarding.decode(forwarding),
            _rest(ies, _FAR),
        )

    def ie(self) -> Ie:
        members = _present(self.id, self.apply_action)
        if self.forwarding is not None:
            members.append(self.forwarding.ie(IeType.FORWARDING_PARAMETERS))
        return group(IeType.CREATE_FAR, (*members, *self.other))


@dataclass(frozen=True, slots=True)
class UpdateFar:
    """Table 7.5.4.3-1: what changes."""

    id: FarId
    apply_action: ApplyAction | None = None
    forwarding: Forwarding | None = None
    other: tuple[Ie, ...] = ()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        ies = grouped(value)
        forwarding = find(ies, IeType.UPDATE_FORWARDING_PARAMETERS)
        return cls(
            require(FarId, ies),
            read(ApplyAction, ies),
            None if forwarding is None else Forwarding.decode(forwarding),
            _rest(ies, _UPDATE_FAR),
        )

    def ie(self) -> Ie:
        members = _present(self.id, self.apply_action)
        if self.forwarding is not None:
            members.append(self.forwarding.ie(IeType.UPDATE_FORWARDING_PARAMETERS))
        return group(IeType.UPDATE_FAR, (*members, *self.other))


@dataclass(frozen=True, slots=True)
class RemovePdr:
    """Table 7.5.4.6-1."""

    id: PdrId

    @classmethod
    def decode(cls, value: bytes) -> Self:
        return cls(require(PdrId, grouped(value)))

    def ie(self) -> Ie:
        return group(IeType.REMOVE_PDR, _present(self.id))


@dataclass(frozen=True, slots=True)
class RemoveFar:
    """Table 7.5.4.7-1."""

    id: FarId

    @classmethod
    def decode(cls, value: bytes) -> Self:
        return cls(require(FarId, grouped(value)))

    def ie(self) -> Ie:
        return group(IeType.REMOVE_FAR, _present(self.id))


@dataclass(frozen=True, slots=True)
class CreatedPdr:
    """Table 7.5.3.2-1: what a UPF picked for a PDR."""

    id: PdrId
    fteid: FTeid | None = None
    ue_ips: tuple[UeIpAddress, ...] = ()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        ies = grouped(value)
        return cls(require(PdrId, ies), read(FTeid, ies), read_all(UeIpAddress, ies))

    def ie(self) -> Ie:
        return group(IeType.CREATED_PDR, _present(self.id, self.fteid, *self.ue_ips))
