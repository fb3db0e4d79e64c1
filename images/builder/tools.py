"""Programs that the builder calls: always with the same environment, so that the same input gives the same octets."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from images.signing.keys import Keys
from nf.errors import DriverError, UnavailableError

Report = Callable[[float, str], None]
"""Called with the fraction that is done (0 to 1) and what is being done."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def silent(_fraction: float, _text: str) -> None:
    """A `Report` that nobody reads."""


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
    settings = {"PATH": PATH, "LC_ALL": "C", "TZ": "UTC", "HOME": os.environ.get("HOME", "/"), **(environment or {})}
    if epoch is not None:
        settings["SOURCE_DATE_EPOCH"] = str(epoch)
    done = subprocess.run([found, *command[1:]], env=settings, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise DriverError(f"{command[0]} failed ({done.returncode}): " + " | ".join(words))
    return done.stdout


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
