"""A root as a directory: paths stay inside, digests and times, what is filled in, what an image may never hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.builder import rootfs, services
from images.builder.tree import copy_files, fill, inside, set_times, tree_digest
from images.recipe import load_recipe
from nf.errors import DocumentError, InputError, IntegrityError

EPOCH = 1_700_000_000


def put(path: Path, text: str = "x\n", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_links_lead_to_where_the_running_system_goes(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "escape").symlink_to("/../../../etc")
    assert inside(tmp_path, "/lib/x") == tmp_path / "usr/lib/x"
    assert inside(tmp_path, "/escape/passwd") == tmp_path / "etc/passwd"
    (tmp_path / "ring").symlink_to("ring")
    with pytest.raises(InputError, match="ring"):
        inside(tmp_path, "/ring/x")


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("root")
    (place / "link").symlink_to("/a/..")
    (place / "up").symlink_to("../../..")
    return place


@given(parts=st.lists(st.sampled_from(["..", ".", "a", "link", "up", "/"]), max_size=12))
def test_no_path_leaves_the_root(linked: Path, parts: list[str]) -> None:
    assert inside(linked, "/" + "/".join(parts)).is_relative_to(linked)


@pytest.mark.root
def test_our_files_go_in_with_plain_modes_and_templates_filled(tmp_path: Path) -> None:
    put(tmp_path / "source/etc/rauc/system.conf.template", "compatible=@COMPATIBLE@\n", 0o600)
    put(tmp_path / "source/lib/tool", mode=0o777)
    (tmp_path / "root/usr/lib").mkdir(parents=True)
    (tmp_path / "root/lib").symlink_to("usr/lib")
    written = copy_files(tmp_path / "source", tmp_path / "root", {"COMPATIBLE": "mine"})
    assert written == ["/etc/rauc/system.conf", "/usr/lib/tool"]
    assert (tmp_path / "root/etc/rauc/system.conf").read_text() == "compatible=mine\n"
    assert (tmp_path / "root/etc/rauc/system.conf").stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "root/usr/lib/tool").stat().st_mode & 0o7777 == 0o755


def test_a_placeholder_without_a_value_is_told() -> None:
    assert fill("a@b.example @ROLE@", {"ROLE": "pop"}, where="x") == "a@b.example pop"
    with pytest.raises(InputError, match="ROLL"):
        fill("@ROLL@", {"ROLE": "pop"}, where="x")


def test_the_digest_sees_content_mode_and_time_only(tmp_path: Path) -> None:
    for name in ("one", "two"):
        put(tmp_path / name / "etc/x")
        set_times(tmp_path / name, EPOCH)
    assert tree_digest(tmp_path / "one") == tree_digest(tmp_path / "two")
    (tmp_path / "two/etc/x").chmod(0o755)
    assert tree_digest(tmp_path / "one") != tree_digest(tmp_path / "two")
    (tmp_path / "two/etc/x").chmod(0o644)
    os.utime(tmp_path / "two/etc/x", (EPOCH + 1, EPOCH + 1))
    assert tree_digest(tmp_path / "one") != tree_digest(tmp_path / "two")


def root(directory: Path) -> Path:
    put(directory / "etc/passwd", "root:x:0:0:root:/root:/bin/bash\nfrr:x:221:221::/:/usr/sbin/nologin\n")
    put(directory / "etc/group", "root:x:0:\nfrr:x:221:\n")
    put(directory / "etc/shadow", "root::19000:0:99999:7:::\nfrr:!:19001::::::\n", 0o640)
    put(directory / "usr/lib/os-release", "ID=debian\nIMAGE_ID=old\n")
    return directory


def test_identity_is_written_and_nobody_can_log_in(tmp_path: Path) -> None:
    here = root(tmp_path)
    rootfs.write_identity(here, load_recipe("pop", kernel="cloud"), "1.2.3")
    rootfs.lock_accounts(here, EPOCH)
    assert "NF_COMPATIBLE=streamverse-nf-pop-amd64\n" in (here / "etc/nf-release").read_text()
    assert "IMAGE_ID=streamverse-nf-pop\nIMAGE_VERSION=1.2.3\n" in (here / "usr/lib/os-release").read_text()
    assert (here / "etc/machine-id").read_text() == ""
    assert (here / "etc/shadow").read_text().splitlines()[0] == f"root:*:{EPOCH // 86400}:0:99999:7:::"
    rootfs.audit(here)


@pytest.mark.parametrize(
    ("path", "mode", "told"),
    [
        ("etc/ssh/ssh_host_rsa_key", 0o600, "host key"),
        ("root/.ssh/authorized_keys", 0o600, "opens every appliance"),
        ("usr/bin/su", 0o4755, "set-uid"),
        ("etc/x", 0o666, "anybody can write"),
    ],
)
def test_what_no_image_may_hold(tmp_path: Path, path: str, mode: int, told: str) -> None:
    here = root(tmp_path)
    rootfs.write_identity(here, load_recipe("pop"), "1")
    rootfs.lock_accounts(here, EPOCH)
    put(here / path, mode=mode)
    with pytest.raises(IntegrityError, match=told):
        rootfs.audit(here)


def test_a_password_is_found(tmp_path: Path) -> None:
    here = root(tmp_path)
    rootfs.write_identity(here, load_recipe("pop"), "1")
    with pytest.raises(IntegrityError, match="root can log in"):
        rootfs.audit(here)


def test_an_account_without_a_fixed_number_stops_the_build(tmp_path: Path) -> None:
    here = root(tmp_path)
    rootfs.require_fixed_accounts(here, load_recipe("pop"))
    put(here / "etc/passwd", "surprise:x:107:107::/:/bin/false\n")
    with pytest.raises(DocumentError) as caught:
        rootfs.require_fixed_accounts(here, load_recipe("pop"))
    assert caught.value.problems[0].key == "surprise (107, passwd)"


@pytest.fixture
def enabled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `systemctl enable` in the tree was asked for."""
    asked: list[str] = []
    monkeypatch.setattr(services, "in_tree", lambda tree, *command, where: asked.extend(command[3:]))
    return asked


def test_a_unit_that_nobody_foresaw_stops_the_build(tmp_path: Path, enabled: list[str]) -> None:
    here = tmp_path / "etc/systemd/system"
    (here / "multi-user.target.wants").mkdir(parents=True)
    recipe = load_recipe("pop")
    for unit in recipe.enabled:
        put(tmp_path / "lib/systemd/system" / unit)
    put(tmp_path / "usr/lib/systemd/system/nf-agent.service", "[Install]\nWantedBy=multi-user.target\n")
    put(tmp_path / "usr/lib/systemd/system/nf-reset@.service", "[Service]\n")
    (here / "multi-user.target.wants/varnish.service").symlink_to("/lib/systemd/system/varnish.service")
    (here / "multi-user.target.wants/ssh.service").symlink_to("/lib/systemd/system/ssh.service")
    (here / "sshd.service").symlink_to("/lib/systemd/system/ssh.service")
    services.settle_services(tmp_path, recipe, ours=["nf-agent.service", "nf-reset@.service"])
    assert enabled == [*recipe.enabled, "nf-agent.service"]
    assert (here / "varnish.service").readlink() == Path("/dev/null")
    assert not list((here / "multi-user.target.wants").iterdir())
    assert not (here / "sshd.service").is_symlink()
    (here / "multi-user.target.wants/telnetd.service").symlink_to("/lib/systemd/system/telnetd.service")
    with pytest.raises(DocumentError) as caught:
        services.settle_services(tmp_path, recipe)
    assert [one.key for one in caught.value.problems] == ["telnetd.service"]
    services.settle_services(tmp_path, recipe, allowed=["telnetd.service"])


def test_what_packages_put_below_var_comes_back_on_the_data_partition(tmp_path: Path) -> None:
    here = root(tmp_path)
    put(here / "var/lib/frr/state", mode=0o640)
    (here / "var/lib/frr").chmod(0o750)
    put(here / "var/lib/dpkg/status")
    rootfs.describe_var(here)
    lines = (here / rootfs.VAR_TMPFILES).read_text().splitlines()
    owner = "frr frr" if (here / "var/lib/frr").stat().st_uid == 221 else None
    assert any(line.startswith('d "/var/lib/frr" 0750 ') for line in lines), (lines, owner)
    assert any(line.startswith('C "/var/lib/frr/state" 0640 ') for line in lines)
    assert not any("dpkg" in line for line in lines)
    assert (here / "usr/share/factory/var/lib/frr/state").read_text() == "x\n"


def test_cleaning_leaves_mount_points_and_nothing_of_this_hour(tmp_path: Path) -> None:
    here = root(tmp_path)
    for name in (
        "run/x.pid",
        "var/log/dpkg.log",
        "var/cache/ldconfig/aux-cache",
        "etc/passwd-",
        "etc/ssh/ssh_host_rsa_key",
    ):
        put(here / name)
    (here / "var/log/frr").mkdir(mode=0o750)
    rootfs.clean(here)
    assert not list((here / "run").iterdir())
    assert [path.name for path in (here / "var/log").iterdir()] == ["frr"]
    assert not list((here / "var/cache").iterdir())
    assert not (here / "etc/passwd-").exists()
    assert not list((here / "etc/ssh").iterdir())
    assert (here / "tmp").stat().st_mode & 0o7777 == 0o1777


def test_a_file_with_many_names_takes_its_room_once(tmp_path: Path) -> None:
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/one.so").write_bytes(bytes(100))
    (tmp_path / "usr/lib/two.so").hardlink_to(tmp_path / "usr/lib/one.so")
    (tmp_path / "usr/lib/three.so").write_bytes(bytes(7))
    (info / "drivers:amd64.list").write_text(
        "/.\n/usr/lib\n/usr/lib/one.so\n/usr/lib/two.so\n/usr/lib/three.so\n/gone\n"
    )
    assert rootfs.package_octets(tmp_path, "drivers") == 107
