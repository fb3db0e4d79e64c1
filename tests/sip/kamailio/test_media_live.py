"""Media of calls by a proxy as it is rendered: before the answer, and by which relay."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.sip.kamailio.daemon import DOMAIN, PASSWORD, Proxy, Relay, registered, running, section, until
from tests.sip.kamailio.load import Media, heard
from tests.sip.kamailio.phones import Call, Endpoint, Message

pytestmark = [pytest.mark.daemon, pytest.mark.timeout(300)]

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"


@pytest.fixture
def proxy(relay: Relay, tmp_path: Path) -> Iterator[Proxy]:
    with running(tmp_path, section()) as found:
        yield found


def invite(phone: Endpoint) -> Message:
    return phone.wait(lambda one: one.method == "INVITE")


def test_early_media_goes_by_the_relay_and_is_that_of_the_call(
    proxy: Proxy, relay: Relay, phones: tuple[Endpoint, Endpoint]
) -> None:
    alice, bob = registered(phones)
    bob.answers = lambda _: [(183, True)]
    made = alice.invite(ALICE, f"sip:{BOB}", PASSWORD, until=183)
    assert made.final
    early = made.final
    assert "c=IN IP4 127.0.0.2" in early.body
    with Media(alice) as hers, Media(bob) as his:
        hers.send_to(early)
        his.send_to(invite(bob))
        heard(hers, his)
        bob.reply(invite(bob), 200, bob.sdp())
        alice.answered(made)
        assert made.code == 200
        assert media_of(made.final) == media_of(early)
        heard(hers, his)
        assert (hers.lost, his.lost) == (0, 0)
    assert made.bye().code == 200
    until(lambda: made.call_id not in relay.sessions())


def media_of(message: Message) -> list[str]:
    return [line for line in message.body.splitlines() if line.startswith(("c=", "m="))]


def test_what_is_played_before_a_refusal_is_heard(
    proxy: Proxy, relay: Relay, phones: tuple[Endpoint, Endpoint]
) -> None:
    alice, bob = registered(phones)
    bob.answers = lambda _: [(183, True)]
    made = alice.invite(ALICE, f"sip:{BOB}", PASSWORD, until=183)
    assert made.final
    with Media(alice) as hers, Media(bob) as his:
        hers.send_to(made.final)
        his.send_to(invite(bob))
        heard(hers, his)
        bob.reply(invite(bob), 486)
        alice.answered(made)
    assert made.code == 486
    record = proxy.record(made.call_id)
    assert (record["result"], record["answered"], record["relay"]) == ("failed", None, "r1")
    until(lambda: made.call_id not in relay.sessions())


class Fax(Endpoint):
    """A phone that after `faxes` speaks T.38 alone (its Annex D)."""

    faxes = False

    def sdp(self) -> str:
        text = super().sdp()
        if not self.faxes:
            return text
        image = f"m=image {self.media_port} udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\n"
        return text.partition("m=")[0] + image


def test_a_call_becomes_a_fax_by_t38(proxy: Proxy, relay: Relay) -> None:
    """The called side asks for it, as who receives a fax does; what it is made of goes by the relay both ways."""
    with Fax("127.0.0.1", 6001) as alice, Fax("127.0.0.1", 6002) as bob:
        registered((alice, bob))
        made = alice.invite(ALICE, f"sip:{BOB}", PASSWORD)
        assert made.code == 200
        alice.faxes = bob.faxes = True
        asking = bob.called(invite(bob))
        answer = asking.request("INVITE", [f"Contact: {bob.contact('bob')}"], bob.sdp())
        asking.ack()
        assert answer.code == 200
        for told in (answer, alice.wait(lambda one: one.method == "INVITE")):
            assert "udptl t38" in told.body
            assert "c=IN IP4 127.0.0.2" in told.body
            assert "T38MaxBitRate:14400" in told.body
        with closing(media_socket(alice)) as hers, closing(media_socket(bob)) as his:
            hers.connect(where(invite(alice)))
            his.connect(where(answer))
            until(lambda: arrives(hers, his, b"\0\1page"))
            until(lambda: arrives(his, hers, b"\0\1confirmed"))
        assert made.bye().code == 200
        until(lambda: made.call_id not in relay.sessions())


def where(message: Message) -> tuple[str, int]:
    """It wants the fax."""
    (media,) = (line for line in message.body.splitlines() if line.startswith("m=image"))
    return "127.0.0.2", int(media.split()[1])


def media_socket(phone: Endpoint) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((phone.address, phone.media_port))
    sock.settimeout(0.2)
    return sock


def arrives(sender: socket.socket, receiver: socket.socket, data: bytes) -> bool:
    sender.send(data)
    with suppress(TimeoutError):
        return receiver.recv(100) == data
    return False


class Codec(Endpoint):
    """Speaks one codec: G.711 of either kind, by its payload type (RFC 3551)."""

    payload = 0

    def sdp(self) -> str:
        name = {0: "PCMU", 8: "PCMA"}[self.payload]
        return super().sdp().replace("AVP 0", f"AVP {self.payload}").replace("0 PCMU", f"{self.payload} {name}")


def offered(message: Message) -> list[str]:
    (media,) = (line for line in message.body.splitlines() if line.startswith("m=audio"))
    return media.split()[3:]


def last(phone: Endpoint) -> Message:
    return [one for one in phone.heard if one.method == "INVITE"][-1]


def test_a_trunk_has_its_codec_and_the_phone_another(relay: Relay, tmp_path: Path) -> None:
    """Whoever of them calls, and whoever of them asks anew in the call."""
    trunks = [{"id": "north", "codecs": ["PCMA"], "gateways": [{"address": "127.0.0.21"}]}]
    wanted = section(trunks=trunks, plan=[{"prefix": "00", "trunks": ["north"]}], emergency=None)
    with running(tmp_path, wanted), Codec("127.0.0.21", 5060) as north, Codec("127.0.0.1", 6001) as alice:
        north.payload = 8
        assert alice.register("alice", DOMAIN, PASSWORD).code == 200
        north.wait(lambda one: one.method == "OPTIONS")
        call = alice.invite(ALICE, f"sip:0033123@{DOMAIN}", PASSWORD)
        speak(alice, north, call.final)
        again(call, north)
        again(north.called(invite(north)), alice)
        speak(alice, north, call.final)
        assert call.bye().code == 200
        north.heard.clear()
        alice.heard.clear()
        call = north.invite("+331@there.example", "sip:+493055501@127.0.0.1")
        speak(north, alice, call.final)
        again(call, alice)
        again(alice.called(invite(alice)), north)
        speak(north, alice, call.final)
        assert call.bye().code == 200


def again(asks: Call, asked: Codec) -> None:
    """A second INVITE: each is offered, and answered, what it speaks."""
    phone = asks.phone
    assert isinstance(phone, Codec)
    answer = asks.request("INVITE", [f"Contact: {phone.contact('again')}"], phone.sdp())
    asks.ack()
    assert answer.code == 200
    assert offered(answer) == [str(phone.payload)]
    assert str(asked.payload) in offered(last(asked))


def speak(caller: Codec, called: Codec, answer: Message | None) -> None:
    """Each hears the other in the codec that it speaks itself."""
    assert answer
    assert answer.code == 200
    assert offered(answer) == [str(caller.payload)]
    assert str(called.payload) in offered(invite(called))
    with Media(caller, caller.payload) as one, Media(called, called.payload) as other:
        one.send_to(answer)
        other.send_to(invite(called))
        heard(one, other)
        assert (one.payloads, other.payloads) == ({caller.payload}, {called.payload})


def test_relays_are_chosen_by_weight(relay: Relay, tmp_path: Path, phones: tuple[Endpoint, Endpoint]) -> None:
    """Nine to one. By chance alone, each of the bounds is passed in less than one run of ten thousand."""
    relays = [
        {"id": "r1", "appliance": "a", "address": "127.0.0.2", "weight": 90},
        {"id": "r2", "appliance": "b", "address": "127.0.0.3", "weight": 10},
    ]
    other = Relay("127.0.0.3", tmp_path)
    try:
        with running(tmp_path, section(relays=relays)) as proxy:
            alice, _ = registered(phones)
            taken: Counter[str] = Counter()
            for _ in range(100):
                made = alice.invite(ALICE, f"sip:{BOB}", PASSWORD)
                assert made.code == 200
                assert made.bye().code == 200
                taken[proxy.record(made.call_id)["relay"]] += 1
        assert taken.keys() == {"r1", "r2"}
        assert 1 <= taken["r2"] <= 25
    finally:
        other.stop()
