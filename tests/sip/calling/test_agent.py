"""Two user agents that call each other over a network that loses, doubles and delays, in time that we own."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.calling import dialogs, sdp
from sip.calling.agent import UserAgent
from sip.calling.dialogs import Address, Call, CallState, Event
from sip.calling.digest import Account, Challenge
from sip.calling.messages import Request, parse, reply

ALICE, BOB = ("10.0.0.1", 5060), ("10.0.0.2", 5060)


@dataclass
class Net:
    """`loss`: share of datagrams that are lost."""

    loss: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - chance of a test
    now: float = 0.0
    agents: dict[Address, UserAgent] = field(default_factory=dict)
    events: dict[Address, list[Event]] = field(default_factory=dict)
    log: list[bytes] = field(default_factory=list)
    _way: list[tuple[float, int, Address, Address, bytes]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def add(self, user: str, own: Address, proxy: Address, account: Account | None = None) -> UserAgent:
        numbers = itertools.count()
        made = UserAgent(
            user, "d.test", local=own, proxy=proxy, account=account, token=lambda: f"{user}{next(numbers)}"
        )
        self.agents[own], self.events[own] = made, []
        return made

    def settle(self) -> None:
        for own, agent in self.agents.items():
            for data, to in agent.data_to_send():
                self.log.append(data)
                for _ in range(1 if self.chance.random() > 0.05 * bool(self.loss) else 2):
                    if self.chance.random() >= self.loss:
                        at = self.now + 0.01 + self.chance.random() * 0.02
                        heapq.heappush(self._way, (at, next(self._order), own, to, data))
            while (event := agent.next_event()) is not None:
                self.events[own].append(event)
                self._react(agent, event)

    def _react(self, agent: UserAgent, event: Event) -> None:
        """The called answers."""
        if isinstance(event, dialogs.Incoming) and event.call.remote is not None:
            agent.ring(event.call, self.now)
            agent.answer(event.call, sdp.answer(event.call.remote, "10.0.0.2", 6000, session=1), self.now)
            self.settle()

    def run(self, seconds: float) -> None:
        ends = self.now + seconds
        self.settle()
        while True:
            timeouts = [at for agent in self.agents.values() if (at := agent.next_timeout()) is not None]
            at = min([*timeouts, *(one[0] for one in self._way[:1])], default=ends + 1)
            if at > ends:
                self.now = ends
                return
            self.now = max(self.now, at)
            while self._way and self._way[0][0] <= self.now:
                _, _, source, to, data = heapq.heappop(self._way)
                if to in self.agents:
                    self.agents[to].receive(data, source, self.now)
            for agent in self.agents.values():
                agent.handle_timeout(self.now)
            self.settle()

    def of(self, own: Address, kind: type[Event]) -> list[Event]:
        return [one for one in self.events[own] if isinstance(one, kind)]


def called(net: Net) -> tuple[UserAgent, UserAgent, Call]:
    alice, bob = net.add("alice", ALICE, BOB), net.add("bob", BOB, ALICE)
    return alice, bob, alice.call("sip:bob@10.0.0.2", sdp.offer("10.0.0.1", 4000, session=1), net.now)


def test_a_call_is_answered_and_hung_up() -> None:
    net = Net()
    alice, _, call = called(net)
    net.run(1)
    assert call.state is CallState.CONFIRMED
    assert call.remote is not None
    assert call.remote.port == 6000
    assert net.of(ALICE, dialogs.Answered) == [dialogs.Answered(call)]  # the 180 may have been overtaken
    assert [type(one).__name__ for one in net.events[BOB]] == ["Incoming", "Answered"]
    assert call.setup_ms is not None
    assert 20 <= call.setup_ms <= 60
    alice.hang_up(call, net.now)
    net.run(1)
    assert net.of(BOB, dialogs.Ended) == [dialogs.Ended(net.events[BOB][0].call, far=True)]  # type: ignore[union-attr]
    assert not alice.busy(call)


@given(st.randoms(use_true_random=False), st.floats(0, 0.5))
def test_over_a_bad_network_a_call_is_up_at_both_ends_or_at_none(chance: random.Random, loss: float) -> None:
    net = Net(loss=loss, chance=chance)
    alice, _, call = called(net)
    net.run(40)
    if call.state is CallState.CONFIRMED:
        alice.hang_up(call, net.now)
    net.run(200)
    assert call.state is CallState.ENDED
    for one in net.of(BOB, dialogs.Incoming):
        assert isinstance(one, dialogs.Incoming)
        # What is left is an answer whose ACK or BYE never came: that ends too, or the called hangs up.
        assert one.call.state in {CallState.ENDED, CallState.CONFIRMED}
    assert all(agent.next_timeout() is None for agent in net.agents.values())
    assert all(agent.malformed == 0 for agent in net.agents.values())


def test_nobody_there_is_408_after_32_s() -> None:
    net = Net(loss=1.0)
    _, _, call = called(net)
    net.run(31.9)
    assert net.events[ALICE] == []
    net.run(1)
    assert net.events[ALICE] == [dialogs.Failed(call, 408, "nobody answers")]


def test_a_cancel_waits_for_a_provisional_response_and_the_invite_ends_with_487() -> None:
    net = Net()
    alice, bob = net.add("alice", ALICE, BOB), net.add("bob", BOB, ALICE)
    net._react = lambda agent, event: agent.ring(event.call, net.now) if isinstance(event, dialogs.Incoming) else None  # type: ignore[method-assign]
    call = alice.call("sip:bob@10.0.0.2", sdp.offer("10.0.0.1", 4000, session=1), net.now)
    alice.hang_up(call, net.now)
    net.settle()
    assert not any(b"CANCEL sip" in one for one in net.log)
    net.run(2)
    assert any(b"CANCEL sip" in one for one in net.log)
    assert net.of(ALICE, dialogs.Failed) == [dialogs.Failed(call, 487, "Request Terminated")]
    assert isinstance(net.events[BOB][-1], dialogs.Ended)
    assert not alice.busy(call)
    assert bob.malformed == 0


def test_a_malformed_message_is_counted_and_answers_nothing() -> None:
    net = Net()
    alice, _, _ = called(net)
    net.run(1)
    sent = len(net.log)
    for data in (b"garbage", b"INVITE sip:a SIP/2.0\r\n\r\n", b"\xff\xfe\r\n\r\n", b"\r\n\r\n"):
        alice.receive(data, BOB, net.now)
    net.settle()
    assert alice.malformed == 3
    assert len(net.log) == sent


@given(st.binary(max_size=300))
def test_whatever_comes_an_agent_stands(data: bytes) -> None:
    net = Net()
    alice, _, _ = called(net)
    net.run(0.015)
    for text in (data, *(one[: len(one) // 2] + data for one in net.log), *(one + data for one in net.log)):
        alice.receive(text, BOB, net.now)
    net.run(1)


# -- a registrar ------------------------------------------------------------------------------------------------------


class Registrar:
    """Challenges once, and takes what is right; `stale`: the first nonce is old when it is used."""

    def __init__(self, account: Account, *, stale: bool = False, algorithm: str = "SHA-256") -> None:
        self.account, self.stale, self.algorithm = account, stale, algorithm
        self.seen: list[Request] = []

    def answer(self, data: bytes) -> bytes:
        request = parse(data)
        assert isinstance(request, Request)
        self.seen.append(request)
        given_ = request.get("Authorization")
        nonce = "two" if self.stale and given_ else "one"
        if given_ and (not self.stale or 'nonce="two"' in given_):
            challenge = Challenge("d.test", nonce, self.algorithm, ("auth",))
            cnonce = given_.partition('cnonce="')[2].partition('"')[0]
            count = int(given_.partition("nc=")[2][:8], 16)
            _, right = self.account.answer([challenge], "REGISTER", request.uri, cnonce=cnonce, count=count)
            if right == given_:
                ok = reply(request, 200, "OK", tag="r")
                return type(ok)((*ok.headers, ("Contact", request.get("Contact"))), b"", 200, "OK").to_bytes()
        asked = f'Digest realm="d.test", nonce="{nonce}", qop="auth", algorithm={self.algorithm}'
        asked += ", stale=true" if self.stale and given_ else ""
        no = reply(request, 401, "Unauthorized", tag="r")
        return type(no)((*no.headers, ("WWW-Authenticate", asked)), b"", 401, "Unauthorized").to_bytes()


def register(registrar: Registrar, account: Account | None) -> Event | None:
    agent = UserAgent("alice", "d.test", local=ALICE, proxy=BOB, account=account)
    agent.register(0.0, expires_s=60)
    for step in range(8):
        for data, _ in agent.data_to_send():
            agent.receive(registrar.answer(data), BOB, float(step) / 100)
    return agent.next_event()


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_registration_answers_its_challenge(algorithm: str) -> None:
    account = Account.of("alice", "d.test", "secret")
    registrar = Registrar(account, algorithm=algorithm)
    assert register(registrar, account) == dialogs.Registered(60)
    first, second = registrar.seen
    assert (first.call_id, first.cseq[0] + 1) == (second.call_id, second.cseq[0])
    assert first.via.branch != second.via.branch


def test_a_stale_nonce_is_asked_for_once_more() -> None:
    account = Account.of("alice", "d.test", "secret")
    registrar = Registrar(account, stale=True)
    assert register(registrar, account) == dialogs.Registered(60)
    assert len(registrar.seen) == 3


def test_a_wrong_password_is_tried_once_only() -> None:
    registrar = Registrar(Account.of("alice", "d.test", "secret"))
    assert register(registrar, Account.of("alice", "d.test", "wrong")) == dialogs.NotRegistered(401, "Unauthorized")
    assert len(registrar.seen) == 2


def test_without_credentials_no_challenge_is_answered() -> None:
    registrar = Registrar(Account.of("alice", "d.test", "secret"))
    assert register(registrar, None) == dialogs.NotRegistered(401, "Unauthorized")
    assert len(registrar.seen) == 1
