"""A whole build in small: every artefact real, made by the tools that make the large ones, some hundred kilobytes."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import NameOID

from images.supply import provenance, shipped

PROGRAMS = (
    *("mksquashfs", "unsquashfs", "veritysetup", "grub-mkimage", "sbsign", "objcopy"),
    *("mkfs.vfat", "mcopy", "mmd", "rauc", "sfdisk"),
)
STUB = Path("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
NOW = datetime(2026, 6, 1, tzinfo=UTC)
EPOCH = 1_780_000_000
MIB = 1 << 20


@dataclass(frozen=True)
class Pair:
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    def write(self, directory: Path, name: str) -> None:
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (directory / f"{name}.key").write_bytes(pem)
        (directory / f"{name}.crt").write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))


def make_pair(name: str, issuer: Pair | None = None, *, days: int = 9000) -> Pair:
    key = rsa.generate_private_key(65537, 2048)
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(issuer.certificate.subject if issuer else own)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=400))
        .not_valid_after(NOW + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    return Pair(key, certificate)


@dataclass(frozen=True)
class Maker:
    """All the keys of an organisation, as files in `directory`; `keyring` holds the public ones alone."""

    directory: Path
    keyring: Path
    manifest: ed25519.Ed25519PrivateKey
    db: Pair
    authority: Pair
    bundle: Pair


def make_maker(directory: Path, name: str = "Maker") -> Maker:
    directory.mkdir()
    keyring = directory / "public"
    keyring.mkdir()
    manifest = ed25519.Ed25519PrivateKey.generate()
    db, authority = make_pair(f"{name} db"), make_pair(f"{name} bundles")
    bundle = make_pair(f"{name} bundle signer", authority)
    for pair, file in ((db, "db"), (authority, "bundle-ca"), (bundle, "bundle")):
        pair.write(directory, file)
    for file in ("db", "bundle-ca"):
        (keyring / f"{file}.crt").write_bytes((directory / f"{file}.crt").read_bytes())
    public = manifest.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (keyring / "manifest.pub").write_bytes(public)
    return Maker(directory, keyring, manifest, db, authority, bundle)


def run(*arguments: str | Path, text: str | None = None) -> str:
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run(
        list(map(str, arguments)), input=text, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_root(out: Path, content: bytes) -> tuple[str, int]:
    """Root hash and hash offset."""
    tree = out.parent / "tree"
    tree.mkdir()
    (tree / "content").write_bytes(content)
    run("mksquashfs", tree, out, "-comp", "zstd", "-noappend", "-quiet", "-no-progress")
    offset = -(-out.stat().st_size // 4096) * 4096
    with out.open("r+b") as file:
        file.truncate(offset)
    said = run("veritysetup", "format", f"--hash-offset={offset}", f"--salt={'5a' * 32}", out, out)
    return said.split("Root hash:")[1].split()[0], offset


def make_grub(out: Path, maker: Maker) -> None:
    bare = out.with_suffix(".bare")
    run("grub-mkimage", "-O", "x86_64-efi", "-p", "/grub", "-o", bare)
    sign_program(bare, out, maker)


def make_kernel(out: Path, maker: Maker, command_line: str) -> None:
    parts = {"cmdline": (command_line.encode(), 0x30000), "osrel": (b"ID=nf\n", 0x20000)}
    parts |= {"linux": (b"L" * 3000, 0x2000000), "initrd": (b"I" * 5001, 0x3000000)}
    bare = out.with_suffix(".bare")
    added: list[str | Path] = []
    for name, (data, address) in parts.items():
        file = out.with_suffix(f".{name}")
        file.write_bytes(data)
        added += ["--add-section", f".{name}={file}", "--change-section-vma", f".{name}={address:#x}"]
    run("objcopy", *added, STUB, bare)
    sign_program(bare, out, maker)


def sign_program(bare: Path, out: Path, maker: Maker) -> None:
    run("sbsign", "--key", maker.directory / "db.key", "--cert", maker.directory / "db.crt", "--output", out, bare)


def make_volume(out: Path, files: dict[str, Path], *, octets: int = 2 * MIB) -> None:
    out.unlink(missing_ok=True)
    with out.open("wb") as file:
        file.truncate(octets)
    run("mkfs.vfat", "-i", "4e460001", "--invariant", out)
    made: set[str] = set()
    for name, source in files.items():
        parents = [str(one) for one in reversed(Path(name).parents)][1:]
        for parent in parents:
            if parent not in made:
                run("mmd", "-i", out, f"::/{parent}")
                made.add(parent)
        run("mcopy", "-i", out, source, f"::/{name}")


def make_bundle(out: Path, maker: Maker, *, root: Path, boot: Path, compatible: str, version: str = "1.2") -> None:
    content = Path(tempfile.mkdtemp(dir=maker.directory))
    for file in (root, boot):
        (content / file.name).write_bytes(file.read_bytes())
    manifest = f"[update]\ncompatible={compatible}\nversion={version}\n\n[bundle]\nformat=verity\n\n"
    manifest += "[image.rootfs]\nfilename=rootfs.img\n\n[image.boot]\nfilename=boot.vfat\n"
    (content / "manifest.raucm").write_text(manifest)
    out.unlink(missing_ok=True)
    run("rauc", f"--cert={maker.directory}/bundle.crt", f"--key={maker.directory}/bundle.key", "bundle", content, out)


def make_disk(out: Path, *, esp: Path, boot: Path, root: Path) -> None:
    slots = [("ESP", 2, esp), ("boot_a", 2, boot), ("boot_b", 2, boot), ("root_a", 1, root), ("root_b", 1, root)]
    partition(out, [*slots, ("data", 1, None)])


def make_medium(out: Path, maker: Maker, build: Path, *, payload_key: bytes) -> None:
    """An installer; `payload_key` is the raw key in the kernel image's command line."""
    root = json.loads((build / "root.json").read_text())
    place = Path(tempfile.mkdtemp(dir=maker.directory))
    line = f"nf.roothash={root['root_hash']} nf.hashoff={root['hash_offset']} nf.installer"
    make_kernel(place / "nf.efi", maker, f"{line} nf.payload_key={base64.b64encode(payload_key).decode()}")
    make_volume(place / "boot.vfat", {"nf.efi": place / "nf.efi"})
    files = [build / name for name in ("disk.img", "manifest.json", "manifest.json.sig")]
    run("mksquashfs", *files, place / "payload", "-comp", "zstd", "-noappend", "-quiet", "-no-progress")
    slots = [("ESP", 2, build / "esp.vfat"), ("boot_a", 2, place / "boot.vfat"), ("root_a", 1, build / "rootfs.img")]
    partition(out, [(f"inst_{name}", size, one) for name, size, one in [*slots, ("payload", 3, place / "payload")]])


def partition(out: Path, plan: Sequence[tuple[str, int, Path | None]]) -> None:
    """Name, size in MiB, content."""
    lines, at = ["label: gpt"], 1
    places: list[tuple[int, Path]] = []
    for name, size, content in plan:
        lines.append(f'start={at}MiB, size={size}MiB, name="{name}"')
        if content is not None:
            places.append((at * MIB, content))
        at += size
    with out.open("wb") as file:
        file.truncate((at + 1) * MIB)
    run("sfdisk", "--quiet", out, text="\n".join(lines))
    with out.open("r+b") as file:
        for start, content in places:
            file.seek(start)
            file.write(content.read_bytes())


@dataclass(frozen=True)
class SmallBuild:
    directory: Path
    maker: Maker

    @property
    def bundle(self) -> Path:
        return next(self.directory.glob("*.raucb"))

    def sign(self) -> None:
        """Manifest, its signature and the provenance, anew over what lies there."""
        sign_build(self.directory, self.maker)


def make_build(place: Path, maker: Maker) -> SmallBuild:
    work, out = place / "work", place / "build"
    work.mkdir(parents=True)
    out.mkdir()
    root_hash, offset = make_root(work / "rootfs.img", b"root " * 2000)
    make_grub(work / "BOOTX64.EFI", maker)
    make_kernel(work / "nf.efi", maker, f"nf.roothash={root_hash} nf.hashoff={offset} ro quiet panic=5")
    (work / "grubenv").write_bytes(b"# GRUB Environment Block\nA_OK=1\n".ljust(1024, b"#"))
    make_volume(work / "boot.vfat", {"nf.efi": work / "nf.efi"})
    make_volume(work / "esp.vfat", {"EFI/BOOT/BOOTX64.EFI": work / "BOOTX64.EFI", "grub/grubenv": work / "grubenv"})
    for name in ("rootfs.img", "nf.efi", "boot.vfat", "esp.vfat"):
        (work / name).rename(out / name)
    (out / "root.json").write_text(json.dumps({"root_hash": root_hash, "hash_offset": offset}))
    make_bundle(
        work / "bundle.raucb",
        maker,
        root=out / "rootfs.img",
        boot=out / "boot.vfat",
        compatible="streamverse-nf-pop-amd64",
    )
    (work / "bundle.raucb").rename(out / "streamverse-nf-pop-1.2.raucb")
    make_disk(out / "disk.img", esp=out / "esp.vfat", boot=out / "boot.vfat", root=out / "rootfs.img")
    (out / "packages.txt").write_text("base-files 12.4 amd64 debian 1\n")
    (out / "sbom.cdx.json").write_text(json.dumps({"metadata": {"component": {"version": "1.2"}}}))
    (out / "sbom.spdx.json").write_text(
        json.dumps({"packages": [{"name": "streamverse-nf-pop", "versionInfo": "1.2"}]})
    )
    (out / "licences.json").write_text(json.dumps({"version": "1.2", "packages": []}))
    sign_build(out, maker)
    return SmallBuild(out, maker)


def sign_build(out: Path, maker: Maker, **changes: object) -> None:
    papers = {"manifest.json", "manifest.json.sig", provenance.FILE, "root.json"}
    files = {one.name: one.read_bytes() for one in sorted(out.iterdir()) if one.name not in papers}
    manifest = {
        "role": "pop",
        "version": "1.2",
        "compatible": "streamverse-nf-pop-amd64",
        "architecture": "amd64",
        "source_date_epoch": EPOCH,
        **json.loads((out / "root.json").read_text()),
        "files": {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        },
        **changes,
    }
    data = json.dumps(manifest).encode()
    (out / "manifest.json").write_bytes(data)
    (out / "manifest.json.sig").write_bytes(maker.manifest.sign(data))
    build = provenance.Build(
        provenance.Source("0123456789abcdef" * 2 + "01234567", dirty=False), "ab" * 32, {"role": "pop"}, "0.1.0"
    )
    provenance.make_provenance(
        out,
        out / "manifest.json",
        shipped.parse(data),
        build,
        sign=maker.manifest.sign,
        public=maker.manifest.public_key(),
    )
