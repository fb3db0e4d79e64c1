"""The sealed store: nothing of it can be read without the key, and no byte of it changed without being found."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lawful_intercept.administration import audit
from lawful_intercept.administration.chain import Verdict
from lawful_intercept.administration.store import Deed, Store
from nf.clock import VirtualClock
from nf.errors import ConflictError, DeniedError, InputError, IntegrityError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key()
PEM = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
ANNA = "spiffe://li.example/officer/anna"
SECRET = "sip:alice@voice.example"


def deed(action: str, thing: str = "warrant/1") -> Deed:
    return Deed(ANNA, action, thing, "ab" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "administration.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(path, AESGCM(bytes(32)), KEY.sign, VirtualClock())
    yield opened
    await opened.close()


async def fill(store: Store) -> None:
    await store.write(deed("warrant.create"), {("warrants", "1"): {"target": SECRET, "state": "draft"}})
    await store.write(deed("warrant.submit"), {("warrants", "1"): {"target": SECRET, "state": "submitted"}})
    await store.refused(deed("warrant.approve"), DeniedError("no"))
    await store.write(deed("agency.add", "agency/2"), {("agencies", "2"): {"name": "police"}})
    await store.write(deed("agency.remove", "agency/2"), {}, (("agencies", "2"),))
    await store.read(deed("warrant.show"))


async def test_what_is_written_is_read(store: Store) -> None:
    await fill(store)
    assert await store.get("warrants", "1") == {"target": SECRET, "state": "submitted"}
    assert await store.all("agencies") == {}
    with pytest.raises(ConflictError):
        await store.write(deed("x"), {("warrants", "1"): {}}, new=(("warrants", "1"),))
    records = await store.records(10)
    assert [one.action for one in reversed(records)] == [
        "warrant.create",
        "warrant.submit",
        "warrant.approve",
        "agency.add",
        "agency.remove",
        "warrant.show",
    ]
    assert json.loads(records[3].detail_json) == {"why": "PERMISSION_DENIED", "certificate": "ab" * 32}


async def test_the_file_shows_neither_target_nor_agency(store: Store, path: Path) -> None:
    await fill(store)
    await store.close()
    for file in path.parent.iterdir():
        octets = file.read_bytes()
        assert b"alice" not in octets
        assert b"police" not in octets
        assert file.stat().st_mode & 0o077 == 0


async def test_another_key_opens_nothing(store: Store, path: Path) -> None:
    await fill(store)
    await store.close()
    other = await Store.open(path, AESGCM(bytes([1] * 32)), KEY.sign, VirtualClock())
    with pytest.raises(IntegrityError, match="does not open") as caught:
        await other.get("warrants", "1")
    assert "alice" not in str(caught.value)
    await other.close()


async def test_it_is_intact_by_the_public_key_alone(store: Store, path: Path) -> None:
    assert audit.verify_store(path, PUBLIC) == Verdict(0, "0" * 64)
    await fill(store)
    verdict = audit.verify_file(path, PUBLIC)  # the process goes on meanwhile
    assert verdict.intact
    assert verdict.records == 6
    await store.read(deed("warrant.show"))
    assert audit.verify_file(path, PUBLIC).records == 7


async def test_another_key_did_not_sign_it(store: Store, path: Path) -> None:
    await fill(store)
    other = Ed25519PrivateKey.generate().public_key()
    assert "not signed by this key" in audit.verify_file(path, other).detail


TAMPERING = [
    ("UPDATE entries SET value = CAST(substr(value, 1, 20) || x'00' AS BLOB)", 2, "another one"),
    ("UPDATE entries SET revision = revision + 1", 2, "another one"),
    ("UPDATE entries SET key = '3'", 2, "gone"),
    ("DELETE FROM entries", 2, "gone"),
    ("INSERT INTO entries VALUES ('agencies', '2', x'00', 4)", 5, "took away, is there"),
    ("INSERT INTO entries VALUES ('agencies', '9', x'00', 4)", 6, "no record wrote it"),
    ("UPDATE revision SET value = value + 1", 6, "revision"),
    ("UPDATE audit SET actor = replace(actor, 'anna', 'anns') WHERE number = 3", 3, "does not match"),
    ("UPDATE audit SET detail = replace(detail, 'DENIED', 'DENIES') WHERE number = 3", 3, "does not match"),
    ("UPDATE audit SET at_us = at_us + 1 WHERE number = 4", 4, "does not match"),
    ("DELETE FROM audit WHERE number = 2", 2, "missing"),
    ("DELETE FROM audit WHERE number = 6", 6, "missing from the end"),
    ("UPDATE audit_head SET signature = CAST(x'00' || substr(signature, 2) AS BLOB)", 6, "not signed"),
    ("UPDATE audit_head SET number = 5", 6, "does not cover"),
    ("DELETE FROM audit_head", 7, "head of the chain is missing"),
]


@pytest.mark.parametrize(("statement", "record", "detail"), TAMPERING)
async def test_what_is_tampered_with_is_named(
    store: Store, path: Path, statement: str, record: int, detail: str
) -> None:
    await fill(store)
    await store.close()
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()
    verdict = audit.verify_file(path, PUBLIC)
    assert not verdict.intact
    assert (verdict.record, detail in verdict.detail) == (record, True), verdict


async def test_an_older_value_put_back_is_found(store: Store, path: Path) -> None:
    await store.write(deed("a"), {("warrants", "1"): {"state": "draft"}})
    copy = path.with_name("copy.db")
    await store.close()
    shutil.copy(path, copy)
    again = await Store.open(path, AESGCM(bytes(32)), KEY.sign, VirtualClock())
    await again.write(deed("b"), {("warrants", "1"): {"state": "submitted"}})
    await again.close()
    with sqlite3.connect(path) as db:
        db.execute("ATTACH ? AS old", (str(copy),))
        db.execute("UPDATE entries SET value = (SELECT value FROM old.entries)")
    db.close()
    verdict = audit.verify_file(path, PUBLIC)
    assert (verdict.record, "another one" in verdict.detail) == (2, True)


async def test_every_byte_of_what_the_file_says_counts(store: Store, path: Path) -> None:
    """One changed byte, anywhere: found, or without a meaning (free space of a page)."""
    await fill(store)
    await store.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    db.close()
    changes_are_found(path)


def changes_are_found(path: Path) -> None:
    octets = path.read_bytes()
    meaning = dump(path)
    changed = path.with_name("changed.db")
    for place in range(100, len(octets), 211):
        if octets[place]:
            changed.write_bytes(octets[:place] + bytes([octets[place] ^ 1]) + octets[place + 1 :])
            assert not audit.verify_file(changed, PUBLIC).intact or dump(changed) == meaning, place


def dump(path: Path) -> list[tuple[object, ...]] | None:
    db = sqlite3.connect(path)
    db.text_factory = bytes
    try:
        tables = ("entries", "revision", "audit", "audit_head")
        return [row for table in tables for row in db.execute(f"SELECT * FROM {table}")]  # noqa: S608 - names above
    except sqlite3.Error:
        return None
    finally:
        db.close()


async def test_heads_that_were_exported_hold(store: Store, path: Path) -> None:
    heads = path.with_name("heads")
    await fill(store)
    audit.append_head(heads, audit.head_of(path))
    early = path.with_name("early.db")
    await store.close()
    shutil.copy(path, early)
    again = await Store.open(path, AESGCM(bytes(32)), KEY.sign, VirtualClock())
    await again.read(deed("warrant.show"))
    await again.close()
    audit.append_head(heads, audit.head_of(path))
    earlier = audit.read_heads(heads)
    assert [head.number for head in earlier] == [6, 7]
    assert audit.verify_file(path, PUBLIC, earlier).intact
    verdict = audit.verify_file(early, PUBLIC, earlier)  # the whole store was put back: its own head is good
    assert (verdict.record, "when a head was exported" in verdict.detail) == (7, True)


async def test_an_export_verifies_and_a_changed_one_does_not(store: Store, path: Path) -> None:
    await fill(store)
    file = path.with_name("export.jsonl")
    records = list(reversed(await store.records(100)))
    file.write_text("\n".join(audit.export_lines(records, audit.head_of(path), PEM)) + "\n")
    assert audit.verify_file(file, PUBLIC).intact
    text = file.read_text()
    assert "alice" not in text
    file.write_text(text.replace("warrant.submit", "warrant.submiT"))
    verdict = audit.verify_file(file, PUBLIC)
    assert (verdict.record, verdict.intact) == (2, False)


@pytest.mark.parametrize(
    "octets", [b"", b"{}", b"[", b"\xff\xfe", b'{"format": "other"}', b"SQLite format 3\0" + b"\1" * 5000]
)
def test_what_is_neither(tmp_path: Path, octets: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(octets)
    with contextlib.suppress(InputError):
        assert not audit.verify_file(file, PUBLIC).intact


def test_lines_that_are_no_records(tmp_path: Path) -> None:
    file = tmp_path / "file"
    begin = json.dumps({"format": audit.FORMAT})
    for line in ("5", "[]", '{"number": 1}', '{"head": "x"}', '{"head": 1, "hash": "", "signature": "zz"}', "{" * 5000):
        file.write_text(f"{begin}\n{line}\n")
        assert not audit.verify_file(file, PUBLIC).intact


def test_a_key_that_is_none() -> None:
    with pytest.raises(InputError, match="Ed25519"):
        audit.public_key(b"nothing", "audit.pub")
    assert audit.public_key(PEM, "audit.pub").public_bytes_raw() == PUBLIC.public_bytes_raw()


def test_verification_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    sqlite3.connect(file).close()
    file.write_bytes(b"SQLite format 3\0" + os.urandom(4000))
    assert not audit.verify_file(file, PUBLIC).intact
    assert list(tmp_path.iterdir()) == [file]
