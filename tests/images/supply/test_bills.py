"""Bills of materials, licences, provenance: judged by other people's readers, and the same twice."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from images.supply import licences, provenance, sbom
from images.supply.shipped import File
from nf.errors import InputError, IntegrityError, NotFoundError

STATUS = """Package: base-files
Status: install ok installed
Priority: required
Section: admin
Essential: yes
Maintainer: Santiago Vila <sanvila@debian.org>
Architecture: amd64
Version: 12.4+deb12u15
Description: Debian base system miscellaneous files

Package: open5gs
Status: install ok installed
Priority: optional
Section: net
Maintainer: An Operator <noc@operator.example>
Architecture: amd64
Version: 2.7.1
Depends: base-files
Description: core network

Package: gone
Status: deinstall ok config-files
Priority: optional
Section: net
Maintainer: Nobody <nobody@operator.example>
Architecture: amd64
Version: 1
Description: was here

Package: silent
Status: install ok installed
Priority: optional
Section: net
Maintainer: An Operator <noc@operator.example>
Architecture: all
Version: 3
Description: says nothing

"""
DEP5 = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Open5GS

Files: *
Copyright: 2019 Somebody
License: AGPL-3+

Files: lib/*
Copyright: 2019 Somebody
License: Apache-2.0 or BSD-3-clause

License: AGPL-3+
 Text.

License: Apache-2.0
 Text.

License: BSD-3-clause
 Text.
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return _make_tree(tmp_path)


def _make_tree(place: Path) -> Path:
    """A root tree as far as bills look at it: three packages of Debian and two of Python."""
    root = place / "tree"
    for name in ("var/lib/dpkg", "usr/share/doc/base-files", "usr/share/doc/open5gs-common", "usr/share/doc/silent"):
        (root / name).mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text(STATUS)
    (root / "usr/share/doc/base-files/copyright").write_text("See /usr/share/common-licenses/GPL-2.\n")
    (root / "usr/share/doc/open5gs-common/copyright").write_text(DEP5)
    (root / "usr/share/doc/open5gs").symlink_to("/usr/share/doc/open5gs-common")
    (root / "usr/share/doc/silent/copyright").symlink_to("/../../etc/hostname")
    _distribution(root, "rich", "14.0", "License-Expression: MIT\nRequires-Dist: Secret_Sauce\n")
    _distribution(root, "Secret_Sauce", "1.0", "")
    direct = {"url": "file:///home/builder/secret_sauce-1.0-py3-none-any.whl", "archive_info": {}}
    site = root / "opt/streamverse/lib/python3.11/site-packages"
    (site / "Secret_Sauce-1.0.dist-info/direct_url.json").write_text(json.dumps(direct))
    return root


def _distribution(root: Path, name: str, version: str, more: str) -> None:
    place = root / f"opt/streamverse/lib/python3.11/site-packages/{name}-{version}.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{more}")
    (place / "RECORD").write_text("")


SUBJECT = sbom.Subject("pop", "1.2", 1_760_000_000, ("open5gs",))


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """CycloneDX and SPDX."""
    place = tmp_path_factory.mktemp("bills")
    return _bills(_make_tree(place), place / "out")


def _bills(tree: Path, out: Path) -> tuple[Path, Path]:
    out.mkdir()
    return sbom.make_sboms(tree, out, SUBJECT, report=lambda _share, _text: None, licensed=licences.read_tree(tree))


def test_both_bills_are_taken_by_the_readers_of_others_and_name_everything(bills: tuple[Path, Path]) -> None:
    from cyclonedx.model.bom import Bom
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    cyclonedx, spdx = bills
    text = cyclonedx.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = Bom.from_json(json.loads(text))  # type: ignore[attr-defined]
    assert {"base-files", "open5gs", "silent", "rich", "Secret_Sauce"} <= {one.name for one in bom.components}
    assert "gone" not in {one.name for one in bom.components}
    assert bom.metadata.component.name == "streamverse-nf-pop"
    document = parse_file(str(spdx))
    assert not validate_full_spdx_document(document)
    packages = {one.name: one for one in document.packages}
    assert {"base-files", "open5gs", "silent", "rich", "Secret_Sauce"} <= packages.keys()
    assert str(packages["rich"].license_declared) == "MIT"
    assert "AGPL-3+" in str(packages["open5gs"].license_comment)


def test_the_operators_packages_are_marked_and_build_paths_stay_out(bills: tuple[Path, Path]) -> None:
    cyclonedx, spdx = bills
    components = {one["bom-ref"]: one for one in json.loads(cyclonedx.read_text())["components"]}
    added = components["pkg:deb/debian/open5gs@2.7.1?arch=amd64"]
    assert {"name": "streamverse:origin", "value": "operator overlay"} in added["properties"]
    assert '"comment": "operator overlay"' in spdx.read_text()
    for one in (cyclonedx, spdx):
        assert "/home/builder" not in one.read_text()
        assert str(cyclonedx.parent.parent) not in one.read_text()


def test_bills_of_the_same_tree_are_the_same_octets(bills: tuple[Path, Path], tree: Path, tmp_path: Path) -> None:
    again = _bills(tree, tmp_path / "again")
    assert [one.read_bytes() for one in bills] == [one.read_bytes() for one in again]
    assert "2025-10-09T08:53:20Z" in again[0].read_text()


def test_a_tree_without_dpkg_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no dpkg database"):
        sbom.make_sboms(tmp_path, tmp_path, SUBJECT, report=lambda _share, _text: None)


def test_licences(tree: Path, tmp_path: Path) -> None:
    found = {
        one.name: one for one in licences.make_licences(tree, tmp_path, role="pop", version="1", overlay=["open5gs"])
    }
    assert (found["base-files"].source, found["base-files"].licences) == ("text", ("GPL-2",))
    assert found["open5gs"].licences == ("AGPL-3+", "Apache-2.0", "BSD-3-clause")
    assert found["open5gs"].overlay
    assert found["rich"].licences == ("MIT",)
    assert found["silent"].source == "none"  # a link out of the tree leads nowhere
    report = json.loads((tmp_path / licences.FILE).read_text())
    assert report["unknown"] == ["silent", "Secret_Sauce"]
    assert licences.read_report(tmp_path / licences.FILE) == tuple(found.values())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"packages": 3}', '{"packages": [{"name": 1}]}'])
def test_a_damaged_report_of_licences_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(IntegrityError):
        licences.read_report(tmp_path / "l.json")
    with pytest.raises(NotFoundError):
        licences.read_report(tmp_path / "absent")


def test_provenance_is_what_in_toto_and_slsa_describe() -> None:
    build = provenance.Build(
        provenance.Source("a" * 40, dirty=False),
        "b" * 64,
        {"role": "pop", "version": "1"},
        "0.1.0",
        (provenance.Dependency("pkg:deb/debian/frr@10?arch=amd64", "frr_10_amd64.deb", "c" * 64),),
    )
    made = provenance.statement({"disk.img": File(1, "d" * 64)}, 5, build)
    assert made["_type"] == "https://in-toto.io/Statement/v1"
    assert made["subject"] == [{"name": "disk.img", "digest": {"sha256": "d" * 64}}]
    definition = made["predicate"]["buildDefinition"]
    assert definition["resolvedDependencies"][0]["digest"] == {"gitCommit": "a" * 40}
    assert definition["resolvedDependencies"][1]["digest"] == {"sha256": "c" * 64}
    assert made["predicate"]["runDetails"]["builder"]["id"].startswith("urn:")


def test_an_envelope_is_signed_as_the_protocol_says(tmp_path: Path) -> None:
    """The pre-authentication encoding of DSSE 1.0.2, written out by hand."""
    from images.supply import dsse

    key = ed25519.Ed25519PrivateKey.generate()
    sealed = json.loads(dsse.seal("application/x", b"hello world", sign=key.sign, public=key.public_key()))
    signature = base64.b64decode(sealed["signatures"][0]["sig"])
    key.public_key().verify(signature, b"DSSEv1 13 application/x 11 hello world")
    assert base64.b64decode(sealed["payload"]) == b"hello world"


def test_dependencies_by_digest(tmp_path: Path) -> None:
    (tmp_path / "frr_1%3a10.2-1_amd64.deb").write_bytes(b"deb")
    (deb,) = provenance.debian_dependencies(tmp_path.glob("*.deb"))
    assert deb.uri == "pkg:deb/debian/frr@1:10.2-1?arch=amd64"
    assert deb.sha256 == hashlib.sha256(b"deb").hexdigest()
    wheel = tmp_path / "typing_extensions-4.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    with pytest.raises(IntegrityError, match="no such digest"):
        provenance.wheel_dependencies([wheel], f"typing-extensions==4.0 --hash=sha256:{'0' * 64}")
    lock = f"typing-extensions==4.0 --hash=sha256:{hashlib.sha256(b'wheel').hexdigest()}"
    (found,) = provenance.wheel_dependencies([wheel], lock)
    assert found.uri == "pkg:pypi/typing-extensions@4.0"
    (tmp_path / "odd.deb").write_bytes(b"")
    with pytest.raises(IntegrityError, match="not named as apt"):
        provenance.debian_dependencies([tmp_path / "odd.deb"])


def test_a_recipes_digest_changes_with_contents_names_and_modes(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    (recipe / "a").write_text("one")
    digests = {provenance.digest_of_tree([recipe], relative_to=tmp_path)}
    (recipe / "a").write_text("two")
    digests.add(provenance.digest_of_tree([recipe], relative_to=tmp_path))
    (recipe / "a").chmod(0o755)
    digests.add(provenance.digest_of_tree([recipe], relative_to=tmp_path))
    (recipe / "b").symlink_to("a")
    digests.add(provenance.digest_of_tree([recipe], relative_to=tmp_path))
    assert len(digests) == 4
    assert provenance.digest_of_tree([recipe], relative_to=tmp_path) in digests


def test_the_source_is_a_commit_or_said_to_be_none(tmp_path: Path) -> None:
    assert provenance.read_source(tmp_path) == provenance.Source("", dirty=True)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "m"], check=True)
    clean = provenance.read_source(tmp_path)
    assert len(clean.commit) == 40
    assert not clean.dirty
    (tmp_path / "new").write_text("")
    assert provenance.read_source(tmp_path).dirty


def test_the_commands(tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    from nf.cli.main import main

    def call(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["nf", "image", *arguments])
        assert main() == 0
        return capfd.readouterr().out

    assert "unknown: silent, Secret_Sauce" in call("licences", str(tree))
    assert {one["name"] for one in json.loads(call("licences", str(tree), "--json"))} >= {"rich", "open5gs"}
    build = tree / "build"
    build.mkdir()
    (build / "sbom.spdx.json").write_text("the bill")
    assert call("sbom", str(build), "--format", "spdx") == "the bill"
