"""Bills of materials of a root tree: CycloneDX 1.6 and SPDX 2.3, each of Debian packages and the product's venv in one.

debsbom reads the dpkg database, cyclonedx-bom the venv; what they write is put together here, and into one order, so
that the same tree, version and `SOURCE_DATE_EPOCH` give the same octets: serial number and namespace come from the
content, the time from the epoch.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from images.report import Report
from images.supply import strict_json
from images.supply.licences import Licensed
from nf.errors import DriverError, InputError, UnavailableError

CYCLONEDX: Final = "sbom.cdx.json"
SPDX: Final = "sbom.spdx.json"
_VENV: Final = "opt/streamverse"
_CDX_VERSION: Final = "1.6"
_ABOUT: Final = "SPDXRef-DOCUMENT"
_UNKNOWN: Final = "NOASSERTION"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a bill is about. `overlay`: names of the packages that the operator added."""

    role: str
    version: str
    source_date_epoch: int
    overlay: Collection[str] = ()

    @property
    def name(self) -> str:
        return f"streamverse-nf-{self.role}"

    @property
    def time(self) -> str:
        return datetime.fromtimestamp(self.source_date_epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def make_sboms(
    tree: Path, out: Path, subject: Subject, *, report: Report, licensed: tuple[Licensed, ...] = ()
) -> tuple[Path, Path]:
    """Write both into directory `out`; `licensed` (see `licences`) goes into them where debsbom would take a minute.

    Raises InputError, UnavailableError and DriverError.
    """
    if not (tree / "var/lib/dpkg/status").is_file():
        raise InputError("is no root tree: it has no dpkg database", where=str(tree))
    with tempfile.TemporaryDirectory(prefix="nf-sbom-") as directory:
        report(0.0, "Debian packages")
        _debsbom(tree, Path(directory), subject)
        report(0.5, "Python packages")
        venv = _venv_bill(tree, Path(directory))
        debian = json.loads((Path(directory) / "debian.cdx.json").read_bytes())
        debian_spdx = json.loads((Path(directory) / "debian.spdx.json").read_bytes())
    report(0.8, "CycloneDX and SPDX")
    names = {one.name: one.licences for one in licensed if one.kind == "deb"}
    (out / CYCLONEDX).write_bytes(strict_json.pretty(_cyclonedx(debian, venv, subject, names)))
    (out / SPDX).write_bytes(strict_json.pretty(_spdx(debian_spdx, venv, subject, names)))
    report(1.0, "")
    return out / CYCLONEDX, out / SPDX


def _debsbom(tree: Path, directory: Path, subject: Subject) -> None:
    _run(
        "debsbom",
        *("generate", "--root", str(tree), "--out", str(directory / "debian")),
        *("--distro-name", subject.name, "--distro-version", subject.version, "--distro-supplier", "StreamVerse"),
        *("--distro-arch", "amd64", "--timestamp", subject.time.replace("Z", "+00:00")),
        *("--cdx-schema-version", _CDX_VERSION),
    )


def _venv_bill(tree: Path, directory: Path) -> dict[str, Any]:
    """What is installed in the tree's venv, read without running a program of the tree."""
    found = sorted((tree / _VENV / "lib").glob("python3*/site-packages"))
    if not found:
        return {"components": [], "dependencies": []}
    # cyclonedx-py asks an interpreter for its path and reads the metadata itself.
    interpreter = directory / "python"
    interpreter.write_text(f"#!{sys.executable}\nprint({json.dumps([str(one) for one in found])!r})\n")
    interpreter.chmod(0o700)
    _run(
        "cyclonedx-py",
        *("environment", "--output-reproducible", "--no-validate", "--sv", _CDX_VERSION, "--of", "JSON"),
        *("--output-file", str(directory / "venv.json"), str(interpreter)),
    )
    bill: dict[str, Any] = json.loads((directory / "venv.json").read_bytes())
    for component in bill["components"]:
        # Our own wheel and whatever else came from a file: its path says something about the build host only.
        kept = [one for one in component.get("externalReferences", ()) if not one["url"].startswith("file:")]
        component.pop("externalReferences", None)
        if kept:
            component["externalReferences"] = kept
    return bill


def _cyclonedx(
    debian: dict[str, Any], venv: dict[str, Any], subject: Subject, licences: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    bill = dict(debian)
    bill.pop("serialNumber", None)
    tools = [*debian["metadata"]["tools"]["components"], *_tools(venv)]
    bill["metadata"] = {**debian["metadata"], "timestamp": subject.time, "tools": {"components": _ordered(tools)}}
    root = bill["metadata"]["component"]["bom-ref"]
    for component in debian["components"]:
        if "arch=source" in component["purl"]:
            continue
        if named := licences.get(component["name"]):
            component["licenses"] = [{"license": {"name": name}} for name in named]
        if component["name"] in subject.overlay:
            origin = {"name": "streamverse:origin", "value": "operator overlay"}
            component["properties"] = _ordered([*component.get("properties", ()), origin])
    bill["components"] = sorted([*debian["components"], *venv["components"]], key=lambda one: str(one["bom-ref"]))
    needs = {one["ref"]: set(one.get("dependsOn", ())) for one in (*debian["dependencies"], *venv["dependencies"])}
    needs.setdefault(root, set()).update(one["bom-ref"] for one in venv["components"])
    bill["dependencies"] = [
        {"ref": ref, "dependsOn": sorted(needs[ref])} if needs[ref] else {"ref": ref} for ref in sorted(needs)
    ]
    return {**bill, "serialNumber": f"urn:uuid:{_content_uuid(bill)}"}


def _tools(venv: dict[str, Any]) -> list[dict[str, Any]]:
    tools = venv.get("metadata", {}).get("tools", {})
    found: list[dict[str, Any]] = tools.get("components", []) if isinstance(tools, dict) else []
    return found


def _spdx(
    debian: dict[str, Any], venv: dict[str, Any], subject: Subject, licences: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    bill = dict(debian)
    bill.pop("documentNamespace", None)
    root = next(one["SPDXID"] for one in debian["packages"] if one["name"] == subject.name)
    identifiers = {one["bom-ref"]: _spdx_id(one) for one in venv["components"]}
    packages = [*debian["packages"], *(_spdx_package(one) for one in venv["components"])]
    for package in packages:
        if package.get("primaryPackagePurpose") == "SOURCE":
            continue
        if named := licences.get(package["name"]):
            # Debian's short names are no SPDX expressions, and not every one has a counterpart there.
            package["licenseComments"] = f"Debian copyright file: {', '.join(named)}"
        if package["name"] in subject.overlay:
            package["comment"] = "operator overlay"
    relations = [*debian["relationships"], *_spdx_relations(venv, identifiers, root)]
    bill["creationInfo"] = {
        **debian["creationInfo"],
        "created": subject.time,
        "creators": sorted(
            [*debian["creationInfo"]["creators"], *(f"Tool: {one['name']}-{one['version']}" for one in _tools(venv))]
        ),
    }
    bill["packages"] = sorted(packages, key=lambda one: str(one["SPDXID"]))
    unique = {strict_json.canonical(one): one for one in relations}
    bill["relationships"] = [unique[key] for key in sorted(unique)]
    return {**bill, "documentNamespace": f"https://spdx.org/spdxdocs/{subject.name}-{_content_uuid(bill)}"}


def _spdx_id(component: dict[str, Any]) -> str:
    plain = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in component["bom-ref"])
    return f"SPDXRef-pypi-{plain}"


def _spdx_package(component: dict[str, Any]) -> dict[str, Any]:
    package: dict[str, Any] = {
        "SPDXID": _spdx_id(component),
        "name": component["name"],
        "versionInfo": component["version"],
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": _UNKNOWN,
        "licenseDeclared": declared_licence(component) or _UNKNOWN,
        "copyrightText": _UNKNOWN,
        "primaryPackagePurpose": "LIBRARY",
    }
    if "purl" in component:
        reference = {"referenceCategory": "PACKAGE_MANAGER", "referenceType": "purl"}
        package["externalRefs"] = [{**reference, "referenceLocator": component["purl"]}]
    if "description" in component:
        package["summary"] = component["description"]
    return package


def declared_licence(component: dict[str, Any]) -> str:
    """The SPDX expression of a CycloneDX component; empty where it has names only."""
    found: list[str] = []
    for one in component.get("licenses", ()):
        if "expression" in one:
            found.append(str(one["expression"]))
        elif "id" in one.get("license", {}):
            found.append(str(one["license"]["id"]))
        else:
            return ""
    return found[0] if len(found) == 1 else " AND ".join(f"({one})" for one in sorted(found))


def _spdx_relations(venv: dict[str, Any], identifiers: dict[str, str], root: str) -> Iterable[dict[str, str]]:
    for identifier in identifiers.values():
        yield {"spdxElementId": identifier, "relationshipType": "PACKAGE_OF", "relatedSpdxElement": root}
    for one in venv["dependencies"]:
        for needed in one.get("dependsOn", ()):
            if one["ref"] in identifiers and needed in identifiers:
                yield {
                    "spdxElementId": identifiers[one["ref"]],
                    "relationshipType": "DEPENDS_ON",
                    "relatedSpdxElement": identifiers[needed],
                }


def _content_uuid(bill: dict[str, Any]) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, hashlib.sha256(strict_json.canonical(bill)).hexdigest())


def _ordered(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(values, key=strict_json.canonical)


def _run(program: str, *arguments: str) -> None:
    path = Path(sys.executable).with_name(program)
    try:
        done = subprocess.run(
            [str(path) if path.is_file() else program, *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise UnavailableError(
            f"{program} is not installed", remedy="install the extra `images` of streamverse-nf"
        ) from None
    if done.returncode:
        raise DriverError(f"ended with {done.returncode}: {done.stderr.strip()[-400:]}", where=program)
