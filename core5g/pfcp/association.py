"""A PFCP association between two nodes (TS 29.244, 6.2.6 to 6.2.8, 6.2.2 heartbeats) and what a restart of the peer
does to it (TS 23.007, 19A: recovery time stamps).

A table says what each message means in each state. Requests leave as `Outcome.requests`, to be sent through
`transactions.Transactions`, whose answers and time-outs come back here; nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from core5g.pfcp.ies import Cause, NodeId, RecoveryTimeStamp, ie, require
from core5g.pfcp.wire import Ie, Message, MessageType, PfcpError
from nf.errors import RefusedError

RETRY_S = 3.0
"""Seconds from a set-up that failed to the next try; Open5GS waits as long."""


class State(Enum):
    IDLE = "idle"
    SETTING_UP = "setting up"
    UP = "up"


class Input(Enum):
    """`RESTARTED`: a heartbeat with a later recovery time stamp than the one known."""

    START = "start"
    SETUP_REQUESTED = "set-up requested by the peer"
    SETUP_REQUESTED_RESTARTED = "set-up requested by a peer that restarted"
    SETUP_ACCEPTED = "set-up accepted"
    SETUP_REFUSED = "set-up refused"
    SETUP_LOST = "set-up not answered"
    RETRY = "time to try again"
    HEARTBEAT = "heartbeat of the peer"
    HEARTBEAT_ANSWERED = "heartbeat answered"
    HEARTBEAT_DUE = "time for a heartbeat"
    HEARTBEAT_LOST = "heartbeats not answered"
    RESTARTED = "heartbeat of a peer that restarted"
    RELEASE_REQUESTED = "release requested by the peer"


class Event(Enum):
    """What the owner of the association's sessions acts on."""

    UP = "up"
    RENEWED = "renewed"
    """The peer set up anew what was up, without having restarted."""
    REFUSED = "refused"
    RESTARTED = "restarted"
    """The peer lost its sessions; `Association.state` says whether the association is up again already."""
    LOST = "lost"
    """The peer is silent; its sessions may still be there."""
    RELEASED = "released"


class Do(Enum):
    """What a transition asks for beside its event."""

    SEND_SETUP = "send set-up"
    SEND_HEARTBEAT = "send heartbeat"
    WAIT_RETRY = "wait for the next try"
    WAIT_HEARTBEAT = "wait for the next heartbeat"


@dataclass(frozen=True, slots=True)
class Step:
    state: State
    event: Event | None = None
    do: tuple[Do, ...] = ()


_IDLE, _SETTING_UP, _UP = State
_BEAT, _RETRY = (Do.WAIT_HEARTBEAT,), (Do.WAIT_RETRY,)

TABLE: Mapping[tuple[State, Input], Step] = {
    (_IDLE, Input.START): Step(_SETTING_UP, None, (Do.SEND_SETUP,)),
    (_IDLE, Input.RETRY): Step(_SETTING_UP, None, (Do.SEND_SETUP,)),
    (_IDLE, Input.SETUP_REQUESTED): Step(_UP, Event.UP, _BEAT),
    (_IDLE, Input.SETUP_REQUESTED_RESTARTED): Step(_UP, Event.RESTARTED, _BEAT),
    # Heartbeats need no association (6.2.2.1); a restart that shows before there is one is still a restart.
    (_IDLE, Input.HEARTBEAT): Step(_IDLE),
    (_IDLE, Input.HEARTBEAT_ANSWERED): Step(_IDLE),
    (_IDLE, Input.HEARTBEAT_LOST): Step(_IDLE),
    (_IDLE, Input.RESTARTED): Step(_IDLE, Event.RESTARTED),
    (_IDLE, Input.RELEASE_REQUESTED): Step(_IDLE),
    # Answers that were under way when the association ended by other means.
    (_IDLE, Input.SETUP_ACCEPTED): Step(_IDLE),
    (_IDLE, Input.SETUP_REFUSED): Step(_IDLE),
    (_IDLE, Input.SETUP_LOST): Step(_IDLE),
    (_SETTING_UP, Input.START): Step(_SETTING_UP),
    (_SETTING_UP, Input.SETUP_REQUESTED): Step(_UP, Event.UP, _BEAT),
    (_SETTING_UP, Input.SETUP_REQUESTED_RESTARTED): Step(_UP, Event.RESTARTED, _BEAT),
    (_SETTING_UP, Input.SETUP_ACCEPTED): Step(_UP, Event.UP, _BEAT),
    (_SETTING_UP, Input.SETUP_REFUSED): Step(_IDLE, Event.REFUSED, _RETRY),
    (_SETTING_UP, Input.SETUP_LOST): Step(_IDLE, None, _RETRY),
    (_SETTING_UP, Input.HEARTBEAT): Step(_SETTING_UP),
    (_SETTING_UP, Input.HEARTBEAT_ANSWERED): Step(_SETTING_UP),
    (_SETTING_UP, Input.HEARTBEAT_LOST): Step(_SETTING_UP),
    (_SETTING_UP, Input.RESTARTED): Step(_SETTING_UP, Event.RESTARTED),
    (_SETTING_UP, Input.RELEASE_REQUESTED): Step(_SETTING_UP),
    (_UP, Input.START): Step(_UP),
    (_UP, Input.SETUP_REQUESTED): Step(_UP, Event.RENEWED, _BEAT),
    (_UP, Input.SETUP_REQUESTED_RESTARTED): Step(_UP, Event.RESTARTED, _BEAT),
    # Both asked at once, and the peer's request came first.
    (_UP, Input.SETUP_ACCEPTED): Step(_UP),
    (_UP, Input.SETUP_REFUSED): Step(_UP),
    (_UP, Input.SETUP_LOST): Step(_UP),
    # It shows that the peer lives, not that it hears us: our own heartbeats go on.
    (_UP, Input.HEARTBEAT): Step(_UP),
    (_UP, Input.HEARTBEAT_ANSWERED): Step(_UP, None, _BEAT),
    (_UP, Input.HEARTBEAT_DUE): Step(_UP, None, (Do.SEND_HEARTBEAT,)),
    (_UP, Input.HEARTBEAT_LOST): Step(_IDLE, Event.LOST, _RETRY),
    (_UP, Input.RESTARTED): Step(_IDLE, Event.RESTARTED, _RETRY),
    (_UP, Input.RELEASE_REQUESTED): Step(_IDLE, Event.RELEASED),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be sent and told: `requests` without sequence numbers, the `response` to the request just taken."""

    event: Event | None = None
    requests: tuple[Message, ...] = ()
    response: Message | None = None


class Association:
    """One peer, seen from one node.

    recovery        our own recovery time stamp; a relay keeps it over its own restarts
    features        what else our set-up messages carry (UP or CP function features)
    peer_recovery   the peer's, as it was last told
    refused_with    the cause of the last set-up, when it was refused with one
    """

    def __init__(
        self,
        node: NodeId,
        recovery: RecoveryTimeStamp,
        features: tuple[Ie, ...] = (),
        *,
        heartbeat_s: float,
    ) -> None:
        self.state = State.IDLE
        self.peer_recovery: RecoveryTimeStamp | None = None
        self.refused_with: Cause | None = None
        self._own = (ie(node), ie(recovery), *features)
        self._node, self._recovery = ie(node), ie(recovery)
        self._heartbeat_s = heartbeat_s
        self._due: tuple[float, Input] | None = None

    def start(self, now: float) -> Outcome:
        """Set the association up, and again whenever it is lost."""
        return self._take(Input.START, now)

    def tick(self, now: float) -> Outcome:
        """Do what is due."""
        if self._due is None or self._due[0] > now:
            return Outcome()
        _, given = self._due
        self._due = None
        return self._take(given, now)

    def next_timeout(self) -> float | None:
        """When `tick` has something to do."""
        return None if self._due is None else self._due[0]

    def request(self, message: Message, now: float) -> Outcome:
        """A request of the peer. Raises PfcpError for one that is not of associations or lacks what it must have."""
        match message.type:
            case MessageType.HEARTBEAT_REQUEST:
                outcome = self._take(self._beat(message, Input.HEARTBEAT), now)
                return self._with(outcome, Message(MessageType.HEARTBEAT_RESPONSE, message.seq, ies=(self._recovery,)))
            case MessageType.ASSOCIATION_SETUP_REQUEST:
                return self._setup_requested(message, now)
            case MessageType.ASSOCIATION_RELEASE_REQUEST:
                cause = Cause.ACCEPTED if self.state is State.UP else Cause.NO_ESTABLISHED_ASSOCIATION
                outcome = self._take(Input.RELEASE_REQUESTED, now)
                answer = Message(MessageType.ASSOCIATION_RELEASE_RESPONSE, message.seq, ies=(self._node, ie(cause)))
                return self._with(outcome, answer)
        raise PfcpError("type", f"{message.type.name} is no request about an association")

    def answered(self, request: Message, response: Message, now: float) -> Outcome:
        """The answer to a request of ours. Raises PfcpError for one that lacks what it must have."""
        match request.type:
            case MessageType.HEARTBEAT_REQUEST:
                return self._take(self._beat(response, Input.HEARTBEAT_ANSWERED), now)
            case MessageType.ASSOCIATION_SETUP_REQUEST:
                return self._setup_answered(response, now)
        raise PfcpError("type", f"{request.type.name} is no request about an association")

    def timed_out(self, request: Message, now: float) -> Outcome:
        """A request of ours that nobody answered. Raises PfcpError for one that is not of associations."""
        lost = _LOST.get(request.type)
        if lost is None:
            raise PfcpError("type", f"{request.type.name} is no request about an association")
        return self._take(lost, now)

    def _setup_requested(self, message: Message, now: float) -> Outcome:
        require(NodeId, message.ies)
        recovery = require(RecoveryTimeStamp, message.ies)
        given = Input.SETUP_REQUESTED_RESTARTED if self._is_later(recovery) else Input.SETUP_REQUESTED
        self._learn(recovery)
        outcome = self._take(given, now)
        own = (self._node, ie(Cause.ACCEPTED), *self._own[1:])
        return self._with(outcome, Message(MessageType.ASSOCIATION_SETUP_RESPONSE, message.seq, ies=own))

    def _setup_answered(self, response: Message, now: float) -> Outcome:
        if response.type is MessageType.VERSION_NOT_SUPPORTED_RESPONSE:
            self.refused_with = None
            return self._take(Input.SETUP_REFUSED, now)
        cause = require(Cause, response.ies)
        if not cause.accepted:
            self.refused_with = cause
            return self._take(Input.SETUP_REFUSED, now)
        require(NodeId, response.ies)
        recovery = require(RecoveryTimeStamp, response.ies)
        restarted = self._is_later(recovery)
        self._learn(recovery)
        outcome = self._take(Input.SETUP_ACCEPTED, now)
        return Outcome(Event.RESTARTED, outcome.requests) if restarted else outcome

    def _beat(self, message: Message, plain: Input) -> Input:
        if message.type is MessageType.VERSION_NOT_SUPPORTED_RESPONSE:
            return plain
        recovery = require(RecoveryTimeStamp, message.ies)
        if self._is_later(recovery):
            self.peer_recovery = recovery
            return Input.RESTARTED
        self.peer_recovery = self.peer_recovery or recovery
        return plain

    def _is_later(self, recovery: RecoveryTimeStamp) -> bool:
        """Whether the peer restarted. An earlier one is an old message that was overtaken (TS 23.007, 19A); the
        count wraps in 2036, so later means ahead by less than half of the range."""
        known = self.peer_recovery
        return known is not None and 0 < (recovery - known) % (1 << 32) < 1 << 31

    def _learn(self, recovery: RecoveryTimeStamp) -> None:
        if self.peer_recovery is None or self._is_later(recovery):
            self.peer_recovery = recovery
        self.refused_with = None

    def _take(self, given: Input, now: float) -> Outcome:
        step = TABLE.get((self.state, given))
        if step is None:
            raise RefusedError(
                f"{given.value} while {self.state.value}",
                where="PFCP association",
                remedy="report this with the PFCP trace: the state machine does not know it",
            )
        if step.state is not self.state:
            self._due = None
        self.state = step.state
        requests = []
        for do in step.do:
            match do:
                case Do.SEND_SETUP:
                    requests.append(Message(MessageType.ASSOCIATION_SETUP_REQUEST, 0, ies=self._own))
                case Do.SEND_HEARTBEAT:
                    requests.append(Message(MessageType.HEARTBEAT_REQUEST, 0, ies=(self._recovery,)))
                case Do.WAIT_RETRY:
                    self._due = (now + RETRY_S, Input.RETRY)
                case Do.WAIT_HEARTBEAT:
                    self._due = (now + self._heartbeat_s, Input.HEARTBEAT_DUE)
        return Outcome(step.event, tuple(requests))

    @staticmethod
    def _with(outcome: Outcome, response: Message) -> Outcome:
        return Outcome(outcome.event, outcome.requests, response)


_LOST: Mapping[MessageType, Input] = {
    MessageType.HEARTBEAT_REQUEST: Input.HEARTBEAT_LOST,
    MessageType.ASSOCIATION_SETUP_REQUEST: Input.SETUP_LOST,
}
