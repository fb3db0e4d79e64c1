"""What a session's rules are, followed from the messages between its SMF and its UPF (TS 29.244, 7.5).

A request counts from its accepted answer on: until then, and when it is rejected, the rules are what they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, TypeVar

from core5g.pfcp.ies import (
    ApnDnn,
    Cause,
    FSeid,
    FTeid,
    OuterHeaderCreation,
    PdnType,
    SNssai,
    SourceInterface,
    UeIpAddress,
    UserId,
    Value,
    ie,
    read,
    read_all,
    require,
)
from core5g.pfcp.rules import CreatedPdr, CreateFar, CreatePdr
from core5g.pfcp.wire import Ie, IeType, Message, MessageType, PfcpError, find, group, grouped, name_of, need

V = TypeVar("V", bound=Value)

MAX_PENDING = 16
"""Requests without an answer that are remembered; an SMF waits for one before it sends the next."""


class Rule(NamedTuple):
    """The IEs that create, change and remove one kind of rule, and the one that names it."""

    create: IeType
    update: IeType
    remove: IeType
    id: IeType


RULES = (
    Rule(IeType.CREATE_PDR, IeType.UPDATE_PDR, IeType.REMOVE_PDR, IeType.PDR_ID),
    Rule(IeType.CREATE_FAR, IeType.UPDATE_FAR, IeType.REMOVE_FAR, IeType.FAR_ID),
    Rule(IeType.CREATE_URR, IeType.UPDATE_URR, IeType.REMOVE_URR, IeType.URR_ID),
    Rule(IeType.CREATE_QER, IeType.UPDATE_QER, IeType.REMOVE_QER, IeType.QER_ID),
    Rule(IeType.CREATE_BAR, IeType.UPDATE_BAR, IeType.REMOVE_BAR, IeType.BAR_ID),
    Rule(IeType.CREATE_MAR, IeType.UPDATE_MAR, IeType.REMOVE_MAR, IeType.MAR_ID),
    Rule(
        IeType.CREATE_TRAFFIC_ENDPOINT,
        IeType.UPDATE_TRAFFIC_ENDPOINT,
        IeType.REMOVE_TRAFFIC_ENDPOINT,
        IeType.TRAFFIC_ENDPOINT_ID,
    ),
)
_CREATES: dict[int, Rule] = {rule.create: rule for rule in RULES}
_UPDATES: dict[int, Rule] = {rule.update: rule for rule in RULES}
_REMOVES: dict[int, Rule] = {rule.remove: rule for rule in RULES}
_UPDATED_INTO: dict[int, IeType] = {
    IeType.UPDATE_FORWARDING_PARAMETERS: IeType.FORWARDING_PARAMETERS,
    IeType.UPDATE_DUPLICATING_PARAMETERS: IeType.DUPLICATING_PARAMETERS,
}
_ACCESS = SourceInterface.ACCESS.encode()
"""Of source and of destination interfaces alike."""
_ONCE = frozenset({IeType.PFCPSMREQ_FLAGS})
"""What asks for a deed (end markers) and is no property of the rule."""


class Phase(Enum):
    NEW = "new"
    ACTIVE = "active"
    ENDED = "ended"


class Change(Enum):
    """What a message meant for the session."""

    NOTHING = "nothing"
    BEGIN = "begin"
    MODIFY = "modify"
    REJECTED = "rejected"
    END = "end"


class Answer(Enum):
    """The inputs of a session: the answers to its requests."""

    ESTABLISHED = "established"
    NOT_ESTABLISHED = "not established"
    MODIFIED = "modified"
    NOT_MODIFIED = "not modified"
    DELETED = "deleted"
    NOT_DELETED = "not deleted"
    UNKNOWN = "unknown to the UPF"


TABLE: Mapping[tuple[Phase, Answer], tuple[Phase, Change]] = {
    (Phase.NEW, Answer.ESTABLISHED): (Phase.ACTIVE, Change.BEGIN),
    (Phase.NEW, Answer.NOT_ESTABLISHED): (Phase.ENDED, Change.REJECTED),
    # Established again under the same view: how a proxy rebuilds what its UPF lost.
    (Phase.ACTIVE, Answer.ESTABLISHED): (Phase.ACTIVE, Change.MODIFY),
    (Phase.ACTIVE, Answer.NOT_ESTABLISHED): (Phase.ACTIVE, Change.REJECTED),
    (Phase.ACTIVE, Answer.MODIFIED): (Phase.ACTIVE, Change.MODIFY),
    (Phase.ACTIVE, Answer.NOT_MODIFIED): (Phase.ACTIVE, Change.REJECTED),
    (Phase.ACTIVE, Answer.DELETED): (Phase.ENDED, Change.END),
    (Phase.ACTIVE, Answer.NOT_DELETED): (Phase.ACTIVE, Change.REJECTED),
    (Phase.ACTIVE, Answer.UNKNOWN): (Phase.ENDED, Change.END),
}
_ANSWERS = {
    (MessageType.SESSION_ESTABLISHMENT_RESPONSE, True): Answer.ESTABLISHED,
    (MessageType.SESSION_ESTABLISHMENT_RESPONSE, False): Answer.NOT_ESTABLISHED,
    (MessageType.SESSION_MODIFICATION_RESPONSE, True): Answer.MODIFIED,
    (MessageType.SESSION_MODIFICATION_RESPONSE, False): Answer.NOT_MODIFIED,
    (MessageType.SESSION_DELETION_RESPONSE, True): Answer.DELETED,
    (MessageType.SESSION_DELETION_RESPONSE, False): Answer.NOT_DELETED,
}
_REQUESTS = frozenset(
    {
        MessageType.SESSION_ESTABLISHMENT_REQUEST,
        MessageType.SESSION_MODIFICATION_REQUEST,
        MessageType.SESSION_DELETION_REQUEST,
    }
)

Stored = dict[tuple[IeType, int], bytes]
"""The value of each rule's Create IE, by (its type, the rule's number)."""


class SessionView:
    """One session. Rules are kept as the IEs that would create them now; typed views are made when asked for."""

    __slots__ = ("_assigned", "_head", "_pending", "_rules", "cp", "phase", "up")

    def __init__(self) -> None:
        self.phase = Phase.NEW
        self.cp: FSeid | None = None
        """The SMF's end; what the UPF puts into headers."""
        self.up: FSeid | None = None
        """The UPF's end; what the SMF puts into headers."""
        self._rules: Stored = {}
        self._head: tuple[Ie, ...] = ()
        self._assigned: dict[int, CreatedPdr] = {}
        self._pending: dict[int, Message] = {}

    def apply(self, message: Message) -> Change:
        """Take the next message of the session, in either direction.

        Raises PfcpError when a message that the UPF accepted makes no sense here (an update of a rule that is not
        known, a rule without its number); the view is then as before it.
        """
        if message.type in _REQUESTS:
            self._pending[message.seq] = message
            if len(self._pending) > MAX_PENDING:
                del self._pending[next(iter(self._pending))]
            return Change.NOTHING
        if (message.type, True) not in _ANSWERS:
            return Change.NOTHING
        request = self._pending.pop(message.seq, None)
        if request is None or request.type + 1 != message.type:
            return Change.NOTHING
        cause = Cause.decode(message.need(IeType.CAUSE))
        answer = _ANSWERS[message.type, cause.accepted]
        if cause is Cause.SESSION_CONTEXT_NOT_FOUND and self.phase is Phase.ACTIVE:
            answer = Answer.UNKNOWN
        entry = TABLE.get((self.phase, answer))
        if entry is None:
            raise PfcpError("state", f"a session that is {self.phase.value} was {answer.value}")
        phase, change = entry
        if change in (Change.BEGIN, Change.MODIFY):
            self._take(request, message)
        self.phase = phase
        return change

    @property
    def pdrs(self) -> dict[int, CreatePdr]:
        """Detection rules as they stand now, by number. Raises PfcpError for a rule that is no proper one."""
        return {
            number: CreatePdr.decode(value)
            for (create, number), value in self._rules.items()
            if create is IeType.CREATE_PDR
        }

    @property
    def fars(self) -> dict[int, CreateFar]:
        """Forwarding rules as they stand now, by number. Raises PfcpError for a rule that is no proper one."""
        return {
            number: CreateFar.decode(value)
            for (create, number), value in self._rules.items()
            if create is IeType.CREATE_FAR
        }

    def ids(self, create: IeType) -> frozenset[int]:
        """The numbers in use of the kind of rule that `create` makes."""
        return frozenset(number for kind, number in self._rules if kind is create)

    @property
    def ue_ips(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """Addresses of the UE, IPv4 before IPv6; for IPv6 the prefix's address as the SMF wrote it.

        Raises PfcpError. Like the tunnels below, they are found also where another part of a rule is beyond us.
        """
        found = [one for _, pdi in self._pdis() for one in read_all(UeIpAddress, pdi)]
        found += [one for created in self._assigned.values() for one in created.ue_ips]
        for (create, _), value in self._rules.items():
            if create is IeType.CREATE_TRAFFIC_ENDPOINT:
                found += read_all(UeIpAddress, grouped(value))
        four = dict.fromkeys(one.ipv4 for one in found if one.ipv4 is not None)
        six = dict.fromkeys(one.ipv6 for one in found if one.ipv6 is not None)
        return (*four, *six)

    @property
    def ue_ip(self) -> IPv4Address | IPv6Address | None:
        """The first of `ue_ips`."""
        return next(iter(self.ue_ips), None)

    @property
    def fteids(self) -> tuple[FTeid, ...]:
        """The UPF's tunnel ends, those that it picked included; those towards the access come first."""
        found: dict[FTeid, bool] = {}
        for number, pdi in self._pdis():
            fteid = self._fteid(number, pdi)
            if fteid is not None:
                found[fteid] = found.get(fteid, False) or find(pdi, IeType.SOURCE_INTERFACE) == _ACCESS
        return tuple(sorted(found, key=lambda one: not found[one]))

    def fteid_of(self, pdr_id: int) -> FTeid | None:
        """The tunnel end of one PDR; None without one, and while the UPF has not told which it picked."""
        return next((self._fteid(number, pdi) for number, pdi in self._pdis() if number == pdr_id), None)

    @property
    def access_tunnels(self) -> tuple[FTeid, ...]:
        """Where downlink packets go: the tunnel ends of gNBs, also of one that an idle UE left."""
        found: dict[FTeid, None] = {}
        for (create, _), value in self._rules.items():
            parameters = find(grouped(value), IeType.FORWARDING_PARAMETERS) if create is IeType.CREATE_FAR else None
            members = () if parameters is None else grouped(parameters)
            if find(members, IeType.DESTINATION_INTERFACE) == _ACCESS:
                header = read(OuterHeaderCreation, members)
                if header is not None and header.teid is not None:
                    found[FTeid(header.teid, header.ipv4, header.ipv6)] = None
        return tuple(found)

    @property
    def user_id(self) -> UserId | None:
        return self._of_head(UserId)

    @property
    def supi(self) -> str | None:
        """`imsi-...` where the SMF told it (Open5GS does)."""
        user = self.user_id
        return None if user is None else user.subscriber

    @property
    def dnn(self) -> str | None:
        found = self._of_head(ApnDnn)
        return None if found is None else found.name

    @property
    def s_nssai(self) -> SNssai | None:
        return self._of_head(SNssai)

    @property
    def pdn_type(self) -> PdnType | None:
        return self._of_head(PdnType)

    def establishment(self) -> tuple[Ie, ...]:
        """The IEs that would establish the session as it stands now, on a UPF that lost it.

        Tunnel ends that the UPF picked are asked for by name, so that gNBs need not learn new ones; Node ID and
        F-SEID are as the SMF sent them.
        """
        rules = tuple(
            Ie(create, self._with_assigned(number, value) if create is IeType.CREATE_PDR else value)
            for (create, number), value in self._rules.items()
        )
        # Node ID and F-SEID lead, as in every recorded establishment.
        leading = [one for one in self._head if one.type in (IeType.NODE_ID, IeType.F_SEID)]
        return (*leading, *rules, *(one for one in self._head if one not in leading))

    def _pdis(self) -> Iterator[tuple[int, tuple[Ie, ...]]]:
        for (create, number), value in self._rules.items():
            if create is IeType.CREATE_PDR:
                yield number, grouped(need(grouped(value), IeType.PDI))

    def _fteid(self, number: int, pdi: tuple[Ie, ...]) -> FTeid | None:
        created = self._assigned.get(number)
        if created is not None and created.fteid is not None:
            return created.fteid
        fteid = read(FTeid, pdi)
        return None if fteid is None or fteid.choose else fteid

    def _of_head(self, kind: type[V]) -> V | None:
        return read(kind, self._head)

    def _take(self, request: Message, response: Message) -> None:
        """All or nothing: what is new is made first and put in place then."""
        fresh = request.type is MessageType.SESSION_ESTABLISHMENT_REQUEST
        rules = _modified({} if fresh else self._rules, request.ies)
        assigned = {} if fresh else dict(self._assigned)
        head = tuple(one for one in request.ies if one.type not in _CREATES) if fresh else self._head
        cp = require(FSeid, request.ies) if fresh else read(FSeid, request.ies)
        up = read(FSeid, response.ies)
        for one in response.ies:
            if one.type in (IeType.CREATED_PDR, IeType.UPDATED_PDR):
                created = CreatedPdr.decode(one.value)
                assigned[created.id] = created
        if not fresh:
            # What is of the session and not of a rule (its F-SEID, its inactivity timer) can change too.
            changed = {one.type: one for one in request.ies}
            head = tuple(changed.get(one.type, one) for one in head)
        self._rules, self._head = rules, head
        self._assigned = {number: one for number, one in assigned.items() if (IeType.CREATE_PDR, number) in rules}
        self.cp = cp or self.cp
        self.up = up or self.up

    def _with_assigned(self, number: int, value: bytes) -> bytes:
        created = self._assigned.get(number)
        if created is None or created.fteid is None:
            return value
        members = grouped(value)
        named = ie(created.fteid)
        pdi = [named if one.type == IeType.F_TEID else one for one in grouped(need(members, IeType.PDI))]
        replaced = group(IeType.PDI, pdi)
        return group(IeType.CREATE_PDR, [replaced if one.type == IeType.PDI else one for one in members]).value


def _modified(rules: Stored, ies: Iterable[Ie]) -> Stored:
    """The rules after a request: removals first, so that a number can be used anew within one message."""
    result = dict(rules)
    listed = tuple(ies)
    for one in listed:
        if (rule := _REMOVES.get(one.type)) is not None:
            result.pop((rule.create, _number(rule, one)), None)
    for one in listed:
        if (rule := _CREATES.get(one.type)) is not None:
            result[rule.create, _number(rule, one)] = one.value
    for one in listed:
        if (rule := _UPDATES.get(one.type)) is not None:
            key = (rule.create, _number(rule, one))
            if key not in result:
                raise PfcpError("rule", f"update of {name_of(rule.id)} {key[1]}, which is not known", ie=rule.id)
            result[key] = group(rule.create, _merged(grouped(result[key]), grouped(one.value))).value
    return result


def _number(rule: Rule, one: Ie) -> int:
    return int.from_bytes(need(grouped(one.value), rule.id), "big")


def _merged(present: tuple[Ie, ...], update: tuple[Ie, ...]) -> tuple[Ie, ...]:
    """Members after an update: each type that the update names replaces those of the type, in their place."""
    changes: dict[int, list[Ie]] = {}
    for one in update:
        target = _UPDATED_INTO.get(one.type)
        if target is not None:
            former = next((grouped(two.value) for two in present if two.type == target), ())
            changes[target] = [group(target, _merged(former, grouped(one.value)))]
        elif one.type not in _ONCE:
            changes.setdefault(one.type, []).append(one)
    result: list[Ie] = []
    for one in present:
        if one.type in changes:
            result += changes[one.type]
            changes[one.type] = []
        else:
            result.append(one)
    return (*result, *(one for left in changes.values() for one in left))
