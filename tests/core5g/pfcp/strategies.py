"""Values that PFCP can carry, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from core5g.pfcp.ies import (
    ApnDnn,
    Cause,
    FSeid,
    FTeid,
    NodeId,
    OuterHeaderCreation,
    RecoveryTimeStamp,
    SNssai,
    UeIpAddress,
    UserId,
    Value,
)
from core5g.pfcp.wire import Ie, Message, MessageType
from tests.core5g.pfcp.opening import GROUPED

u8, u16, u24, u32, u64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 24, 32, 64))
ipv4, ipv6 = st.ip_addresses(v=4), st.ip_addresses(v=6)
label = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
names = st.lists(label, min_size=1, max_size=4).map(".".join)
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


values: st.SearchStrategy[Value] = st.one_of(
    st.builds(NodeId, ipv4 | ipv6 | names),
    fseids,
    fteids,
    ue_ips,
    headers(),
    st.builds(ApnDnn, names),
    st.builds(UserId, *[st.none() | digits] * 3, *[st.none() | texts] * 4),
    st.builds(SNssai, u8, st.none() | st.integers(0, 0xFFFFFE)),
    u32.map(RecoveryTimeStamp),
    st.sampled_from(Cause),
)

strange = st.builds(Ie, st.integers(400, 0x7FFF), st.binary(max_size=6), st.none()) | st.builds(
    Ie, st.integers(0x8000, 0xFFFF), st.binary(max_size=6), u16
)
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
