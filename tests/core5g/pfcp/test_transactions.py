"""Reliable delivery, without a clock and without a network."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core5g.pfcp.ies import Cause, RecoveryTimeStamp, ie
from core5g.pfcp.transactions import TABLE, Answered, Do, Input, Peer, State, TimedOut, Transactions
from core5g.pfcp.wire import Message, MessageType, PfcpError, decode, encode
from nf.errors import BusyError

UPF, OTHER = Peer("10.0.0.2", 8805), Peer("10.0.0.3", 8805)
STAMP = ie(RecoveryTimeStamp(5))
HEARTBEAT = Message(MessageType.HEARTBEAT_REQUEST, 0, ies=(STAMP,))
BEAT = Message(MessageType.HEARTBEAT_RESPONSE, 0, ies=(STAMP,))


def test_a_request_is_repeated_until_it_is_answered() -> None:
    made = Transactions(3, 3, 1)
    request = made.send(HEARTBEAT, UPF, 100.0)
    first = made.data_to_send()
    assert first == ((encode(request), UPF),)
    assert made.data_to_send() == ()
    assert made.next_timeout() == 103.0
    assert made.tick(102.9) == ()
    assert made.data_to_send() == ()
    made.tick(103.0)
    assert made.data_to_send() == first  # the same octets to the same peer (6.4)
    assert made.next_timeout() == 106.0
    answer = encode(BEAT._replace(seq=request.seq))
    assert made.receive(answer, UPF) == Answered(request, BEAT._replace(seq=request.seq), UPF)
    assert made.next_timeout() is None
    # ... and an answer to the repetition is one too many.
    assert made.receive(answer, UPF) is None


def test_a_request_that_nobody_answers_is_given_up() -> None:
    made = Transactions(3, 2, 1)
    request = made.send(HEARTBEAT, UPF, 0.0)
    times = []
    lost: tuple[TimedOut, ...] = ()
    while (due := made.next_timeout()) is not None:
        times.append(due)
        lost = made.tick(due)
    assert times == [3.0, 6.0, 9.0]
    assert lost == (TimedOut(request, UPF),)
    assert len(made.data_to_send()) == 3


def test_answers_come_in_any_order() -> None:
    made = Transactions(3, 3, 1)
    requests = [made.send(HEARTBEAT, UPF, float(number)) for number in range(5)]
    for request in reversed(requests):
        event = made.receive(encode(BEAT._replace(seq=request.seq)), UPF)
        assert event is not None
        assert event.request == request


def test_numbers_are_unique_among_all_peers_and_wrap() -> None:
    made = Transactions(3, 3, 0xFFFFFE)
    seqs = [made.send(HEARTBEAT, peer, 0.0).seq for peer in (UPF, OTHER)]
    assert seqs == [0xFFFFFE, 0xFFFFFF]
    with pytest.raises(BusyError, match="in use"):
        made.send(HEARTBEAT, UPF, 0.0)
    made.receive(encode(BEAT._replace(seq=0xFFFFFE)), UPF)
    assert made.send(HEARTBEAT, UPF, 0.0).seq == 0xFFFFFE
    assert made.next_timeout() == 3.0


@pytest.mark.parametrize(
    ("answer", "peer"),
    [
        (BEAT, OTHER),
        (BEAT, Peer("10.0.0.2", 9999)),
        (Message(MessageType.SESSION_DELETION_RESPONSE, 0, 1), UPF),
        (BEAT._replace(seq=7), UPF),
    ],
)
def test_answers_that_are_none(answer: Message, peer: Peer) -> None:
    made = Transactions(3, 3, 1)
    request = made.send(HEARTBEAT, UPF, 0.0)
    assert made.receive(encode(answer._replace(seq=answer.seq or request.seq)), peer) is None
    assert made.next_timeout() == 3.0


def test_a_peer_of_another_version_says_so() -> None:
    made = Transactions(3, 3, 1)
    request = made.send(HEARTBEAT, UPF, 0.0)
    refusal = Message(MessageType.VERSION_NOT_SUPPORTED_RESPONSE, request.seq)
    assert made.receive(encode(refusal), UPF) == Answered(request, refusal, UPF)


def test_what_is_malformed_answers_nothing_and_is_counted() -> None:
    counters: Counter[str] = Counter()
    made = Transactions(3, 3, 1, counters)
    request = made.send(HEARTBEAT, UPF, 0.0)
    good = encode(BEAT._replace(seq=request.seq))
    for data in (b"", b"1", good[:-1], good + b"\0", bytes((0x20, 99)) + good[2:], bytes((0x40,)) + good[1:]):
        assert made.receive(data, UPF) is None
    assert made.next_timeout() == 3.0
    assert counters.total() == 6
    assert all(name.startswith("malformed-") for name in counters)


def test_the_table_ends_each_request_once() -> None:
    ends = {given: step for (state, given), step in TABLE.items() if state is State.WAITING}
    assert set(ends) == set(Input), "whatever comes, a request that waits knows what to do"
    assert all((step.state is State.WAITING) is (step.do is Do.REPEAT) for step in ends.values())
    later = [(state, step) for (state, _), step in TABLE.items() if state is not State.WAITING]
    assert all(step == (state, Do.NOTHING) for state, step in later)


def test_a_number_that_is_given_out_again_is_no_concern_of_the_old_timer() -> None:
    made = Transactions(3, 3, 0xFFFFFF)
    first = made.send(HEARTBEAT, UPF, 0.0)
    made.receive(encode(BEAT._replace(seq=first.seq)), UPF)
    second = made.send(HEARTBEAT, UPF, 2.0)
    assert second.seq == first.seq
    made.data_to_send()
    assert made.tick(3.0) == ()
    assert made.data_to_send() == ()
    assert made.next_timeout() == 5.0


def test_only_requests_are_sent() -> None:
    made = Transactions(3, 3, 1)
    with pytest.raises(PfcpError, match="no request"):
        made.send(BEAT, UPF, 0.0)


def deletion(seid: int) -> Message:
    return Message(MessageType.SESSION_DELETION_REQUEST, 0, seid)


@settings(max_examples=40)
@given(st.data(), st.integers(1, 8))
def test_any_network_before_a_peer(data: Any, count: int) -> None:
    """Datagrams are lost, doubled and overtaken: each request ends once, in an answer or a loss."""
    ours = Transactions(3, 3, 1)
    requests = [ours.send(deletion(seid), UPF, 0.0) for seid in range(count)]
    ended: dict[int, str] = {}
    for now in (0.0, 0.5, 3.0, 3.5, 6.0, 6.5, 9.0, 9.5, 12.0):
        for lost in ours.tick(now):
            assert ended.setdefault(lost.request.seq, "lost") == "lost"
        there = [octets for octets, _ in ours.data_to_send() for _ in range(data.draw(st.integers(0, 2)))]
        for octets in data.draw(st.permutations(there)):
            answer = Message(MessageType.SESSION_DELETION_RESPONSE, decode(octets).seq, 1, (ie(Cause.ACCEPTED),))
            for _ in range(data.draw(st.integers(0, 2))):
                answered = ours.receive(encode(answer), UPF)
                if answered is not None:
                    assert answered.request.seq not in ended
                    ended[answered.request.seq] = "answered"
    assert set(ended) == {request.seq for request in requests}
    assert ours.next_timeout() is None
