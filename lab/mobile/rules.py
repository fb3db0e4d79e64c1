"""A session's rules at the UPF, with what the recorded one accepts, ignores and wipes.

A request that is rejected leaves the session without any rule (open5gs #4766). What is not looked at here the recorded
UPF does not look at either: gates and rates of QERs, forwarding policies, redirection, duplication, application ids.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol, TypeVar

from lab.mobile.gtpu import PORT, Encapsulation
from lab.mobile.pfcp import (
    Cause,
    FTeid,
    Ie,
    Message,
    PfcpFormatError,
    T,
    dnn_of,
    first,
    members,
    number,
    outer_tunnel,
    ue_addresses,
)
from lab.mobile.sdf import FILTERS_KEPT, Flow, SdfError, filter_of, parse
from lab.mobile.usage import Urr

PDRS, FARS, URRS, QERS = 16, 16, 16, 4
"""Most of a session."""

ACCESS, CORE = 0, 1
N3, N6, N9_ROAMING = 11, 17, 21
"""3GPP interface types (clause 8.2.118): of a source, only N3 and N9 for roaming make the UPF look up a TUN."""

FORW, BUFF = 0x02, 0x04
_SEND_END_MARKER = 0x02
_Rule = TypeVar("_Rule")


class RuleRejected(Exception):  # noqa: N818 - a cause on the wire, not a fault of ours
    """The request is answered with `cause`, and the session's rules are gone."""

    def __init__(self, cause: Cause, offending: int | None = None) -> None:
        super().__init__(f"cause {cause}, offending IE {offending}")
        self.cause, self.offending = cause, offending


@dataclass(slots=True)
class Far:
    id: int
    action: int = 0
    destination: int | None = None
    interface_type: int | None = None
    tunnel: tuple[int, IPv4Address | IPv6Address] | None = None
    buffered: list[bytes] = field(default_factory=list)

    @property
    def to_n6(self) -> bool:
        """Whatever the action says: DROP towards N6 forwards all the same."""
        return self.destination == CORE and self.interface_type == N6


@dataclass(slots=True)
class Pdr:
    id: int
    far: Far
    precedence: int = 0
    source: int = ACCESS
    interface_type: int | None = None
    fteid: FTeid | None = None
    dnn: str | None = None
    qfi: int = 0
    flows: list[Flow] = field(default_factory=list)
    urrs: list[Urr] = field(default_factory=list)
    qer: Qer | None = None
    encapsulation: Encapsulation | None = None
    peer: tuple[str, int] | None = None

    @property
    def checks_source(self) -> bool:
        roaming = self.far.interface_type == N9_ROAMING
        return self.source == ACCESS and self.interface_type in (N3, N9_ROAMING) and not roaming

    def matches(self, packet: bytes) -> bool:
        uplink = self.source == ACCESS
        return not self.flows or any(flow.matches(packet, uplink=uplink) for flow in self.flows)


@dataclass(slots=True)
class Qer:
    id: int
    qfi: int = 0


class Surroundings(Protocol):
    """What a session needs of its UPF."""

    def new_teid(self) -> int: ...
    def tunnel_addresses(self) -> tuple[IPv4Address | None, IPv6Address | None]: ...
    def tun_of(self, dnn: str | None, version: int) -> int | None: ...
    def flush(self, far: Far, pdr: Pdr) -> None: ...
    def end_marker(self, teid: int, peer: IPv4Address | IPv6Address) -> None: ...


@dataclass(slots=True)
class Session:
    """`seid` is ours, `cp_seid` that of the CP. `tun4`, `tun6`: descriptors of the TUN of the UE's subnets."""

    seid: int
    cp_seid: int
    around: Surroundings
    dnn: str | None = None
    pdn_type: int = 0
    v4: bytes = b""
    v6: bytes = b""
    tun4: int | None = None
    tun6: int | None = None
    pdrs: dict[int, Pdr] = field(default_factory=dict)
    fars: dict[int, Far] = field(default_factory=dict)
    urrs: dict[int, Urr] = field(default_factory=dict)
    qers: dict[int, Qer] = field(default_factory=dict)
    by_teid: dict[int, tuple[Pdr, ...]] = field(default_factory=dict)
    downlink: tuple[Pdr, ...] = ()
    fallback: Pdr | None = None
    _chosen: dict[int, int] = field(default_factory=dict)
    _flows_by_id: dict[int, Flow] = field(default_factory=dict)

    def clear(self) -> None:
        for table in (self.pdrs, self.fars, self.urrs, self.qers, self._chosen, self._flows_by_id):
            table.clear()
        self._compile()

    def apply(self, message: Message) -> list[Pdr]:
        """Of an establishment or a modification; the PDRs the answer tells of. Raises RuleRejected, having wiped."""
        try:
            created = self._apply(message)
        except RuleRejected:
            self.clear()
            raise
        except PfcpFormatError as error:
            self.clear()
            raise RuleRejected(Cause.MANDATORY_IE_INCORRECT) from error
        self._compile()
        for pdr in self.pdrs.values():
            if pdr.source == CORE and pdr.far.buffered and pdr.far.tunnel and pdr.far.action & FORW:
                self.around.flush(pdr.far, pdr)
        return created

    def _apply(self, message: Message) -> list[Pdr]:
        created = []
        for ie_type, act in _STEPS:
            for value in message.all(ie_type):
                pdr = act(self, members(value))
                if pdr is not None and pdr.fteid is not None:
                    created.append(pdr)
        return created

    def create_pdr(self, ies: tuple[Ie, ...]) -> Pdr:
        pdr_id, far_id, pdi = _id(ies, T.PDR_ID), number(first(ies, T.FAR_ID)), first(ies, T.PDI)
        if pdr_id not in self.pdrs and len(self.pdrs) >= PDRS:
            raise RuleRejected(Cause.NO_RESOURCES, T.PDR_ID)
        if pdi is None:
            raise RuleRejected(Cause.MANDATORY_IE_MISSING, T.PDI)
        if far_id is None:
            raise RuleRejected(Cause.MANDATORY_IE_MISSING, T.FAR_ID)
        # A FAR that is never created exists from here on, and does nothing but buffer.
        pdr = self.pdrs[pdr_id] = Pdr(pdr_id, _found(self.fars, far_id, FARS, T.FAR_ID, Far))
        pdr.precedence = number(first(ies, T.PRECEDENCE)) or 0
        self._detect(pdr, members(pdi))
        self._refer(pdr, ies)
        return pdr

    def update_pdr(self, ies: tuple[Ie, ...]) -> None:
        pdr = self.pdrs.get(_id(ies, T.PDR_ID))
        if pdr is None:
            raise RuleRejected(Cause.MANDATORY_IE_INCORRECT, T.PDR_ID)
        far_id, precedence, pdi = number(first(ies, T.FAR_ID)), first(ies, T.PRECEDENCE), first(ies, T.PDI)
        if far_id is not None:
            pdr.far = _found(self.fars, far_id, FARS, T.FAR_ID, Far)
        if precedence is not None:
            pdr.precedence = int.from_bytes(precedence)
        if pdi is not None:
            self._detect(pdr, members(pdi))
        self._refer(pdr, ies)

    def _refer(self, pdr: Pdr, ies: tuple[Ie, ...]) -> None:
        urr_ids, qer_id = [number(value) for found, value in ies if found == T.URR_ID], number(first(ies, T.QER_ID))
        if urr_ids:
            pdr.urrs = [_found(self.urrs, urr_id or 0, URRS, T.URR_ID, Urr) for urr_id in urr_ids]
        if qer_id is not None:
            pdr.qer = _found(self.qers, qer_id, QERS, T.QER_ID, Qer)

    def _detect(self, pdr: Pdr, pdi: tuple[Ie, ...]) -> None:
        source = first(pdi, T.SOURCE_INTERFACE)
        if source is None:
            raise RuleRejected(Cause.MANDATORY_IE_MISSING, T.SOURCE_INTERFACE)
        pdr.source = source[0] & 0x0F
        pdr.interface_type = number(first(pdi, T.INTERFACE_TYPE))
        pdr.dnn = dnn_of(first(pdi, T.NETWORK_INSTANCE)) or pdr.dnn
        pdr.qfi = number(first(pdi, T.QFI)) or 0
        fteid, ue_ip = first(pdi, T.F_TEID), first(pdi, T.UE_IP_ADDRESS)
        if fteid is not None:
            pdr.fteid = self._tunnel(FTeid.parse(fteid))
        if ue_ip is not None:
            self._learn(pdr, ue_ip)
        pdr.flows = self._flows([value for found, value in pdi if found == T.SDF_FILTER])

    def _tunnel(self, asked: FTeid) -> FTeid:
        if not asked.choose:
            return asked
        v4, v6 = self.around.tunnel_addresses()
        if asked.choose_id is None:
            return FTeid(self.around.new_teid(), v4, v6)
        if asked.choose_id not in self._chosen:
            self._chosen[asked.choose_id] = self.around.new_teid()
        return FTeid(self._chosen[asked.choose_id], v4, v6)

    def _flows(self, values: list[bytes]) -> list[Flow]:
        flows = []
        for value in values[:FILTERS_KEPT]:
            try:
                sdf = filter_of(value)
                if sdf.description is not None:
                    flow = parse(sdf.description)
                    if sdf.id is not None:
                        self._flows_by_id[sdf.id] = flow
                elif sdf.id in self._flows_by_id:
                    flow = self._flows_by_id[sdf.id]
                else:
                    continue
            except SdfError:
                continue
            flows.append(flow)
        return flows

    def _learn(self, pdr: Pdr, ue_ip: bytes) -> None:
        """The UE's address, of the kinds that the PDN type allows. Its subnet, and so its TUN, is that of the DNN."""
        v4, v6 = ue_addresses(ue_ip)
        dnn = pdr.dnn or self.dnn
        if self.pdn_type & 1 and v4 is not None:
            self.tun4 = self._tun(dnn, 4)
            self.v4 = v4.packed
        if self.pdn_type & 2 and v6 is not None:
            self.tun6 = self._tun(dnn, 6)
            self.v6 = v6.packed

    def _tun(self, dnn: str | None, version: int) -> int:
        tun = self.around.tun_of(dnn, version)
        if tun is None:
            raise RuleRejected(Cause.NO_RESOURCES)
        return tun

    def create_far(self, ies: tuple[Ie, ...]) -> None:
        far_id, action, parameters = _id(ies, T.FAR_ID), first(ies, T.APPLY_ACTION), first(ies, T.FORWARDING_PARAMETERS)
        if action is None:
            raise RuleRejected(Cause.MANDATORY_IE_MISSING, T.APPLY_ACTION)
        far = _found(self.fars, far_id, FARS, T.FAR_ID, Far)
        far.action, far.destination, far.interface_type, far.tunnel = action[0], None, None, None
        if parameters is not None:
            self._forward(far, members(parameters))

    def update_far(self, ies: tuple[Ie, ...]) -> None:
        far = self.fars.get(_id(ies, T.FAR_ID))
        if far is None:
            raise RuleRejected(Cause.MANDATORY_IE_INCORRECT, T.FAR_ID)
        action, parameters = first(ies, T.APPLY_ACTION), first(ies, T.UPDATE_FORWARDING_PARAMETERS)
        if action is not None:
            far.action = action[0]
        if parameters is not None:
            inner = members(parameters)
            if (number(first(inner, T.PFCPSMREQ_FLAGS)) or 0) & _SEND_END_MARKER and far.tunnel:
                self.around.end_marker(*far.tunnel)
            self._forward(far, inner)

    def _forward(self, far: Far, parameters: tuple[Ie, ...]) -> None:
        destination, interface_type = first(parameters, T.DESTINATION_INTERFACE), first(parameters, T.INTERFACE_TYPE)
        creation = first(parameters, T.OUTER_HEADER_CREATION)
        if destination is not None:
            far.destination = destination[0] & 0x0F
        if interface_type is not None:
            far.interface_type = interface_type[0]
        if creation is not None:
            far.tunnel = outer_tunnel(creation)
            if far.tunnel is None:
                raise RuleRejected(Cause.SERVICE_NOT_SUPPORTED, T.OUTER_HEADER_CREATION)

    def create_urr(self, ies: tuple[Ie, ...]) -> None:
        _found(self.urrs, _id(ies, T.URR_ID), URRS, T.URR_ID, Urr).configure(ies)

    def set_qer(self, ies: tuple[Ie, ...]) -> None:
        qer = _found(self.qers, _id(ies, T.QER_ID), QERS, T.QER_ID, Qer)
        qer.qfi = number(first(ies, T.QFI)) or qer.qfi

    def _compile(self) -> None:
        """What forwarding looks up, in the order of precedence."""
        ordered = sorted(self.pdrs.values(), key=lambda pdr: pdr.precedence)
        for pdr in ordered:
            tunnel = pdr.far.tunnel
            pdr.peer = (str(tunnel[1]), PORT) if tunnel else None
            pdr.encapsulation = Encapsulation(tunnel[0], pdr.qer.qfi if pdr.qer else None) if tunnel else None
        tunnelled = sorted((pdr for pdr in ordered if pdr.fteid), key=_teid)
        grouped = itertools.groupby(tunnelled, key=_teid)
        self.by_teid = {teid: tuple(pdrs) for teid, pdrs in grouped}
        core = [pdr for pdr in ordered if pdr.source == CORE]
        self.fallback = core[-1] if core else None
        self.downlink = tuple(pdr for pdr in core if pdr.far.destination == ACCESS and pdr.far.tunnel)


_STEPS: tuple[tuple[T, Callable[[Session, tuple[Ie, ...]], Pdr | None]], ...] = (
    (T.CREATE_PDR, Session.create_pdr),
    (T.UPDATE_PDR, Session.update_pdr),
    (T.REMOVE_PDR, lambda session, ies: _drop(session.pdrs, _id(ies, T.PDR_ID))),
    (T.CREATE_FAR, Session.create_far),
    (T.UPDATE_FAR, Session.update_far),
    (T.REMOVE_FAR, lambda session, ies: _drop(session.fars, _id(ies, T.FAR_ID))),
    (T.CREATE_URR, Session.create_urr),
    (T.REMOVE_URR, lambda session, ies: _drop(session.urrs, _id(ies, T.URR_ID))),
    (T.CREATE_QER, Session.set_qer),
    (T.UPDATE_QER, Session.set_qer),
    (T.REMOVE_QER, lambda session, ies: _drop(session.qers, _id(ies, T.QER_ID))),
)
"""In the order in which the recorded UPF takes a request's parts."""


def _drop(table: dict[int, _Rule], key: int) -> None:
    """Removing what is not there is fine."""
    table.pop(key, None)


def _teid(pdr: Pdr) -> int:
    return pdr.fteid.teid if pdr.fteid else 0


def _id(ies: tuple[Ie, ...], ie_type: T) -> int:
    value = first(ies, ie_type)
    if value is None:
        raise RuleRejected(Cause.MANDATORY_IE_MISSING, ie_type)
    return int.from_bytes(value)


def _found(table: dict[int, _Rule], key: int, most: int, ie_type: T, make: Callable[[int], _Rule]) -> _Rule:
    if key not in table:
        if len(table) >= most:
            raise RuleRejected(Cause.NO_RESOURCES, ie_type)
        table[key] = make(key)
    return table[key]
