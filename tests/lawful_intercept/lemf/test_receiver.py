"""HI2 and HI3 over TLS on loopback: stored before it is answered, judged by number, hash, signature and key."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lawful_intercept.handover import tri
from lawful_intercept.handover.decoder import Tri
from lawful_intercept.handover.encryption import Algorithm, PayloadCipher
from lawful_intercept.handover.integrity import IntegrityStream, KeySigner, Rhythm
from lawful_intercept.handover.ps_pdu import CcTemplate, DataType, IriTemplate
from lawful_intercept.lemf import index
from lawful_intercept.lemf.sessions import Session, StreamState
from lawful_intercept.lemf.settings import LemfSettings
from nf.errors import NotFoundError, StorageError
from tests.lawful_intercept.lemf.parts import (
    AT_NS,
    HEADER,
    INVITE,
    LINK,
    Certificates,
    Delivery,
    media,
    messages,
    open_archive,
    open_store,
    payload_key,
    receiving,
    rtp,
    settings,
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("li"))


def stream(session: Session, data_type: DataType) -> StreamState:
    return next(one for one in session.streams if one.data_type is data_type)


def kept(chosen: LemfSettings) -> list[Session]:
    with open_archive(chosen) as archive:
        return archive.sessions()


async def test_a_call_is_received_whole(tmp_path: Path, certificates: Certificates) -> None:
    chosen = settings(tmp_path, certificates)
    iri, cc = messages(), media([bytes([n]) * 160 for n in range(100)])
    async with receiving(chosen) as receiver:
        hi2, hi3 = receiver.ports
        async with Delivery(hi2, certificates.mdf) as two, Delivery(hi3, certificates.mdf) as three:
            assert await two.negotiate()
            assert await three.negotiate()
            await two.send(iri[0])
            await three.send(*cc)
            await two.send(iri[1])
            await asyncio.gather(two.confirm(), three.confirm())
    with open_archive(chosen) as archive:
        (session,) = archive.sessions()
        assert (session.liid_text, session.cin, session.ended) == ("CASE-1", 7, True)
        assert (session.first_ns, session.last_ns) == (AT_NS, AT_NS + 99 * 20_000_000)
        assert [one.received for one in session.streams] == [2, 100]
        assert all(one.whole for one in session.streams)
        assert [one.octets for one in archive.pdus(session.number, DataType.IRI)] == iri
        assert [one.octets for one in archive.pdus(session.number, DataType.CC)] == cc
        assert [one.pdu for one in archive.everything(session.number)] != []
        with pytest.raises(NotFoundError):
            archive.session(99)


async def test_keep_alives_and_options(tmp_path: Path, certificates: Certificates) -> None:
    chosen = settings(tmp_path, certificates, acknowledge=False)
    async with receiving(chosen) as receiver, Delivery(receiver.ports[0], certificates.mdf) as link:
        await link.send(tri.keep_alive(LINK, 41, AT_NS))
        answer = await link.answer()
        assert (answer.tri, answer.sequence, answer.liid) == (Tri.KEEP_ALIVE_RESPONSE, 41, b"-")
        assert not await link.negotiate()


async def test_gaps_duplicates_and_late_ones(tmp_path: Path, certificates: Certificates) -> None:
    chosen = settings(tmp_path, certificates)
    cc = media([bytes([n]) * 160 for n in range(10)])
    other = CcTemplate(HEADER, 7).encode(3, AT_NS, 0, b"another")
    async with receiving(chosen) as receiver, Delivery(receiver.ports[1], certificates.mdf) as link:
        await link.send(cc[0], cc[3], cc[1], cc[3], other, cc[8], cc[9])
        await link.confirm()
    (session,) = kept(chosen)
    one = stream(session, DataType.CC)
    assert one.missing == ((2, 2), (4, 7))
    assert (one.received, one.again, one.late, one.conflicts, one.missing_count) == (5, 2, 1, 1, 5)
    assert not one.whole
    with open_archive(chosen) as archive:
        assert [pdu.sequence for pdu in archive.pdus(session.number, DataType.CC)] == [0, 1, 3, 8, 9]


async def test_a_reset_begins_a_new_count(tmp_path: Path, certificates: Certificates) -> None:
    chosen = settings(tmp_path, certificates)
    cc = media([b"a", b"b"])
    async with receiving(chosen) as receiver, Delivery(receiver.ports[1], certificates.mdf) as link:
        await link.send(*cc, tri.cin_reset(HEADER, 7, 0, AT_NS), *media([b"c", b"d"]))
        await link.confirm()
    one = stream(kept(chosen)[0], DataType.CC)
    assert (one.received, one.again, one.resets, one.whole) == (4, 0, 1, True)


async def test_hashes_and_signatures(tmp_path: Path, certificates: Certificates) -> None:
    key = generate_private_key(SECP256R1())
    public = tmp_path / "operator.pem"
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    chosen = settings(tmp_path, certificates, signature_keys=(public,))
    checks = IntegrityStream(HEADER, 7, DataType.CC, signer=KeySigner(key), rhythm=Rhythm(hash_pdus=4))
    cc = media([bytes([n]) * 160 for n in range(10)])
    sent = [part for number, pdu in enumerate(cc) for part in (pdu, *checks.add(number, pdu, AT_NS))]
    sent += checks.close(AT_NS)
    async with receiving(chosen) as receiver, Delivery(receiver.ports[1], certificates.mdf) as link:
        await link.send(*sent, *sent[-2:])
        await link.confirm()
    one = stream(kept(chosen)[0], DataType.CC)
    assert one.checks == {"hash right": 3, "signature right": 1}
    assert (one.hashed, one.whole) == (10, True)


@pytest.mark.parametrize("how", ["changed", "missing"])
async def test_a_hash_over_something_else(tmp_path: Path, certificates: Certificates, how: str) -> None:
    chosen = settings(tmp_path, certificates)
    cc = media([bytes(160)] * 4)
    checks = IntegrityStream(HEADER, 7, DataType.CC)
    for number, pdu in enumerate(cc):
        checks.add(number, pdu, AT_NS)
    (hashed,) = checks.close(AT_NS)
    sent = [*cc[:3], cc[3][:-12] + b"\xff" + cc[3][-11:]] if how == "changed" else cc[:3]
    async with receiving(chosen) as receiver, Delivery(receiver.ports[1], certificates.mdf) as link:
        await link.send(*sent, hashed)
        await link.confirm()
        one = stream(kept(chosen)[0], DataType.CC)
        assert one.checks == {"hash wrong" if how == "changed" else "hash incomplete": 1}
        if how == "missing":
            await link.send(CcTemplate(HEADER, 7).encode(4, AT_NS, 0, b""), cc[3])
            await link.confirm()
            assert stream(kept(chosen)[0], DataType.CC).checks == {"hash right": 1}, "judged anew when it came late"


async def test_a_signature_of_somebody_else(tmp_path: Path, certificates: Certificates) -> None:
    public = tmp_path / "operator.pem"
    key = generate_private_key(SECP256R1()).public_key()
    public.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    checks = IntegrityStream(HEADER, 7, DataType.CC, signer=KeySigner(generate_private_key(SECP256R1())))
    cc = media([bytes(160)])
    checks.add(0, cc[0], AT_NS)
    made = checks.close(AT_NS)
    for keys, told in (((public,), "signature wrong"), ((), "signature no key")):
        folder = tmp_path / told
        folder.mkdir()
        chosen = settings(folder, certificates, signature_keys=keys)
        async with receiving(chosen) as receiver, Delivery(receiver.ports[1], certificates.mdf) as link:
            await link.send(cc[0], *made)
            await link.confirm()
        assert stream(kept(chosen)[0], DataType.CC).checks == {"hash right": 1, told: 1}


async def test_encrypted_payloads(tmp_path: Path, certificates: Certificates) -> None:
    key = bytes(range(32))
    with_key = settings(tmp_path, certificates, payload_keys=(payload_key(tmp_path, "CASE-1", key),))
    cc = media([bytes(160)] * 3, cipher=PayloadCipher(key, Algorithm.AES_256_CBC, 1))
    async with receiving(with_key) as receiver, Delivery(receiver.ports[1], certificates.mdf) as link:
        await link.send(*cc)
        await link.confirm()
    one = stream(kept(with_key)[0], DataType.CC)
    assert (one.sealed, one.received, one.whole) == (0, 3, True)
    with open_archive(with_key) as archive:
        assert [pdu.cc[0].octets for pdu in archive.pdus(1, DataType.CC)] == [rtp(n, bytes(160)) for n in range(3)]
    other = tmp_path / "other"
    other.mkdir()
    without = settings(other, certificates)
    async with receiving(without) as receiver, Delivery(receiver.ports[1], certificates.mdf) as link:
        await link.send(*cc)
        await link.confirm()
    one = stream(kept(without)[0], DataType.CC)
    assert (one.sealed, one.received, one.whole) == (3, 3, False)


async def test_who_may_not_deliver(tmp_path: Path, certificates: Certificates) -> None:
    foreign = Certificates(tmp_path / "foreign", "other.example")
    chosen = settings(tmp_path, certificates)
    async with receiving(chosen) as receiver:
        for issued in (certificates.officer, foreign.mdf):
            with pytest.raises(OSError):  # noqa: PT011 - TLS 1.3 tells it on the first read, in several ways
                async with Delivery(receiver.ports[0], issued) as link:
                    await link.negotiate()
    assert kept(chosen) == []


async def test_rubbish_ends_the_connection_and_nothing_else(tmp_path: Path, certificates: Certificates) -> None:
    chosen = settings(tmp_path, certificates)
    async with receiving(chosen) as receiver:
        async with Delivery(receiver.ports[0], certificates.mdf) as good:
            async with Delivery(receiver.ports[0], certificates.mdf) as bad:
                await bad.send(messages()[0] + b"GET / HTTP/1.1\r\n\r\n")
                with pytest.raises(ConnectionError):
                    await bad.answer()
            await good.send(messages()[1], b"\x30\x03\x02\x01\x05")
            await good.confirm()
        assert receiver.refused == 1
    with open_archive(chosen) as archive:
        assert archive.unreadable() == 1
        assert stream(archive.session(1), DataType.IRI).received == 2


async def test_operators_messages(tmp_path: Path, certificates: Certificates) -> None:
    key = bytes(range(32))
    cipher = PayloadCipher(key, Algorithm.AES_256_CBC, 1)
    plain = tri.operator_message(HEADER, None, 0, AT_NS, tri.Priority.ERROR, message="CC lost")
    sealed = tri.operator_message(
        HEADER, None, 1, AT_NS, tri.Priority.INFORMATIONAL, message="registration gone", cipher=cipher
    )
    assert b"registration" not in sealed
    for keys, told in (((), []), ((payload_key(tmp_path, "CASE-1", key),), [(2, "registration gone")])):
        folder = tmp_path / str(len(keys))
        folder.mkdir()
        chosen = settings(folder, certificates, payload_keys=keys)
        async with receiving(chosen) as receiver, Delivery(receiver.ports[0], certificates.mdf) as link:
            await link.send(plain, sealed)
            await link.confirm()
        with open_archive(chosen) as archive:
            assert [found[1:] for found in archive.operator_messages()] == [*told, (1, "CC lost")]
            assert archive.sessions(10, 0) == []


async def test_a_full_store_acknowledges_nothing(tmp_path: Path, certificates: Certificates) -> None:
    chosen = settings(tmp_path, certificates, limit_mib=1)
    cc = media([bytes(1000)] * 1200)
    async with receiving(chosen) as receiver, Delivery(receiver.ports[1], certificates.mdf) as link:
        link.writer.write(b"".join(cc) + tri.acknowledgement_request(LINK, 1, AT_NS))
        with pytest.raises(ConnectionError):
            await link.answer()
    with pytest.raises(StorageError):
        open_store(chosen).take(3, 0, [cc[0]] * 2000)


async def test_an_index_that_is_gone_is_made_anew(tmp_path: Path, certificates: Certificates) -> None:
    chosen = settings(tmp_path, certificates)
    store = open_store(chosen)
    store.take(2, AT_NS, messages())
    store.take(3, AT_NS, media([bytes(160)] * 5))
    store.close()
    before = [one.to_json() for one in kept(chosen)]
    for name in (index.INDEX, f"{index.INDEX}-wal", f"{index.INDEX}-shm"):
        (chosen.state / name).unlink(missing_ok=True)
    open_store(chosen).close()
    assert [one.to_json() for one in kept(chosen)] == before


def test_a_failed_index_is_caught_up(tmp_path: Path, certificates: Certificates, monkeypatch: Any) -> None:
    chosen = settings(tmp_path, certificates)
    store = open_store(chosen)

    def full(*_: object) -> None:
        raise StorageError("no space")

    with monkeypatch.context() as patched:
        patched.setattr("lawful_intercept.lemf.index.set_position", full)
        with pytest.raises(StorageError):
            store.take(2, AT_NS, messages()[:1])
    store.take(2, AT_NS, messages()[1:])
    store.close()
    assert stream(kept(chosen)[0], DataType.IRI).received == 2


@pytest.mark.parametrize("at", [b"00010101000000Z", b"99991231235959Z"])
def test_times_that_no_database_holds(tmp_path: Path, certificates: Certificates, at: bytes) -> None:
    chosen = settings(tmp_path, certificates)
    store = open_store(chosen)
    iri = IriTemplate(replace(HEADER, time_form="generalized"), 7).sip(0, AT_NS, 1, "192.0.2.1", "192.0.2.2", INVITE)
    (read,) = store.take(2, AT_NS, [iri.replace(b"20231114221320Z", at)])
    store.close()
    assert read is not None
    assert kept(chosen)[0].streams[0].received == 1


_PROCESS = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from lawful_intercept.lemf.settings import LemfSettings
from tests.lawful_intercept.lemf.parts import receiving

async def main():
    async with receiving(LemfSettings.model_validate_json(sys.argv[1])) as receiver:
        print(*receiver.ports, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, certificates: Certificates) -> None:
    chosen = settings(tmp_path, certificates)
    cc = media([bytes([n]) * 160 for n in range(200)])
    arguments = [sys.executable, "-c", _PROCESS, chosen.model_dump_json(by_alias=True), str(Path.cwd())]
    confirmed = 0
    for _ in range(2):
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE)  # noqa: ASYNC220 - it starts and no more
        try:
            assert process.stdout is not None
            ports = (await asyncio.to_thread(process.stdout.readline)).split()
            async with Delivery(int(ports[1]), certificates.mdf) as link:
                start = confirmed
                while confirmed < start + 100:
                    await link.send(*cc[confirmed : confirmed + 25])
                    await link.confirm()
                    confirmed += 25
                await link.send(*cc[confirmed : confirmed + 10])
                process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        store = open_store(chosen)
        store.close()
        with open_archive(chosen) as archive:
            found = [pdu.octets for pdu in archive.pdus(1, DataType.CC)]
        assert found[:confirmed] == cc[:confirmed]
        assert stream(kept(chosen)[0], DataType.CC).missing == ()
