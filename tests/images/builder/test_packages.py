"""Sources of packages, what apt answers, accounts with fixed numbers: without a mirror."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.builder.packages import Cache, accounts_script, installed, parse_uris, prune, remove_tree
from images.builder.sources import machine_sources, mirror_sources, parse_sources, with_components
from images.recipe import load_recipe
from nf.errors import InputError, IntegrityError, NfError, NotFoundError

DEB822 = """\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""


def test_deb822_and_one_line_say_the_same() -> None:
    (one,) = parse_sources(DEB822, where="a")
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    line = f"deb [signed-by={key}] http://mirror.example/debian bookworm main # x\n"
    (other,) = parse_sources("# nothing\ndeb-src http://x y z\n" + line, where="b")
    assert one.uris == other.uris == ("http://mirror.example/debian",)
    assert one.suites == ("bookworm", "bookworm-updates")
    assert one.options == other.options


@pytest.mark.parametrize("text", ["deb nonsense\n", "Types: deb\nURIs: http://x\n", "Types: deb\nnonsense\n"])
def test_a_wrong_source_is_told(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_sources(text, where="mine.sources")
    assert caught.value.where == "mine.sources"
    assert caught.value.remedy


@given(st.text())
def test_any_text_is_a_source_or_an_error_of_ours(text: str) -> None:
    with contextlib.suppress(NfError):
        parse_sources(text, where="x")


def test_only_debians_own_entries_of_a_machine_count(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d/other.list").write_text("deb https://other.example/debian bookworm stable\n")
    (tmp_path / "sources.list.d/old.list.disabled").write_text("deb nonsense\n")
    assert [one.uris for one in machine_sources(tmp_path)] == [("http://mirror.example/debian",)]


def test_a_machine_without_debian_is_told_of_the_option(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="--mirror"):
        machine_sources(tmp_path)


def test_a_mirror_by_url_has_security_beside_it() -> None:
    archive, security = mirror_sources("http://mirror.example/debian/")
    assert archive.uris == ("http://mirror.example/debian",)
    assert security.uris == ("http://mirror.example/debian-security",)
    assert "Signed-By" in archive.text()


def test_firmware_adds_a_component_and_no_source_stays_unsigned() -> None:
    (made,) = with_components(
        parse_sources("deb http://m.example/debian bookworm main\n", where="x"), ["non-free-firmware"]
    )
    assert made.components == ("main", "non-free-firmware")
    assert dict(made.options)["Signed-By"].endswith("debian-archive-keyring.gpg")


URIS = """\
'http://m.example/pool/k/keepalived_2.2.7-1%2bb2_amd64.deb' keepalived_1%3a2.2.7-1+b2_amd64.deb 500 SHA256:aa
'copy:/srv/repository/./open5gs_2.7_amd64.deb' open5gs_2.7_amd64.deb 7 SHA256:bb
"""


def test_what_apt_would_install_is_read_with_epochs_and_origins() -> None:
    first, second = parse_uris(URIS, ["copy:///srv/repository"])
    assert (first.name, first.version, first.operator) == ("keepalived", "1:2.2.7-1+b2", False)
    assert (second.name, second.octets, second.operator) == ("open5gs", 7, True)


@pytest.mark.parametrize("text", ["", "E: nonsense\n", "'http://x/y.deb' y.deb 1 SHA256:aa\n"])
def test_another_answer_of_apt_is_an_error(text: str) -> None:
    with pytest.raises(IntegrityError):
        parse_uris(text)


def test_accounts_get_their_numbers_for_packages_that_go_in_only(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    script = accounts_script(load_recipe("pop"), ["frr", "varnish"])
    subprocess.run(["/bin/sh", "-c", script, "hook", str(tmp_path)], check=True)
    users = {line.split(":")[0]: line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    groups = {line.split(":")[0]: line.split(":") for line in (tmp_path / "etc/group").read_text().splitlines()}
    assert set(users) == {"frr", "varnish", "vcache", "varnishlog", "nf-observe", "nf-intercept", "nf-li", "nf-li-mdf"}
    assert users["vcache"][3] == users["varnish"][3] == groups["varnish"][2]
    assert groups["frrvty"][3] == "frr"
    assert {line[1] for line in users.values()} == {"*"}


def test_dpkgs_data_base_is_read(tmp_path: Path) -> None:
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n"
        "Package: b\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n"
    )
    assert installed(tmp_path) == {"a": ("1", "all")}
    with pytest.raises(InputError):
        installed(tmp_path / "nothing")


def test_the_cache_forgets_what_was_used_longest_ago(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    cache.make()
    for number in range(5):
        path = cache.trees / f"{number}.tar"
        path.touch()
        os.utime(path, (number, number))
    prune(cache.trees, keep=2)
    assert sorted(path.stem for path in cache.trees.glob("*.tar")) == ["3", "4"]


def test_what_a_killed_build_left_goes_and_that_of_a_running_one_stays(tmp_path: Path) -> None:
    nobody = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    for number in (nobody, os.getpid()):
        (tmp_path / f".{number}.work/tree").mkdir(parents=True)
        (tmp_path / f".abc.{number}.tar").touch()
    prune(tmp_path, keep=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".{os.getpid()}.work", f".abc.{os.getpid()}.tar"]


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")
