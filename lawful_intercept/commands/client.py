"""One call to the ADMF from a command, and options that many commands have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from nf.contracts.json import JsonObject
from nf.errors import InputError, NfError, RefusedError

if TYPE_CHECKING:
    from lawful_intercept.administration.client import Client

T = TypeVar("T")

given: ContextVar[Path | None] = ContextVar("profile", default=None)
"""What `nf-li --profile DIR ...` said."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Change the one that is there.")]


def ask(method: str, arguments: JsonObject | None = None) -> Any:
    """The answer. Raises NfError."""
    return talk(lambda admf: admf.call(method, arguments))


def talk(conversation: Callable[[Client], Awaitable[T]], timeout_s: float = 60.0) -> T:
    """Several calls by one connection. Raises NfError."""
    from lawful_intercept.administration.client import Client, load

    async def speak() -> T:
        async with Client(load(given.get()), timeout_s) as admf:
            return await conversation(admf)

    return asyncio.run(speak())


def quick(method: str) -> Any:
    """For completion: silent and empty when the ADMF does not answer within a second."""
    try:
        return talk(lambda admf: admf.call(method), timeout_s=1.0)
    except (NfError, OSError, ValueError):
        return []


def read_file(path: Path) -> bytes:
    """Raises InputError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), remedy="check the path") from error


def write_new(path: Path, octets: bytes) -> None:
    """A file of mode 0600 that was not there. Raises RefusedError, StorageError."""
    from nf.trust.files import write_private

    if path.exists():
        raise RefusedError("exists already", where=str(path), remedy="name a new file")
    write_private(path, octets, keep=True)
