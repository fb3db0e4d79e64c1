"""The process of an appliance's points of interception (`nf-li run points --config FILE`), as user `nf-intercept`.

It runs whether anybody is a target or not, and is connected to its observation points and to its mediation as soon as
the ADMF has named it. Its tasks come back with it, from a sealed file, but those that have ended meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ssl
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Final
from uuid import UUID

from lawful_intercept import tls
from lawful_intercept.configuration import state_directory
from lawful_intercept.isolation import place_of
from lawful_intercept.keys import SecretKey, store_key
from lawful_intercept.points.destinations import MediationLinks
from lawful_intercept.points.engine import Engine
from lawful_intercept.points.identities import DEFAULTS
from lawful_intercept.points.losses import RESTARTED, Losses
from lawful_intercept.points.numbers import LEAST, Numbers, Series
from lawful_intercept.points.products import Place
from lawful_intercept.points.settings import PointsSettings
from lawful_intercept.points.watching import Watch
from lawful_intercept.timesync import TimeSync
from lawful_intercept.x1.client import X1Client
from lawful_intercept.x1.element import Element
from lawful_intercept.x1.exchange import ReportNEIssue
from lawful_intercept.x1.faults import Code
from lawful_intercept.x1.messages import IssueType
from lawful_intercept.x1.reporter import Reporter
from lawful_intercept.x1.server import X1Server
from lawful_intercept.x1.services import ElementService
from lawful_intercept.x1.shelf import SealedFile
from lawful_intercept.x2x3.codec import PduType
from nf.clock import Clock
from nf.contracts.interception import GROUP, PointFactory
from nf.errors import IdentityError, NfError, NotFoundError

REPORT_S: Final = 0.5
RENEW_S: Final = 600.0


def factories(names: Mapping[str, object]) -> dict[str, PointFactory]:
    """The entry points of these observation points. Raises NotFoundError."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    for name in names:
        if name not in found:
            raise NotFoundError("no such observation point is installed", where=name, remedy="install its domain")
    return {name: found[name].load() for name in names}


async def run(
    settings: PointsSettings,
    clock: Clock,
    *,
    timesync: TimeSync | None = None,
    ready: Callable[[int], None] = lambda _: None,
) -> None:
    """Until it is cancelled. `ready` gets the port of X1. Raises NfError for what is wrong with its files."""
    state = state_directory(settings.state)
    own = tls.own_identity(settings.tls)
    if (own.kind, own.name) != ("element", settings.name):
        raise IdentityError("the certificate is of another name", where="tls", remedy=f"issue element {settings.name}")
    _warm()
    with await asyncio.to_thread(store_key, settings.store_key, state) as secret:
        numbers = Numbers(state / "numbers", secret.aead(), clock)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(numbers.close)
            losses = Losses()
            server_tls, client_tls = tls.server_context(settings.tls), tls.client_context(settings.tls)
            admf = settings.admf
            client = X1Client(admf.url, client_tls, settings.name, admf.name, of_element=True, clock=clock)
            stack.push_async_callback(client.close)
            reporter = Reporter(client, clock)
            links = await stack.enter_async_context(
                MediationLinks(
                    settings.delivery, own.domain, state, secret, told=losses, report=reporter.put, clock=clock
                )
            )
            engine = Engine(
                {name: _place(settings, name) for name in settings.points},
                {name: point.content for name, point in settings.points.items()},
                links,
                take_number=lambda xid, point, kind: numbers.take(_series(xid, point, kind), LEAST[kind]),
                leave_out=lambda xid, point, kind, count: numbers.leave_out(_series(xid, point, kind), count),
                expect_numbers=lambda xid, expected: numbers.expect(_series(xid, *one) for one in expected),
                told=losses,
                clock=clock,
                timesync=timesync or TimeSync(assumed=settings.clock.assumed, limit_s=settings.clock.limit_ms / 1000),
            )
            element = Element(
                engine,
                clock,
                mediation=False,
                report=reporter.put,
                shelf=SealedFile(state / "tasks", secret),
                keepalive_s=settings.keepalive_s,
                bulk=True,
            )
            server = X1Server(
                settings.name,
                ElementService(element),
                server_tls,
                address=str(settings.listen.address),
                port=settings.listen.port,
                peers={settings.admf.name},
                clock=clock,
                failed=lambda error: reporter.put(_failure(error)),
            )
            watches = [
                _watch(name, connect, settings, engine, clock, word=_word(secret, name))
                for name, connect in factories(settings.points).items()
            ]
            await element.start()
            for record in element.tasks():
                losses.add(record.details.xid, RESTARTED, copies=None)
            async with server:
                ready(server.port)
                async with asyncio.TaskGroup() as group:
                    for watch in watches:
                        group.create_task(watch.run())
                    group.create_task(reporter.run())
                    group.create_task(element.watch())
                    group.create_task(_tell_losses(losses, reporter, clock))
                    group.create_task(_renew(settings, (server_tls, client_tls), clock))


def _place(settings: PointsSettings, name: str) -> Place:
    point = settings.points[name]
    return Place(settings.name, name, (point.address, point.port) if point.address is not None else None)


def _series(xid: UUID, point: str, kind: PduType) -> Series:
    return str(xid), str(int(kind)), point


def _word(secret: SecretKey, name: str) -> str:
    """By which a point knows this process after a restart; who has not the store's key does not know it."""
    with secret.opened() as octets:
        return hmac.new(bytes(octets), b"word" + name.encode(), hashlib.sha256).hexdigest()


def _watch(
    name: str, connect: PointFactory, settings: PointsSettings, engine: Engine, clock: Clock, *, word: str
) -> Watch:
    watch = Watch(
        name,
        lambda: connect(settings.run_dir),
        clock,
        word=word,
        copies_to=str(settings.points[name].copies or ""),
        kinds=DEFAULTS[name],
        take=engine.take,
        changed=lambda point, up: engine.changed(point, up=up),
        refused=engine.refused,
    )
    engine.watch(watch)
    return watch


def _warm() -> None:
    """The first event of a target takes no longer than any other."""
    from pycrate_asn1dir import LIX3GPP

    LIX3GPP.TS33128Payloads.XIRIPayload.get_proto()


def _failure(error: Exception) -> ReportNEIssue:
    """What nobody foresaw, by its place alone."""
    return ReportNEIssue(IssueType.WARNING, f"a request failed: {place_of(error)}", Code.WARNING)


async def _tell_losses(losses: Losses, reporter: Reporter, clock: Clock) -> None:
    """For ever."""
    while True:
        for report in losses.reports(clock.monotonic()):
            reporter.put(report)
        await clock.sleep(REPORT_S)


async def _renew(settings: PointsSettings, contexts: tuple[ssl.SSLContext, ...], clock: Clock) -> None:
    """For ever: certificates that were renewed, for connections that come from then on."""
    while True:
        await clock.sleep(RENEW_S)
        for context in contexts:
            with contextlib.suppress(NfError):
                tls.reload(context, settings.tls)
