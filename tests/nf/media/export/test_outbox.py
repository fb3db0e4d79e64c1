"""The outbox: whole, in order, bounded, and there after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from nf.errors import IntegrityError, StorageError
from nf.media.export.outbox import Event, Outbox, Remember


def event(number: int, topic: str = "alerts") -> Event:
    return Event(topic, f"id-{number}", "s", float(number), b"{}")


def ids(outbox: Outbox) -> list[str]:
    return [waiting.event.id for waiting in outbox.after(0, 1000)]


def test_what_was_added_and_remembered_is_there_in_the_next_life(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o", 1000)
    assert outbox.add([event(1), event(2)], [Remember("mark", "a", 1.5), Remember("mark", "b", {"x": 1})]) == 0
    outbox.add([event(3)], [Remember("mark", "a", None)])
    outbox.close()
    outbox = Outbox(tmp_path / "o", 1000)
    first, second, third = outbox.after(0, 1000)
    assert [one.event.id for one in (first, second, third)] == ["id-1", "id-2", "id-3"]
    assert outbox.after(second.seq, 1000) == (third,)
    assert outbox.memory("mark") == {"b": {"x": 1}}
    assert outbox.memory("other") == {}
    outbox.delivered([first.seq, third.seq, third.seq])
    assert (ids(outbox), outbox.waiting()) == (["id-2"], 1)
    outbox.delivered([second.seq])
    outbox.add([event(4)])
    assert outbox.after(0, 1)[0].seq > third.seq  # a number is never given again
    outbox.close()


def test_the_oldest_of_a_full_topic_makes_room_and_no_other(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o", 3)
    outbox.add([event(0)])
    assert outbox.add([event(number, "analytics-events") for number in range(1, 6)]) == 2
    assert outbox.add([event(6, "analytics-events")]) == 1
    assert ids(outbox) == ["id-0", "id-4", "id-5", "id-6"]
    assert outbox.waiting() == 4
    outbox.close()


def test_all_or_nothing(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o", 3)
    with pytest.raises(ValueError, match="JSON"):
        outbox.add([event(1)], [Remember("mark", "a", float("nan"))])
    assert (ids(outbox), outbox.waiting()) == ([], 0)
    assert outbox.add([event(2)]) == 0
    outbox.close()


def test_a_file_that_is_none_and_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "o").write_bytes(b"this is no database" * 1000)
    with pytest.raises(IntegrityError, match="damaged"):
        Outbox(tmp_path / "o", 3)
    with pytest.raises(StorageError, match="cannot be written"):
        Outbox(tmp_path / "missing" / "o", 3)
