"""Reliable delivery, without a clock and without a network."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core5g.pfcp import transactions
from core5g.pfcp.ies import Cause, RecoveryTimeStamp, ie
from core5g.pfcp.transactions import TABLE, Answered, Input, Peer, Received, State, TimedOut, Transactions
from core5g.pfcp.wire import Message, MessageType, PfcpError, decode, encode
from nf.errors import BusyError

UPF, SMF, OTHER = Peer("10.0.0.2", 8805), Peer("10.0.0.1", 8805), Peer("10.0.0.3", 8805)
STAMP = ie(RecoveryTimeStamp(5))
HEARTBEAT = Message(MessageType.HEARTBEAT_REQUEST, 0, ies=(STAMP,))
BEAT = Message(MessageType.HEARTBEAT_RESPONSE, 0, ies=(STAMP,))


def sent_by(made: Transactions) -> list[Message]:
    return [decode(data) for data, _ in made.data_to_send()]


def test_a_request_is_repeated_until_it_is_answered() -> None:
    made = Transactions(t1_s=3, n1=3)
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
    assert made.receive(answer, UPF, 104.5) == (Answered(request, BEAT._replace(seq=request.seq), UPF, 4.5),)
    assert made.waiting == 0
    assert made.next_timeout() is None
    # ... and an answer to the repetition is one too many.
    assert made.receive(answer, UPF, 104.6) == ()
    assert made.counters == {"sent": 1, "repeated": 1, "received": 2, "stray": 1}


def test_a_request_that_nobody_answers_is_given_up() -> None:
    made = Transactions(t1_s=3, n1=2)
    request = made.send(HEARTBEAT, UPF, 0.0)
    times = []
    lost: tuple[TimedOut, ...] = ()
    while (due := made.next_timeout()) is not None:
        times.append(due)
        lost = made.tick(due)
    assert times == [3.0, 6.0, 9.0]
    assert lost == (TimedOut(request, UPF),)
    assert len(made.data_to_send()) == 3
    assert made.counters["lost"] == 1


def test_answers_come_in_any_order() -> None:
    made = Transactions()
    requests = [made.send(HEARTBEAT, UPF, float(number)) for number in range(5)]
    for request in reversed(requests):
        (event,) = made.receive(encode(BEAT._replace(seq=request.seq)), UPF, 9.0)
        assert isinstance(event, Answered)
        assert event.request == request


def test_numbers_are_unique_among_all_peers_and_wrap() -> None:
    made = Transactions(first_seq=0xFFFFFE)
    seqs = [made.send(HEARTBEAT, peer, 0.0).seq for peer in (UPF, OTHER)]
    assert seqs == [0xFFFFFE, 0xFFFFFF]
    with pytest.raises(BusyError, match="in use"):
        made.send(HEARTBEAT, UPF, 0.0)
    made.abandon(0xFFFFFE)
    made.abandon(12)
    assert made.send(HEARTBEAT, UPF, 0.0).seq == 0xFFFFFE
    assert made.next_timeout() == 3.0


def test_an_abandoned_request_is_not_repeated() -> None:
    made = Transactions()
    request = made.send(HEARTBEAT, UPF, 0.0)
    made.data_to_send()
    made.abandon(request.seq)
    assert made.next_timeout() is None
    assert made.tick(3.0) == ()
    assert made.data_to_send() == ()
    assert made.receive(encode(BEAT._replace(seq=request.seq)), UPF, 1.0) == ()


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
    made = Transactions()
    request = made.send(HEARTBEAT, UPF, 0.0)
    assert made.receive(encode(answer._replace(seq=answer.seq or request.seq)), peer, 1.0) == ()
    assert made.waiting == 1
    assert made.counters["stray"] == 1


def test_a_repeated_request_is_done_once_and_answered_again() -> None:
    made = Transactions()
    data = encode(HEARTBEAT._replace(seq=9))
    (event,) = made.receive(data, SMF, 0.0)
    assert isinstance(event, Received)
    assert made.receive(data, SMF, 1.0) == ()  # while it is being done
    assert made.data_to_send() == ()
    made.answer(event, BEAT, 2.0)
    answer = (encode(BEAT._replace(seq=9)), SMF)
    assert made.data_to_send() == (answer,)
    assert made.receive(data, SMF, 3.0) == ()
    assert made.data_to_send() == (answer,)
    assert made.counters["duplicate"] == 2
    # The same number of another peer, and the same number with another content, are other requests.
    assert len(made.receive(data, OTHER, 3.0)) == 1
    other = encode(HEARTBEAT._replace(seq=9, ies=(ie(RecoveryTimeStamp(6)),)))
    assert len(made.receive(other, SMF, 3.0)) == 1


def test_a_late_answer_is_not_taken_for_that_of_a_later_request() -> None:
    made = Transactions()
    (first,) = made.receive(encode(HEARTBEAT._replace(seq=9)), SMF, 0.0)
    assert isinstance(first, Received)
    later = encode(HEARTBEAT._replace(seq=9, ies=(ie(RecoveryTimeStamp(6)),)))
    made.receive(later, SMF, 1.0)
    made.answer(first, BEAT, 2.0)
    made.data_to_send()
    assert made.receive(later, SMF, 3.0) == ()
    assert made.data_to_send() == ()


def test_answers_are_kept_as_long_as_a_peer_may_repeat_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Transactions(t1_s=3, n1=3)
    data = encode(HEARTBEAT._replace(seq=9))
    (event,) = made.receive(data, SMF, 0.0)
    assert isinstance(event, Received)
    made.answer(event, BEAT, 2.0)
    assert made.receive(data, SMF, 13.9) == ()
    assert len(made.receive(data, SMF, 14.0)) == 1
    made.tick(30.0)
    assert not made._done
    monkeypatch.setattr(transactions, "MAX_CACHED", 3)
    for seq in range(5):
        made.receive(encode(HEARTBEAT._replace(seq=seq)), SMF, 40.0)
    assert len(made._done) == 3


def test_another_version_is_told_so_and_its_answer_ends_a_request() -> None:
    made = Transactions()
    strange = bytes((0x40,)) + encode(HEARTBEAT._replace(seq=77))[1:]
    assert made.receive(strange, SMF, 0.0) == ()
    assert sent_by(made) == [Message(MessageType.VERSION_NOT_SUPPORTED_RESPONSE, 77)]
    of_session = encode(Message(MessageType.SESSION_DELETION_REQUEST, 78, 1))
    made.receive(bytes((0x41,)) + of_session[1:], SMF, 0.0)
    made.receive(bytes((0x41,)) + of_session[1:12], SMF, 0.0)
    assert sent_by(made) == [Message(MessageType.VERSION_NOT_SUPPORTED_RESPONSE, 78)]
    # No refusal of a refusal, or two ends would do nothing else any more.
    refusal = encode(Message(MessageType.VERSION_NOT_SUPPORTED_RESPONSE, 79))
    made.receive(bytes((0x40,)) + refusal[1:], SMF, 0.0)
    assert sent_by(made) == []
    request = made.send(HEARTBEAT, UPF, 0.0)
    refusal = Message(MessageType.VERSION_NOT_SUPPORTED_RESPONSE, request.seq)
    assert made.receive(encode(refusal), UPF, 0.5) == (Answered(request, refusal, UPF, 0.5),)


def test_what_is_malformed_is_counted_and_dropped() -> None:
    made = Transactions()
    good = encode(HEARTBEAT)
    for data in (b"1", good[:-1], good + b"\0", bytes((0x20, 99)) + good[2:]):
        assert made.receive(data, SMF, 0.0) == ()
    assert made.data_to_send() == ()
    counted = {name: count for name, count in made.counters.items() if name.startswith("malformed")}
    assert counted == {"malformed-short": 1, "malformed-length": 1, "malformed-follow-on": 1, "malformed-type": 1}


def test_several_messages_of_one_datagram() -> None:
    made = Transactions()
    both = encode(HEARTBEAT._replace(seq=1, trailing=encode(HEARTBEAT._replace(seq=2))))
    events = made.receive(both, SMF, 0.0)
    assert [event.request.seq for event in events if isinstance(event, Received)] == [1, 2]
    assert made.receive(both, SMF, 0.1) == ()


def test_only_requests_are_sent_and_only_their_answers_answer() -> None:
    made = Transactions()
    with pytest.raises(PfcpError, match="no request"):
        made.send(BEAT, UPF, 0.0)
    (event,) = made.receive(encode(HEARTBEAT), SMF, 0.0)
    assert isinstance(event, Received)
    with pytest.raises(PfcpError, match="does not answer"):
        made.answer(event, HEARTBEAT, 0.0)


def test_the_table_ends() -> None:
    assert {after for (_, given), after in TABLE.items() if given is not Input.TIMER} == {State.ANSWERED, State.LOST}


def deletion(seid: int) -> Message:
    return Message(MessageType.SESSION_DELETION_REQUEST, 0, seid)


@settings(max_examples=40)
@given(st.data(), st.integers(1, 8))
def test_any_network_between_two_ends(data: Any, count: int) -> None:
    """Datagrams are lost, doubled and overtaken: each request is done at most once and ends in an answer or a loss."""
    ours, theirs = Transactions(t1_s=3, n1=3), Transactions(t1_s=3, n1=3)
    requests = [ours.send(deletion(seid), UPF, 0.0) for seid in range(count)]
    done: list[int] = []
    ended: dict[int, str] = {}
    for now in (0.0, 0.5, 3.0, 3.5, 6.0, 6.5, 9.0, 9.5, 12.0):
        for lost in ours.tick(now):
            assert ended.setdefault(lost.request.seq, "lost") == "lost"
        there = [octets for octets, _ in ours.data_to_send() for _ in range(data.draw(st.integers(0, 2)))]
        for octets in data.draw(st.permutations(there)):
            for event in theirs.receive(octets, SMF, now):
                assert isinstance(event, Received)
                assert event.request.seid is not None
                done.append(event.request.seid)
                answer = Message(MessageType.SESSION_DELETION_RESPONSE, 0, 1, (ie(Cause.ACCEPTED),))
                theirs.answer(event, answer, now)
        back = [octets for octets, _ in theirs.data_to_send() for _ in range(data.draw(st.integers(0, 2)))]
        for octets in data.draw(st.permutations(back)):
            for answered in ours.receive(octets, UPF, now):
                assert isinstance(answered, Answered)
                assert answered.request.seq not in ended
                ended[answered.request.seq] = "answered"
    assert len(done) == len(set(done))
    assert set(ended) == {request.seq for request in requests}
    assert all(request.seid in done for request in requests if ended[request.seq] == "answered")
    assert ours.waiting == 0
