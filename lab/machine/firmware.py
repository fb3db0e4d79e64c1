"""The firmware (OVMF, with Secure Boot), and whether this host's virtualization can run it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.machine.spec import Accelerator
from nf.errors import UnavailableError

_FOLDER = Path("/usr/share/OVMF")
_REMEDY = "install the package ovmf"
_TRIAL_S = 8.0
_SIGN_OF_LIFE = b"BdsDxe"  # what the firmware writes when it looks for something to boot


@dataclass(frozen=True, slots=True)
class Firmware:
    """`code` is shared and never written, `variables` is an empty store: no keys, hence setup mode."""

    code: Path
    variables: Path


def find_firmware(folder: Path = _FOLDER) -> Firmware:
    """Raises UnavailableError."""
    found = Firmware(folder / "OVMF_CODE_4M.secboot.fd", folder / "OVMF_VARS_4M.fd")
    for file in (found.code, found.variables):
        if not file.is_file():
            raise UnavailableError("this firmware is missing", where=str(file), remedy=_REMEDY)
    return found


@cache
def accelerator() -> Accelerator:
    """KVM where it runs this very firmware, with system management mode, at least as fast as emulation would; else TCG.

    A device file says nothing: there are hosts whose KVM has no system management mode, or hangs.
    """
    with contextlib.suppress(UnavailableError):
        if os.access("/dev/kvm", os.R_OK | os.W_OK) and _kvm_runs(find_firmware()):
            return Accelerator.KVM
    return Accelerator.TCG


def _kvm_runs(firmware: Firmware) -> bool:
    with tempfile.TemporaryDirectory(prefix="nf-kvm-") as folder:
        variables, serial = Path(folder, "variables"), Path(folder, "serial")
        shutil.copyfile(firmware.variables, variables)
        argv = [
            *("qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "q35,smm=on"),
            *("-accel", "kvm", "-cpu", "host", "-m", "128", "-serial", f"file:{serial}"),
            *("-global", "driver=cfi.pflash01,property=secure,value=on"),
            *("-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={firmware.code}"),
            *("-drive", f"if=pflash,format=raw,unit=1,file={variables}"),
        ]
        with contextlib.suppress(subprocess.TimeoutExpired, FileNotFoundError):
            subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TRIAL_S, check=False)
        return serial.is_file() and _SIGN_OF_LIFE in serial.read_bytes()
