"""The file that a process is started with, and what all of these files have in common.

A problem in it is told with its line and key, and without the value: it may name an agency.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, IPvAnyAddress, field_validator

from nf.documents.loader import load_model
from nf.documents.model import DocumentModel, Name, RuleError, Whole
from nf.errors import DocumentError, IntegrityError, NotFoundError, StorageError

M = TypeVar("M", bound=DocumentModel)
_LONGEST = 1 << 20

TcpPort = Annotated[Whole, Field(ge=0, le=65535)]


class Listen(DocumentModel):
    """Where a server listens. `port` 0: whichever is free."""

    address: IPvAnyAddress
    port: TcpPort


class TlsFiles(DocumentModel):
    """PEM files: this process's certificate and key (mode 0600), and whose certificates it believes on this link."""

    certificate: Path
    key: Path
    authority: Path


class ClockSettings(DocumentModel):
    """assumed  believe the clock although nothing says that it is right: for laboratories, and shown as such
    limit_ms    the largest offset from UTC that is accepted
    """

    assumed: bool = False
    limit_ms: Annotated[Whole, Field(ge=1, le=60_000)] = 100


class ProcessSettings(DocumentModel):
    """name     element identifier, the name in its certificate
    state       its directory (0700)
    store_key   what its stores are encrypted under: file:PATH or pkcs11:...
    user        whom it becomes when root starts it; "": it stays who it is
    """

    name: Name
    state: Path
    store_key: str
    user: str = ""
    clock: ClockSettings = ClockSettings()

    @field_validator("store_key")
    @classmethod
    def _reference(cls, value: str) -> str:
        if not value.startswith(("file:", "pkcs11:")):
            raise RuleError(
                "not a reference to a key", "write file:PATH or pkcs11:object=NAME;token=NAME?module-path=FILE"
            )
        return value


def load(path: Path, model: type[M]) -> M:
    """The file as `model`.

    Raises DocumentError (all problems, with their lines), NotFoundError, StorageError, IntegrityError (others may
    write it).
    """
    where = str(path)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_LONGEST + 1)
    except FileNotFoundError:
        raise NotFoundError("there is no such file", where=where, remedy="name it with --config") from None
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=where, remedy="see its owner and mode") from None
    if stat.S_ISREG(mode) and mode & 0o022:
        raise IntegrityError("others may write this file", where=where, remedy="look at what stands in it; chmod 0600")
    if len(text) > _LONGEST:
        raise StorageError("longer than a configuration is", where=where, remedy="name the right file")
    try:
        return load_model(model, text, file=where)
    except DocumentError as error:
        raise DocumentError([replace(one, value="") for one in error.problems], where=where) from None


def state_directory(path: Path) -> Path:
    """Made when it is not there. Raises IntegrityError (others may enter), StorageError."""
    where = str(path)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = path.stat().st_mode
    except OSError as error:
        raise StorageError(f"cannot be made: {error.strerror}", where=where, remedy="see the directory above") from None
    if mode & 0o077:
        raise IntegrityError("others may enter this directory", where=where, remedy="chmod 0700, and see what was read")
    return path
