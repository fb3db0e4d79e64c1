"""The operator's profile: a directory with who the operator is and where the NOC listens.

profile.json   {"noc": "noc.example:7443"}
and the files of `nf.trust.identity.Identity`
"""

from __future__ import annotations

import json
import os
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nf.errors import IdentityError, InputError

if TYPE_CHECKING:
    from nf.trust.identity import Identity

SYSTEM_PROFILE = Path("/etc/nf/operator")
FILE = "profile.json"

given: ContextVar[Path | None] = ContextVar("profile", default=None)
"""What `nf --profile DIR ...` said, for all commands under it."""


@dataclass(frozen=True, slots=True)
class Profile:
    directory: Path
    noc: str  # host:port
    identity: Identity


def user_profile() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "nf"


def profile_directory(option: Path | None = None) -> Path:
    """`--profile`, else `$NF_PROFILE`, else `~/.config/nf`, else the machine's `/etc/nf/operator`."""
    named = option or given.get()
    if named is None and os.environ.get("NF_PROFILE"):
        named = Path(os.environ["NF_PROFILE"])
    if named is not None:
        return named
    user = user_profile()
    return SYSTEM_PROFILE if not (user / FILE).exists() and (SYSTEM_PROFILE / FILE).exists() else user


def load_profile(option: Path | None = None) -> Profile:
    """Raises IdentityError when there is none, InputError when its file is damaged."""
    from nf.trust.identity import Identity

    directory = profile_directory(option)
    file = directory / FILE
    try:
        data = json.loads(file.read_text())
    except FileNotFoundError as error:
        raise IdentityError(
            "no operator profile here",
            where=str(directory),
            remedy="on the NOC, `nf operator add NAME --role ROLE --output DIR` writes one; "
            "name it by --profile or NF_PROFILE",
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"the profile cannot be read: {error}", where=str(file)) from error
    noc = data.get("noc") if isinstance(data, dict) else None
    if not isinstance(noc, str) or not noc:
        raise InputError('the profile does not name its NOC: {"noc": "host:port"} is expected', where=str(file))
    return Profile(directory, noc, Identity.load(directory))


def save_profile(directory: Path, noc: str, identity: Identity) -> None:
    """Write a profile; an operator's key is in it, so the directory is its owner's alone."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    identity.save(directory)
    (directory / FILE).write_text(json.dumps({"noc": noc}, indent=2) + "\n")
