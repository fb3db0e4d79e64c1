"""The installer medium: the role's own verified root, started into the installer, with the signed image as payload.

    1 inst_ESP       64 MiB   the image's GRUB; one slot
    2 inst_boot_a   128 MiB   the image's kernel image with a command line of its own, signed anew
    3 inst_root_a             the image's root, as it is: its root hash stands on that command line
    4 inst_payload            squashfs: disk.img, manifest.json and its signature

The names have a prefix, so that the medium and an installed disk can be in one machine. Nothing on the medium is
trusted for its place: firmware checks what boots, dm-verity the root, and the payload is checked by the key that the
signed command line names.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization

from images.appliance.fat import Fat, Volume
from images.appliance.system import Program, System, program
from images.builder.esp import BOOT_OCTETS, ESP_OCTETS, make_boot
from images.builder.grub import grubenv
from images.builder.uki import make_uki, sections
from images.flash.installer import KEY_WORD, PAYLOAD_LABEL
from images.flash.payload import DISK, MANIFEST, Payload, open_payload
from images.report import Report
from images.signing.keys import Keys
from images.signing.manifest import public_key
from nf.errors import InputError, NotFoundError, StorageError

PARAMETERS: Final = "nf.installer systemd.unit=nf-installer.target"
_MIB: Final = 1024 * 1024
_SECTOR: Final = 512
_GUIDS: Final = uuid.UUID("6e660000-0000-4000-8000-000000000200")
_ESP_TYPE: Final = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_LINUX_TYPE: Final = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
_CHUNK: Final = 4 * _MIB


def make_medium(build: Path, keys: Keys, out: Path, report: Report) -> Payload:
    """`build`: a directory of `nf image build`, signed by these keys. What the medium installs.

    Raises NotFoundError, InputError (not such a directory), IntegrityError (signed by other keys), StorageError.
    """
    key = public_key(keys.manifest_public.read_bytes(), where=str(keys.manifest_public))
    payload = open_payload(build, key)
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    for name in ("nf.efi", "esp.vfat", "rootfs.img"):
        if not (build / name).is_file():
            raise NotFoundError(f"there is no {name}", where=str(build), remedy="nf image build makes it")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as place:
            scratch = Path(place)
            report(0.0, "signing what boots")
            boot, esp = scratch / "boot.vfat", scratch / "esp.vfat"
            make_boot(boot, uki=_uki(build / "nf.efi", keys, raw, scratch))
            shutil.copyfile(build / "esp.vfat", esp)
            Fat(Volume(esp)).write("grub/grubenv", grubenv(order="A", good="A"))
            report(0.1, "packing the image")
            packed = _pack(build, payload.image, scratch)
            report(0.6, "writing the medium")
            parts = [
                ("inst_ESP", _ESP_TYPE, ESP_OCTETS, esp),
                ("inst_boot_a", _LINUX_TYPE, BOOT_OCTETS, boot),
                ("inst_root_a", _LINUX_TYPE, _whole(build / "rootfs.img"), build / "rootfs.img"),
                (PAYLOAD_LABEL, _LINUX_TYPE, _whole(packed), packed),
            ]
            _assemble(scratch / "medium", parts, lambda done: report(0.6 + 0.4 * done, "writing the medium"))
            (scratch / "medium").replace(out)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(error.filename or out)) from error
    report(1.0, "done")
    return payload


def installer_command_line(image: str, key: bytes) -> str:
    """From that of the image. Raises InputError when it names no verified root."""
    words = image.split()
    if not any(word.startswith("nf.roothash=") for word in words):
        raise InputError("names no verified root", where="command line of nf.efi", remedy="build the image again")
    kept = [word for word in words if not word.startswith((KEY_WORD, "systemd.unit=")) and word != "nf.installer"]
    return " ".join([*kept, PARAMETERS, KEY_WORD + base64.b64encode(key).decode()])


def _uki(image: Path, keys: Keys, key: bytes, scratch: Path) -> Path:
    data = image.read_bytes()
    found = {one.name: data[one.raw_offset :][: one.virtual_size] for one in sections(data, where=str(image))}
    try:
        kernel, initramfs, out = scratch / "linux", scratch / "initrd", scratch / "nf.efi"
        kernel.write_bytes(found[".linux"])
        initramfs.write_bytes(found[".initrd"])
        command_line = found[".cmdline"].rstrip(b"\0").decode("ascii")
        os_release = found[".osrel"]
    except (KeyError, UnicodeDecodeError) as error:
        raise InputError(f"is no kernel image of ours: {error}", where=str(image), remedy="nf image build") from None
    make_uki(
        kernel=kernel,
        initramfs=initramfs,
        command_line=installer_command_line(command_line, key),
        os_release=os_release,
        out=out,
        keys=keys,
    )
    return out


def _pack(build: Path, image: Path, scratch: Path) -> Path:
    out = scratch / "payload.squashfs"
    files = (image, build / MANIFEST, build / f"{MANIFEST}.sig")
    System().run(
        program(
            *("mksquashfs", *files, out, "-comp", "zstd", "-Xcompression-level", 6, "-noappend", "-no-progress"),
            *("-quiet", "-all-root", "-no-xattrs"),
            why=f"pack {DISK}",
        )
    )
    return out


def _whole(path: Path) -> int:
    """Octets of a partition that holds it: whole MiB."""
    return -(-path.stat().st_size // _MIB) * _MIB


def _assemble(out: Path, parts: list[tuple[str, str, int, Path]], done: Callable[[float], None]) -> None:
    lines = ["label: gpt", f"label-id: {_GUIDS}", "unit: sectors", f"sector-size: {_SECTOR}"]
    offset, placed = _MIB, []
    for number, (name, kind, octets, content) in enumerate(parts, start=1):
        guid = uuid.UUID(int=_GUIDS.int + number)
        lines.append(f'start={offset // _SECTOR}, size={octets // _SECTOR}, type={kind}, uuid={guid}, name="{name}"')
        placed.append((offset, content))
        offset += octets
    with out.open("wb") as file:
        file.truncate(offset + _MIB)
    script = "\n".join(lines).encode() + b"\n"
    table = ("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(out))
    System().run(Program(table, "write the partition table", stdin=script))
    total, written = sum(content.stat().st_size for _, content in placed), 0
    with out.open("r+b") as file:
        for start, content in placed:
            file.seek(start)
            with content.open("rb") as source:
                while chunk := source.read(_CHUNK):
                    file.write(chunk)
                    written += len(chunk)
                    done(written / total)
        file.flush()
