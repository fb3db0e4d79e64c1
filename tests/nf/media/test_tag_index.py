"""The index of an edge, from its access log: across rolls and restarts, and it says when something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from nf.media.edge.index import KEPT_S, TagIndex


def line(name: str, cache: str = "TCP_MISS", status: int = 200, query: str = "") -> str:
    return (
        f'{{"ts":1.0,"client":"10.0.0.1","method":"GET","url":"http://cdn.test:8080/ch1/{name}{query}","status":{status},'
        f'"octets":10,"cache":"{cache}","hierarchy":"x","ttms":0}}\n'
    )


@pytest.fixture
def index(tmp_path: Path) -> TagIndex:
    return TagIndex(tmp_path / "names.sqlite", tmp_path)


def test_what_was_fetched_is_known_and_hits_say_nothing_new(index: TagIndex, tmp_path: Path) -> None:
    index.begin()
    log = tmp_path / "access.log"
    log.write_text(
        line("v/1.m4s", query="?a=1") + line("v/2.m4s", "TCP_MEM_HIT") + line("v/3.m4s", status=404) + line("v/4")[:40]
    )
    assert not index.follow(1.0, "a=2")
    assert index.names("ch1") == {"v/1.m4s"}
    with log.open("a") as more:
        more.write(line("v/4")[40:] + line("v/5", query="?a=2"))
    assert index.follow(2.0, "a=2")
    log.rename(tmp_path / "access.log_host.1.old")
    with (tmp_path / "access.log_host.1.old").open("a") as late:
        late.write(line("v/6"))
    log.write_text(line("v/7"))
    again = TagIndex(tmp_path / "names.sqlite", tmp_path)
    again.follow(3.0)
    assert again.names("ch1") == {"v/1.m4s", "v/4", "v/5", "v/6", "v/7"}
    assert again.complete(3.0)


def test_a_log_that_is_gone_is_said(index: TagIndex, tmp_path: Path) -> None:
    index.begin()
    log = tmp_path / "access.log"
    log.write_text(line("v/1"))
    index.follow(1.0)
    log.unlink()
    (tmp_path / "other").write_text("keeps the inode")
    log.write_text(line("v/2"))
    index.follow(2.0)
    if index.names("ch1") == {"v/1", "v/2"}:  # the file system gave the same inode again
        pytest.skip("the same inode")
    assert not index.complete(2.0)
    assert index.complete(3.0 + KEPT_S)


def test_a_broken_file_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "names.sqlite").write_bytes(b"no database at all, but long enough to be taken for one" * 20)
    index = TagIndex(tmp_path / "names.sqlite", tmp_path)
    assert not index.complete(1.0)
    index.follow(1.0)
    assert index.names("ch1") == frozenset()
