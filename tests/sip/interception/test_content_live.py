"""Copies of a call's media off a real relay, where the parties encrypt and where there are more than two of them."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from nf.clock import RealClock
from nf.contracts.interception import Direction, LossPlace
from sip.interception.board import Media, Party
from sip.interception.content import Copier
from sip.rtpengine.client import NgClient
from sip.rtpengine.messages import Flags, answer, offer
from tests.sip.interception.world import RELAY, observed, until
from tests.sip.kamailio.daemon import Relay

pytestmark = [pytest.mark.root, pytest.mark.daemon]
pylibsrtp = pytest.importorskip("pylibsrtp")

HERE = "127.0.0.5"
PARTY = Party((1, "x1"), 7, "c")


@pytest.fixture(scope="module")
def relay(
    require_root: Callable[[], None],
    require_programs: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Relay]:
    require_root()
    require_programs("rtpengine")
    made = Relay(RELAY, tmp_path_factory.mktemp("c"))
    yield made
    made.stop()


def sdp(port: int, transport: str, *lines: str) -> str:
    head = ("v=0", f"o=- 1 1 IN IP4 {HERE}", "s=-", f"c=IN IP4 {HERE}", "t=0 0", f"m=audio {port} {transport} 0")
    return "\r\n".join((*head, "a=rtpmap:0 PCMU/8000", *lines)) + "\r\n"


def rtp(number: int, payload: bytes) -> bytes:
    return struct.pack("!BBHII", 0x80, 0, number, 160 * number, 0x1234) + payload


def bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HERE, port))
    sock.setblocking(False)
    return sock


def media_port(text: object) -> int:
    return int(str(text).split("m=audio ")[1].split()[0])


def test_what_the_parties_encrypt_is_copied_in_clear(relay: Relay) -> None:
    key = os.urandom(30)
    crypto = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{base64.b64encode(key).decode()}"
    copies: list[tuple[Direction, bytes]] = []
    losses: list[tuple[LossPlace, int | None]] = []

    async def run() -> None:
        caller, called = bound(7500), bound(7502)
        async with NgClient(RELAY, 2223) as ng:
            plain = Flags(("ICE=remove",), items={"transport-protocol": "RTP/AVP"})
            offered = await ng.ask(offer("s1", "a", sdp(7500, "RTP/SAVP", crypto), plain))
            assert "RTP/AVP" in str(offered["sdp"])
            answered = await ng.ask(answer("s1", "a", "b", sdp(7502, "RTP/AVP")))
            assert "a=crypto" in str(answered["sdp"])
            copier = Copier(
                observed(),
                lambda party, at, way, packet: copies.append((way, packet)),
                lambda party, place, count: losses.append((place, count)),
                RealClock(),
            )
            copier.want({("s1", "a"): Media(None, (PARTY,))})
            policy = pylibsrtp.Policy(key=key, ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
            session, number = pylibsrtp.Session(policy), 0
            loop = asyncio.get_running_loop()
            while len({way for way, _ in copies}) < 2 or len(copies) < 40:
                number += 1
                packet = session.protect(rtp(number, b"spoken by the caller".ljust(160)))
                await loop.sock_sendto(caller, packet, (RELAY, media_port(answered["sdp"])))
                await loop.sock_sendto(
                    called, rtp(number, b"spoken by the called".ljust(160)), (RELAY, media_port(offered["sdp"]))
                )
                await asyncio.sleep(0.02)
                assert number < 1500
            # Both are told their direction, as of a target that calls.
            for way, text in ((Direction.FROM_TARGET, b"caller"), (Direction.TO_TARGET, b"called")):
                heard = {packet[12:] for found, packet in copies if found is way}
                assert heard == {(b"spoken by the " + text).ljust(160)}
            copier.want({})
            before = len(copies)
            await asyncio.sleep(0.2)
            assert len(copies) == before
            assert losses == []
            await copier.close()
            await until(lambda: "s1" in relay.sessions())
        for sock in (caller, called):
            sock.close()

    asyncio.run(run())
