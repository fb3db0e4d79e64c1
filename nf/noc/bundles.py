"""The bundles that operators brought to the NOC: files by their digest, checked once, kept until they are removed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from nf.clock import Clock
from nf.contracts.json import canonical
from nf.errors import BusyError, InputError, IntegrityError, NotFoundError, RefusedError, StorageError
from nf.noc.bundle_format import MAX_SIGNATURE_BYTES, TRAILER_BYTES, BundleManifest, read_manifest, signature_length

MAX_BYTES: Final = 4 * 1024 * 1024 * 1024
"""Of one bundle."""
MOST: Final = 16
SPARE_BYTES: Final = 512 * 1024 * 1024
"""What stays free for the NOC's own store."""
PIECE_BYTES: Final = 256 * 1024
KEYRING: Final = "bundle-ca.crt"
"""In the NOC's state directory: whose bundles are taken (PEM). Without it the appliances alone judge the signer."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_OPENSSL_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """`at`: seconds since the epoch. `signer`: subject of the certificate, empty when it was not checked."""

    sha256: str
    size: int
    compatible: str
    role: str
    version: str
    format: str
    signer: str
    at: float


class Bundles:
    def __init__(self, state_dir: Path, clock: Clock) -> None:
        self._directory = state_dir / "bundles"
        self._keyring = state_dir / KEYRING
        self._clock = clock
        self._writing: set[str] = set()

    # ---- asking ----

    def list(self) -> tuple[BundleRecord, ...]:
        """Newest first."""
        found = [record for path in self._directory.glob("*.json") if (record := _load(path)) is not None]
        return tuple(sorted(found, key=lambda record: (-record.at, record.sha256)))

    def get(self, sha256: str) -> BundleRecord:
        """By its digest or the beginning of it. Raises NotFoundError, InputError when that names several."""
        found = [record for record in self.list() if sha256 and record.sha256.startswith(sha256)]
        if not found:
            raise NotFoundError("the NOC has no such bundle", where=sha256[:12], remedy="see `nf upgrade bundles`")
        if len(found) > 1:
            raise InputError(f"{len(found)} bundles begin so", where=sha256, remedy="write more of it")
        return found[0]

    def path(self, record: BundleRecord) -> Path:
        return self._directory / f"{record.sha256}.raucb"

    async def read(self, sha256: str, offset: int) -> AsyncIterator[bytes]:
        """Pieces of the file from `offset` on. Raises NotFoundError, InputError, StorageError."""
        record = self.get(sha256)
        if not 0 <= offset <= record.size:
            raise InputError(f"it has {record.size} octets", where=f"offset {offset}")
        try:
            with self.path(record).open("rb") as file:
                file.seek(offset)
                while data := await asyncio.to_thread(file.read, PIECE_BYTES):
                    yield data
        except OSError as error:
            raise StorageError(error.strerror or str(error), where=str(self.path(record))) from error

    # ---- bringing ----

    def offer(self, sha256: str, size: int) -> tuple[int, BundleRecord | None]:
        """How much of it is here, and the whole if it is. Raises InputError, RefusedError, StorageError (no room)."""
        if not _DIGEST.fullmatch(sha256) or size <= TRAILER_BYTES:
            raise InputError("this is no bundle", where=sha256[:12])
        if size > MAX_BYTES:
            raise InputError(f"larger than {MAX_BYTES >> 20} MiB", where=sha256[:12])
        known = [record for record in self.list() if record.sha256 == sha256]
        if known:
            return known[0].size, known[0]
        if len(self.list()) >= MOST:
            raise RefusedError(f"{MOST} bundles are here already", where="bundles", remedy="nf upgrade remove SHA256")
        part = self._part(sha256)
        offset = part.stat().st_size if part.exists() else 0
        if offset > size:
            part.unlink()
            offset = 0
        self._make_directory()
        free = shutil.disk_usage(self._directory).free
        if free < size - offset + SPARE_BYTES:
            raise StorageError(
                f"{free >> 20} MiB are free, {(size - offset + SPARE_BYTES) >> 20} MiB are needed",
                where=str(self._directory),
                remedy="remove bundles that nobody needs: nf upgrade remove SHA256",
            )
        return offset, None

    async def take(self, sha256: str, size: int, offset: int, pieces: AsyncIterator[bytes]) -> BundleRecord:
        """The rest of it, and a look into the whole. What came is kept when the stream breaks.

        Raises what `offer` raises, BusyError (somebody else brings it), ConflictError-like InputError (wrong offset),
        IntegrityError (its digest is another: nothing is kept), InputError (no bundle of ours).
        """
        have, known = self.offer(sha256, size)
        if known is not None:
            return known
        if sha256 in self._writing:
            raise BusyError("it is being brought already", where=sha256[:12], remedy="wait until that has ended")
        if offset != have:
            raise InputError(f"{have} octets of it are here", where=f"offset {offset}", remedy="go on from there")
        self._writing.add(sha256)
        try:
            await self._append(self._part(sha256), size, have, pieces)
            return await self._finish(sha256, size)
        except OSError as error:
            raise StorageError(error.strerror or str(error), where=str(self._directory), remedy="free space") from error
        finally:
            self._writing.discard(sha256)

    async def _append(self, part: Path, size: int, have: int, pieces: AsyncIterator[bytes]) -> None:
        with part.open("ab") as file:
            async for data in pieces:
                have += len(data)
                if have > size:
                    raise InputError(f"more than its {size} octets came", where=part.stem[:12])
                await asyncio.to_thread(file.write, data)
            await asyncio.to_thread(_sync, file.fileno(), file.flush)
        if have != size:
            raise InputError(f"{have} of {size} octets came", where=part.stem[:12], remedy="send it again: it goes on")

    async def _finish(self, sha256: str, size: int) -> BundleRecord:
        part = self._part(sha256)
        found = await asyncio.to_thread(_digest, part)
        if found != sha256:
            part.unlink()
            raise IntegrityError(f"its digest is {found[:16]}...", where=sha256[:12], remedy="send it again")
        try:
            cms = await asyncio.to_thread(_signature, part, size)
            manifest = read_manifest(cms)
            signer = await self._signer(cms)
        except (InputError, RefusedError):
            part.unlink()
            raise
        record = _record(sha256, size, manifest, signer, self._clock.now())
        part.replace(self.path(record))
        await asyncio.to_thread(_write_json, self._directory / f"{sha256}.json", record)
        return record

    async def _signer(self, cms: bytes) -> str:
        """Who signed it, by the NOC's keyring. Raises RefusedError. Empty when there is no keyring."""
        if not self._keyring.exists():
            return ""
        if shutil.which("openssl") is None:
            raise RefusedError(
                "there is a keyring and no openssl to check by it", where=str(self._keyring), remedy="install openssl"
            )
        arguments = ("cms", "-verify", "-inform", "DER", "-CAfile", str(self._keyring), "-purpose", "any", "-binary")
        # `-certsout` is written by a second call: it does not wait for the verdict.
        code, _, told = await _openssl(*arguments, given=cms)
        if code:
            reason = next((line for line in told.splitlines() if "erify" in line or "error" in line), told)
            raise RefusedError(
                f"it is not signed by whom the NOC trusts: {reason.strip()[:200]}",
                where="bundle",
                remedy=f"have it signed by the keys of {self._keyring.name}, or see whose it is: nf image verify FILE",
            )
        _, subjects, _ = await _openssl("pkcs7", "-inform", "DER", "-print_certs", "-noout", given=cms)
        names = [line.partition("=")[2].strip() for line in subjects.splitlines() if line.startswith("subject")]
        return "; ".join(names)[:200] or "trusted"

    def remove(self, record: BundleRecord) -> None:
        for suffix in (".json", ".raucb"):
            (self._directory / f"{record.sha256}{suffix}").unlink(missing_ok=True)

    def _part(self, sha256: str) -> Path:
        return self._directory / f"{sha256}.part"

    def _make_directory(self) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageError(error.strerror or str(error), where=str(self._directory)) from error


def _record(sha256: str, size: int, manifest: BundleManifest, signer: str, at: float) -> BundleRecord:
    return BundleRecord(sha256, size, manifest.compatible, manifest.role, manifest.version, manifest.format, signer, at)


def _load(path: Path) -> BundleRecord | None:
    """None when its file is not there, or this is none."""
    try:
        record = BundleRecord(**json.loads(path.read_bytes()))
        return record if path.with_suffix(".raucb").stat().st_size == record.size else None
    except (OSError, ValueError, TypeError):
        return None


def _write_json(path: Path, record: BundleRecord) -> None:
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(canonical(asdict(record)).encode())
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _sync(descriptor: int, flush: object) -> None:
    if callable(flush):
        flush()
    os.fsync(descriptor)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _signature(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(size - TRAILER_BYTES)
        length = signature_length(file.read(TRAILER_BYTES), size)
        file.seek(size - TRAILER_BYTES - length)
        return file.read(min(length, MAX_SIGNATURE_BYTES))


async def _openssl(*arguments: str, given: bytes) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        "openssl",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_OPENSSL_S):
            out, told = await process.communicate(given)
    except TimeoutError:
        process.kill()
        await process.wait()
        return 1, "", f"openssl did not answer in {_OPENSSL_S:.0f} s"
    return process.returncode or 0, out.decode(errors="replace"), told.decode(errors="replace")
