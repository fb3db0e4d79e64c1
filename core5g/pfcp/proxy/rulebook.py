"""A session's rules as the SMF has them, kept as octets: what a UPF that lost them is given again.

A book is the Create IEs (TS 29.244 table 7.5.2.1-1) that would make the session what it is, and the Created PDRs of
what the UPF chose for them. It is kept as one string of octets, since there is one for every session, and opened when
something is to be done with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from core5g.pfcp.wire import Ie, IeType, find, group, grouped

_IDS = {
    IeType.CREATE_PDR: IeType.PDR_ID,
    IeType.CREATE_FAR: IeType.FAR_ID,
    IeType.CREATE_URR: IeType.URR_ID,
    IeType.CREATE_QER: IeType.QER_ID,
    IeType.CREATE_BAR: IeType.BAR_ID,
}
_UPDATES = {
    IeType.UPDATE_PDR: IeType.CREATE_PDR,
    IeType.UPDATE_FAR: IeType.CREATE_FAR,
    IeType.UPDATE_URR: IeType.CREATE_URR,
    IeType.UPDATE_QER: IeType.CREATE_QER,
    IeType.UPDATE_BAR: IeType.CREATE_BAR,
}
_REMOVES = {
    IeType.REMOVE_PDR: IeType.CREATE_PDR,
    IeType.REMOVE_FAR: IeType.CREATE_FAR,
    IeType.REMOVE_URR: IeType.CREATE_URR,
    IeType.REMOVE_QER: IeType.CREATE_QER,
    IeType.REMOVE_BAR: IeType.CREATE_BAR,
}
_ORDER = (IeType.CREATE_PDR, IeType.CREATE_FAR, IeType.CREATE_URR, IeType.CREATE_QER, IeType.CREATE_BAR)
_CHOOSE = 0x04
_TRANSIENT = frozenset({IeType.PFCPSMREQ_FLAGS})
"""What asks for something once (an end marker) and is no state."""

_KEPT = frozenset({*_ORDER, IeType.CREATED_PDR})

Key = tuple[int, bytes]
Members = tuple[Ie, ...]


def begun(request: Iterable[Ie], answer: Iterable[Ie]) -> bytes:
    """The octets of a new session's book, from its establishment."""
    return group(0, (ie for ies in (request, answer) for ie in ies if ie.type in _KEPT)).value


class RuleBook:
    """The opened book: (type of the Create IE, id) -> members."""

    def __init__(self, octets: bytes = b"") -> None:
        self._rules: dict[Key, Members] = {}
        kept = grouped(octets)
        self.apply(kept)
        self.assigned(kept)

    def octets(self) -> bytes:
        return group(0, self.creates()).value

    def creates(self) -> tuple[Ie, ...]:
        """The Create IEs, PDRs first."""
        ordered = sorted(self._rules, key=lambda key: _ORDER.index(IeType(key[0])))
        return tuple(group(key[0], self._rules[key]) for key in ordered)

    def ids(self, create: IeType) -> frozenset[int]:
        return frozenset(int.from_bytes(rule_id, "big") for kind, rule_id in self._rules if kind == create)

    def pdrs(self) -> Iterator[Members]:
        return (members for (kind, _), members in self._rules.items() if kind == IeType.CREATE_PDR)

    def far(self, far_id: bytes) -> Members | None:
        return self._rules.get((IeType.CREATE_FAR, far_id))

    def apply(self, ies: Iterable[Ie]) -> None:
        """What a request that the UPF accepted makes of the rules; removals come first, as a number may be used anew
        in one message. Raises PfcpError."""
        listed = tuple(ies)
        for ie in listed:
            if ie.type in _REMOVES:
                create = _REMOVES[IeType(ie.type)]
                self._rules.pop((create, find(grouped(ie.value), _IDS[create]) or b""), None)
        for ie in listed:
            if ie.type in _IDS:
                self._create(ie.type, grouped(ie.value))
        for ie in listed:
            if ie.type in _UPDATES:
                self._update(_UPDATES[IeType(ie.type)], grouped(ie.value))

    def assigned(self, ies: Iterable[Ie]) -> None:
        """F-TEIDs that the UPF chose, from its response: given again, they stay what they are. Raises PfcpError."""
        for ie in ies:
            if ie.type not in {IeType.CREATED_PDR, IeType.UPDATED_PDR}:
                continue
            members = grouped(ie.value)
            key = (int(IeType.CREATE_PDR), find(members, IeType.PDR_ID) or b"")
            fteid, pdr = find(members, IeType.F_TEID), self._rules.get(key)
            if fteid is not None and pdr is not None:
                self._rules[key] = tuple(_with_fteid(member, fteid) for member in pdr)

    def _create(self, kind: int, members: Members) -> None:
        rule_id = find(members, _IDS[IeType(kind)])
        if rule_id is not None:
            self._rules[kind, rule_id] = members

    def _update(self, create: IeType, update: Members) -> None:
        key = (int(create), find(update, _IDS[create]) or b"")
        rule = self._rules.get(key)
        if rule is None:
            return
        given = []
        for member in update:
            if member.type == IeType.UPDATE_FORWARDING_PARAMETERS:
                old = grouped(find(rule, IeType.FORWARDING_PARAMETERS) or b"")
                given.append(group(IeType.FORWARDING_PARAMETERS, _merged(old, grouped(member.value))))
            elif member.type == IeType.PDI:
                given.append(_keeping_fteid(rule, member))
            else:
                given.append(member)
        self._rules[key] = _merged(rule, given)


def _merged(old: Iterable[Ie], new: Iterable[Ie]) -> Members:
    """IEs of the types that `new` has are replaced, all others stay."""
    taken = tuple(ie for ie in new if ie.type not in _TRANSIENT)
    types = {ie.type for ie in taken}
    return (*(ie for ie in old if ie.type not in types), *taken)


def _with_fteid(member: Ie, fteid: bytes) -> Ie:
    if member.type != IeType.PDI:
        return member
    return group(
        IeType.PDI,
        (Ie(IeType.F_TEID, fteid) if ie.type == IeType.F_TEID else ie for ie in grouped(member.value)),
    )


def _keeping_fteid(rule: Members, pdi: Ie) -> Ie:
    old = find(grouped(find(rule, IeType.PDI) or b""), IeType.F_TEID)
    new = find(grouped(pdi.value), IeType.F_TEID)
    if old is None or old[0] & _CHOOSE or (new is not None and not new[0] & _CHOOSE):
        return pdi
    rest = (ie for ie in grouped(pdi.value) if ie.type != IeType.F_TEID)
    return group(IeType.PDI, (*rest, Ie(IeType.F_TEID, old)))
