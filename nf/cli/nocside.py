"""What `nf` does on the NOC's own machine: read the settings of its first set-up, add and list operators."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nf.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from nf.contracts.json import JsonObject
    from nf.store.sqlite import SqliteStore
    from nf.trust.authority import Authority
    from nf.trust.identity import Identity
    from nf.trust.roles import OperatorRecord, OperatorRole, Operators

DEFAULT_PORT = 7443


@dataclass(frozen=True, slots=True)
class Settings:
    """`names`: what the NOC's certificate says and others dial; the addresses are those it listens on."""

    address: str
    enrolment_address: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, addresses: Sequence[str]) -> Settings:
        """From what was typed: `host:port`, each with the same port. The port after it is for enrolment."""
        pairs = [_split(text) for text in addresses or (f"{socket.gethostname()}:{DEFAULT_PORT}",)]
        ports = {port for _, port in pairs}
        if len(ports) != 1:
            raise InputError(
                "one port is needed for all names", where="--address", remedy="write the same port behind each name"
            )
        port = ports.pop()
        return cls(f"[::]:{port}", f"[::]:{port + 1}", tuple(dict.fromkeys(host for host, _ in pairs)))

    @property
    def dialled(self) -> str:
        """Where operators reach the NOC."""
        name, port = self.names[0], self.address.rpartition(":")[2]
        return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _split(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65535:
        raise InputError("not a host and a port", where=f"--address {text}", remedy="write host:port, such as noc:7443")
    return host, int(port)


@asynccontextmanager
async def _opened(state_dir: Path) -> AsyncIterator[tuple[SqliteStore, Authority]]:
    """Store and CA of the NOC on this machine, also while it runs. Raises NotFoundError."""
    from nf.clock import RealClock
    from nf.noc.daemon import open_store
    from nf.trust.authority import Authority

    try:
        there = (state_dir / "ca").is_dir()
    except OSError as error:  # such as a name that is too long for any file
        raise InputError(f"cannot be read: {error.strerror}", where=str(state_dir)[:200]) from error
    if not there:
        raise NotFoundError(
            "there is no NOC here", where=str(state_dir), remedy="run `nf noc init` first, or name its --state-dir"
        )
    clock = RealClock()
    authority = Authority.open(state_dir / "ca", clock)
    store = await open_store(state_dir, clock)
    try:
        yield store, authority
    finally:
        await store.close()


async def settings(state_dir: Path) -> Settings:
    """As `nf noc init` kept them."""
    async with _opened(state_dir) as (store, _):
        return await _read_settings(store, state_dir)


async def _read_settings(store: SqliteStore, state_dir: Path) -> Settings:
    entry = await store.get("settings", "noc")
    if entry is None:
        raise NotFoundError("this NOC was never set up", where=str(state_dir), remedy="run `nf noc init` first")
    data = json.loads(entry.value)
    return Settings(data["address"], data["enrolment_address"], tuple(data["names"]))


async def add_operator(
    state_dir: Path, name: str, role: OperatorRole, sites: Sequence[str]
) -> tuple[Identity, Settings]:
    async with _opened(state_dir) as (store, authority):
        found = await _read_settings(store, state_dir)
        return await _operators(store, authority).add(name, role, sites), found


async def list_operators(state_dir: Path) -> tuple[OperatorRecord, ...]:
    async with _opened(state_dir) as (store, authority):
        return await _operators(store, authority).list()


async def remove_operator(state_dir: Path, name: str) -> None:
    async with _opened(state_dir) as (store, authority):
        await _operators(store, authority).remove(name)


def _operators(store: SqliteStore, authority: Authority) -> Operators:
    from nf.trust.roles import Operators

    return Operators(store, authority)


async def service_settings(state_dir: Path, names: Sequence[str]) -> dict[str, JsonObject | None]:
    """What each hosted service is set to; None: it is off."""
    from nf.noc.services import read_settings

    async with _opened(state_dir) as (store, _):
        return {name: await read_settings(store, name) for name in names}


async def set_service(state_dir: Path, name: str, settings: JsonObject | None) -> None:
    """None turns it off. Raises NotFoundError, InputError."""
    from nf.noc.services import find_service, load_services, write_settings
    from nf.trust.register import local_actor

    service = find_service(load_services(), name)
    async with _opened(state_dir) as (store, authority):
        await write_settings(store, service, settings, local_actor(authority.domain))
