"""Secrets are files that only their owner reads, and that nothing quotes."""

from __future__ import annotations

from pathlib import Path

import pytest

from nf.errors import InputError, IntegrityError, NotFoundError
from nf.trust.secrets import Credentials, SecretFiles

TEXT = '{"access_key": "AK", "secret_key": "hush"}'


def test_a_reference_is_a_file_that_is_read_anew(tmp_path: Path) -> None:
    secrets = SecretFiles(tmp_path)
    file = tmp_path / "origin-writer"
    for text in ("one", "two"):
        file.write_text(text)
        file.chmod(0o600)
        assert secrets("secret:origin-writer") == text


@pytest.mark.parametrize("reference", ["origin-writer", "secret:", "secret:../passwd", "secret:a/b", "secret:A", ""])
def test_only_references_are_resolved(tmp_path: Path, reference: str) -> None:
    with pytest.raises(InputError):
        SecretFiles(tmp_path)(reference)


def test_what_is_absent_or_open_to_others_is_refused_with_a_remedy(tmp_path: Path) -> None:
    secrets = SecretFiles(tmp_path)
    with pytest.raises(NotFoundError) as absent:
        secrets("secret:x")
    assert absent.value.remedy
    (tmp_path / "x").write_text(TEXT)
    (tmp_path / "x").chmod(0o644)
    with pytest.raises(IntegrityError, match="can be read by others"):
        secrets("secret:x")


@pytest.mark.parametrize(
    "text", ["", "hush", "[]", '{"access_key": "hush"}', '{"access_key": "", "secret_key": "hush"}']
)
def test_what_is_no_access_key_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(IntegrityError) as refused:
        Credentials.parse(text, "secret:x")
    assert "hush" not in str(refused.value)


def test_the_secret_part_does_not_show() -> None:
    credentials = Credentials.parse(TEXT, "secret:x")
    assert (credentials.access_key, credentials.secret_key) == ("AK", "hush")
    assert "hush" not in repr(credentials)
