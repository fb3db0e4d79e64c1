"""What the classifier has to know of the SMF's rules: where the UE's traffic comes in and where the way back leads."""

from __future__ import annotations

from dataclasses import dataclass

from core5g.pfcp.proxy.rulebook import Members, RuleBook
from core5g.pfcp.wire import Ie, IeType, find, group, grouped

ACCESS, CORE = b"\x00", b"\x01"
N3, N6, N9 = b"\x0b", b"\x11", b"\x0f"
"""3GPP interface types (TS 29.244 table 8.2.118-1). A stock UPF finds the UE's pool by N3 alone, not by N9."""

_CHOOSE, _V4, _V6, _DESTINATION = 0x04, 0x02, 0x01, 0x04
_FORWARD, _BUFFER = 0x02, 0x04
_BUFFER_AND_NOTIFY = b"\x0c\x00"


@dataclass(frozen=True, slots=True)
class Bearer:
    """Of a session's default rules.

    fteid             where the gNB sends to, chosen by the UPF already
    network_instance  of N3; ohr: the value of Outer Header Removal
    ue_address        the value of UE IP Address, as source
    uplink, downlink  URR and QER ids of the default PDRs: what the classifier takes away is counted alike
    downlink_pdr      id of the default PDR of the way back, which the SMF knows
    back              its FAR's members: where the UE is, or that it is idle
    """

    fteid: bytes
    network_instance: bytes | None
    ohr: bytes
    ue_address: bytes
    uplink: Members
    downlink: Members
    downlink_pdr: bytes
    back: Members


def bearer_of(book: RuleBook) -> Bearer | None:
    """None when the session is of no kind that can be steered, such as one without an address of its UE."""
    uplink = downlink = None
    lowest_up = lowest_down = -1
    for pdr in book.pdrs():
        pdi = grouped(find(pdr, IeType.PDI) or b"")
        source, precedence = find(pdi, IeType.SOURCE_INTERFACE), _precedence(pdr)
        if find(pdi, IeType.SDF_FILTER) is not None:
            continue
        if source == ACCESS and _usable(find(pdi, IeType.F_TEID)) and precedence > lowest_up:
            uplink, lowest_up = (pdr, pdi), precedence
        elif source == CORE and find(pdi, IeType.UE_IP_ADDRESS) is not None and precedence > lowest_down:
            downlink, lowest_down = (pdr, pdi), precedence
    if uplink is None or downlink is None:
        return None
    back = book.far(find(downlink[0], IeType.FAR_ID) or b"")
    ue_address = find(downlink[1], IeType.UE_IP_ADDRESS) or b""
    fteid, pdr_id = find(uplink[1], IeType.F_TEID), find(downlink[0], IeType.PDR_ID)
    if back is None or fteid is None or pdr_id is None or not ue_address or not ue_address[0] & (_V4 | _V6):
        return None
    return Bearer(
        fteid=fteid,
        network_instance=find(uplink[1], IeType.NETWORK_INSTANCE),
        ohr=find(uplink[0], IeType.OUTER_HEADER_REMOVAL) or b"\x00",
        ue_address=bytes((ue_address[0] & ~_DESTINATION,)) + ue_address[1:],
        uplink=_counted(uplink[0]),
        downlink=_counted(downlink[0]),
        downlink_pdr=pdr_id,
        back=back,
    )


def mirrored(bearer: Bearer, forwarding: IeType) -> tuple[Ie, ...]:
    """Members of a FAR that leads where the SMF's own way back leads: to the gNB, or into its buffer while the UE is
    idle. `forwarding`: the type of the IE, which an update has another one of."""
    action = find(bearer.back, IeType.APPLY_ACTION) or _BUFFER_AND_NOTIFY
    given = grouped(find(bearer.back, IeType.FORWARDING_PARAMETERS) or b"")
    header = find(given, IeType.OUTER_HEADER_CREATION)
    if action[0] & _FORWARD and header is not None:
        instance = find(given, IeType.NETWORK_INSTANCE) or bearer.network_instance
        return (
            Ie(IeType.APPLY_ACTION, action),
            parameters(forwarding, ACCESS, instance, header, N3),
        )
    bar = find(bearer.back, IeType.BAR_ID)
    return (
        Ie(IeType.APPLY_ACTION, action if action[0] & _BUFFER else _BUFFER_AND_NOTIFY),
        *((Ie(IeType.BAR_ID, bar),) if bar is not None else ()),
    )


def parameters(kind: IeType, interface: bytes, instance: bytes | None, header: bytes | None, where: bytes) -> Ie:
    """Forwarding parameters with all that a stock UPF needs so as not to buffer."""
    members = [Ie(IeType.DESTINATION_INTERFACE, interface)]
    members += [Ie(IeType.NETWORK_INSTANCE, instance)] if instance is not None else []
    members += [Ie(IeType.OUTER_HEADER_CREATION, header)] if header is not None else []
    members.append(Ie(IeType.INTERFACE_TYPE_3GPP, where))
    return group(kind, members)


def _precedence(pdr: Members) -> int:
    return int.from_bytes(find(pdr, IeType.PRECEDENCE) or b"\xff\xff\xff\xff", "big")


def _usable(fteid: bytes | None) -> bool:
    return fteid is not None and len(fteid) >= 9 and not fteid[0] & _CHOOSE


def _counted(pdr: Members) -> Members:
    return tuple(ie for ie in pdr if ie.type in {IeType.URR_ID, IeType.QER_ID})
