"""Whatever a stranger hands over: a value or an error of the tree, never another exception; needs no program."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import pkcs7
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from images.supply import cms, der, dmverity, dsse, fat, gpt, pe, provenance, raucb, shipped
from images.supply.region import Region, opened
from nf.errors import IntegrityError, NotFoundError
from tests.images.supply.small_build import Maker

KEY = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)
MANIFEST = json.dumps(
    {
        "role": "pop",
        "version": "1",
        "compatible": "streamverse-nf-pop-amd64",
        "architecture": "amd64",
        "source_date_epoch": 1,
        "root_hash": "0" * 64,
        "hash_offset": 4096,
        "files": {"nf.efi": {"size": 1, "sha256": "1" * 64}},
    }
).encode()
FUZZ = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _damage(data: bytes, draw: st.DataObject) -> bytes:
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = draw.draw(st.integers(0, 255))
    end = draw.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    return bytes(damaged[:end])


def _on_file(path: Path, data: bytes, judge: Callable[[Region], object]) -> None:
    path.write_bytes(data)
    with suppress(IntegrityError, NotFoundError), opened(path) as region:
        judge(region)


def _envelope() -> bytes:
    files = {"nf.efi": shipped.File(1, "1" * 64)}
    build = provenance.Build(provenance.Source("a" * 40, dirty=True), "2" * 64, {"role": "pop"}, "1")
    payload = json.dumps(provenance.statement(files, 1, build)).encode()
    return dsse.seal(provenance.PAYLOAD_TYPE, payload, sign=KEY.sign, public=KEY.public_key())


def _signature(maker: Maker, content: bytes, option: pkcs7.PKCS7Options = pkcs7.PKCS7Options.NoCapabilities) -> bytes:
    builder = pkcs7.PKCS7SignatureBuilder().set_data(content)
    signed = builder.add_signer(maker.bundle.certificate, maker.bundle.key, hashes.SHA256())
    return signed.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary, option])


def _bundle(maker: Maker, where: Path) -> bytes:
    payload = b"hsqs" + b"p" * (3 * 4096 - 4)
    where.write_bytes(payload)
    with opened(where) as region:
        tree = dmverity.hash_tree(region, b"salt")
    manifest = (
        "[update]\ncompatible=streamverse-nf-pop-amd64\nversion=1\n\n[bundle]\nformat=verity\n"
        f"verity-hash={tree.root_hash}\nverity-salt={b'salt'.hex()}\nverity-size={len(tree.octets)}\n"
    )
    signature = _signature(maker, manifest.encode())
    return payload + tree.octets + signature + len(signature).to_bytes(8, "big")


def _disk() -> bytes:
    sectors = 200
    kind, name = bytes(range(16)), "ESP".encode("utf-16-le").ljust(72, b"\0")
    entries = struct.pack("<16s16sQQQ72s", kind, kind[::-1], 40, 99, 0, name).ljust(128 * 128, b"\0")

    def header(here: int, other: int, entries_at: int) -> bytes:
        def pack(crc: int) -> bytes:
            head = struct.pack("<8s4sII4xQQQQ", b"EFI PART", b"\0\0\1\0", 92, crc, here, other, 34, sectors - 34)
            return head + struct.pack("<16sQIII", kind, entries_at, 128, 128, zlib.crc32(entries))

        return pack(zlib.crc32(pack(0))).ljust(512, b"\0")

    record = bytearray(512)
    record[450], record[454], record[510:] = 0xEE, 1, b"\x55\xaa"
    middle = bytes((sectors - 34 - 33) * 512)
    return bytes(record) + header(1, 199, 2) + entries + middle + entries + header(199, 1, 167)


def _program() -> bytes:
    header = (
        b"MZ".ljust(60, b"\0") + (64).to_bytes(4, "little") + b"PE\0\0" + struct.pack("<HH12xHH", 0x8664, 1, 240, 0)
    )
    optional = bytearray(240)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<I", optional, 60, 512)
    struct.pack_into("<I", optional, 108, 16)
    section = struct.pack("<8sIIII16x", b".cmdline", 30, 4096, 512, 512)
    line = f"nf.roothash={'0' * 64} nf.hashoff=1".encode()[:30]
    return (header + bytes(optional) + section).ljust(512, b"\0") + line.ljust(512, b"\0")


def _volume() -> bytes:
    boot = bytearray(512)
    struct.pack_into("<HBHBHHBHHHII", boot, 11, 512, 1, 1, 1, 16, 20, 0xF8, 1, 1, 1, 0, 0)
    boot[510:] = b"\x55\xaa"
    table = b"\xf8\xff\xff" + bytes([0xFF, 0x4F, 0x00]) + bytes([0xFF, 0x0F, 0x00])
    root = struct.pack("<11sB8xH4xHI", b"EFI        ", 0x10, 0, 2, 0)
    sub = struct.pack("<11sB8xH4xHI", b"NF      EFI", 0x20, 0, 3, 700)
    return (
        bytes(boot)
        + table.ljust(512, b"\0")
        + root.ljust(512, b"\0")
        + sub.ljust(512, b"\0")
        + b"K" * 1024
        + bytes(7680)
    )


def test_the_models_are_good(tmp_path: Path, maker: Maker) -> None:
    """What is damaged below is read when it is not."""
    assert shipped.parse(MANIFEST).file("nf.efi").size == 1
    assert provenance.read_provenance(_envelope(), KEY.public_key()).dirty
    path = tmp_path / "file"
    whole = _bundle(maker, path)
    path.write_bytes(whole)
    with opened(path) as region:
        bundle = raucb.split(region)
        manifest = raucb.verify_signature(bundle, maker.authority.certificate)
        raucb.check_payload(bundle, manifest)
    path.write_bytes(_disk())
    with opened(path) as region:
        assert gpt.read(region).partitions[0].name == "ESP"
    assert pe.command_line(pe.parse(_program(), "p"))
    path.write_bytes(_volume())
    with opened(path) as region:
        assert fat.Volume(region).read_file("EFI/NF.EFI", limit=1000) == b"K" * 700
        assert fat.Volume(region).names() == ("EFI",)


@FUZZ
@given(st.data())
def test_manifest(draw: st.DataObject) -> None:
    with suppress(IntegrityError):
        shipped.parse(_damage(MANIFEST, draw))


@FUZZ
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_manifest_with_values_of_other_kinds(value: object) -> None:
    for key in json.loads(MANIFEST):
        with suppress(IntegrityError):
            shipped.parse(json.dumps({**json.loads(MANIFEST), key: value}).encode())


@FUZZ
@given(st.data())
def test_envelope(draw: st.DataObject) -> None:
    whole = _envelope()
    damaged = _damage(whole, draw)
    with suppress(IntegrityError):
        provenance.read_provenance(damaged, KEY.public_key())
        assert damaged == whole


@FUZZ
@given(
    st.dictionaries(
        st.sampled_from(["_type", "subject", "predicate", "predicateType"]), st.text() | st.lists(st.none())
    )
)
def test_a_signed_statement_of_another_shape(value: dict[str, object]) -> None:
    known = {"_type": provenance.STATEMENT, "predicateType": provenance.PREDICATE}
    for statement in (value, {**value, **known}):
        payload = json.dumps(statement).encode()
        sealed = dsse.seal(provenance.PAYLOAD_TYPE, payload, sign=KEY.sign, public=KEY.public_key())
        with pytest.raises(IntegrityError):
            provenance.read_provenance(sealed, KEY.public_key())


@FUZZ
@given(st.sampled_from([pkcs7.PKCS7Options.NoCapabilities, pkcs7.PKCS7Options.NoAttributes]), st.data())
def test_signature(maker: Maker, option: pkcs7.PKCS7Options, draw: st.DataObject) -> None:
    whole = _signature(maker, b"content", option)
    damaged = _damage(whole, draw)
    with suppress(IntegrityError):
        cms.verify(damaged, maker.authority.certificate, where="x")
        assert damaged == whole


@FUZZ
@given(st.binary(max_size=200))
def test_der(data: bytes) -> None:
    for take in (der.Reader.integer, der.Reader.oid, der.Reader.algorithm):
        with suppress(IntegrityError):
            take(der.Reader(data, where="x"))


@FUZZ
@given(st.data())
def test_partition_table(tmp_path: Path, draw: st.DataObject) -> None:
    _on_file(tmp_path / "file", _damage(_disk(), draw), gpt.read)


@FUZZ
@given(st.data())
def test_program(maker: Maker, draw: st.DataObject) -> None:
    with suppress(IntegrityError):
        program = pe.parse(_damage(_program(), draw), "p")
        pe.authenticode_digest(program)
        pe.command_line(program)
        pe.verify(program, maker.db.certificate)


@FUZZ
@given(st.integers(0, 64), st.binary(min_size=8, max_size=64), st.integers(0, 7))
def test_program_with_a_certificate_of_any_kind(maker: Maker, size: int, table: bytes, padding: int) -> None:
    whole = bytearray(_program())
    struct.pack_into("<II", whole, 64 + 24 + 112 + 32, len(whole), size)
    with suppress(IntegrityError):
        pe.verify(pe.parse(bytes(whole) + table + bytes(padding), "p"), maker.db.certificate)


@FUZZ
@given(st.data())
def test_volume(tmp_path: Path, draw: st.DataObject) -> None:
    head, rest = _volume()[:2048], _volume()[2048:]
    damaged = _damage(head, draw).ljust(2048, b"\0") + rest
    _on_file(tmp_path / "file", damaged, lambda region: fat.Volume(region).read_file("EFI/NF.EFI", limit=10_000))


@FUZZ
@given(st.data())
def test_bundle(tmp_path: Path, maker: Maker, bundle: bytes, draw: st.DataObject) -> None:
    damaged = _damage(bundle, draw)

    def judge(region: Region) -> None:
        parts = raucb.split(region)
        raucb.check_payload(parts, raucb.verify_signature(parts, maker.authority.certificate))
        assert damaged == bundle

    _on_file(tmp_path / "file", damaged, judge)


@FUZZ
@given(st.text(alphabet="[]=\nabupdtebnl.-0f", max_size=120))
def test_bundle_manifest(text: str) -> None:
    with suppress(IntegrityError):
        raucb.parse_manifest(text.encode(), "x")


@pytest.fixture(scope="module")
def bundle(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return _bundle(maker, tmp_path_factory.mktemp("bundle") / "payload")


@FUZZ
@given(st.binary(min_size=1, max_size=600), st.integers(0, 4096))
def test_superblock(tmp_path: Path, data: bytes, offset: int) -> None:
    _on_file(tmp_path / "file", data * 20, lambda region: dmverity.check_image(region, offset, "0" * 64))


def test_certificates_of_many_kinds(maker: Maker) -> None:
    """A signer that is the authority itself counts; one of another authority does not."""
    assert isinstance(maker.bundle.certificate, x509.Certificate)
    whole = _signature(maker, b"content")
    assert cms.verify(whole, maker.authority.certificate, where="x").content == b"content"
    assert cms.verify(whole, maker.bundle.certificate, where="x").signer == maker.bundle.certificate
    plain = _signature(maker, b"content", pkcs7.PKCS7Options.NoAttributes)
    assert cms.verify(plain, maker.authority.certificate, where="x").content == b"content"
    with pytest.raises(IntegrityError, match="not issued by"):
        cms.verify(whole, maker.db.certificate, where="x")
