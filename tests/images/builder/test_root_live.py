"""A whole root, twice, with an operator's overlay in it: the same octets, and everything under the same supervision."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from images.builder.build import build_image
from images.builder.manifest import Manifest
from images.builder.order import Built, Options
from images.builder.tree import digest_lines
from nf.errors import DocumentError

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.soak, pytest.mark.timeout(3600)]

UNIT = "[Service]\nExecStart=/usr/bin/testcore\n[Install]\nWantedBy=multi-user.target\n"


def make_package(directory: Path, name: str, *, version: str = "1.0", depends: str = "libc6") -> None:
    root = directory.parent / f"{name}-{version}"
    files = {
        "DEBIAN/control": f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: a <a@b.example>\n"
        f"Depends: {depends}\nDescription: made by a test\n",
        f"usr/bin/{name}": "#!/bin/sh\nexec sleep infinity\n",
        f"lib/systemd/system/{name}.service": UNIT.replace("testcore", name),
        f"var/lib/{name}/seed": "first\n",
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / f"usr/bin/{name}").chmod(0o755)
    made = directory / f"{name}_{version}_amd64.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", str(root), str(made)], check=True, stdout=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def order(
    tmp_path_factory: pytest.TempPathFactory, require_root: Callable[[], None], require_programs: Callable[..., None]
) -> Options:
    require_root()
    require_programs("mmdebstrap", "apt-get")
    place = tmp_path_factory.mktemp("images")
    (place / "debs").mkdir()
    make_package(place / "debs", "testcore", depends="libc6, testlib")
    make_package(place / "debs", "testlib")
    make_package(place / "debs", "open5gs-test", depends="libcurl4")
    overlay = place / "overlay"
    (overlay / "files/opt/operator").mkdir(parents=True)
    (overlay / "files/opt/operator/motd").write_text("ours\n")
    (overlay / "units").mkdir()
    (overlay / "units/operator.service").write_text(UNIT)
    return Options(
        role="headend",
        version="1.0+test",
        kernel="cloud",
        output=place / "out",
        cache=place / "cache",
        overlays=(overlay,),
        repositories=(str(place / "debs"),),
        packages=("testcore",),
        epoch=1_700_000_000,
        root_only=True,
        keep_tree=True,
    )


@pytest.fixture(scope="module")
def built(order: Options) -> Built:
    return build_image(order)


def changed(order: Options, **changes: object) -> Options:
    return Options(**{**{name: getattr(order, name) for name in order.__slots__}, **changes})  # type: ignore[arg-type]


def test_the_overlay_is_in_the_root_and_under_supervision(built: Built) -> None:
    manifest: Manifest = built.manifest
    assert manifest.overlay is not None
    assert {"testcore", "testlib"} <= set(manifest.overlay.packages)
    assert {"testcore.service", "operator.service"} <= set(manifest.overlay.units) & set(manifest.units)
    assert "/opt/operator/motd" in manifest.overlay.files
    assert {one.name for one in manifest.packages if one.origin == "operator"} == {"testcore", "testlib"}
    with tarfile.open(built.directory / "rootfs.tar") as archive:
        names = set(archive.getnames())
        unit = archive.extractfile("./usr/lib/systemd/system/testcore.service.d/10-nf-operator.conf")
        assert unit is not None
        assert b"NoNewPrivileges" in unit.read()
        tmpfiles = archive.extractfile("./usr/lib/tmpfiles.d/nf-var.conf")
        assert tmpfiles is not None
        assert b'C "/var/lib/testcore/seed" 0644 root root' in tmpfiles.read()
    assert "./usr/bin/nf" in names
    assert "./opt/streamverse/bin/python" in names
    assert not [name for name in names if "ssh_host_" in name]


def test_debians_libcurl_is_refused_under_open5gs(order: Options, built: Built) -> None:
    with pytest.raises(DocumentError, match="open5gs-test") as caught:
        build_image(changed(order, packages=("open5gs-test",), output=order.output.parent / "refused"))
    assert caught.value.problems[0].key.startswith("libcurl")
    assert not list((order.output.parent / "refused").glob("*"))


def test_the_same_order_gives_the_same_octets(order: Options, built: Built) -> None:
    """Nothing but the downloaded packages and wheels is shared between the two builds."""
    cache = order.cache.with_name("second")
    cache.mkdir()
    for name in ("archives", "wheels"):
        (cache / name).symlink_to(order.cache / name)
    again = build_image(changed(order, cache=cache, output=order.output.with_name("again")))
    first, second = (
        list(digest_lines(one.directory.with_name(f"{one.directory.name}.tree"))) for one in (built, again)
    )
    assert [line for line in first if line not in set(second)] == []
    assert again.manifest.tree_sha256 == built.manifest.tree_sha256
    assert (again.directory / "rootfs.tar").read_bytes() == (built.directory / "rootfs.tar").read_bytes()


def test_from_the_cache_it_is_the_same_again(order: Options, built: Built) -> None:
    again = build_image(order)
    assert again.cached
    assert again.manifest == built.manifest
    mounts = Path("/proc/self/mounts").read_text()
    assert str(order.output) not in mounts
    assert str(order.cache) not in mounts
