"""Programs that make the boot chain: always with the same environment, so that the same input gives the same octets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from images.builder import programs
from images.builder.programs import PATH
from images.signing.keys import Keys
from nf.errors import UnavailableError

__all__ = ["PATH", "program", "run", "sign_efi"]


def program(name: str, *, package: str) -> str:
    """Its path. Raises UnavailableError when it is missing."""
    found = shutil.which(name, path=PATH)
    if found is None:
        raise UnavailableError(f"{name} is not installed", remedy=f"apt-get install {package}")
    return found


def run(
    *command: str, package: str, epoch: int | None = None, environment: Mapping[str, str] | None = None, text: str = ""
) -> str:
    """What the program prints. `package` is named when it is missing; `epoch`: seconds, the time that it may
    write; `text` is what it reads.

    Raises UnavailableError when it is missing, DriverError with its last words when it fails.
    """
    found = program(command[0], package=package)
    plain = {"LC_ALL": "C", "HOME": os.environ.get("HOME", "/"), **(environment or {})}
    return programs.run([found, *command[1:]], where="", env=programs.environment(epoch, plain), text=text)


def sign_efi(plain: Path, out: Path, keys: Keys, *, epoch: int) -> None:
    """Authenticode signature by db over a PE file, then checked by another program; `epoch`: the signing time in it.

    Raises UnavailableError, DriverError.
    """
    out.unlink(missing_ok=True)
    run(
        "osslsigncode", "sign", "-h", "sha256", "-time", str(epoch), "-key", str(keys.key("db")),
        "-certs", str(keys.certificate("db")), "-in", str(plain), "-out", str(out), package="osslsigncode",
    )  # fmt: skip
    run("sbverify", f"--cert={keys.certificate('db')}", str(out), package="sbsigntool")
