"""The classifier's own rules as IEs, and the judgement that they pass before anything is sent.

In the session of the SMF: one PDR and FAR for the way back from the edge (N9), and PDRs for what goes there, all with
one FAR. At the edge: an ordinary session for the same UE, whose gNB is the UPF of the SMF.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core5g.pfcp.proxy.documents import MAX_FILTERS, MAX_OWN_PDRS
from core5g.pfcp.proxy.rulebook import Members, RuleBook
from core5g.pfcp.wire import Ie, IeType, find, group, grouped
from core5g.steering.classifier.bearer import ACCESS, CORE, N3, N6, N9, Bearer, mirrored, parameters
from core5g.steering.classifier.filters import checked, chunks, sdf_filter
from nf.errors import RefusedError

MAX_PDRS = MAX_FARS = 16
"""Of a session, in a stock UPF."""

PRECEDENCE = (10).to_bytes(4, "big")
_FIRST_ID = 0x7001
_CHOOSE_V4 = b"\x05"
_FORWARD = b"\x02\x00"
_GTPU_V4 = b"\x01\x00"
_GTPU = frozenset({b"\x01\x00", b"\x02\x00", b"\x03\x00"})
_DESTINATION = 0x04
_WHERE = {ACCESS: frozenset({N3}), CORE: frozenset({N9, N6})}
_FILTER_TEXT = 4


@dataclass(frozen=True, slots=True)
class OwnIds:
    """PDR ids (the first is of the way back) and FAR ids (back, out) away from the SMF's."""

    pdrs: tuple[int, ...]
    fars: tuple[int, int]

    @property
    def back(self) -> int:
        return self.pdrs[0]


def own_ids(book: RuleBook) -> OwnIds:
    """Those that the SMF does not use."""
    pdrs, fars = book.ids(IeType.CREATE_PDR), book.ids(IeType.CREATE_FAR)
    free_pdrs = [number for number in range(_FIRST_ID, _FIRST_ID + 64) if number not in pdrs][:MAX_OWN_PDRS]
    free_fars = [number for number in range(_FIRST_ID, _FIRST_ID + 64) if number not in fars]
    return OwnIds(tuple(free_pdrs), (free_fars[0], free_fars[1]))


def downlink(bearer: Bearer, ids: OwnIds) -> tuple[Ie, ...]:
    """The way back: what comes from the edge goes where the SMF's way back leads. The UPF chooses its F-TEID."""
    pdi = [
        Ie(IeType.SOURCE_INTERFACE, CORE),
        Ie(IeType.F_TEID, _CHOOSE_V4),
        *_instance(bearer),
        Ie(IeType.INTERFACE_TYPE_3GPP, N9),
    ]
    pdr = _pdr(ids.back, pdi, b"\x00", ids.fars[0], bearer.downlink)
    return (pdr, group(IeType.CREATE_FAR, (_far_id(ids.fars[0]), *mirrored(bearer, IeType.FORWARDING_PARAMETERS))))


def follow(bearer: Bearer, ids: OwnIds, flags: bytes | None) -> tuple[Ie, ...]:
    """The way back follows the SMF's after a handover, to idle or back. `flags`: PFCPSMReq-Flags that the SMF gave
    (an end marker to the old gNB)."""
    members = list(mirrored(bearer, IeType.UPDATE_FORWARDING_PARAMETERS))
    if flags is not None and members[-1].type == IeType.UPDATE_FORWARDING_PARAMETERS:
        inner = (*grouped(members[-1].value), Ie(IeType.PFCPSMREQ_FLAGS, flags))
        members[-1] = group(IeType.UPDATE_FORWARDING_PARAMETERS, inner)
    return (group(IeType.UPDATE_FAR, (_far_id(ids.fars[0]), *members)),)


def uplink(bearer: Bearer, ids: OwnIds, filters: tuple[str, ...], edge: tuple[int, bytes]) -> tuple[Ie, ...]:
    """What matches `filters` goes to the edge's F-TEID (TEID, IPv4 address in four octets)."""
    source = bearer.ue_address
    made: list[Ie] = []
    for pdr_id, chunk in zip(ids.pdrs[1:], chunks(filters), strict=False):
        pdi = [
            Ie(IeType.SOURCE_INTERFACE, ACCESS),
            Ie(IeType.F_TEID, bearer.fteid),
            *_instance(bearer),
            Ie(IeType.UE_IP_ADDRESS, source),
            *map(sdf_filter, chunk),
            Ie(IeType.INTERFACE_TYPE_3GPP, N3),
        ]
        made.append(_pdr(pdr_id, pdi, bearer.ohr, ids.fars[1], bearer.uplink))
    header = _GTPU_V4 + edge[0].to_bytes(4, "big") + edge[1]
    sent = parameters(IeType.FORWARDING_PARAMETERS, CORE, bearer.network_instance, header, N9)
    far = group(IeType.CREATE_FAR, (_far_id(ids.fars[1]), Ie(IeType.APPLY_ACTION, _FORWARD), sent))
    return (*made, far)


def room(book: RuleBook) -> int:
    """How many filters the session still takes."""
    free = min(MAX_OWN_PDRS, MAX_PDRS - len(book.ids(IeType.CREATE_PDR))) - 1
    return max(0, free) * MAX_FILTERS if len(book.ids(IeType.CREATE_FAR)) + 2 <= MAX_FARS else 0


def withdrawal(ids: OwnIds, pdrs: Iterable[int], fars: Iterable[int]) -> tuple[Ie, ...]:
    """PDRs first: a FAR that a PDR names must stay while it does."""
    removed = [group(IeType.REMOVE_PDR, (Ie(IeType.PDR_ID, pdr.to_bytes(2, "big")),)) for pdr in pdrs]
    removed += [group(IeType.REMOVE_FAR, (_far_id(far),)) for far in fars if far in ids.fars]
    return tuple(removed)


def edge_session(bearer: Bearer, pdn_type: bytes, dnn: bytes | None, back: tuple[int, bytes]) -> tuple[Ie, ...]:
    """Rules of the session at the edge. `back`: the F-TEID of the way back at the SMF's UPF.

    Without PDN Type a stock UPF does not take the UE's address, though it says it did.
    """
    ue_back = bytes((bearer.ue_address[0] | _DESTINATION,)) + bearer.ue_address[1:]
    from_core = [
        Ie(IeType.SOURCE_INTERFACE, CORE),
        *_instance(bearer),
        Ie(IeType.UE_IP_ADDRESS, ue_back),
        Ie(IeType.INTERFACE_TYPE_3GPP, N6),
    ]
    from_upf = [
        Ie(IeType.SOURCE_INTERFACE, ACCESS),
        Ie(IeType.F_TEID, _CHOOSE_V4),
        *_instance(bearer),
        Ie(IeType.UE_IP_ADDRESS, bearer.ue_address),
        Ie(IeType.INTERFACE_TYPE_3GPP, N3),
    ]
    instance = bearer.network_instance
    to_upf = parameters(
        IeType.FORWARDING_PARAMETERS, ACCESS, instance, _GTPU_V4 + back[0].to_bytes(4, "big") + back[1], N3
    )
    to_core = parameters(IeType.FORWARDING_PARAMETERS, CORE, instance, None, N6)
    forward = Ie(IeType.APPLY_ACTION, _FORWARD)
    return (
        _pdr(1, from_core, None, 1, ()),
        _pdr(2, from_upf, b"\x00", 2, ()),
        group(IeType.CREATE_FAR, (_far_id(1), forward, to_upf)),
        group(IeType.CREATE_FAR, (_far_id(2), forward, to_core)),
        Ie(IeType.PDN_TYPE, pdn_type),
        *((Ie(IeType.APN_DNN, dnn),) if dnn is not None else ()),
    )


def judge(ies: Iterable[Ie], book: RuleBook | None) -> None:
    """Every rule that a stock UPF rejects (and wipes the session), or takes and does not follow, is refused here.

    `book`: the SMF's rules beside which they will stand; None: they are a session of their own. Raises RefusedError.
    """
    pdrs, fars = _members(ies, IeType.CREATE_PDR), _members(ies, IeType.CREATE_FAR)
    theirs = (
        (book.ids(IeType.CREATE_PDR), book.ids(IeType.CREATE_FAR)) if book is not None else (frozenset(), frozenset())
    )
    made = {find(far, IeType.FAR_ID) for far in fars}
    _require(len(pdrs) <= MAX_OWN_PDRS, f"{len(pdrs)} PDRs of our own")
    _require(len(pdrs) + len(theirs[0]) <= MAX_PDRS, f"{len(pdrs)} PDRs beside {len(theirs[0])} of the SMF")
    _require(len(fars) + len(theirs[1]) <= MAX_FARS, f"{len(fars)} FARs beside {len(theirs[1])} of the SMF")
    for pdr in pdrs:
        pdr_id = int.from_bytes(find(pdr, IeType.PDR_ID) or b"", "big")
        _require(pdr_id > 0 and pdr_id not in theirs[0], f"PDR id {pdr_id} is the SMF's")
        _require(find(pdr, IeType.FAR_ID) in made, f"PDR {pdr_id} names a FAR that is not made with it")
        pdi = grouped(find(pdr, IeType.PDI) or b"")
        texts = [ie.value[_FILTER_TEXT:].decode("ascii", "replace") for ie in pdi if ie.type == IeType.SDF_FILTER]
        _require(len(texts) <= MAX_FILTERS, f"PDR {pdr_id} has {len(texts)} filters")
        for text in texts:
            checked(text)
        _require(
            book is None or texts or find(pdi, IeType.SOURCE_INTERFACE) == CORE, f"PDR {pdr_id} matches everything"
        )
        _require(find(pdi, IeType.INTERFACE_TYPE_3GPP) in {N3, N6, N9}, f"PDR {pdr_id} has no interface type")
    for far in fars:
        far_id = int.from_bytes(find(far, IeType.FAR_ID) or b"", "big")
        _require(far_id > 0 and far_id not in theirs[1], f"FAR id {far_id} is the SMF's")
        _judge_forwarding(far, IeType.FORWARDING_PARAMETERS)
    for far in _members(ies, IeType.UPDATE_FAR):
        _judge_forwarding(far, IeType.UPDATE_FORWARDING_PARAMETERS)


def _judge_forwarding(far: Members, kind: IeType) -> None:
    action, given = find(far, IeType.APPLY_ACTION), find(far, kind)
    _require(action is not None, "a FAR without an action")
    if action is None or not action[0] & _FORWARD[0]:
        return
    _require(given is not None, "a FAR that forwards without parameters, which buffers and pages")
    inner = grouped(given or b"")
    interface, where = find(inner, IeType.DESTINATION_INTERFACE) or b"", find(inner, IeType.INTERFACE_TYPE_3GPP)
    _require(where in _WHERE.get(interface, frozenset()), "a FAR with an interface type that does not work")
    header = find(inner, IeType.OUTER_HEADER_CREATION)
    _require(header is not None or where == N6, "a FAR without a tunnel")
    _require(header is None or header[:2] in _GTPU, "an outer header other than GTP-U")


def _require(holds: object, what: str) -> None:
    if not holds:
        raise RefusedError(f"{what}: a UPF would not follow it", where="uplink classifier")


def _members(ies: Iterable[Ie], kind: IeType) -> list[Members]:
    return [grouped(ie.value) for ie in ies if ie.type == kind]


def _pdr(pdr_id: int, pdi: Iterable[Ie], ohr: bytes | None, far_id: int, counted: Members) -> Ie:
    return group(
        IeType.CREATE_PDR,
        (
            Ie(IeType.PDR_ID, pdr_id.to_bytes(2, "big")),
            Ie(IeType.PRECEDENCE, PRECEDENCE),
            group(IeType.PDI, pdi),
            *((Ie(IeType.OUTER_HEADER_REMOVAL, ohr),) if ohr is not None else ()),
            _far_id(far_id),
            *counted,
        ),
    )


def _far_id(far_id: int) -> Ie:
    return Ie(IeType.FAR_ID, far_id.to_bytes(4, "big"))


def _instance(bearer: Bearer) -> tuple[Ie, ...]:
    return (Ie(IeType.NETWORK_INSTANCE, bearer.network_instance),) if bearer.network_instance is not None else ()
