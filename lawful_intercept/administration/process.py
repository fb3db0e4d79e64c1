"""The ADMF as a process: its audit is verified, then it serves officers and elements until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lawful_intercept import tls
from lawful_intercept.administration import audit
from lawful_intercept.administration.asker import X1Asker
from lawful_intercept.administration.elements import ElementSettings
from lawful_intercept.administration.engine import Engine, Synchronised
from lawful_intercept.administration.hi1 import Party
from lawful_intercept.administration.links import Links, Pace
from lawful_intercept.administration.office import Office
from lawful_intercept.administration.replica import replicate
from lawful_intercept.administration.reports import Reports
from lawful_intercept.administration.service import Service
from lawful_intercept.administration.settings import AdministrationSettings
from lawful_intercept.administration.store import AUDIT_KEY_FILE, PUBLIC_KEY_FILE, STORE_FILE, Store
from lawful_intercept.configuration import TlsFiles, state_directory
from lawful_intercept.https import HttpsServer
from lawful_intercept.isolation import place_of
from lawful_intercept.keys import store_key
from lawful_intercept.timesync import TimeSync
from lawful_intercept.x1.server import X1Server
from lawful_intercept.x1.services import AdministrationService
from nf.clock import Clock
from nf.errors import BusyError, IdentityError, NfError, NotFoundError
from nf.store.audit import AuditHead
from nf.trust.files import write_private

HEADS_S: Final = 3600.0
RENEW_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Ports:
    officers: int
    x1: int


@dataclass(frozen=True, slots=True)
class Opened:
    """An ADMF's store, verified. `path` and `public`: for whoever verifies it again."""

    office: Office
    store: Store
    path: Path
    audit_key: Ed25519PrivateKey


async def open_office(settings: AdministrationSettings, clock: Clock) -> Opened:
    """Raises IntegrityError when one byte of the store is not what was written, and nothing is served."""
    state = state_directory(settings.state)
    own = tls.own_identity(settings.x1.tls)
    if (own.kind, own.name) != ("element", settings.name):
        raise IdentityError(
            "the certificate is of another name", where="x1.tls", remedy=f"issue element {settings.name}"
        )
    path = state / STORE_FILE
    key = await asyncio.to_thread(_audit_key, settings, state)
    if path.exists():
        await asyncio.to_thread(_require_intact, settings, path, key)
    with await asyncio.to_thread(store_key, settings.store_key, state) as secret:
        aead = secret.aead()
    store = await Store.open(path, aead, key.sign, clock)
    try:
        party = Party(settings.hi1.country, settings.hi1.identifier)
        office = await Office.open(store, clock, own, party)
    except BaseException:
        await store.close()
        raise
    return Opened(office, store, path, key)


def _audit_key(settings: AdministrationSettings, state: Path) -> Ed25519PrivateKey:
    """Wrapped under the same key as the store's. A new one never takes the place of one that was lost."""
    if (state / STORE_FILE).exists() and not (state / AUDIT_KEY_FILE).exists():
        raise NotFoundError("the key of the audit is not there", where=str(state), remedy="restore it from a backup")
    with store_key(settings.store_key, state, "audit") as secret, secret.opened() as octets:
        key = Ed25519PrivateKey.from_private_bytes(bytes(octets))
    write_private(state / PUBLIC_KEY_FILE, public_pem(key))
    return key


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """For the auditor."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _require_intact(settings: AdministrationSettings, path: Path, key: Ed25519PrivateKey) -> None:
    earlier: tuple[AuditHead, ...] = ()
    if settings.heads is not None and settings.heads.exists():
        earlier = audit.read_heads(settings.heads)
    verdict = audit.verify_store(path, key.public_key(), earlier)
    if not verdict.intact:
        raise audit.broken(verdict, str(path))


async def run(
    settings: AdministrationSettings,
    clock: Clock,
    *,
    timesync: Synchronised | None = None,
    ready: Callable[[Ports], None] = lambda _: None,
) -> None:
    """Until it is cancelled. Raises IntegrityError (the audit is broken: nothing is served), and what servers raise."""
    with _alone(state_directory(settings.state)):
        await _serve(settings, clock, timesync, ready)


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Two of them would task elements against one another. Raises BusyError."""
    with (state / "lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError("another ADMF runs on this state", where=str(state), remedy="end that one first") from None
        yield


async def _serve(
    settings: AdministrationSettings, clock: Clock, timesync: Synchronised | None, ready: Callable[[Ports], None]
) -> None:
    opened = await open_office(settings, clock)
    office = opened.office
    try:
        await office.note("administration.start", "administration", {})
        contexts = Contexts(settings, clock)
        failures = Failures(office)
        links = Links(office, contexts.connect, Pace(settings.reconcile_s, settings.keepalive_s), failures)
        steer = timesync or TimeSync(assumed=settings.clock.assumed, limit_s=settings.clock.limit_ms / 1000)
        engine = Engine(office, links, steer, timedelta(seconds=settings.linger_s))
        service = Service(office, links, opened.path, opened.audit_key.public_key())
        listen = settings.officers.listen
        officers = HttpsServer(
            service.application,
            contexts.officers,
            address=str(listen.address),
            port=listen.port,
            failed=failures,
        )
        elements = X1Server(
            settings.name,
            AdministrationService(Reports(office, links)),
            contexts.x1_server,
            address=str(settings.x1.listen.address),
            port=settings.x1.listen.port,
            peers=office.elements,
            clock=clock,
            failed=failures,
        )
        async with officers, elements, contextlib.aclosing(_Closing(links)):
            ready(Ports(officers.port, elements.port))
            async with asyncio.TaskGroup() as group:
                group.create_task(engine.run())
                group.create_task(failures.run())
                group.create_task(contexts.renew())
                if settings.replica is not None:
                    group.create_task(replicate(office, settings.state, settings.replica))
                if settings.heads is not None:
                    group.create_task(_export_heads(opened, settings.heads, clock))
    finally:
        await opened.store.close()


class _Closing:
    def __init__(self, links: Links) -> None:
        self.aclose = links.close


class Contexts:
    """TLS of this process; certificates that were renewed are taken up without a restart."""

    def __init__(self, settings: AdministrationSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.officers = tls.server_context(settings.officers.tls)
        self.x1_server = tls.server_context(settings.x1.tls)
        self._x1_client = tls.client_context(settings.x1.tls)

    def connect(self, element: ElementSettings) -> X1Asker:
        return X1Asker(element.url, self._x1_client, self._settings.name, element.name, self._clock)

    async def renew(self) -> None:
        """For ever. A renewal that cannot be read is tried again; the one before goes on."""
        files: tuple[tuple[ssl.SSLContext, TlsFiles], ...] = (
            (self.officers, self._settings.officers.tls),
            (self.x1_server, self._settings.x1.tls),
            (self._x1_client, self._settings.x1.tls),
        )
        while True:
            await self._clock.sleep(RENEW_S)
            for context, files_of in files:
                with contextlib.suppress(NfError):
                    tls.reload(context, files_of)


class Failures:
    """What nobody foresaw: class and place go into the audit, never what it was about."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._queue: asyncio.Queue[str] = asyncio.Queue(maxsize=1000)

    def __call__(self, error: Exception) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait(place_of(error))

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._office.note("administration.failure", "administration", {"place": await self._queue.get()})


async def _export_heads(opened: Opened, file: Path, clock: Clock) -> None:
    """For ever: every hour, if something was recorded."""
    last = 0
    while True:
        try:
            head = await asyncio.to_thread(audit.head_of, opened.path)
            if head.number > last:
                await asyncio.to_thread(audit.append_head, file, head)
                last = head.number
        except NfError:
            pass  # the auditor sees that no head came
        await clock.sleep(HEADS_S)
