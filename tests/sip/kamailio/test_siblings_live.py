"""Two proxies of one domain: a call finds who is registered at the other, and is counted and recorded once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.sip.kamailio.daemon import DOMAIN, PASSWORD, Proxy, Relay, running, section
from tests.sip.kamailio.phones import Endpoint

pytestmark = [pytest.mark.daemon, pytest.mark.timeout(300)]

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
ADDRESSES = ("127.0.0.1", "127.0.0.3")


@pytest.fixture(scope="module")
def pair(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Proxy]]:
    with ExitStack() as stack:
        pair = []
        for number, (mine, other) in enumerate((ADDRESSES, ADDRESSES[::-1])):
            wanted = section(
                proxy={"id": f"p{number}", "appliance": f"pop{number}", "address": mine},
                siblings=[{"address": other, "port": 5060}],
            )
            folder = tmp_path_factory.mktemp(f"p{number}")
            pair.append(stack.enter_context(running(folder, wanted, rpc_port=8090 + number)))
        yield pair[0], pair[1]
        for proxy in pair:
            assert "ERROR" not in proxy.text()


@pytest.fixture
def alice(pair: tuple[Proxy, Proxy]) -> Iterator[Endpoint]:
    with Endpoint("127.0.0.1", 6001) as phone:
        assert phone.register("alice", DOMAIN, PASSWORD).code == 200
        yield phone
    for proxy in pair:
        proxy.idle()


@pytest.fixture
def bob(pair: tuple[Proxy, Proxy]) -> Iterator[Endpoint]:
    with Endpoint("127.0.0.3", 6002, ("127.0.0.3", 5060)) as phone:
        assert phone.register("bob", DOMAIN, PASSWORD).code == 200
        yield phone


def test_a_call_finds_who_is_registered_at_the_other_proxy(
    pair: tuple[Proxy, Proxy], relay: Relay, alice: Endpoint, bob: Endpoint
) -> None:
    call = alice.invite(ALICE, f"sip:{BOB}", PASSWORD)
    assert call.code == 200
    assert f"c=IN IP4 {relay.address}" in bob.wait(lambda one: one.method == "INVITE").body
    assert [proxy.calls() for proxy in pair] == [1, 1]
    assert relay.sessions() == [call.call_id]
    assert call.bye().code == 200
    for proxy in pair:
        proxy.idle()
    assert relay.sessions() == []
    assert pair[0].record(call.call_id)["result"] == "answered"
    assert [one for one in pair[1].records() if one["call_id"] == call.call_id] == []


def test_what_the_called_party_refuses_is_refused(pair: tuple[Proxy, Proxy], alice: Endpoint, bob: Endpoint) -> None:
    bob.answers = lambda _: [(180, False), (486, False)]
    call = alice.invite(ALICE, f"sip:{BOB}", PASSWORD)
    assert call.code == 486
    assert pair[0].record(call.call_id)["result"] == "failed"


def test_who_is_registered_nowhere_is_not_looked_for_in_a_circle(pair: tuple[Proxy, Proxy], alice: Endpoint) -> None:
    call = alice.invite(ALICE, f"sip:carol@{DOMAIN}", PASSWORD)
    assert call.code == 480
    assert [len([one for one in proxy.records() if one["call_id"] == call.call_id]) for proxy in pair] == [1, 0]
