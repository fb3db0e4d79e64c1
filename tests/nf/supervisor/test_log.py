from __future__ import annotations

from pathlib import Path

from nf.supervisor import log


def test_a_log_stays_bounded_and_readable_across_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "unit.log"
    with path.open("ab") as writer:  # as the unit holds it
        writer.write(b"".join(b"line %d\n" % number for number in range(1000)))
        writer.flush()
        assert log.rotate(path, limit=4000)
        assert not log.rotate(path, limit=4000)
        writer.write(b"after\n")
    assert path.read_bytes() == b"after\n"
    assert log.predecessor(path).stat().st_size == 4000
    assert log.tail(path, 3) == ("line 998", "line 999", "after")


def test_nothing_written_is_nothing_read(tmp_path: Path) -> None:
    assert log.tail(tmp_path / "none.log", 5) == ()
    assert not log.rotate(tmp_path / "none.log")
