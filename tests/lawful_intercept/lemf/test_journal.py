"""What was stored is there, torn tails are cut, and a changed, moved or missing octet is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lawful_intercept.lemf.journal import Entry, Journal, JournalReader, Place
from nf.errors import IntegrityError, StorageError

KEY = AESGCM(bytes(32))
START = Place(0, 0)
PDUS = [b"one", b"two" * 100, b"three"]


def opened(path: Path, start: Place = START, limit: int = 1 << 30) -> tuple[Journal, list[Entry]]:
    journal = Journal(path, KEY, limit)
    return journal, list(journal.recover(start))


def stored(path: Path) -> list[Place]:
    journal, _ = opened(path)
    places = journal.append(2, 5, PDUS)
    journal.close()
    return places


def test_what_was_stored_is_there(tmp_path: Path) -> None:
    places = stored(tmp_path / "j")
    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o600
    assert b"three" not in (tmp_path / "j").read_bytes()
    journal, found = opened(tmp_path / "j")
    assert [(one.pdu, one.interface, one.received_ns) for one in found] == [(pdu, 2, 5) for pdu in PDUS]
    (more,) = journal.append(3, 6, [b"four"])
    assert more.number == 3
    reader = JournalReader(tmp_path / "j", KEY)
    assert reader.read(places[1]).pdu == PDUS[1]
    assert reader.read(more).pdu == b"four"
    assert [one.pdu for one in reader.scan(places[2])] == [b"three", b"four"]
    reader.close()
    journal.close()


@pytest.mark.parametrize("tail", [b"", b"\0\0", b"\0\0\0\x40" + bytes(20), bytes(5000)])
def test_a_torn_tail_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    stored(tmp_path / "j")
    whole = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(whole + tail)
    journal, found = opened(tmp_path / "j")
    assert len(found) == 3
    assert (tmp_path / "j").read_bytes() == whole
    journal.close()


def test_every_cut_leaves_whole_records(tmp_path: Path) -> None:
    places = stored(tmp_path / "j")
    whole = (tmp_path / "j").read_bytes()
    for at in {*range(0, len(whole), 7), *range(60), *(place.offset for place in places)}:
        (tmp_path / "j").write_bytes(whole[:at])
        journal, found = opened(tmp_path / "j")
        journal.close()
        assert len(found) == sum(place.offset <= at for place in places[1:])


def test_every_changed_octet_of_a_record_is_found(tmp_path: Path) -> None:
    places = stored(tmp_path / "j")
    whole = (tmp_path / "j").read_bytes()
    for at in range(places[0].offset + 4, places[1].offset):
        (tmp_path / "j").write_bytes(whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :])
        journal = Journal(tmp_path / "j", KEY, 1 << 30)
        with pytest.raises(IntegrityError, match="record 0"):
            list(journal.recover(START))
        journal.close()


def test_moved_and_missing_records_are_found(tmp_path: Path) -> None:
    places = stored(tmp_path / "j")
    whole = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(whole[places[1].offset :])
    journal = Journal(tmp_path / "j", KEY, 1 << 30)
    with pytest.raises(IntegrityError):
        list(journal.recover(START))
    journal.close()
    (tmp_path / "j").write_bytes(whole[: places[1].offset])
    journal = Journal(tmp_path / "j", KEY, 1 << 30)
    with pytest.raises(IntegrityError):
        list(journal.recover(places[2]))
    journal.close()


def test_a_full_store_takes_nothing(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path / "j", limit=200)
    journal.append(2, 5, [b"one"])
    with pytest.raises(StorageError, match="full"):
        journal.append(2, 5, [bytes(100), bytes(100)])
    journal.append(2, 5, [b"two"])
    journal.close()
    assert [one.pdu for one in opened(tmp_path / "j")[1]] == [b"one", b"two"]


def test_a_failed_write_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, _ = opened(tmp_path / "j")
    journal.append(2, 5, [b"one"])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fdatasync", full)
        with pytest.raises(StorageError, match="No space"):
            journal.append(2, 5, [b"lost"])
    journal.append(2, 5, [b"two"])
    journal.close()
    assert [one.pdu for one in opened(tmp_path / "j")[1]] == [b"one", b"two"]
