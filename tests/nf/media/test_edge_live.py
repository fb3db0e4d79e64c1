"""What an edge owes its clients beside answers: one fill for many, https, signalling untouched, congestion control."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nf.contracts.driver import Checkpoint
from nf.errors import NotFoundError, RefusedError
from nf.media.documents import CongestionControl, EdgeSection, EdgeTls
from nf.media.edge import kernel
from nf.media.edge.driver import EdgeDriver, create
from nf.media.http import cache_status, get_once
from nf.media.purge.message import PURGE
from nf.media.shield.driver import ShieldDriver
from nf.media.shield.driver import create as create_shield
from nf.trust.files import write_private
from tests.headend.multicast.tree.network import Node, commit, context, nodes, until
from tests.nf.media.cdn import (
    BODY,
    EDGE,
    EDGE_PORT,
    HOST,
    SHIELD,
    edge_section,
    edge_stores,
    from_edge,
    order,
    origin,
)
from tests.nf.media.cdn import shield_section as section_of_shield
from tests.nf.media.pems import pem

pytestmark = [pytest.mark.root, pytest.mark.daemon]

TLS_PORT = 8443
SECTION: EdgeSection = edge_section("ch1", shields=(SHIELD,))
SECURED = SECTION.model_copy(update={"tls": EdgeTls(port=TLS_PORT, certificates=("secret:cdn-tls", "secret:other"))})
OTHER_NAME = "other.streamverse.test"


@pytest.fixture(scope="module")
def node(require_programs: Callable[..., None]) -> Iterator[Node]:
    require_programs("varnishd", "traffic_manager", "gcc", "ss")
    with nodes("pop1") as made:
        made["pop1"].supervise()
        made["pop1"].shell("sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno")  # so that BBR is a choice
        yield made["pop1"]


@pytest.fixture(scope="module")
def secrets(node: Node) -> Path:
    place = node.run_dir.parent / "secrets"
    write_private(place / "cdn-tls", pem(HOST).encode())
    write_private(place / "other", pem(OTHER_NAME, f"*.{OTHER_NAME}").encode())
    return place


@pytest.fixture(scope="module")
def shield(node: Node) -> ShieldDriver:
    made = create_shield(node.context())
    node.call(commit, made, section_of_shield("ch1"))
    return made


@pytest.fixture
def edge(node: Node, shield: ShieldDriver, secrets: Path) -> EdgeDriver:
    made = EdgeDriver(node.context(), secrets)
    node.call(commit, made, SECURED)
    return made


async def from_tls(path: str, name: str = HOST, authority: str = "", address: str = EDGE) -> tuple[int, bytes, bytes]:
    """Status, body, and the certificate that was shown, in DER."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(address, TLS_PORT, ssl=context, server_hostname=name)
    try:
        host = authority or f"{HOST}:{TLS_PORT}"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        body = await reader.read()
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return int(head.split()[1]), body, shown
    finally:
        writer.close()


def der(text: str) -> bytes:
    return x509.load_pem_x509_certificate(text.encode()).public_bytes(serialization.Encoding.DER)


def test_many_who_ask_for_the_same_make_one_request_to_the_shield(
    node: Node, shield: ShieldDriver, edge: EdgeDriver
) -> None:
    async def play() -> None:
        async with origin() as source:
            await edge_stores("/ch1/any.m4s")
            source.asked.clear()
            before = (await shield._varnish.statistics())["MAIN.client_req"]

            async def asked() -> int:  # Varnish counts a while after it answered
                return (await shield._varnish.statistics())["MAIN.client_req"] - before

            source.delay_s = 0.7
            answers = await asyncio.gather(*(from_edge("/ch1/premiere.m4s") for _ in range(60)))
            assert {(answer.status, answer.body) for answer in answers} == {(200, BODY)}
            assert source.asked == ["/media/ch1/premiere.m4s"]
            await until(asked)
            assert await asked() == 1, "the shield would have spared the origin; nobody spares the shield but the edge"

    node.call(play)


HLS = b"""#EXTM3U
#EXT-X-VERSION:7
#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES-CTR,URI="data:text/plain;base64,AAAA",KEYFORMAT="urn:uuid:edef8ba9-79d6-4ace"\r
#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://key.streamverse.test/ch1?k=1&v=\xc3\xa9",KEYFORMAT="com.apple.streamingkeydelivery"
#EXT-X-DATERANGE:ID="splice-6FFFFFF0",START-DATE="2026-11-29T10:00:00Z",PLANNED-DURATION=59.993,SCTE35-OUT=0xFC002F0000000000FF
#EXT-OATCLS-SCTE35:/DAvAAAAAAAA///wFAVIAACPf+/+c2nALv4AUsz1AAAAAAAKAAhDVUVJAAABNWLbowo=
#EXT-X-CUE-OUT:DURATION=60
#EXTINF:2.000,
7.m4s
"""
DASH = b"""<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:cenc="urn:mpeg:cenc:2013"><Period>
 <EventStream schemeIdUri="urn:scte:scte35:2014:xml+bin" timescale="1"><Event presentationTime="1">
  <Signal xmlns="http://www.scte.org/schemas/35/2016"><Binary>/DAlAAAAAAAAAP/wFAUAAAABf+/+</Binary></Signal></Event></EventStream>
 <AdaptationSet><ContentProtection schemeIdUri="urn:mpeg:dash:mp4protection:2011" value="cbcs"
   cenc:default_KID="00112233-4455-6677-8899-aabbccddeeff"/>
  <InbandEventStream schemeIdUri="urn:scte:scte35:2013:bin"/></AdaptationSet></Period></MPD>
"""
EMSG = b"\x00\x00\x00\x3eemsg\x01\x00\x00\x00" + bytes(range(256)) + b"\x00\x00\x00\x10psshmoofsenc" + bytes(64)


def test_keys_and_cues_pass_through_octet_for_octet(node: Node, edge: EdgeDriver) -> None:
    wanted = {"master.m3u8": HLS, "manifest.mpd": DASH, "v720/7.m4s": EMSG}

    async def play() -> None:
        async with origin() as source:
            source.bodies = {f"/media/ch1/{name}": body for name, body in wanted.items()}
            for name, body in wanted.items():
                first, second = await from_edge(f"/ch1/{name}"), await from_edge(f"/ch1/{name}")
                assert (first.body, second.body) == (body, body), name
                _, secured, _ = await from_tls(f"/ch1/{name}")
                assert secured == body, name
            assert cache_status((await from_edge("/ch1/v720/7.m4s")).headers) == "hit"

    node.call(play)


def test_https_beside_http_with_the_certificate_that_was_asked_for(node: Node, edge: EdgeDriver, secrets: Path) -> None:
    async def play() -> None:
        async with origin():
            for authority in (HOST, f"{HOST}:{TLS_PORT}"):
                status, body, shown = await from_tls("/ch1/secured.m4s", authority=authority)
                assert (status, body, shown) == (200, BODY, der((secrets / "cdn-tls").read_text()))
            assert (await from_edge("/ch1/secured.m4s")).body == BODY
        for name in (OTHER_NAME, f"any.{OTHER_NAME}"):
            assert (await from_tls("/ch1/x", name))[2] == der((secrets / "other").read_text())
        undo = await edge.prepare(edge.plan(await edge.observe(), edge_section("ch1"))[0])
        assert "PRIVATE KEY" not in str(undo.data), "no key goes into a journal"
        assert (edge._server.places.certificates / "cdn-tls.pem").stat().st_mode & 0o077 == 0

    node.call(play)


def test_by_ipv6_the_same_is_served_by_http_and_https(node: Node, edge: EdgeDriver, secrets: Path) -> None:
    async def play() -> None:
        async with origin():
            await edge_stores("/ch1/six.m4s")
            for name in ("cdn-tls", "other"):
                asked = HOST if name == "cdn-tls" else OTHER_NAME
                status, body, shown = await from_tls("/ch1/six.m4s", asked, f"{HOST}:{TLS_PORT}", "::1")
                assert (status, body, shown) == (200, BODY, der((secrets / name).read_text()))
            answer = await get_once(f"http://[::1]:{EDGE_PORT}/ch1/six.m4s", {"Host": HOST})
            assert (answer.status, answer.body) == (200, BODY)

    both = SECURED.model_copy(update={"listen6": IPv6Address("::1")})
    steps = edge.plan(node.call(edge.observe), both)
    assert "restart" in " ".join(step.disruption for step in steps)
    node.call(commit, edge, both)
    node.call(play)


def test_a_purge_takes_out_what_https_had_too(node: Node, shield: ShieldDriver, edge: EdgeDriver) -> None:
    async def play() -> None:
        async def served() -> bool:  # the edge may have seen its shield fail, without the origin, a moment ago
            return (await from_tls("/ch1/purged.m4s"))[0] == (await from_edge("/ch1/purged.m4s")).status == 200

        async with origin() as source:
            await until(served)
            assert await served()
            source.bodies = {"/media/ch1/purged.m4s": b"anew"}
            for cache in (shield, edge):
                checkpoint = Checkpoint({}, lambda _data: None)
                await cache.operations[PURGE].run(order("all", "ch1"), checkpoint, context())
            assert (await from_tls("/ch1/purged.m4s"))[:2] == (200, b"anew")
            assert (await from_edge("/ch1/purged.m4s")).body == b"anew"

    node.call(play)


def test_a_renewed_certificate_is_drift_and_is_served_without_a_restart(
    node: Node, edge: EdgeDriver, secrets: Path
) -> None:
    async def play() -> None:
        units = node.context().units
        before = await units.status("trafficserver")
        assert before is not None
        renewed = pem(HOST)
        write_private(secrets / "cdn-tls", renewed.encode())
        state = await edge.observe()
        assert state.value is not None
        assert state.value["certificates"] == ["secret:cdn-tls"]
        (step,) = edge.plan(state, SECURED)
        assert step.disruption == "", "so that it is done unasked"
        await commit(edge, SECURED)
        assert (await from_tls("/ch1/x"))[2] == der(renewed)
        after = await units.status("trafficserver")
        assert after is not None
        assert after.pid == before.pid
        (secrets / "cdn-tls").rename(secrets / "kept")
        assert (await edge.observe()).value == SECURED.to_json(), "what is served goes on when the secret is lost"
        (secrets / "kept").rename(secrets / "cdn-tls")

    node.call(play)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no PEM", "not a certificate"),
        (pem(HOST, key=ec.generate_private_key(ec.SECP256R1())), "the key is not that"),
        (pem(HOST, days=-1), "its time is over"),
        (pem("elsewhere.test"), f"no certificate is for {HOST}"),
    ],
)
def test_a_bad_certificate_is_refused_before_anything_changes(
    node: Node, edge: EdgeDriver, tmp_path: Path, text: str, told: str
) -> None:
    write_private(tmp_path / "bad", text.encode())
    other = EdgeDriver(node.context(), tmp_path)
    want = SECTION.model_copy(update={"tls": EdgeTls(port=TLS_PORT, certificates=("secret:bad",))})

    async def play() -> None:
        steps = other.plan(await other.observe(), want)
        with pytest.raises(RefusedError, match=told) as caught:
            await other.check(steps, want)
        assert "BEGIN" not in str(caught.value)
        absent = want.model_copy(update={"tls": EdgeTls(port=TLS_PORT, certificates=("secret:absent",))})
        with pytest.raises(NotFoundError):
            await other.check(steps, absent)

    node.call(play)


@pytest.mark.parametrize(
    ("wanted", "used"), [(CongestionControl.AUTO, "bbr"), (CongestionControl.KERNEL, "reno")], ids=["auto", "kernel"]
)
def test_connections_have_the_congestion_control_that_was_asked_for(
    node: Node, shield: ShieldDriver, secrets: Path, wanted: CongestionControl, used: str
) -> None:
    if not kernel.has_bbr():
        pytest.skip("this kernel has no BBR")
    edge = EdgeDriver(node.context(), secrets)

    async def play() -> None:
        await commit(edge, SECURED.model_copy(update={"congestion_control": wanted}))
        async with origin():
            await edge_stores("/ch1/paced.m4s")
            reader, writer = await asyncio.open_connection(EDGE, EDGE_PORT)
            try:
                # A connection is accepted with its first octets (TCP_DEFER_ACCEPT), and kept.
                writer.write(f"GET /ch1/paced.m4s HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                await reader.readuntil(b"\r\n\r\n")

                async def told() -> bool:
                    shown = node.shell("ss", "-Htin", "state", "established", f"( sport = :{EDGE_PORT} )")
                    return re.search(rf"\b{used}\b", shown) is not None

                await until(told)
            finally:
                writer.close()

    node.call(play)


def test_a_kernel_without_bbr_is_told_in_the_plan_and_refuses_what_insists(
    node: Node, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "has_bbr", lambda: False)
    edge = create(node.context())

    async def play() -> None:
        await commit(edge, None)
        (step,) = edge.plan(await edge.observe(), SECTION)
        assert "this kernel has no BBR" in step.summary
        insists = SECTION.model_copy(update={"congestion_control": CongestionControl.BBR})
        with pytest.raises(RefusedError, match="no BBR"):
            await edge.check(edge.plan(await edge.observe(), insists), insists)

    node.call(play)
