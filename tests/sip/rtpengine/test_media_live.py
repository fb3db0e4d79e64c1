"""What the flags promise, on a real relay, with packets: SDES judged by libsrtp, transcoding, faxes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from sip.rtpengine.client import NgClient
from sip.rtpengine.flags import Kind, Side, answer_flags, offer_flags
from sip.rtpengine.messages import answer, delete, offer
from tests.headend.multicast.tree.network import Node
from tests.sip.rtpengine.live import FIXED, Bench, parties, section, segment, set_up_sdes, understood
from tests.sip.rtpengine.media import endpoint, heard, sdp

pytestmark = [pytest.mark.root, pytest.mark.daemon]


@pytest.fixture(scope="module")
def net(require_root: Callable[[], None], require_programs: Callable[..., None]) -> Iterator[dict[str, Node]]:
    require_root()
    require_programs("rtpengine", "nft", "ip", "nsenter")
    with segment("a", "e") as made:
        bench = Bench(made["a"])
        bench.commit(section("a"))
        yield made
        bench.commit(None)


def test_rtp_to_sdes_is_encrypted_and_decrypted_both_ways(net: dict[str, Node]) -> None:
    async def talk() -> None:
        plain, secret = parties()
        async with NgClient(FIXED["a"], 2223) as ng, plain, secret:
            offered, answered = await set_up_sdes(ng, "sdes", plain, secret)
            assert "RTP/SAVP" in offered
            assert not re.search("NULL_|F8_|fingerprint", offered)
            assert "crypto" not in answered
            await heard(plain, secret, packets=50)
            assert understood(plain, secret)
            await ng.ask(delete("sdes"))

    net["e"].call(talk)


def test_pcma_is_transcoded_to_g722_both_ways(net: dict[str, Node]) -> None:
    async def talk() -> None:
        one, two = parties()
        sides = Side(codecs=("PCMA",)), Side(codecs=("G722",))
        async with NgClient(FIXED["a"], 2223) as ng, one, two:
            told = await ng.ask(offer("code", "one", sdp(one.address, one.port), offer_flags(*sides)))
            assert re.findall(r"m=audio \d+ (.*)\r", str(told["sdp"])) == ["RTP/AVP 9"]
            two.payload, two.octets, two.to = 9, bytes(160), endpoint(told["sdp"])
            mine = sdp(two.address, two.port, payload=9, codec="G722/8000")
            told = await ng.ask(answer("code", "one", "two", mine, answer_flags(*sides)))
            one.to = endpoint(told["sdp"])
            await heard(one, two, packets=50)
            assert (one.payloads, two.payloads) == ({8}, {9})
            await ng.ask(delete("code"))

    net["e"].call(talk)


def test_opus_of_a_browser_is_offered_where_a_telephone_has_pcma(net: dict[str, Node]) -> None:
    async def talk() -> str:
        one, _ = parties()
        sides = Side(), Side(Kind.WEBRTC, codecs=("opus", "PCMA"))
        async with NgClient(FIXED["a"], 2223) as ng:
            told = await ng.ask(offer("web", "one", sdp(one.address, one.port), offer_flags(*sides)))
            await ng.ask(delete("web"))
            return str(told["sdp"])

    text = net["e"].call(talk)
    for wanted in ("UDP/TLS/RTP/SAVPF", "opus/48000/2", "a=rtcp-mux", "a=ice-ufrag", "a=fingerprint:sha-256", "a=mid"):
        assert wanted in text
    assert "crypto" not in text


def test_faxes_by_t38_go_both_ways(net: dict[str, Node]) -> None:
    def fax(address: str, port: int) -> str:
        head = sdp(address, port).partition("m=")[0]
        return f"{head}m=image {port} udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\n"

    async def talk() -> None:
        one, two = parties()
        sides = Side(t38=True), Side(t38=True)
        one.out = two.out = lambda data: b"\0\1" + data[12:40]  # UDPTL
        async with NgClient(FIXED["a"], 2223) as ng, one, two:
            told = await ng.ask(offer("fax", "one", fax(one.address, one.port), offer_flags(*sides)))
            assert "udptl t38" in str(told["sdp"])
            two.to = endpoint(told["sdp"])
            told = await ng.ask(answer("fax", "one", "two", fax(two.address, two.port), answer_flags(*sides)))
            one.to = endpoint(told["sdp"])
            await heard(one, two)
            assert one.last == b"\0\1" + two.octets[:28]
            await ng.ask(delete("fax"))

    net["e"].call(talk)


def test_a_fax_for_who_has_no_t38_is_offered_as_audio(net: dict[str, Node]) -> None:
    async def talk() -> str:
        one, _ = parties()
        head = sdp(one.address, one.port).partition("m=")[0]
        text = f"{head}m=image {one.port} udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\n"
        async with NgClient(FIXED["a"], 2223) as ng:
            told = await ng.ask(offer("gw", "one", text, offer_flags(Side(t38=True), Side())))
            await ng.ask(delete("gw"))
            return str(told["sdp"])

    assert "m=audio" in net["e"].call(talk)
