"""The operator's overlay: what goes in, what is refused, and a libcurl that Open5GS can use."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from images.builder import overlay
from images.builder.overlay import (
    check_libraries,
    check_programs,
    package_units,
    read_overlay,
    repository,
    upstream,
)
from images.builder.sources import Source
from nf.errors import DocumentError, InputError


def put(path: Path, text: str = "x\n", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def refused(directory: Path) -> str:
    with pytest.raises(DocumentError) as caught:
        read_overlay(directory)
    return "\n".join(str(problem) for problem in caught.value.problems)


def test_files_and_units_are_found(tmp_path: Path) -> None:
    put(tmp_path / "files/opt/open5gs/bin/amf", mode=0o755)
    put(tmp_path / "units/open5gs-amf.service", "[Service]\nExecStart=/opt/open5gs/bin/amf\n")
    put(tmp_path / "units/open5gs-amf.service.d/limits.conf", "[Service]\nMemoryMax=1G\n")
    found = read_overlay(tmp_path)
    assert found.files == ("/opt/open5gs/bin/amf",)
    assert found.units == ("open5gs-amf.service",)
    assert found.extensions == ("open5gs-amf.service.d/limits.conf",)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("files/var/lib/open5gs/x", "the data partition covers it"),
        ("files/etc/shadow", "no image holds a password"),
        ("files/etc/ssh/ssh_host_ed25519_key", "the same on every appliance"),
        ("files/opt/streamverse/bin/nf", "the product's own place"),
        ("files/etc/rauc/keyring.pem", "whom an appliance trusts"),
        ("files/usr/lib/systemd/system/nf-agent.service", "the product's"),
        ("units/nf-agent.service", "the product's"),
        ("units/nf-agent.service.d/mine.conf", "the product's"),
        ("units/readme.txt", "is no unit's name"),
        ("units/mine.service.d/x.txt", "ends with .conf"),
        ("etc/open5gs/amf.yaml", "did you mean files/etc?"),
    ],
)
def test_what_would_vanish_or_weaken_is_refused(tmp_path: Path, path: str, told: str) -> None:
    put(tmp_path / path)
    assert told in refused(tmp_path)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    put(tmp_path / "files/var/x")
    put(tmp_path / "files/usr/bin/tool", mode=0o4755)
    os.mkfifo(tmp_path / "files/usr/pipe")
    told = refused(tmp_path)
    assert "data partition" in told
    assert "set-uid" in told
    assert "neither a file" in told


def test_an_empty_overlay_and_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds nothing"):
        read_overlay(tmp_path)
    with pytest.raises(InputError, match="is no directory"):
        read_overlay(tmp_path / "nowhere")


def make_package(directory: Path, name: str, version: str = "1.0", extra: str = "") -> Path:
    root = directory / f"{name}-root"
    head = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: a <a@b.example>\n"
    put(root / "DEBIAN/control", f"{head}{extra}Description: made by a test\n")
    put(root / f"usr/bin/{name}", "#!/bin/sh\n", 0o755)
    made = directory / f"{name}_{version}_amd64.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", str(root), str(made)], check=True, stdout=subprocess.DEVNULL
    )
    return made


@pytest.mark.daemon
def test_a_directory_of_packages_becomes_a_repository(tmp_path: Path) -> None:
    (tmp_path / "debs").mkdir()
    made = make_package(tmp_path, "mydaemon")
    made.rename(tmp_path / "debs" / made.name)
    (source,) = repository(str(tmp_path / "debs"), tmp_path / "work")
    assert source.suites == ("./",)
    index = next((tmp_path / "work").glob("*/Packages")).read_text()
    assert "Package: mydaemon\n" in index
    assert f"Filename: ./{made.name}\n" in index
    assert "SHA256: " in index


def test_a_repository_that_nobody_signs_is_refused(tmp_path: Path) -> None:
    file = put(tmp_path / "my.sources", "Types: deb\nURIs: http://repo.example/\nSuites: stable\nComponents: main\n")
    with pytest.raises(InputError, match="names no key"):
        repository(str(file), tmp_path)
    put(file, "deb [signed-by=/k.gpg] http://repo.example/ stable main\n")
    assert repository(str(file), tmp_path) == [
        Source(("http://repo.example/",), ("stable",), ("main",), (("Signed-By", "/k.gpg"),))
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no \.deb"):
        repository(str(tmp_path / "empty"), tmp_path)


@pytest.mark.parametrize(
    ("version", "number"),
    [("7.88.1-10+deb12u14", (7, 88, 1)), ("1:8.14.1-2~bpo12+1", (8, 14, 1)), ("8.0.0~rc1-1", (8, 0, 0)), ("10", (10,))],
)
def test_the_upstream_version_counts(version: str, number: tuple[int, ...]) -> None:
    assert upstream(version) == number


def test_open5gs_with_debians_libcurl_is_refused() -> None:
    with pytest.raises(DocumentError) as caught:
        check_libraries({"open5gs-amf": "2.7.2", "libcurl4": "7.88.1-10+deb12u14", "varnish": "7.1"})
    (problem,) = caught.value.problems
    assert (problem.key, problem.value) == ("libcurl4", "7.88.1-10+deb12u14")
    assert "8.0.0" in problem.remedy


def test_a_newer_libcurl_or_no_open5gs_is_fine() -> None:
    check_libraries({"open5gs-amf": "2.7.2", "libcurl4": "8.14.1-2"})
    check_libraries({"varnish": "7.1", "libcurl4": "7.88.1-10+deb12u14"})


def test_a_upf_alone_asks_nobody_over_http(tmp_path: Path) -> None:
    check_libraries({"open5gs-upf": "2.7.2", "open5gs-common": "2.7.2", "libcurl4": "7.88.1-10+deb12u14"})
    put(tmp_path / "opt/5g/open5gs-upfd", mode=0o755)
    check_programs(tmp_path, ["/opt/5g/open5gs-upfd"])


def libcurl(tree: Path, path: str, version: str) -> None:
    put(tree / path, f"\x7fELF libcurl/{version} more")


def test_functions_without_a_package_are_judged_by_the_libcurl_that_they_would_load(tmp_path: Path) -> None:
    files = ["/opt/5g/open5gs-smfd"]
    put(tmp_path / "opt/5g/open5gs-smfd", mode=0o755)
    with pytest.raises(DocumentError) as caught:
        check_programs(tmp_path, files)
    assert caught.value.problems[0].rule.startswith("no libcurl.so.4")
    libcurl(tmp_path, "usr/lib/x86_64-linux-gnu/libcurl.so.4.8.0", "7.88.1")
    (tmp_path / "usr/lib/x86_64-linux-gnu/libcurl.so.4").symlink_to("libcurl.so.4.8.0")
    with pytest.raises(DocumentError) as caught:
        check_programs(tmp_path, files)
    (problem,) = caught.value.problems
    assert (problem.key, problem.value) == ("/usr/lib/x86_64-linux-gnu/libcurl.so.4", "7.88.1")
    assert "files/opt/5g/lib" in problem.remedy
    libcurl(tmp_path, "opt/5g/lib/libcurl.so.4", "8.14.1")
    check_programs(tmp_path, [*files, "/opt/5g/lib/libcurl.so.4"])
    put(tmp_path / "opt/5g/lib/libcurl.so.4", "something else")
    with pytest.raises(DocumentError, match="1 problem"):
        check_programs(tmp_path, files)


def test_a_packages_functions_may_have_the_libcurl_of_an_overlay(tmp_path: Path) -> None:
    versions = {"open5gs-amf": "2.7.2", "libcurl4": "7.88.1-10+deb12u14"}
    check_libraries(versions, ["/usr/local/lib/libcurl.so.4"])
    put(tmp_path / "usr/bin/open5gs-amfd", mode=0o755)
    libcurl(tmp_path, "usr/lib/x86_64-linux-gnu/libcurl.so.4", "7.88.1")
    libcurl(tmp_path, "usr/local/lib/libcurl.so.4", "8.0.0")
    check_programs(tmp_path)
    check_programs(tmp_path / "nothing", ["/opt/mine/tool"])


def test_units_of_a_package_are_found(tmp_path: Path) -> None:
    listed = "/.\n/lib/systemd/system/mydaemon.service\n/usr/lib/systemd/system/my@.service\n/usr/bin/mydaemon\n"
    put(tmp_path / "var/lib/dpkg/info/mydaemon.list", listed)
    assert package_units(tmp_path, "mydaemon") == ["mydaemon.service"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `systemctl enable` in the tree was asked for."""
    units: list[str] = []
    monkeypatch.setattr(overlay, "in_tree", lambda tree, *command, where: units.extend(command[3:]))
    return units


def test_an_operators_unit_starts_under_supervision(tmp_path: Path, asked: list[str]) -> None:
    put(
        tmp_path / "usr/lib/systemd/system/mine.service", "[Service]\nExecStartPre=-/bin/mine -t\nExecStart=/bin/mine\n"
    )
    put(tmp_path / "usr/bin/mine")
    (tmp_path / "bin").symlink_to("usr/bin")
    overlay.enable(tmp_path, ["mine.service"])
    assert asked == ["mine.service"]
    extended = (tmp_path / "usr/lib/systemd/system/mine.service.d/10-nf-operator.conf").read_text()
    assert "Restart=on-failure" in extended
    assert "NoNewPrivileges=yes" in extended


def test_a_unit_whose_program_is_not_there_is_refused(tmp_path: Path, asked: list[str]) -> None:
    put(tmp_path / "usr/lib/systemd/system/mine.service", "[Service]\nExecStart=/usr/bin/absent --x\n")
    with pytest.raises(DocumentError) as caught:
        overlay.enable(tmp_path, ["mine.service", "other.service"])
    first, second = caught.value.problems
    assert (first.file, first.line, first.value) == ("mine.service", 2, "/usr/bin/absent")
    assert (second.key, second.rule) == ("other.service", "no such unit in the image")
    assert not asked
