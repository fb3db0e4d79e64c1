"""The boot selector: GRUB as one signed EFI program that takes nothing from the disk but five variables.

Its configuration is inside the signed file (a memory disk), and so are all its modules. From `grubenv`, which is not
signed, it reads ORDER and the states of the slots: they choose which signed kernel image is asked first, nothing else.
It never ends in a prompt: where nothing boots it tries again, and then resets the machine.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

from images.builder.tools import run, sign_efi
from images.signing.keys import Keys

MODULES = (
    "boot", "chain", "echo", "fat", "loadenv", "normal", "part_gpt", "reboot", "regexp", "sleep", "test", "tpm", "true",
)  # fmt: skip
# Locked down by Secure Boot, GRUB starts only files that one of its verifiers has seen. `tpm` is that one: it measures
# each file (PCR 9), or does nothing without a TPM. Whether the signature is good, firmware judges (LoadImage).
ENVIRONMENT = ("ORDER", "A_OK", "A_TRY", "B_OK", "B_TRY")
"""The variables of RAUC's GRUB back end, and the only ones that are taken from the disk."""

GRUBENV_OCTETS = 1024
SIGNING_TIME = 1_760_000_000
"""Seconds: stands in signatures where no other is asked for. Firmware ignores it; a clock would make files differ."""

CONFIGURATION = """\
set superusers="nobody"
export superusers
regexp --set=1:disk '^\\(?([^,()]+),gpt[0-9]+\\)?' "$cmdpath"
set esp="$disk,gpt1"
set rounds=""
while true; do
  set ORDER="A B"
  set A_OK=1
  set B_OK=1
  set A_TRY=0
  set B_TRY=0
  load_env --file ($esp)/grub/grubenv ORDER A_OK A_TRY B_OK B_TRY
  set slot=""
  for name in $ORDER A B; do
    if [ "$name" = "A" -a "$slot" = "" -a "$A_OK" = "1" -a "$A_TRY" = "0" ]; then set slot="A"; fi
    if [ "$name" = "B" -a "$slot" = "" -a "$B_OK" = "1" -a "$B_TRY" = "0" ]; then set slot="B"; fi
  done
  if [ "$slot" = "" ]; then
    if [ "$A_OK" = "1" -o "$B_OK" = "1" ]; then
      set A_TRY=0
      set B_TRY=0
    fi
    if [ "$A_TRY" != "0" -a "$B_TRY" != "0" ]; then
      set A_TRY=0
      set B_TRY=0
    fi
    for name in $ORDER A B; do
      if [ "$name" = "A" -a "$slot" = "" -a "$A_TRY" = "0" ]; then
        if [ "$A_OK" = "1" -o "$B_OK" != "1" ]; then set slot="A"; fi
      fi
      if [ "$name" = "B" -a "$slot" = "" -a "$B_TRY" = "0" ]; then
        if [ "$B_OK" = "1" -o "$A_OK" != "1" ]; then set slot="B"; fi
      fi
    done
  fi
  if [ "$slot" = "B" ]; then
    set B_TRY=1
    set root="$disk,gpt3"
  else
    set slot="A"
    set A_TRY=1
    set root="$disk,gpt2"
  fi
  save_env --file ($esp)/grub/grubenv A_TRY B_TRY
  echo "nf: boot slot=$slot order=$ORDER A=$A_OK/$A_TRY B=$B_OK/$B_TRY"
  if chainloader /nf.efi; then
    boot
  fi
  echo "nf: slot $slot does not boot"
  sleep 2
  set rounds="x$rounds"
  if [ "$rounds" = "xxxx" ]; then reboot; fi
done
"""


def make_grub(out: Path, keys: Keys, *, epoch: int = SIGNING_TIME) -> None:
    """Writes the signed program. Raises UnavailableError when a tool is missing, DriverError when one fails."""
    with tempfile.TemporaryDirectory(prefix="nf-grub-") as scratch:
        disk = Path(scratch, "memdisk.tar")
        disk.write_bytes(_memory_disk())
        plain = Path(scratch, "grub.efi")
        run(
            "grub-mkimage", "--format=x86_64-efi", f"--output={plain}", f"--memdisk={disk}",
            "--prefix=(memdisk)/boot/grub", "--disable-shim-lock", *MODULES, "memdisk", "tar",
            package="grub-efi-amd64-bin",
        )  # fmt: skip
        sign_efi(plain, out, keys, epoch=epoch)


def grubenv(*, order: str = "A B", good: str = "AB") -> bytes:
    """A GRUB environment block: `order` of the slots, `good` ones, none tried. 1024 octets, as GRUB wants it."""
    values = {"ORDER": order, "A_OK": int("A" in good), "A_TRY": 0, "B_OK": int("B" in good), "B_TRY": 0}
    text = "# GRUB Environment Block\n" + "".join(f"{name}={value}\n" for name, value in values.items())
    return text.encode("ascii").ljust(GRUBENV_OCTETS, b"#")


def _memory_disk() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        content = CONFIGURATION.encode("ascii")
        entry = tarfile.TarInfo("boot/grub/grub.cfg")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()
