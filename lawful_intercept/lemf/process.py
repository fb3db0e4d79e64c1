"""The agency's receiver and portal (`nf-li lemf run --config FILE`)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from lawful_intercept import tls
from lawful_intercept.configuration import state_directory
from lawful_intercept.https import HttpsServer
from lawful_intercept.keys import store_key
from lawful_intercept.lemf.index import KEY_NAME
from lawful_intercept.lemf.keyring import Keyring
from lawful_intercept.lemf.portal import Portal
from lawful_intercept.lemf.receiver import Place, Receiver
from lawful_intercept.lemf.sessions import Archive
from lawful_intercept.lemf.settings import LemfSettings
from lawful_intercept.lemf.store import Store
from nf.clock import Clock
from nf.errors import IdentityError, NfError

RENEW_S: Final = 600.0


async def run(
    settings: LemfSettings, clock: Clock, *, ready: Callable[[tuple[int, ...]], None] = lambda _: None
) -> None:
    """Until it is cancelled. `ready` gets the ports of HI2, HI3 and, where there is one, of the portal.

    Raises NfError for what is wrong with its files.
    """
    state = state_directory(settings.state)
    own = tls.own_identity(settings.tls)
    if (own.kind, own.name) != ("element", settings.name):
        raise IdentityError("the certificate is of another name", where="tls", remedy=f"issue element {settings.name}")
    context = tls.server_context(settings.tls)
    renewed = [(context, settings.tls)]
    with await asyncio.to_thread(store_key, settings.store_key, state, KEY_NAME) as secret:
        key = secret.aead()
    async with contextlib.AsyncExitStack() as stack:
        keyring = await asyncio.to_thread(Keyring.of, settings)
        stack.callback(keyring.close)
        store = await asyncio.to_thread(Store, state, key, keyring, settings.limit_mib << 20)
        stack.callback(store.close)
        receiver = Receiver(
            store,
            context,
            [
                Place(interface, str(listen.address), listen.port)
                for interface, listen in ((2, settings.hi2), (3, settings.hi3))
            ],
            domain=own.domain,
            acknowledge=settings.acknowledge,
            clock_ns=lambda: int(clock.now() * 1e9),
        )
        await stack.enter_async_context(receiver)
        ports = receiver.ports
        if settings.portal is not None:
            portal_context = tls.server_context(settings.portal.tls)
            renewed.append((portal_context, settings.portal.tls))
            domain = tls.own_identity(settings.portal.tls).domain
            portal = Portal(lambda: Archive(state, key, keyring), settings, domain, clock)
            server = await stack.enter_async_context(
                HttpsServer(
                    portal.application,
                    portal_context,
                    address=str(settings.portal.listen.address),
                    port=settings.portal.listen.port,
                )
            )
            ports = (*ports, server.port)
        ready(ports)
        while True:
            await clock.sleep(RENEW_S)
            for one, files in renewed:
                with contextlib.suppress(NfError):
                    tls.reload(one, files)


@contextmanager
def archive_of(settings: LemfSettings) -> Iterator[Archive]:
    """What was received under these settings, also while the receiver runs. May block; raises NfError."""
    state = state_directory(settings.state)
    keyring = Keyring.of(settings)
    try:
        with (
            store_key(settings.store_key, state, KEY_NAME) as secret,
            Archive(state, secret.aead(), keyring) as archive,
        ):
            yield archive
    finally:
        keyring.close()
