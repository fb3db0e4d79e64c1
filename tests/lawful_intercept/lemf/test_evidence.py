"""Packages of evidence: what stands in them, what openssl says of the signature, and that every change is found."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lawful_intercept.handover.ps_pdu import IriTemplate
from lawful_intercept.handover.splitter import Splitter
from lawful_intercept.handover.threegpp import iri_from_xiri
from lawful_intercept.lemf import evidence
from lawful_intercept.lemf.settings import LemfSettings
from nf.errors import IntegrityError, NotFoundError, RefusedError
from tests.lawful_intercept.handover.vectors import XIRI
from tests.lawful_intercept.lemf.parts import (
    AT_NS,
    BYE,
    HEADER,
    INVITE,
    Certificates,
    media,
    messages,
    open_archive,
    open_store,
    settings,
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("li"))


def exported(tmp_path: Path, certificates: Certificates) -> tuple[LemfSettings, Path]:
    chosen = settings(tmp_path, certificates)
    store = open_store(chosen)
    store.take(2, AT_NS, [*messages(), IriTemplate(HEADER, 7).threegpp(2, AT_NS, 4, iri_from_xiri(XIRI))])
    cc = media([b"\x80" * 160] * 10)
    store.take(3, AT_NS, [*cc[:4], *cc[6:], cc[7]])
    store.close()
    target = tmp_path / "session.zip"
    with open_archive(chosen) as archive:
        evidence.export(archive, 1, target, receiver="lemf1", signing=chosen.tls, made_at=AT_NS / 1e9)
    return chosen, target


def test_what_stands_in_it(tmp_path: Path, certificates: Certificates) -> None:
    chosen, target = exported(tmp_path, certificates)
    assert target.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(target) as package:
        manifest = json.loads(package.read("manifest.json"))
        assert package.read("sip/0001-0-begin.txt") == INVITE
        assert package.read("sip/0002-1-end.txt") == BYE
        event = json.loads(package.read("events/0003-2-report.json"))
        assert event["event"] == "pDUSessionEstablishment"
        assert event["fields"]["dNN"] == "internet"
        assert len(Splitter().feed(package.read("hi3.ber"))) == 9, "what came twice as well"
        for file in manifest["files"]:
            assert hashlib.sha256(package.read(file["name"])).hexdigest() == file["sha256"]
    assert {one["name"] for one in manifest["files"]} >= {"audio/mixed.wav", "audio/from-target.wav", "hi2.ber"}
    cc = manifest["session"]["streams"][1]
    assert (cc["missing"], cc["again"], cc["whole"]) == ([[4, 5]], 1, False)
    assert manifest["audio"]["streams"][0]["lost"] == 2
    assert not list(tmp_path.glob(".audio-*"))
    found = evidence.check(target, chosen.tls.authority)
    assert (found.signer, found.trusted) == ("spiffe://li.example/element/lemf1", True)


@pytest.mark.daemon
def test_openssl_checks_the_signature(tmp_path: Path, certificates: Certificates) -> None:
    _, target = exported(tmp_path, certificates)
    with zipfile.ZipFile(target) as package:
        package.extractall(tmp_path / "out")
    out = tmp_path / "out"
    certificate = ["openssl", "x509", "-in", str(out / "certificate.pem"), "-noout", "-pubkey"]
    (out / "key.pem").write_bytes(subprocess.run(certificate, capture_output=True, check=True, timeout=30).stdout)
    command = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "manifest.sig", "manifest.json"]
    told = subprocess.run(command, capture_output=True, check=True, timeout=30, cwd=out)
    assert b"Verified OK" in told.stdout


def _rewritten(target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(target) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    change(parts)
    other = target.with_name("other.zip")
    with zipfile.ZipFile(other, "w") as package:
        for name, octets in parts.items():
            package.writestr(name, octets)
    return other


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts.update({"sip/0001-0-begin.txt": b"INVITE sip:other@example.org SIP/2.0\r\n\r\n"}),
        lambda parts: parts.update({"sip/0003-9-end.txt": b"added"}),
        lambda parts: parts.pop("hi3.ber"),
        lambda parts: parts.pop("manifest.sig"),
        lambda parts: parts.update(
            {"manifest.json": parts["manifest.json"].replace(b'"whole": false', b'"whole": true')}
        ),
        lambda parts: parts.update({"manifest.sig": b"\x30\x00"}),
        lambda parts: parts.update({"certificate.pem": b"none"}),
    ],
)
def test_every_change_is_found(
    tmp_path: Path, certificates: Certificates, change: Callable[[dict[str, bytes]], None]
) -> None:
    _, target = exported(tmp_path, certificates)
    with pytest.raises(IntegrityError) as told:
        evidence.check(_rewritten(target, change))
    assert "CASE" not in str(told.value)


def test_another_authority(tmp_path: Path, certificates: Certificates) -> None:
    _, target = exported(tmp_path, certificates)
    other = Certificates(tmp_path / "other", "other.example")
    assert evidence.check(target, other.lemf.authority).trusted is False


@pytest.mark.parametrize("octets", [b"", b"PK\x03\x04", bytes(100)])
def test_what_is_no_package(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(octets)
    with pytest.raises(IntegrityError):
        evidence.check(tmp_path / "x.zip")


def test_files_are_not_overwritten_and_nothing_half_stays(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, target = exported(tmp_path, certificates)
    with open_archive(chosen) as archive:
        with pytest.raises(RefusedError):
            evidence.export(archive, 1, target, receiver="lemf1", signing=chosen.tls, made_at=0)
        with pytest.raises(NotFoundError):
            evidence.export(archive, 9, tmp_path / "no.zip", receiver="lemf1", signing=chosen.tls, made_at=0)
        monkeypatch.setattr("lawful_intercept.lemf.evidence.json.dumps", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evidence.export(archive, 1, tmp_path / "half.zip", receiver="lemf1", signing=chosen.tls, made_at=0)
    assert sorted(path.name for path in tmp_path.glob("*.zip")) == ["session.zip"]
