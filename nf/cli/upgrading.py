"""What `nf upgrade` does with the NOC: bring a bundle, begin, watch."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nf.cli.client import CALL_TIMEOUT_S, connected
from nf.cli.options import read_file
from nf.errors import InputError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from nf.cli.progress import StepProgress
    from nf.control.v1.upgrade_pb2 import Bundle, StartUpgradeRequest, Upgrade

PIECE_BYTES: Final = 256 * 1024
_TRIES: Final = 5
_DIGEST: Final = frozenset("0123456789abcdef")


@asynccontextmanager
async def upgrades(profile: Path | None) -> AsyncIterator[Any]:
    async with connected(profile) as channel:
        from nf.control.v1.upgrade_pb2_grpc import UpgradesStub

        yield UpgradesStub(channel)


async def ask(profile: Path | None, method: Callable[[Any], Callable[..., Awaitable[Any]]], request: object) -> Any:
    """One question, one answer. Raises the error tree."""
    async with upgrades(profile) as noc:
        return await method(noc)(request, timeout=CALL_TIMEOUT_S)


async def find(profile: Path | None, upgrade: str) -> Upgrade:
    """By its id or the beginning; empty = the last one. Raises NotFoundError, InputError."""
    from nf.control.v1.upgrade_pb2 import ListUpgradesRequest

    answer = await ask(profile, lambda noc: noc.ListUpgrades, ListUpgradesRequest(limit=1000))
    found = [one for one in answer.upgrades if one.id.startswith(upgrade)]
    if not found:
        what = "no such upgrade" if upgrade else "no upgrade yet"
        raise NotFoundError(what, where=upgrade, remedy="nf upgrade history")
    if upgrade and len(found) > 1:
        ids = ", ".join(one.id for one in found)
        raise InputError(f"{len(found)} upgrades begin so", where=upgrade, remedy=f"one of: {ids}")
    first: Upgrade = found[0]
    return first


async def begin(profile: Path | None, request: StartUpgradeRequest, bundle: str) -> Upgrade:
    """Bring the bundle, as far as the NOC does not have it, and begin."""
    path = Path(bundle)
    size = _size(path, maybe_digest=len(bundle) >= 6 and set(bundle) <= _DIGEST)
    request.sha256 = bundle if size is None else (await bring(profile, path, size)).sha256
    started: Upgrade = await ask(profile, lambda noc: noc.StartUpgrade, request)
    return started


def _size(path: Path, *, maybe_digest: bool) -> int | None:
    """Octets of the file; None when there is none and the name can be a digest. Raises InputError."""
    if path.is_file():
        return path.stat().st_size
    if maybe_digest and not path.exists():
        return None
    read_file(path)  # raises with the reason
    raise InputError("is no file", where=str(path), remedy="name a .raucb file")


async def bring(profile: Path | None, path: Path, size: int) -> Bundle:
    """Goes on where an earlier attempt broke. Raises UnavailableError and what the NOC says to it."""
    from nf.cli.progress import StepProgress

    with StepProgress() as progress:
        sha256 = await asyncio.to_thread(_digest, path, size, progress)
        for attempt in range(_TRIES):
            try:
                return await _send(profile, path, sha256, size, progress)
            except UnavailableError as error:
                if attempt == _TRIES - 1:
                    error.remedy = "repeat the command: it goes on where it broke"
                    raise
                await asyncio.sleep(2.0**attempt / 2)
    raise AssertionError("not reached")


def _digest(path: Path, size: int, progress: StepProgress) -> str:
    digest = hashlib.sha256()
    done = 0
    try:
        with path.open("rb") as file:
            while data := file.read(4 * PIECE_BYTES):
                digest.update(data)
                done += len(data)
                progress.step("digest", done, size)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return digest.hexdigest()


async def _send(profile: Path | None, path: Path, sha256: str, size: int, progress: StepProgress) -> Bundle:
    from nf.control.v1.upgrade_pb2 import BundlePiece, OfferBundleRequest

    async with upgrades(profile) as noc:
        offer = await noc.OfferBundle(OfferBundleRequest(sha256=sha256, size=size), timeout=CALL_TIMEOUT_S)
        if offer.HasField("bundle"):
            known: Bundle = offer.bundle
            return known

        async def pieces() -> AsyncIterator[BundlePiece]:
            done = offer.offset
            yield BundlePiece(sha256=sha256, size=size, offset=done)
            with path.open("rb") as file:
                file.seek(done)
                while data := await asyncio.to_thread(file.read, PIECE_BYTES):
                    yield BundlePiece(data=data)
                    done += len(data)
                    progress.step("to the NOC", done, size)

        sent: Bundle = await noc.SendBundle(pieces())
        return sent


async def watch(profile: Path | None, upgrade: str) -> Upgrade:
    """Show it until it has ended or is paused. A NOC that is away for a while is asked again."""
    from nf.cli.progress import UpgradeProgress
    from nf.control.v1.upgrade_pb2 import WatchUpgradeRequest

    last: Upgrade | None = None
    with UpgradeProgress() as progress:
        failures = 0
        while True:
            try:
                async with upgrades(profile) as noc:
                    async for record in noc.WatchUpgrade(WatchUpgradeRequest(id=upgrade)):
                        last, failures = record, 0
                        progress.take(record)
                break
            except UnavailableError:
                failures += 1
                if failures == _TRIES:
                    raise
                await asyncio.sleep(2.0**failures / 2)
    if last is None:
        raise UnavailableError("the answer ended too early", where=upgrade, remedy=f"nf upgrade status {upgrade}")
    return last
