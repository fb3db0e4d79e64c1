"""Values that PFCP can carry, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from core5g.pfcp.ies import (
    Action,
    ApnDnn,
    ApplicationId,
    ApplyAction,
    BarId,
    Cause,
    DestinationInterface,
    FailedRuleId,
    FarId,
    FSeid,
    FTeid,
    GateStatus,
    InterfaceType3gpp,
    Mbr,
    NetworkInstance,
    NodeId,
    OuterHeaderCreation,
    OuterHeaderRemoval,
    PdnType,
    PdrId,
    Precedence,
    QerId,
    Qfi,
    RecoveryTimeStamp,
    Removal,
    ReportType,
    RuleKind,
    SdfFilter,
    SNssai,
    SourceInterface,
    TrafficEndpointId,
    UeIpAddress,
    UpFunctionFeatures,
    UrrId,
    UserId,
    Value,
    VolumeMeasurement,
    VolumeThreshold,
)
from core5g.pfcp.rules import CreatedPdr, CreateFar, CreatePdr, Forwarding, Pdi, UpdateFar, UpdatePdr
from core5g.pfcp.wire import GROUPED, Ie, Message, MessageType

u8, u16, u24, u32, u64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 24, 32, 64))
ipv4, ipv6 = st.ip_addresses(v=4), st.ip_addresses(v=6)
label = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
names = st.lists(label, min_size=1, max_size=4).map(".".join)
# Plain text whose first character counts the rest would read as labels; names are shorter than any such count.
texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=12)
digits = st.text("0123456789", max_size=16)


def _addresses(v4: bool, v6: bool) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({"ipv4": ipv4 if v4 else st.none(), "ipv6": ipv6 if v6 else st.none()})


some_address = st.sampled_from([(True, False), (False, True), (True, True)]).flatmap(lambda two: _addresses(*two))
fseids = st.builds(lambda seid, where: FSeid(seid, **where), u64, some_address)
named_fteids = st.builds(lambda teid, where: FTeid(teid, **where), u32, some_address)
chosen_fteids = st.builds(
    lambda number, families: FTeid(choose=True, choose_id=number, choose_ipv4=families[0], choose_ipv6=families[1]),
    st.none() | u8,
    st.sampled_from([(True, False), (False, True), (True, True)]),
)
fteids = named_fteids | chosen_fteids
ue_ips = st.builds(
    UeIpAddress, st.none() | ipv4, st.none() | ipv6, st.booleans(), st.booleans(), st.booleans(),
    st.none() | u8, st.none() | u8,
)  # fmt: skip


@st.composite
def headers(draw: st.DrawFn) -> OuterHeaderCreation:
    description = draw(st.integers(1, 255)) << 8 | draw(u8)
    return OuterHeaderCreation(
        description,
        draw(u32) if description & 0x0300 else None,
        draw(ipv4) if description & 0x1500 else None,
        draw(ipv6) if description & 0x2A00 else None,
        draw(u16) if description & 0x0C00 else None,
        draw(st.binary(min_size=3, max_size=3)) if description & 0x4000 else None,
        draw(st.binary(min_size=3, max_size=3)) if description & 0x8000 else None,
    )


actions = st.integers(0, 0x7FF).map(lambda bits: ApplyAction(Action(bits))) | u8.map(
    lambda bits: ApplyAction(Action(bits), octets=1)
)
instances = st.builds(NetworkInstance, names) | st.builds(NetworkInstance, texts, st.just(False)).filter(
    lambda one: not one.name or ord(one.name[0]) > 12
)
filters = st.builds(SdfFilter, st.none() | texts, st.none() | u16, st.none() | u32, st.none() | u24, st.none() | u32)
pdr_ids, far_ids, urr_ids = u16.map(PdrId), u32.map(FarId), u32.map(UrrId)
qer_ids, qfis = u32.map(QerId), st.integers(0, 63).map(Qfi)
precedences = u32.map(Precedence)
removals = st.builds(OuterHeaderRemoval, st.sampled_from(Removal), st.none() | u8)
failed = st.sampled_from(RuleKind).flatmap(
    lambda kind: st.builds(
        FailedRuleId, st.just(kind), u16 if kind is RuleKind.PDR else u8 if kind is RuleKind.BAR else u32
    )
)
volumes = [st.none() | u64] * 6

VALUES: tuple[st.SearchStrategy[Value], ...] = (
    st.builds(NodeId, ipv4 | ipv6 | names),
    fseids,
    fteids,
    ue_ips,
    headers(),
    removals,
    actions,
    instances,
    st.builds(ApnDnn, names),
    st.builds(ApplicationId, texts),
    filters,
    st.builds(UserId, *[st.none() | digits] * 3, *[st.none() | texts] * 4),
    st.builds(SNssai, u8, st.none() | st.integers(0, 0xFFFFFE)),
    st.builds(GateStatus, st.booleans(), st.booleans()),
    st.builds(Mbr, st.integers(0, 2**40 - 1), st.integers(0, 2**40 - 1)),
    st.builds(VolumeThreshold, *volumes[:3]),
    st.builds(VolumeMeasurement, *volumes),
    failed,
    st.builds(UpFunctionFeatures, st.binary(min_size=2, max_size=10)),
    pdr_ids,
    far_ids,
    urr_ids,
    qer_ids,
    qfis,
    precedences,
    u8.map(BarId),
    u8.map(TrafficEndpointId),
    u32.map(RecoveryTimeStamp),
    *(st.sampled_from(kind) for kind in (Cause, SourceInterface, DestinationInterface, InterfaceType3gpp, PdnType)),
    st.integers(0, 15).map(ReportType),
)
values: st.SearchStrategy[Value] = st.one_of(*VALUES)

# IEs that no rule has a field for: those must come back as they were.
strange = st.builds(Ie, st.integers(400, 0x7FFF), st.binary(max_size=6), st.none()) | st.builds(
    Ie, st.integers(0x8000, 0xFFFF), st.binary(max_size=6), u16
)
stranges = st.lists(strange, max_size=2).map(tuple)


def some(strategy: st.SearchStrategy[object], size: int = 2) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, max_size=size).map(tuple)


pdis = st.builds(
    Pdi,
    st.sampled_from(SourceInterface),
    st.none() | fteids,
    st.none() | instances,
    some(ue_ips),
    some(filters, 3),
    st.none() | st.sampled_from(InterfaceType3gpp),
    some(qfis),
    st.none() | st.builds(ApplicationId, texts),
    st.none() | u8.map(TrafficEndpointId),
    stranges,
)
rest_of_pdr = (st.none() | removals, st.none() | far_ids, some(urr_ids), some(qer_ids), stranges)
create_pdrs = st.builds(CreatePdr, pdr_ids, precedences, pdis, *rest_of_pdr)
update_pdrs = st.builds(UpdatePdr, pdr_ids, st.none() | precedences, st.none() | pdis, *rest_of_pdr)
forwardings = st.builds(
    Forwarding,
    st.none() | st.sampled_from(DestinationInterface),
    st.none() | instances,
    st.none() | headers(),
    st.none() | st.sampled_from(InterfaceType3gpp),
    stranges,
)
create_fars = st.builds(CreateFar, far_ids, actions, st.none() | forwardings, stranges)
update_fars = st.builds(UpdateFar, far_ids, st.none() | actions, st.none() | forwardings, stranges)
created_pdrs = st.builds(CreatedPdr, pdr_ids, st.none() | named_fteids, some(ue_ips))

ies = (
    st.builds(Ie, st.integers(0, 0x7FFF).filter(lambda kind: kind not in GROUPED), st.binary(max_size=20), st.none())
    | strange
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    kind = draw(st.sampled_from(MessageType))
    session = kind >= MessageType.SESSION_ESTABLISHMENT_REQUEST
    priority = draw(st.none() | st.integers(0, 15)) if session else None
    low = draw(st.integers(0, 15 if priority is not None else 255))
    high = draw(st.sampled_from([0, 0x08, 0x10, 0x18])) | (0 if session else draw(st.sampled_from([0, 2])))
    return Message(
        kind,
        draw(u24),
        draw(u64) if session else None,
        tuple(draw(st.lists(ies, max_size=6))),
        priority,
        high << 8 | low,
        draw(st.binary(max_size=12)),
    )
