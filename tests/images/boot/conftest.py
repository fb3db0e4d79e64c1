"""Throw-away signing material, ours and a stranger's, and the small inputs of images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from images.signing.keys import Keys, make_keys


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("signing") / "keys", organisation="Example Cable")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """The same names in its certificates, other keys."""
    return make_keys(tmp_path_factory.mktemp("signing") / "stranger", organisation="Example Cable")


@pytest.fixture(autouse=True)
def _system_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"] + ":/usr/sbin:/sbin")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a root could look like."""
    root = tmp_path / "tree"
    for place in ("etc", "usr/lib", "proc", "tmp", "boot"):
        (root / place).mkdir(parents=True)
    (root / "usr/lib/os-release").write_text("ID=streamverse-nf\n")
    (root / "etc/large").write_bytes(bytes(range(256)) * 4096)
    (root / "boot/vmlinuz-6.1.0-1-amd64").write_bytes(b"kernel")
    (root / "tmp/left").write_text("behind")
    return root
