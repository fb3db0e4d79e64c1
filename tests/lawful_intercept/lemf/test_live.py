"""A call from mediation's side to the agency's ear: sealed, hashed and signed, over TLS to the running process.

It is killed in the middle of the call. Then all of it by `nf-li lemf`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from lawful_intercept import pki
from lawful_intercept.handover.encryption import Algorithm, PayloadCipher
from lawful_intercept.handover.integrity import IntegrityStream, KeySigner, Rhythm
from lawful_intercept.handover.ps_pdu import CcTemplate, DataType, Direction, Header, IriTemplate, IriType
from lawful_intercept.lemf.codecs import STATIC, decoder
from lawful_intercept.lemf.commands import app
from tests.lawful_intercept.lemf.parts import (
    AT_NS,
    BYE,
    INVITE,
    TWENTY_MS,
    Certificates,
    Delivery,
    payload_key,
    rtp,
    settings,
)

HEADER = Header(b"CASE-2", "NZ", b"svnf", b"pop1", "NZ", version=40, time_form="generalized", point="pop1")
PACKETS = 200
_PROGRAM = "from lawful_intercept.lemf.commands import app; app()"


async def started(config: Path) -> tuple[asyncio.subprocess.Process, int, int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, "run", "--config", str(config), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    told = (await process.stdout.readline()).split()
    return process, int(told[1]), int(told[3])


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


async def deliver(port: int, issued: pki.Issued, pdus: list[bytes], *, until: int) -> int:
    """Sends in pieces, each confirmed; how many are, from the first on."""
    async with Delivery(port, issued) as link:
        assert await link.negotiate()
        confirmed = 0
        while confirmed < until:
            await link.send(*pdus[confirmed : min(confirmed + 40, until)])
            await link.confirm()
            confirmed = min(confirmed + 40, until)
        await link.send(*pdus[until : until + 20])  # on its way, and confirmed by nobody
    return confirmed


def product(key: bytes, signing: Ed25519PrivateKey, noise: Any) -> tuple[list[bytes], list[bytes]]:
    """(IRI, CC) of a call whose parties say `noise`: A-law from the target, mu-law to it."""
    cipher = PayloadCipher(key, Algorithm.AES_256_CBC, AT_NS // 1_000_000_000)
    iri_template, cc_template = IriTemplate(HEADER, 9, cipher=cipher), CcTemplate(HEADER, 9, cipher=cipher)
    iri = [
        iri_template.sip(0, AT_NS, IriType.BEGIN, "192.0.2.1", "192.0.2.2", INVITE),
        iri_template.sip(1, AT_NS + 10**9, IriType.END, "192.0.2.1", "192.0.2.2", BYE),
    ]
    checks = IntegrityStream(HEADER, 9, DataType.CC, signer=KeySigner(signing), rhythm=Rhythm(hash_pdus=50))
    cc: list[bytes] = []
    for number in range(2 * PACKETS):
        direction, packet = number % 2, number // 2
        kind = 8 if direction == Direction.FROM_TARGET else 0
        octets = rtp(packet, noise[direction][packet].tobytes(), kind, ssrc=direction + 1)
        pdu = cc_template.encode(number, AT_NS + packet * TWENTY_MS, direction, octets, b"0")
        cc += [pdu, *checks.add(number, pdu, AT_NS)]
    return iri, [*cc, *checks.close(AT_NS)]


@pytest.mark.daemon  # ffprobe
async def test_a_call_that_outlives_its_receiver(tmp_path: Path) -> None:
    key, signing = bytes(range(32)), Ed25519PrivateKey.generate()
    public = tmp_path / "operator.pem"
    public.write_bytes(signing.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    certificates = Certificates(tmp_path)
    chosen = settings(
        tmp_path, certificates, payload_keys=(payload_key(tmp_path, "CASE-2", key),), signature_keys=(public,)
    )
    config = tmp_path / "lemf.yaml"
    config.write_text(yaml.safe_dump(chosen.model_dump(mode="json", by_alias=True, exclude_none=True)))
    config.chmod(0o600)

    noise = np.random.default_rng(3).integers(0, 256, (2, PACKETS, 160), np.uint8)
    iri, cc = product(key, signing, noise)
    process, hi2, hi3 = await started(config)
    try:
        await deliver(hi2, certificates.mdf, iri[:1], until=1)
        confirmed = await deliver(hi3, certificates.mdf, cc, until=200)
        process.kill()
        await process.wait()
        process, hi2, hi3 = await started(config)
        await deliver(hi2, certificates.mdf, iri[1:], until=1)
        await deliver(hi3, certificates.mdf, cc[confirmed:], until=len(cc) - confirmed)
        (session,) = json.loads(said("sessions", "--config", str(config), "--json"))
    finally:
        process.terminate()
        await process.wait()

    told = {one["type"]: one for one in session["streams"]}
    assert (told["IRI"]["received"], told["CC"]["received"], session["ended"]) == (2, 2 * PACKETS, True)
    assert (told["CC"]["missing_count"], told["CC"]["conflicts"], told["CC"]["sealed"]) == (0, 0, 0)
    assert told["CC"]["checks"] == {"hash right": 8, "signature right": 1}
    assert told["CC"]["hashed"] == 2 * PACKETS

    wav = tmp_path / "wav"
    said("play", "1", "--config", str(config), "--into", str(wav))
    for direction, name in enumerate(("from-target", "to-target")):
        decode = decoder(STATIC[8 if direction == 0 else 0])
        assert decode is not None
        with wave.open(str(wav / f"{name}.wav")) as file:
            heard = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        assert np.array_equal(heard, decode(noise[direction].tobytes())), name
    probing = await asyncio.create_subprocess_exec(
        "ffprobe", "-v", "error", "-show_entries", "stream=codec_name", str(wav / "mixed.wav"), stdout=-1
    )
    assert b"pcm_s16le" in (await probing.communicate())[0]

    package = str(tmp_path / "case.zip")
    said("export", "1", "--config", str(config), "--to", package)
    said("verify", package, "--authority", str(chosen.tls.authority))
    assert json.loads(said("verify", "--config", str(config), "--json"))["whole"]
