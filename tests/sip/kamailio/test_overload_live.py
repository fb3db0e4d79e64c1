"""What a proxy as it is rendered does for others while somebody calls or sends far more than it takes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from sip.kamailio.paths import LOCATION_DB
from tests.sip.kamailio.daemon import DOMAIN, PASSWORD, Proxy, Relay, running, section, until
from tests.sip.kamailio.load import Callers, Flood
from tests.sip.kamailio.phones import Endpoint, digest

pytestmark = [pytest.mark.daemon, pytest.mark.timeout(300)]

SCENARIO: Final = Path(__file__).parents[1] / "scenarios" / "call.xml"
ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
ELSEWHERE: Final = "127.0.0.31"
RATE: Final = 5
SET_UP_S: Final = 3.0
"""In which an emergency call, or one beside a flood, is answered; a busy machine needs some of it."""


@pytest.fixture
def phones() -> Iterator[tuple[Endpoint, Endpoint]]:
    with Endpoint("127.0.0.1", 6001) as alice, Endpoint("127.0.0.1", 6002) as bob:
        yield alice, bob


@contextmanager
def calling(folder: Path, per_s: int) -> Iterator[None]:
    """Carol calls Bob as often as that, from another address, until this is left."""
    names = folder / "names.csv"
    names.write_text(f"SEQUENTIAL\ncarol;bob;[authentication username=carol password={PASSWORD}];{DOMAIN}\n")
    words = ["sipp", "-sf", str(SCENARIO), "-inf", str(names), "-i", ELSEWHERE, "-p", "6200", "-r", str(per_s)]
    with (folder / "sipp.out").open("wb") as out:
        process = subprocess.Popen(
            [*words, "-d", "200", "-nostdin", "127.0.0.1:5060"],
            stdout=out,
            stderr=out,
            cwd=folder,
            env=os.environ | {"TERM": "dumb"},
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_emergency_calls_are_answered_under_overload(
    relay: Relay, tmp_path: Path, phones: tuple[Endpoint, Endpoint]
) -> None:
    """Eight times the calls that the proxy takes; and the trunk of emergency calls has room for one."""
    wanted = section(
        limits={"rate": RATE, "calls_per_subscriber": 1000},
        trunks=[{"id": "south", "calls": 1, "gateways": [{"address": "127.0.0.22"}]}],
        emergency={"numbers": ["112"], "trunks": ["south"]},
        plan=[],
    )
    with running(tmp_path, wanted) as proxy, Endpoint("127.0.0.22", 5060):
        assert phones[1].register("bob", DOMAIN, PASSWORD).code == 200

        def refused() -> int:
            return len([one for one in proxy.records() if (one["code"], one["result"]) == (503, "refused")])

        with calling(tmp_path, 8 * RATE):
            until(lambda: refused() > RATE)
            before = refused()
            with Callers("127.0.0.1", 6300, 5, "x@elsewhere.example", f"sip:112@{DOMAIN}", None, 0.5) as load:
                until(lambda: len(load.placed) >= 20)
                load.stop()
                assert load.hung == []
                assert {each.call.code for each in load.placed} == {200}
                assert max(each.took_s for each in load.placed) < SET_UP_S
                assert proxy.profile("trunk", "south") == 0
                assert {each.call.bye().code for each in load.placed} == {200}
            assert refused() > before
            assert [one for one in proxy.records() if one["result"] == "answered" and not one["emergency"]]


def register(user: str, number: int, address: str, proof: str = "") -> str:
    lines = [
        f"REGISTER sip:{DOMAIN} SIP/2.0",
        f"Via: SIP/2.0/UDP {address}:6400;rport;branch=z9hG4bKflood{number}",
        "Max-Forwards: 70",
        f"From: <sip:{user}@{DOMAIN}>;tag=f",
        f"To: <sip:{user}@{DOMAIN}>",
        f"Call-ID: flood{number}@{address}",
        "CSeq: 1 REGISTER",
        f"Contact: <sip:{user}@{address}:6400>",
        *([f"Authorization: {proof}"] if proof else []),
        "Content-Length: 0",
    ]
    return "\r\n".join(lines) + "\r\n\r\n"


def proof_of(user: str, address: str) -> str:
    """Good for as long as the challenge is, however often it is shown."""
    with Endpoint(address, 6400) as phone:
        phone.send(register(user, 0, address))
        asked = phone.wait(lambda one: one.code == 401).header("WWW-Authenticate")
    return digest((user, DOMAIN, PASSWORD), "REGISTER", f"sip:{DOMAIN}", asked)


@pytest.mark.parametrize("known", [False, True], ids=["without a password", "with one"])
def test_a_flood_of_registers_is_banned_and_others_are_served(
    relay: Relay, tmp_path: Path, phones: tuple[Endpoint, Endpoint], *, known: bool
) -> None:
    """At the density that stands in the documents' model."""
    alice, bob = phones
    with running(tmp_path, section(protection={})) as proxy:
        proof = proof_of("carol", ELSEWHERE) if known else ""
        before = len(proxy.text())

        def banned() -> bool:
            return ELSEWHERE in str(proxy.rpc("htable.dump", "ban"))

        def served() -> None:
            at = time.monotonic()
            assert alice.register("alice", DOMAIN, PASSWORD).code == 200
            assert bob.register("bob", DOMAIN, PASSWORD).code == 200
            made = alice.invite(ALICE, f"sip:{BOB}", PASSWORD)
            assert made.code == 200
            assert time.monotonic() - at < SET_UP_S
            assert made.bye().code == 200

        with Flood(ELSEWHERE, 6400, lambda number: register("carol", number, ELSEWHERE, proof), 1500) as flood:
            until(banned)
            served()
            heard, sent = flood.answers, flood.sent
            until(lambda: flood.sent > sent + 3000)
            served()
            assert flood.answers - heard < 100  # what was under way when it was banned
            assert banned()
        assert flood.answers > 0
        assert len(proxy.text()) - before < 20_000


def test_a_registration_lapses(relay: Relay, tmp_path: Path, phones: tuple[Endpoint, Endpoint]) -> None:
    """In two seconds, which is less than the documents' model allows."""
    alice, bob = phones

    def placed() -> int:
        made = alice.invite(ALICE, f"sip:{BOB}", PASSWORD)
        if made.code == 200:
            assert made.bye().code == 200
        return made.code

    with running(tmp_path, section()) as proxy:
        proxy.rpc("cfg.set_now_int", "registrar", "min_expires", 1)
        assert alice.register("alice", DOMAIN, PASSWORD).code == 200
        assert "expires=2" in bob.register("bob", DOMAIN, PASSWORD, expires=2).header("Contact")
        assert placed() == 200
        assert until(lambda: (code := placed()) != 200 and code) == 480
        heard = [one for one in bob.heard if one.method == "INVITE"]
        assert placed() == 480
        assert [one for one in bob.heard if one.method == "INVITE"] == heard
        until(lambda: _stored(proxy) == {"alice"})
        assert bob.register("bob", DOMAIN, PASSWORD).code == 200
        assert placed() == 200


def _stored(proxy: Proxy) -> set[str]:
    with closing(sqlite3.connect(proxy.folder / LOCATION_DB)) as database:
        return {user for (user,) in database.execute("SELECT username FROM location")}
