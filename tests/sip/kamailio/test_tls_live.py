"""Calls between a phone on TLS and one on UDP, at a proxy as it is rendered; and its certificate is replaced."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sip.kamailio.certificate import self_signed
from tests.sip.kamailio.daemon import DOMAIN, PASSWORD, Proxy, Relay, running, section, until
from tests.sip.kamailio.phones import Call, Endpoint, Message
from tests.sip.kamailio.tls_phone import TlsEndpoint

pytestmark = [pytest.mark.daemon, pytest.mark.timeout(300)]

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"


@pytest.fixture(scope="module")
def proxy(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    listeners = [{"transport": "udp", "port": 5060}, {"transport": "tls", "port": 5061}]
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "cert.pem").write_text(self_signed([DOMAIN]))
    wanted = section(proxy={"id": "p1", "appliance": "a", "address": "127.0.0.1", "listeners": listeners})
    with running(folder, wanted) as found:
        yield found


@pytest.fixture
def alice(proxy: Proxy) -> Iterator[TlsEndpoint]:
    with TlsEndpoint("127.0.0.1", 6001) as phone:
        assert phone.register("alice", DOMAIN, PASSWORD).code == 200
        yield phone
        assert phone.register("alice", DOMAIN, PASSWORD, expires=0).code == 200
    proxy.idle()


@pytest.fixture
def bob(proxy: Proxy) -> Iterator[Endpoint]:
    with Endpoint("127.0.0.1", 6002) as phone:
        assert phone.register("bob", DOMAIN, PASSWORD).code == 200
        yield phone


def invites(phone: Endpoint) -> list[Message]:
    return [one for one in phone.heard if one.method == "INVITE"]


def again(call: Call, user: str) -> Message:
    """A re-INVITE, answered and acknowledged."""
    answer = call.request("INVITE", [f"Contact: {call.phone.contact(user)}"], call.phone.sdp())
    call.ack()
    return answer


def test_a_phone_on_tls_calls_one_on_udp(proxy: Proxy, relay: Relay, alice: TlsEndpoint, bob: Endpoint) -> None:
    made = alice.invite(ALICE, f"sip:{BOB}", PASSWORD)
    assert made.code == 200
    assert made.final
    assert "c=IN IP4 127.0.0.2" in made.final.body
    offered = bob.wait(lambda one: one.method == "INVITE")
    assert "RTP/AVP" in offered.body
    assert again(made, "alice").code == 200
    assert len(invites(bob)) == 2
    assert bob.hang_up(offered).code == 200
    alice.wait(lambda one: one.method == "BYE" and one.call_id == made.call_id)
    assert proxy.record(made.call_id)["source"].startswith("tls:127.0.0.1:6001")
    until(lambda: made.call_id not in relay.sessions())


def test_a_phone_on_udp_calls_one_on_tls(proxy: Proxy, relay: Relay, alice: TlsEndpoint, bob: Endpoint) -> None:
    made = bob.invite(BOB, f"sip:{ALICE}", PASSWORD)
    assert made.code == 200
    assert "127.0.0.2" in alice.wait(lambda one: one.method == "INVITE").body
    assert again(made, "bob").code == 200
    assert len(invites(alice)) == 2
    assert made.bye().code == 200
    alice.wait(lambda one: one.method == "BYE")  # the called side knows another Call-ID
    assert proxy.record(made.call_id)["result"] == "answered"


def test_a_call_goes_on_over_another_certificate(proxy: Proxy, alice: TlsEndpoint, bob: Endpoint) -> None:
    """Who is connected stays so; who connects is shown the new one."""
    made = alice.invite(ALICE, f"sip:{BOB}", PASSWORD)
    assert made.code == 200
    (proxy.folder / "cert.pem").write_text(self_signed([DOMAIN, "another.test.example"]))
    proxy.rpc("tls.reload")
    with TlsEndpoint("127.0.0.1", 6003) as late:
        assert late.certificate != alice.certificate
        assert late.register("carol", DOMAIN, PASSWORD).code == 200
    assert again(made, "alice").code == 200
    other = bob.invite(BOB, f"sip:{ALICE}", PASSWORD)
    assert other.code == 200
    assert other.bye().code == 200
    assert made.bye().code == 200
    bob.wait(lambda one: one.method == "BYE")
