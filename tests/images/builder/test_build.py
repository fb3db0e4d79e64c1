"""What is refused before anything begins; progress; the manifest."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.builder import programs, python
from images.builder.build import build_image
from images.builder.manifest import FileEntry, Manifest, PackageEntry, SourceEntry, parse_manifest, read_manifest
from images.builder.order import Options, source_epoch
from images.builder.progress import Steps
from images.commands.build import build
from images.report import part
from nf.errors import DriverError, InputError, IntegrityError, NfError, NotFoundError, RefusedError, UnavailableError


def options(tmp_path: Path, **changes: object) -> Options:
    known: dict[str, object] = {
        "role": "pop", "version": "1.0", "output": tmp_path / "out", "cache": tmp_path / "cache", "epoch": 1,
        "root_only": True,
    }  # fmt: skip
    return Options(**{**known, **changes})  # type: ignore[arg-type]


def test_without_keys_the_command_that_makes_them_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nf image keys init"):
        build_image(options(tmp_path, root_only=False))


def test_without_root_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(RefusedError, match="root"):
        build_image(options(tmp_path))


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "PATH", "/nowhere")
    with pytest.raises(UnavailableError) as caught:
        programs.require_programs({"mmdebstrap": "mmdebstrap", "unshare": "util-linux"})
    assert caught.value.remedy == "apt-get install mmdebstrap util-linux"


def test_what_a_step_would_miss_is_asked_for_before_the_first() -> None:
    steps = "".join(path.read_text() for path in Path(programs.__file__).parent.glob("*.py"))
    named = set(re.findall(r'package="([^"]+)"', steps))
    assert named
    assert named <= {*programs.PACKAGES.values(), *programs.CHAIN_PACKAGES.values()}


@pytest.mark.parametrize("version", ["", "../x", "a b", "-1", "x" * 65])
def test_a_version_is_fit_for_a_file_name(tmp_path: Path, version: str) -> None:
    with pytest.raises(InputError, match="version"):
        build_image(options(tmp_path, version=version))


def test_a_repository_needs_packages_and_a_role_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--packages"):
        build_image(options(tmp_path, repositories=("x",)))
    with pytest.raises(NotFoundError, match="did you mean"):
        build_image(options(tmp_path, role="popp"))


def test_the_time_of_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "123")
    assert source_epoch(tmp_path) == 123
    assert source_epoch(tmp_path, 5) == 5
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "noon")
    with pytest.raises(InputError, match="seconds"):
        source_epoch(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
        source_epoch(tmp_path)


def test_a_compression_that_is_none_is_told_before_anything_begins() -> None:
    with pytest.raises(InputError, match="tiny") as caught:
        build(role="pop", compression="tiny")
    assert caught.value.remedy == "one of: fast, small"


class Seen:
    def __init__(self) -> None:
        self.shown: list[tuple[float, str, str]] = []

    def show(self, fraction: float, step: str, text: str) -> None:
        self.shown.append((round(fraction, 3), step, text))


def test_steps_move_one_bar_by_their_weights() -> None:
    seen = Seen()
    steps = Steps(seen, {"a": 1.0, "b": 3.0})
    with steps.step("a") as report:
        report(0.5, "half")
    with steps.step("b") as report:
        part(report, 0.5, 1.0)(2.0, "more than all")
    assert seen.shown == [
        (0.0, "a", ""), (0.125, "a", "half"), (0.25, "a", ""), (0.25, "b", ""), (1.0, "b", "more than all"),
        (1.0, "b", ""),
    ]  # fmt: skip
    assert set(steps.seconds) == {"a", "b"}


def test_last_words_of_a_program_are_in_the_error() -> None:
    with pytest.raises(DriverError, match="no such thing") as caught:
        programs.run(["sh", "-c", "echo no such thing >&2; exit 3"], where="here")
    assert "(3)" in str(caught.value)
    lines: list[str] = []
    with pytest.raises(DriverError, match="two"):
        programs.run(["sh", "-c", "echo one; echo two; exit 1"], where="here", heard=lines.append)
    assert lines == ["one", "two"]
    with pytest.raises(UnavailableError, match="apt-get install mmdebstrap"):
        programs.run(["mmdebstrap"], where="here", env={"PATH": "/nowhere"})


LOCK = """\
pydantic==2.14.3 \\
    --hash=sha256:aa
    # via x
ruamel-yaml==0.19 ; python_version >= '3.11' \\
    --hash=sha256:bb
"""


def test_the_lock_is_cut_by_package() -> None:
    assert python.wanted_lock(LOCK, []) == LOCK
    assert python.wanted_lock(LOCK, ["ruamel.yaml"]).startswith("pydantic")
    assert "ruamel" not in python.wanted_lock(LOCK, ["ruamel.yaml"])
    with pytest.raises(InputError, match="numpy"):
        python.wanted_lock(LOCK, ["numpy"])


def manifest(**changes: object) -> Manifest:
    package = PackageEntry(name="frr", version="8.4", architecture="amd64", origin="debian", octets=5)
    known: dict[str, object] = {
        "role": "pop", "version": "1.0", "compatible": "streamverse-nf-pop-amd64", "architecture": "amd64",
        "kernel": "cloud", "kernel_version": "6.1", "source_date_epoch": 1,
        "source": SourceEntry(commit="ab", modified=False), "slot_octets": 1,
        "tree_sha256": "0" * 64, "files": {"rootfs.img": FileEntry(size=1, sha256="1" * 64)}, "packages": (package,),
        "accounts": {"frr": 221}, "units": (),
    }  # fmt: skip
    return Manifest(**{**known, **changes})  # type: ignore[arg-type]


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest().text())
    assert read_manifest(tmp_path) == manifest()
    assert parse_manifest(manifest().text(), where="x").largest(1)[0].name == "frr"
    data = json.loads(manifest().text())
    with pytest.raises(IntegrityError, match="not as the builder"):
        parse_manifest(json.dumps(data).encode(), where="x")
    with pytest.raises(IntegrityError, match="surprise"):
        parse_manifest(json.dumps({**data, "surprise": 1}).encode(), where="x")


@given(st.binary(max_size=200))
def test_any_octets_are_a_manifest_or_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(NfError):
        parse_manifest(data, where="x")
