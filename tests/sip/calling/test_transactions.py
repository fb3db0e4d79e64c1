"""Transactions of SIP, timer by timer as in the table of RFC 3261 section 17 and RFC 6026."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.calling.messages import Request, Response, parse, reply
from sip.calling.transactions import TABLES, Input, Kind, State, Transaction, UnexpectedError


def request(method: str) -> Request:
    headers = (
        ("Via", "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport"),
        ("From", "<sip:a@d.test>;tag=1"),
        ("To", "<sip:b@d.test>"),
        ("Call-ID", "x"),
        ("CSeq", f"1 {method}"),
        ("Max-Forwards", "70"),
    )
    return Request(headers, b"", method, "sip:b@d.test")


def run(transaction: Transaction, until: float) -> list[float]:
    """Times at which something was sent."""
    times: list[float] = []
    while (at := transaction.next_timeout()) is not None and at <= until:
        transaction.handle_timeout(at)
        times += [at] * len(transaction.out)
        transaction.out.clear()
    return times


def test_an_invite_is_sent_again_with_doubled_intervals_until_timer_b() -> None:
    made = Transaction.client(request("INVITE"), 0.0, reliable=False)
    assert len(made.out) == 1
    made.out.clear()
    assert run(made, 60) == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert made.timed_out
    assert made.state is State.TERMINATED


def test_another_request_is_sent_again_up_to_every_t2_until_timer_f() -> None:
    made = Transaction.client(request("BYE"), 0.0, reliable=False)
    made.out.clear()
    assert run(made, 60) == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert made.timed_out


def test_after_a_provisional_response_only_every_t2() -> None:
    made = Transaction.client(request("BYE"), 0.0, reliable=False)
    made.out.clear()
    made.receive(reply(request("BYE"), 100, "Trying"), 0.2)
    assert run(made, 9.0) == [4.2, 8.2]


def test_over_tcp_nothing_is_sent_again() -> None:
    made = Transaction.client(request("INVITE"), 0.0, reliable=True)
    made.out.clear()
    assert run(made, 60) == []
    assert made.timed_out


def test_a_failure_is_acknowledged_each_time_that_it_comes() -> None:
    made = Transaction.client(request("INVITE"), 0.0, reliable=False)
    made.receive(reply(request("INVITE"), 180, "Ringing"), 0.1)
    made.out.clear()
    busy = reply(request("INVITE"), 486, "Busy Here", tag="9")
    for _ in range(3):
        made.receive(busy, 0.2)
    acks = [parse(data) for data in made.out]
    assert [one.method for one in acks if isinstance(one, Request)] == ["ACK"] * 3
    assert acks[0].get("To").endswith("tag=9")
    assert acks[0].via.branch == "z9hG4bK1"
    assert [one.status for one in made.passed] == [180, 486]
    run(made, 32.6)
    assert made.state is State.COMPLETED
    run(made, 32.8)
    assert made.state is State.TERMINATED


def test_each_200_is_passed_on_so_that_each_has_its_ack() -> None:
    made = Transaction.client(request("INVITE"), 0.0, reliable=False)
    for at in (0.1, 0.6, 1.6):
        made.receive(reply(request("INVITE"), 200, "OK", tag="9"), at)
    assert [one.status for one in made.passed] == [200, 200, 200]
    run(made, 40)
    assert made.state is State.TERMINATED
    assert not made.timed_out


def test_a_200_is_sent_until_its_ack_comes() -> None:
    made = Transaction.server(request("INVITE"), reliable=False)
    made.respond(reply(request("INVITE"), 180, "Ringing", tag="9"), 0.0)
    made.receive(request("INVITE"), 0.3)
    assert len(made.out) == 2
    made.respond(reply(request("INVITE"), 200, "OK", tag="9"), 1.0)
    made.out.clear()
    assert run(made, 9.0) == [1.5, 2.5, 4.5, 8.5]
    made.receive(request("ACK"), 9.0)
    assert run(made, 60) == []
    assert not made.timed_out


def test_without_an_ack_it_gives_up() -> None:
    for status in (200, 486):
        made = Transaction.server(request("INVITE"), reliable=False)
        made.respond(reply(request("INVITE"), status, "x", tag="9"), 0.0)
        run(made, 40)
        assert made.timed_out


def test_nobody_answers_twice() -> None:
    made = Transaction.server(request("BYE"), reliable=False)
    made.respond(reply(request("BYE"), 200, "OK"), 0.0)
    with pytest.raises(UnexpectedError):
        made.respond(reply(request("BYE"), 481, "x"), 0.0)
    made.receive(request("BYE"), 1.0)
    assert len(made.out) == 2
    run(made, 31.9)
    assert made.state is State.COMPLETED
    run(made, 32.1)
    assert made.state is State.TERMINATED


@given(
    st.sampled_from([*Kind]),
    st.booleans(),
    st.lists(
        st.tuples(st.sampled_from(["response", "again", "ack", "wait"]), st.integers(100, 699), st.floats(0, 40)),
        max_size=12,
    ),
)
def test_whatever_happens_every_transaction_comes_to_its_end(
    kind: Kind, reliable: bool, happens: list[tuple[str, int, float]]
) -> None:
    method = "INVITE" if kind in {Kind.INVITE_CLIENT, Kind.INVITE_SERVER} else "BYE"
    client = kind in {Kind.INVITE_CLIENT, Kind.CLIENT}
    own, now = request(method), 0.0
    made = Transaction.client(own, now, reliable=reliable) if client else Transaction.server(own, reliable=reliable)
    for what, status, seconds in happens:
        now += seconds
        run(made, now)
        response: Response = reply(own, status, "x", tag="9")
        if what == "response" and client:
            made.receive(response, now)
        elif what == "response":
            try:
                made.respond(response, now)
            except UnexpectedError:
                continue
        elif what == "again" and not client:
            made.receive(own, now)
        elif what == "ack" and not client:
            made.receive(request("ACK"), now)
    proceeding = made.state is State.PROCEEDING or (kind is Kind.SERVER and made.state is State.TRYING)
    if not proceeding:
        run(made, now + 200)
        assert made.ended
        assert made.next_timeout() is None


def test_the_tables_have_no_end_that_is_none() -> None:
    for kind, table in TABLES.items():
        for state in {state for state, _ in table}:
            reached = {found for (_, _), (found, _) in table.items()} | {State.CALLING, State.TRYING, State.PROCEEDING}
            assert state in reached, (kind, state)
        assert any(found is State.TERMINATED for (_, given_), (found, _) in table.items() if given_ is Input.END)
