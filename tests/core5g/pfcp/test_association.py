"""Associations: what happens to them, and what restarts do to sessions."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.pfcp.association import TABLE, Association, Do, Event, Input, Outcome, State
from core5g.pfcp.ies import Cause, NodeId, RecoveryTimeStamp, Value, ie, require
from core5g.pfcp.transactions import Transactions
from core5g.pfcp.wire import IeType, Message, MessageType, PfcpError, decode
from nf.errors import RefusedError
from tests.core5g.pfcp.proxy.peers import UPF, Upf
from tests.core5g.pfcp.recordings import smf

HERE, THERE = NodeId(IPv4Address("10.0.0.1")), NodeId(IPv4Address("10.0.0.2"))


def ours() -> Association:
    return Association(HERE, RecoveryTimeStamp(100), heartbeat_s=10)


def message(kind: MessageType, *values: Value, seq: int = 1) -> Message:
    return Message(kind, seq, ies=tuple(ie(value) for value in values))


def setup_answer(stamp: int = 500, cause: Cause = Cause.ACCEPTED) -> Message:
    return message(MessageType.ASSOCIATION_SETUP_RESPONSE, THERE, cause, RecoveryTimeStamp(stamp))


def setup(stamp: int = 500) -> Message:
    return message(MessageType.ASSOCIATION_SETUP_REQUEST, THERE, RecoveryTimeStamp(stamp))


def heartbeat(stamp: int = 500) -> Message:
    return message(MessageType.HEARTBEAT_REQUEST, RecoveryTimeStamp(stamp))


def beat(stamp: int = 500) -> Message:
    return message(MessageType.HEARTBEAT_RESPONSE, RecoveryTimeStamp(stamp))


def kinds(outcome: Outcome) -> list[MessageType]:
    return [request.type for request in outcome.requests]


def up(now: float = 0.0) -> Association:
    made = ours()
    (request,) = made.start(now).requests
    assert made.answered(request, setup_answer(), now).event is Event.UP
    assert made.state is State.UP
    return made


def test_setting_up_says_what_the_recorded_smf_says() -> None:
    recorded = decode(smf()[0].data)
    node, stamp = require(NodeId, recorded.ies), require(RecoveryTimeStamp, recorded.ies)
    features = tuple(one for one in recorded.ies if one.type == IeType.CP_FUNCTION_FEATURES)
    made = Association(node, stamp, features, heartbeat_s=10)
    (request,) = made.start(0.0).requests
    assert request._replace(seq=recorded.seq) == recorded
    outcome = made.answered(request, decode(smf()[1].data), 1.0)
    assert outcome == Outcome(Event.UP)
    assert made.peer_recovery == require(RecoveryTimeStamp, decode(smf()[1].data).ies)


def test_answering_a_set_up_says_what_the_recorded_upf_says() -> None:
    request, response = decode(smf()[0].data), decode(smf()[1].data)
    features = tuple(one for one in response.ies if one.type == IeType.UP_FUNCTION_FEATURES)
    made = Association(
        require(NodeId, response.ies), require(RecoveryTimeStamp, response.ies), features, heartbeat_s=10
    )
    outcome = made.request(request, 0.0)
    assert outcome == Outcome(Event.UP, (), response)
    assert made.next_timeout() == 10.0


def test_heartbeats_go_out_and_come_back() -> None:
    made = up()
    assert made.next_timeout() == 10.0
    assert made.tick(9.9) == Outcome()
    outcome = made.tick(10.0)
    assert kinds(outcome) == [MessageType.HEARTBEAT_REQUEST]
    assert require(RecoveryTimeStamp, outcome.requests[0].ies) == 100
    assert made.next_timeout() is None
    # The peer's own heartbeat does not stand for the answer to ours.
    answer = made.request(heartbeat()._replace(seq=7), 11.0)
    assert answer == Outcome(response=message(MessageType.HEARTBEAT_RESPONSE, RecoveryTimeStamp(100), seq=7))
    assert made.next_timeout() is None
    assert made.answered(outcome.requests[0], beat(), 12.0) == Outcome()
    assert made.next_timeout() == 22.0


def test_a_silent_peer_is_lost_and_tried_again() -> None:
    made = up()
    (request,) = made.tick(10.0).requests
    assert made.timed_out(request, 22.0) == Outcome(Event.LOST)
    assert (made.state, made.next_timeout()) == (State.IDLE, 25.0)
    (again,) = made.tick(25.0).requests
    assert again.type is MessageType.ASSOCIATION_SETUP_REQUEST
    # It was the network: the peer is as it was, and its sessions with it.
    assert made.answered(again, setup_answer(500), 26.0).event is Event.UP


@pytest.mark.parametrize("stamp", [501, 500 + (1 << 31) - 1])
def test_a_restart_of_the_peer_shows_in_its_time_stamp(stamp: int) -> None:
    made = up()
    (request,) = made.tick(10.0).requests
    assert made.answered(request, beat(stamp), 10.0).event is Event.RESTARTED
    assert made.state is State.IDLE
    (again,) = made.tick(13.0).requests
    assert made.answered(again, setup_answer(stamp), 13.0).event is Event.UP
    assert made.peer_recovery == stamp


def test_a_restart_that_shows_in_the_peers_own_messages() -> None:
    made = up()
    outcome = made.request(heartbeat(501), 1.0)
    assert outcome.event is Event.RESTARTED
    assert outcome.response is not None
    made = up()
    assert made.request(setup(501), 1.0).event is Event.RESTARTED
    assert made.state is State.UP
    made = up()
    assert made.request(setup(500), 1.0).event is Event.RENEWED


def test_a_restart_that_shows_when_the_association_is_set_up_again() -> None:
    made = up()
    (request,) = made.tick(10.0).requests
    made.timed_out(request, 22.0)
    (again,) = made.tick(25.0).requests
    assert made.answered(again, setup_answer(777), 26.0).event is Event.RESTARTED
    assert made.state is State.UP


@pytest.mark.parametrize("stamp", [499, 500])
def test_an_old_time_stamp_is_an_old_message(stamp: int) -> None:
    made = up()
    assert made.request(heartbeat(stamp), 1.0).event is None
    assert made.peer_recovery == 500
    assert made.state is State.UP


def test_time_stamps_wrap() -> None:
    made = ours()
    (request,) = made.start(0.0).requests
    made.answered(request, setup_answer((1 << 32) - 5), 0.0)
    assert made.request(heartbeat(3), 1.0).event is Event.RESTARTED
    assert made.peer_recovery == 3


def test_a_refusal_is_told_and_tried_again() -> None:
    made = ours()
    (request,) = made.start(0.0).requests
    outcome = made.answered(request, setup_answer(cause=Cause.ENTITY_IN_CONGESTION), 1.0)
    assert (outcome.event, made.refused_with) == (Event.REFUSED, Cause.ENTITY_IN_CONGESTION)
    assert made.next_timeout() == 4.0
    (again,) = made.tick(4.0).requests
    refusal = Message(MessageType.VERSION_NOT_SUPPORTED_RESPONSE, 1)
    assert made.answered(again, refusal, 5.0).event is Event.REFUSED
    assert made.timed_out(made.tick(8.0).requests[0], 20.0) == Outcome()
    assert made.next_timeout() == 23.0


def test_the_peer_releases_it() -> None:
    made = up()
    outcome = made.request(message(MessageType.ASSOCIATION_RELEASE_REQUEST, THERE), 1.0)
    assert outcome.event is Event.RELEASED
    assert outcome.response is not None
    assert require(Cause, outcome.response.ies).accepted
    assert (made.state, made.next_timeout()) == (State.IDLE, None)
    outcome = made.request(message(MessageType.ASSOCIATION_RELEASE_REQUEST, THERE), 1.0)
    assert outcome.event is None
    assert outcome.response is not None
    assert require(Cause, outcome.response.ies) is Cause.NO_ESTABLISHED_ASSOCIATION


def test_messages_that_are_not_about_associations_or_lack_what_they_must_have() -> None:
    made = up()
    report = message(MessageType.NODE_REPORT_REQUEST)
    for call in (
        lambda: made.request(report, 0.0),
        lambda: made.answered(report, beat(), 0.0),
        lambda: made.timed_out(report, 0.0),
        lambda: made.request(message(MessageType.HEARTBEAT_REQUEST), 0.0),
        lambda: made.request(message(MessageType.ASSOCIATION_SETUP_REQUEST, THERE), 0.0),
        lambda: made.answered(setup(), message(MessageType.ASSOCIATION_SETUP_RESPONSE), 0.0),
    ):
        with pytest.raises(PfcpError):
            call()
    assert made.state is State.UP


def test_what_the_table_leaves_out_is_an_error() -> None:
    made = ours()
    with pytest.raises(RefusedError, match="heartbeat while idle"):
        made._take(Input.HEARTBEAT_DUE, 0.0)
    assert all(step.event is not Event.LOST or step.state is State.IDLE for step in TABLE.values())
    assert all(Do.WAIT_HEARTBEAT not in step.do or step.state is State.UP for step in TABLE.values())


def play(made: Association, move: str, stamp: int, waiting: list[Message], now: float) -> Outcome:
    """One move of a network and a peer, who say only what they could say."""
    match move:
        case "start":
            outcome = made.start(now)
        case "setup":
            outcome = made.request(setup(stamp), now)
        case "heartbeat":
            outcome = made.request(heartbeat(stamp), now)
        case "release-request":
            outcome = made.request(message(MessageType.ASSOCIATION_RELEASE_REQUEST, THERE), now)
        case "answer" if waiting:
            request = waiting.pop(0)
            answers = {
                MessageType.ASSOCIATION_SETUP_REQUEST: setup_answer(stamp),
                MessageType.HEARTBEAT_REQUEST: beat(stamp),
            }
            outcome = made.answered(request, answers[request.type], now)
        case "lose" if waiting:
            outcome = made.timed_out(waiting.pop(), now)
        case _:
            outcome = made.tick(now)
    return outcome


moves = ["start", "setup", "heartbeat", "restart", "release-request", "tick", "answer", "lose"]


@given(st.data())
def test_anything_in_any_order(data: st.DataObject) -> None:
    """Every input that can happen has an entry in every state in which it can; what waits, waits for something."""
    made = ours()
    stamp, now = 500, 0.0
    waiting: list[Message] = []
    for move in data.draw(st.lists(st.sampled_from(moves), max_size=40)):
        now = max(now + 1, made.next_timeout() or 0) if move == "tick" else now + 1
        stamp += move == "restart"
        waiting += play(made, move, stamp, waiting, now).requests
        if made.state is State.UP:
            beating = any(request.type is MessageType.HEARTBEAT_REQUEST for request in waiting)
            assert made.next_timeout() is not None or beating
        if made.state is State.SETTING_UP:
            assert waiting


class End:
    """What a process does with both: an association on transactions, and a UPF where its socket would be."""

    def __init__(self) -> None:
        self.association, self.upf = ours(), Upf(UPF, stamp=500)
        self.delivery = Transactions(3, 3, 1)
        self.events: list[Event] = []

    def do(self, outcome: Outcome, now: float) -> None:
        if outcome.event is not None:
            self.events.append(outcome.event)
        for request in outcome.requests:
            self.delivery.send(request, UPF, now)

    def run(self, seconds: range) -> None:
        for now in seconds:
            for lost in self.delivery.tick(now):
                self.do(self.association.timed_out(lost.request, now), now)
            self.do(self.association.tick(now), now)
            for data, _ in self.delivery.data_to_send():
                answer = self.upf.receive(data)
                answered = self.delivery.receive(answer, UPF) if answer is not None else None
                if answered is not None:
                    self.do(self.association.answered(answered.request, answered.response, now), now)


def test_over_reliable_delivery_with_a_cut_and_a_restart() -> None:
    end = End()
    end.do(end.association.start(0.0), 0.0)
    end.run(range(60))
    assert end.events == [Event.UP]
    end.upf.up = False
    end.run(range(60, 100))
    assert end.events[1:] == [Event.LOST]
    end.upf.up = True
    end.run(range(100, 130))
    assert end.events[2:] == [Event.UP]
    end.upf.forget()
    end.run(range(130, 200))
    assert end.events[3:] == [Event.RESTARTED, Event.UP]
