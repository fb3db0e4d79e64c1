"""The file a process is started with: what is wrong in it is told by line and key, and never quoted."""

from __future__ import annotations

from pathlib import Path

import pytest

from lawful_intercept.configuration import Listen, ProcessSettings, TlsFiles, load, state_directory
from nf.errors import DocumentError, IntegrityError, NotFoundError, StorageError


class _Settings(ProcessSettings):
    listen: Listen
    tls: TlsFiles


GOOD = """\
name: mdf1
state: /var/lib/nf-li/mdf
store_key: file:/etc/nf-li/store.key
listen: {address: 127.0.0.1, port: 0}
tls: {certificate: /c.pem, key: /c.key, authority: /ca.pem}
"""


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_it_is_read(tmp_path: Path) -> None:
    found = load(written(tmp_path / "c.yaml", GOOD), _Settings)
    assert (found.name, found.listen.port, found.clock.assumed) == ("mdf1", 0, False)
    assert found.tls.key == Path("/c.key")


def test_all_problems_are_told_with_their_place_and_without_values(tmp_path: Path) -> None:
    text = GOOD.replace("mdf1", "Secret Agency").replace("port: 0", "port: 70000") + "agency: secret-agency\n"
    with pytest.raises(DocumentError) as refused:
        load(written(tmp_path / "c.yaml", text), _Settings)
    problems = {one.key: (one.line, one.column) for one in refused.value.problems}
    assert problems == {"name": (1, 7), "listen.port": (4, 36), "agency": (6, 1)}
    shown = "\n".join(map(str, refused.value.problems))
    assert not any(word in shown for word in ("Secret", "secret-agency", "70000"))


@pytest.mark.parametrize("text", ["", "[]", "a: b: c", "name: &x [*x]", "\x00", "name: mdf1"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DocumentError):
        load(written(tmp_path / "c.yaml", text), _Settings)


def test_a_key_is_a_reference(tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as refused:
        load(written(tmp_path / "c.yaml", GOOD.replace("file:/etc/nf-li/store.key", "00" * 32)), _Settings)
    assert "00" * 32 not in str(refused.value.problems)


def test_a_file_that_is_absent_or_others_may_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        load(tmp_path / "none.yaml", _Settings)
    with pytest.raises(IntegrityError):
        load(written(tmp_path / "c.yaml", GOOD, 0o662), _Settings)
    with pytest.raises(StorageError):
        load(tmp_path, _Settings)


def test_a_state_directory_is_its_own(tmp_path: Path) -> None:
    made = state_directory(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o750)
    with pytest.raises(IntegrityError):
        state_directory(made)
    written(tmp_path / "file", "")
    with pytest.raises(StorageError):
        state_directory(tmp_path / "file" / "x")
