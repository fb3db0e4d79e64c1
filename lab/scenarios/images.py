"""Images in small: a bundle with everything that a large one has but its size, signed and judged in seconds."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from images.builder.bundle import make_bundle
from images.builder.esp import make_boot
from images.builder.squashfs import make_squashfs
from images.builder.uki import command_line, make_uki
from images.builder.verity import add_verity, salt
from images.signing.keys import load_keys
from lab.scenarios.console import Console
from lab.scenarios.image_set import flipped
from lab.scenarios.verdicts import Verdicts

EXIT_INTEGRITY = 9


def small_bundle(directory: Path, keys: Path, *, role: str, version: str) -> Path:
    """A bundle of a root with one file in it and a kernel that boots nowhere; its chain of signatures is whole.

    Raises UnavailableError when a program is missing, DriverError.
    """
    signing, out = load_keys(keys), directory / f"streamverse-nf-{role}-{version}.raucb"
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nf-small-", dir=directory) as scratch:
        work = Path(scratch)
        (work / "tree/etc").mkdir(parents=True)
        (work / "tree/etc/nf-release").write_text(f"NF_ROLE={role}\nNF_VERSION={version}\n")
        (work / "kernel").write_bytes(b"no kernel")
        (work / "initramfs").write_bytes(b"no initramfs")
        root, boot, kernel = work / "rootfs.img", work / "boot.vfat", work / "nf.efi"
        make_squashfs(work / "tree", root, epoch=0)
        verity = add_verity(root, salt=salt(f"{role} {version}"))
        make_uki(
            kernel=work / "kernel",
            initramfs=work / "initramfs",
            command_line=command_line(verity),
            os_release=b"ID=streamverse-nf\n",
            out=kernel,
            keys=signing,
        )
        make_boot(boot, uki=kernel)
        make_bundle(out, role=role, version=version, root=root, boot=boot, keys=signing)
    return out


def chapter_bundle(console: Console, verdicts: Verdicts) -> None:
    """Signed, judged good; altered, or judged by another's keys, refused; and the NOC gives it to no wrong machine."""
    work = Path(tempfile.mkdtemp(prefix="nf-demo-images-"))
    start = time.monotonic()
    try:
        for name in ("ours", "theirs"):
            console.must(console.host("image", "keys", "init", str(work / name)))
        bundle = small_bundle(work / "build", work / "ours", role="pop", version="9.0.0")
        seconds = time.monotonic() - start
        verdicts.note(f"keys and a bundle of {bundle.stat().st_size / 2**20:.1f} MiB in {seconds:.1f} s")
        altered = flipped(bundle, work / "altered" / bundle.name, at=0.2)
        judged = {
            "as built": _verify(console, bundle, work / "ours"),
            "one bit flipped": _verify(console, altered, work / "ours"),
            "by another's keys": _verify(console, bundle, work / "theirs"),
        }
        verdicts.add(
            "nf image verify",
            ", ".join(f"{name}: exit {code}" for name, code in judged.items()),
            f"0 as built, {EXIT_INTEGRITY} for the others",
            good=list(judged.values()) == [0, EXIT_INTEGRITY, EXIT_INTEGRITY],
        )
        offered = console.nf("upgrade", "start", "pop1", "--bundle", str(bundle))
        told = "no image" in offered.text()
        verdicts.add(
            "nf upgrade of a machine that was not installed from an image",
            f"exit {offered.code}, {'says why' if told else 'DOES NOT SAY WHY'}",
            "refused, says why",
            good=offered.code != 0 and told,
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _verify(console: Console, bundle: Path, keys: Path) -> int:
    return console.host("image", "verify", str(bundle), "--keys", str(keys)).code
