"""What must hold when things go wrong: emergency calls, bans, dead servers, drained relays, restarts, rubbish."""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.sip.kamailio.daemon import DOMAIN, PASSWORD, Proxy, Relay, registered, running, section, until
from tests.sip.kamailio.load import Media, heard
from tests.sip.kamailio.phones import Endpoint

pytestmark = [pytest.mark.daemon, pytest.mark.timeout(300)]

SCENARIOS = Path(__file__).parents[1] / "scenarios"
ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
TIGHT = {"calls_per_subscriber": 1, "calls": 1, "rate": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    files = ["-subj", "/CN=proxy", "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "chain.pem")]
    subprocess.run([*argv, *files], check=True, capture_output=True, timeout=60)
    (tmp_path / "cert.pem").write_text((tmp_path / "key.pem").read_text() + (tmp_path / "chain.pem").read_text())
    return tmp_path


def test_emergency_calls_go_through_whatever_is_wrong(
    relay: Relay, folder: Path, phones: tuple[Endpoint, Endpoint]
) -> None:
    protection = {"density": 20, "window": 2, "ban": 600, "failures": 3}
    wanted = section(limits=TIGHT, protection=protection)
    with running(folder, wanted, opened=False) as proxy, Endpoint("127.0.0.22", 5060) as south:
        stranger = phones[1]
        # Nothing has been pushed: closed to all others.
        early = stranger.invite("nobody@elsewhere.example", "sip:112@127.0.0.1")
        assert early.code == 200
        assert stranger.register("bob", DOMAIN, PASSWORD).code == 503
        early.bye()
        proxy.push()
        proxy.rpc("htable.seti", "ctl", "drain", 0)
        with Endpoint("127.0.0.11", 5080):
            alice = phones[0]
            until(lambda: "'URI': 'sip:127.0.0.11:5080', 'FLAGS': 'AP'" in str(proxy.rpc("dispatcher.list")))
            held = alice.invite(ALICE, f"sip:9001@{DOMAIN}", PASSWORD)
            assert held.code == 200
            assert alice.invite(ALICE, f"sip:9001@{DOMAIN}", PASSWORD).code in {403, 503}
            proxy.rpc("htable.seti", "ctl", "drain", 1)
            for number in range(400):  # a flood, until it is banned
                text = stranger.message(
                    "OPTIONS sip:127.0.0.1", f"flood{number}", "<sip:a@b>;tag=1", "<sip:c@d>", (1, "OPTIONS")
                )
                stranger.send(text)
            until(lambda: proxy.rpc("htable.dump", "ban"))
            stranger.heard.clear()
            made = stranger.invite("nobody@elsewhere.example", f"sip:112@{DOMAIN}")
            assert made.code == 200
            assert "127.0.0.2" in made.final.body if made.final else False
            assert made.bye().code == 200
            record = proxy.record(made.call_id)
            assert (record["emergency"], record["result"], record["outbound"]) == (1, "answered", "south")
            assert held.bye().code == 200  # the same address, banned: its calls go on
            stranger.answers = lambda _: []
            south.answers = lambda _: [(180, False)]
            ringing = stranger.invite("x@elsewhere.example", "sip:110@127.0.0.1", until=180)
            ringing.cancel()
            assert ringing.code == 487
            # Others are not heard.
            text = stranger.message("OPTIONS sip:127.0.0.1", "late", "<sip:a@b>;tag=1", "<sip:c@d>", (1, "OPTIONS"))
            stranger.send(text)
            with pytest.raises(AssertionError):
                stranger.wait(lambda one: one.call_id == "late", 1)
        assert proxy.calls() == 0 or until(lambda: proxy.calls() == 0)


def test_emergency_without_relay_and_with_a_silent_trunk(tmp_path: Path, phones: tuple[Endpoint, Endpoint]) -> None:
    wanted = section(relays=[{"id": "gone", "appliance": "a", "address": "127.0.0.99"}])
    with running(tmp_path, wanted), Endpoint("127.0.0.21", 5060) as north:
        made = phones[0].invite("x@elsewhere.example", "sip:112@127.0.0.1")
        assert made.code == 200
        assert "127.0.0.1" in north.wait(lambda one: one.method == "INVITE").body
        made.bye()


def test_wrong_passwords_are_counted(tmp_path: Path) -> None:
    wanted = section(protection={"density": 60000, "ban": 600, "failures": 3})
    with running(tmp_path, wanted) as proxy, Endpoint("127.0.0.1", 6003) as phone:
        for _ in range(3):
            phone.register("alice", DOMAIN, "wrong")
        until(lambda: proxy.rpc("htable.dump", "ban"))
        proxy.rpc("htable.delete", "ban", "127.0.0.1")
        assert phone.register("alice", DOMAIN, PASSWORD).code == 200


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL], ids=["terminated", "killed"])
def test_a_restart_loses_no_call_no_registration_and_no_record(
    relay: Relay, tmp_path: Path, phones: tuple[Endpoint, Endpoint], sign: int
) -> None:
    """And no packet of media, which goes on while there is no proxy."""
    proxy = Proxy(tmp_path, section())
    try:
        proxy.start()
        alice, bob = registered(phones)
        up = alice.invite(ALICE, f"sip:{BOB}", PASSWORD)
        assert up.code == 200
        assert up.final
        bob.answers = lambda _: [(180, False)]
        ringing = alice.invite(ALICE, f"sip:{BOB}", PASSWORD, until=180)
        until(lambda: _registrations(proxy) == 2)
        with Media(alice) as hers, Media(bob) as his:
            hers.send_to(up.final)
            his.send_to(bob.wait(lambda one: one.method == "INVITE"))
            heard(hers, his)
            proxy.stop(sign)
            heard(hers, his)
            proxy.start()
            heard(hers, his)
            assert (hers.lost, his.lost) == (0, 0)
        assert proxy.calls() == 1
        assert proxy.profile("sub", ALICE) == 1
        bob.answers = lambda _: [(200, True)]
        again = alice.invite(ALICE, f"sip:{BOB}", PASSWORD)
        assert again.code == 200
        assert up.bye().code == 200
        again.bye()
        assert proxy.record(up.call_id)["result"] == "answered"
        assert proxy.record(up.call_id)["relay"] == "r1"
        assert proxy.record(ringing.call_id)["result"] == "lost"
        assert proxy.record(again.call_id)["result"] == "answered"
        until(lambda: up.call_id not in relay.sessions())
        proxy.idle()
    finally:
        proxy.stop()


def _registrations(proxy: Proxy) -> int:
    with closing(sqlite3.connect(proxy.folder / "location.db")) as database:
        return int(database.execute("SELECT count(*) FROM location").fetchone()[0])


def test_a_dead_media_server_is_left_out_and_a_drained_one_stays_so(
    relay: Relay, tmp_path: Path, phones: tuple[Endpoint, Endpoint]
) -> None:
    with running(tmp_path, section(limits={"calls_per_subscriber": 100})) as proxy, Endpoint("127.0.0.12", 5080) as two:
        one = Endpoint("127.0.0.11", 5080)
        alice, _ = registered(phones)

        def state(address: str) -> str:
            found = re.search(rf"'sip:{address}:5080', 'FLAGS': '(..)'", str(proxy.rpc("dispatcher.list")))
            return found[1] if found else ""

        until(lambda: state("127.0.0.11") == state("127.0.0.12") == "AP")
        one.deaf = True
        for _ in range(6):
            made = alice.invite(ALICE, f"sip:9001@{DOMAIN}", PASSWORD)
            assert made.code == 200
            made.bye()
        until(lambda: state("127.0.0.11") == "IP", 6.0 + 2.0)
        one.deaf = False
        until(lambda: state("127.0.0.11") == "AP")
        servers = proxy.section.model_dump(mode="json")["media_servers"]
        proxy.change(media_servers=[servers[0] | {"drained": True}, servers[1]])
        for _ in range(2):
            until(lambda: _reloaded(proxy))
            assert state("127.0.0.11").startswith("D")
        one.heard.clear()
        for _ in range(6):
            alice.invite(ALICE, f"sip:9001@{DOMAIN}", PASSWORD).bye()
        assert not [heard for heard in one.heard if heard.method == "INVITE"]
        assert [heard for heard in two.heard if heard.method == "INVITE"]
        one.close()


def _reloaded(proxy: Proxy) -> bool:
    try:
        proxy.rpc("dispatcher.reload")
    except LookupError:  # the last one is not long ago
        return False
    return True


def test_a_drained_relay_keeps_its_calls_and_gets_no_more(
    relay: Relay, tmp_path: Path, phones: tuple[Endpoint, Endpoint]
) -> None:
    relays = [
        {"id": "r1", "appliance": "a", "address": "127.0.0.2"},
        {"id": "r2", "appliance": "b", "address": "127.0.0.3"},
    ]
    other = Relay("127.0.0.3", tmp_path)
    try:
        with running(tmp_path, section(relays=[relays[0], relays[1] | {"drained": True}])) as proxy:
            alice, _ = registered(phones)
            old = alice.invite(ALICE, f"sip:{BOB}", PASSWORD)
            assert old.call_id in relay.sessions()
            proxy.change(relays=[relays[0] | {"drained": True}, relays[1]])
            until(lambda: _relays_reloaded(proxy), 30)
            until(
                lambda: [
                    one for one in proxy.rpc("rtpengine.show", "all") if "127.0.0.2" in one["url"] and one["disabled"]
                ]
            )
            new = [alice.invite(ALICE, f"sip:{BOB}", PASSWORD) for _ in range(3)]
            assert {made.call_id for made in new} <= {*other.sessions()}
            held = old.request("INVITE", ["Contact: <sip:alice@127.0.0.1:6001>"], alice.sdp())
            old.ack()
            assert "IP4 127.0.0.2" in held.body
            for made in (old, *new):
                assert made.bye().code == 200
            made_here = {made.call_id for made in (old, *new)}
            until(lambda: not made_here & {*relay.sessions(), *other.sessions()})
    finally:
        other.stop()


def test_relays_of_another_region_take_calls_while_the_own_take_none(
    tmp_path: Path, phones: tuple[Endpoint, Endpoint]
) -> None:
    near = {"id": "near", "appliance": "a", "address": "127.0.0.4", "region": "east"}
    far = {"id": "far", "appliance": "b", "address": "127.0.0.5", "region": "west"}
    proxy_at = {"id": "p1", "appliance": "pop1", "address": "127.0.0.1", "region": "east"}
    own, other = Relay("127.0.0.4", tmp_path), Relay("127.0.0.5", tmp_path)
    try:
        with running(tmp_path, section(proxy=proxy_at, relays=[near, far])) as proxy:
            alice, bob = registered(phones)

            def called() -> str:
                """The relay by which a call went: it is in what both were told, and has the call."""
                bob.heard.clear()
                call = alice.invite(ALICE, f"sip:{BOB}", PASSWORD)
                assert call.code == 200
                assert call.final is not None
                bodies = (call.final.body, bob.wait(lambda one: one.method == "INVITE").body)
                relays: set[str] = {found for body in bodies for found in re.findall(r"c=IN IP4 (\S+)", body)}
                where: str = relays.pop()
                assert not relays
                has = own if where == own.address else other
                assert call.call_id in has.sessions()
                assert call.bye().code == 200
                assert proxy.record(call.call_id)["relay"] == ("near" if where == own.address else "far")
                return where

            assert [called() for _ in range(3)] == [own.address] * 3
            own.stop()
            assert [called() for _ in range(3)] == [other.address] * 3
            own = Relay("127.0.0.4", tmp_path)
            until(lambda: called() == own.address, 60)
            assert [called() for _ in range(3)] == [own.address] * 3
            proxy.change(relays=[near | {"drained": True}, far])
            until(lambda: _relays_reloaded(proxy), 30)
            until(lambda: called() == other.address, 60)
            proxy.change(relays=[near, far])
            until(lambda: _relays_reloaded(proxy), 30)
            until(lambda: called() == own.address, 60)
    finally:
        own.stop()
        other.stop()


def test_a_phone_behind_nat_is_kept_reachable_and_called(
    relay: Relay, tmp_path: Path, phones: tuple[Endpoint, Endpoint]
) -> None:
    """Its Contact is that of its own network; where it really is, the proxy sees alone."""
    with running(tmp_path, section()) as proxy:
        alice, bob = phones
        bob.shown = "192.168.7.7:5062"
        assert alice.register("alice", DOMAIN, PASSWORD).code == 200
        assert bob.register("bob", DOMAIN, PASSWORD).code == 200
        call = alice.invite(ALICE, f"sip:{BOB}", PASSWORD)
        assert call.code == 200
        invite = bob.wait(lambda one: one.method == "INVITE")
        assert invite.uri.startswith("sip:bob@192.168.7.7:5062")
        assert call.final is not None
        # ACK and what comes later go to where the answer came from, and not to an address that is in another network.
        bob.wait(lambda one: one.method == "ACK" and one.call_id == invite.call_id)
        assert call.request("INFO").code == 200
        bob.wait(lambda one: one.method == "INFO")
        assert bob.hang_up(invite).code == 200
        alice.wait(lambda one: one.method == "BYE")
        # From the socket that it registered at, by something that it answers: both open the NAT.
        ping = bob.wait(lambda one: one.method == "OPTIONS", 90)
        assert ping.source == ("127.0.0.1", 5060)
        assert ping.uri.startswith("sip:bob@192.168.7.7:5062")
        assert not [one for one in alice.heard if one.method == "OPTIONS"]
        proxy.idle()


def _disabled(proxy: Proxy) -> str:
    return " ".join(one["url"] for one in proxy.rpc("rtpengine.show", "all") if one["disabled"])


def _relays_reloaded(proxy: Proxy) -> bool:
    try:
        proxy.rpc("rtpengine.reload")
    except LookupError:  # no more than one in ten seconds
        return False
    return True


def test_rubbish_fills_no_log_and_stops_nobody(relay: Relay, tmp_path: Path, phones: tuple[Endpoint, Endpoint]) -> None:
    with running(tmp_path, section()) as proxy:
        alice, _ = registered(phones)
        before = len(proxy.text())
        bodies = [
            b'INVITE sip:a@b SIP/2.0\r\nVia: ;;,,\r\nTo: "\r\n\r\n',
            b"INVITE sip:vivekg@chair SIP/7.0\r\nTo: <sip:x>\r\nCSeq: 9292394834772304023312 INVITE\r\n\r\n",
            b"REGISTER sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 1.2.3.4;branch=z9hG4bK1\r\nContent-Length: -999\r\n\r\n",
            b"\x00\xff" * 200,
            b"NEWMETHOD! sip:x SIP/2.0\r\nFrom: <<<>>>\r\nCall-ID: \xe2\x82\xac\r\nCSeq: 1 OTHER\r\n\r\n",
            b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 9.9.9.9\r\n\r\n",
        ]
        for number in range(1200):
            alice.send(bodies[number % len(bodies)])
        made = alice.invite(ALICE, "sip:77777@" + DOMAIN, PASSWORD)
        assert made.code == 404
        assert len(proxy.text()) - before < 20_000


def test_tls_and_websockets_are_heard(relay: Relay, folder: Path) -> None:
    listeners = [
        {"transport": kind, "port": port}
        for kind, port in (("udp", 5060), ("tcp", 5060), ("tls", 5061), ("ws", 5080), ("wss", 5443))
    ]
    wanted = section(proxy={"id": "p1", "appliance": "a", "address": "127.0.0.1", "listeners": listeners})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with running(folder, wanted) as proxy:
        for port, secure in ((5060, False), (5061, True)):
            with closing(_connected(port, context if secure else None)) as sock:
                sock.sendall(_options("TLS" if secure else "TCP"))
                assert sock.recv(4096).startswith(b"SIP/2.0 200")
        for port, secure in ((5080, False), (5443, True)):
            with closing(_connected(port, context if secure else None)) as sock:
                sock.sendall(
                    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://x\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Protocol: sip\r\n\r\n"
                )
                assert b"101" in sock.recv(4096).split(b"\r\n")[0]
                text = _options("WSS" if secure else "WS")
                sock.sendall(b"\x81" + bytes([0x80 | 126]) + len(text).to_bytes(2) + bytes(4) + text)
                assert b"SIP/2.0 200" in sock.recv(4096)
        with closing(_connected(5060, None)) as sock:
            sock.sendall(b"POST /RPC HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            assert b"403" in sock.recv(4096).split(b"\r\n")[0]
        with closing(_connected(proxy.paths.rpc_port, None)) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" in sock.recv(4096).split(b"\r\n")[0]
        assert proxy.rpc("tls.reload")


def _connected(port: int, context: ssl.SSLContext | None) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 15)
    return context.wrap_socket(sock) if context else sock


def _options(transport: str) -> bytes:
    return (
        f"OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:9;rport;branch=z9hG4bKo{transport}\r\n"
        f"From: <sip:a@b>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: o{transport}\r\nCSeq: 1 OPTIONS\r\n"
        "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def test_calls_to_trunks_are_signed(relay: Relay, folder: Path, phones: tuple[Endpoint, Endpoint]) -> None:
    stir = {"key": "secret:stir", "certificate": "https://certificates.example/p1.pem"}
    with running(folder, section(stir=stir)), Endpoint("127.0.0.21", 5060) as north:
        north.wait(lambda one: one.method == "OPTIONS")
        alice, _ = registered(phones)
        made = alice.invite(ALICE, f"sip:0033123@{DOMAIN}", PASSWORD)
        assert made.code == 200
        identity = north.wait(lambda one: one.method == "INVITE").header("Identity")
        made.bye()
    token, _, parameters = identity.partition(";")
    assert "info=<https://certificates.example/p1.pem>" in parameters
    _verified(token, folder / "key.pem")


def _verified(token: str, key: Path) -> None:
    head, claims, signature = (one + "=" * (-len(one) % 4) for one in token.split("."))
    said = json.loads(base64.urlsafe_b64decode(claims))
    assert said["orig"] == {"tn": "493055501"}
    assert said["dest"] == {"tn": ["33123"]}
    assert said["attest"] == "A"
    raw = base64.urlsafe_b64decode(signature)
    pair = utils.encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    private = load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert head
    private.public_key().verify(pair, token.rpartition(".")[0].encode(), ec.ECDSA(SHA256()))
