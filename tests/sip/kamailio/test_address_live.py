"""Two proxies on one segment, one address: it goes to the other when the first dies or rests, and comes back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from nf.contracts.driver import Checkpoint
from tests.headend.multicast.tree.network import Node
from tests.sip.kamailio.pairs import VIP, Side, addresses, answers, pair_of_proxies, proxy_section, until
from tests.sip.kamailio.phone import Phone

pytestmark = [pytest.mark.root, pytest.mark.daemon]

MOVES_S = 3.0


@pytest.fixture(scope="module")
def pair(
    require_root: Callable[[], None],
    require_programs: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Side, Side, Node]]:
    require_root()
    require_programs("ip", "nsenter", "kamailio", "keepalived")
    with pair_of_proxies(tmp_path_factory.mktemp("pair")) as made:
        yield made


def test_the_first_has_it_and_answers_there(pair: tuple[Side, Side, Node]) -> None:
    first, second, caller = pair
    until(lambda: first.holds and not second.holds)
    until(lambda: answers(caller))
    state = first.node.call(first.address.observe)
    assert state.value == addresses("a").to_json()
    assert state.facts == {"a.voice.address"}


def test_a_dead_proxy_loses_it_within_three_seconds(pair: tuple[Side, Side, Node]) -> None:
    first, second, caller = pair
    until(lambda: first.holds and answers(caller))
    units = first.bench.driver._units
    pid = first.node.call(first.bench.pid)
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    first.node.call(units.stop, "kamailio")  # its supervisor would have it back sooner than the address moves
    until(lambda: second.holds and answers(caller), 20.0)
    took = time.monotonic() - began
    print(f"moved within {took:.2f} s")
    assert took < MOVES_S
    assert not first.holds
    first.node.call(first.bench.commit, proxy_section("a"))
    until(lambda: first.holds and not second.holds and answers(caller))


def test_a_drained_one_gives_it_up_until_it_is_opened(pair: tuple[Side, Side, Node]) -> None:
    first, second, caller = pair
    until(lambda: first.holds and answers(caller))
    drain = first.bench.driver.operations["voice-drain"]
    checkpoint = Checkpoint({}, lambda _: None)
    result = first.node.call(drain.run, {}, checkpoint, first.bench.context())
    assert result["calls"] == 0
    until(lambda: second.holds and not first.holds and answers(caller))
    assert first.bench.driver.plan(first.node.call(first.bench.driver.observe), proxy_section("a")) == ()
    first.node.call(drain.run, {"end": True}, checkpoint, first.bench.context())
    until(lambda: first.holds and not second.holds and answers(caller))


def test_without_its_watcher_nobody_claims_to_be_well(pair: tuple[Side, Side, Node]) -> None:
    first, second, _ = pair
    until(lambda: first.holds)
    units = first.bench.driver._units
    first.node.call(units.stop, "voice-alive")
    until(lambda: second.holds and not first.holds)
    assert "voice-alive" in str((first.node.call(first.address.observe).value or {})["amiss"])
    first.node.call(first.commit, addresses("a"))
    until(lambda: first.holds)


def test_a_call_goes_on_at_the_other(pair: tuple[Side, Side, Node]) -> None:
    """Its requests go by the address into which both were written. Who shows no mark of a call gets nothing."""
    first, second, caller = pair
    until(lambda: first.holds and answers(caller))
    units = first.bench.driver._units

    async def begin() -> tuple[Phone, Phone]:
        phones = [Phone(name, "10.78.0.100", port, VIP) for name, port in (("alice", 15061), ("bob", 15062))]
        for phone in phones:
            await phone.open()
            assert await phone.register() == 200
        assert await phones[0].invite("bob") == 200
        return phones[0], phones[1]

    alice, bob = caller.call(begin)
    assert all(f"sip:{VIP}" in one for one in [*alice.routes, alice.target])
    until(lambda: first.node.call(first.bench.call, "dlg.stats_active")["ongoing"] == 1)  # the ACK is on its way
    os.kill(first.node.call(first.bench.pid), signal.SIGKILL)
    first.node.call(units.stop, "kamailio")
    until(lambda: second.holds and answers(caller), 20.0)
    own, alice.call_id = alice.call_id, "another-call@10.78.0.100"  # with a mark that was given for another one
    assert caller.call(alice.within, "INFO") == 481
    alice.call_id = own
    assert bob.requests.count("INFO") == 0
    assert caller.call(alice.within, "INFO") == 200
    assert caller.call(alice.within, "BYE") == 200
    assert bob.requests[-2:] == ["INFO", "BYE"]

    async def end() -> None:
        alice.close()
        bob.close()

    caller.call(end)
    first.node.call(first.bench.commit, proxy_section("a"))
    until(lambda: first.holds and answers(caller))
