"""The service `dvbi` of the NOC: `GET /dvbi/service-list.xml[?regionId=SITE]`."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nf.contracts.paths import Ranking
from nf.contracts.reception import Reception, Receptions, load_receptions
from nf.contracts.service import Committed, ServiceContext
from nf.documents.lineup import TagUri
from nf.documents.model import DocumentModel, Form
from nf.errors import InputError, NfError
from nf.media.dvbi.book import Book
from nf.media.dvbi.content import content_of
from nf.media.dvbi.document import MEDIA_TYPE, Head, render
from nf.media.northbound.answers import answer, refusal
from nf.media.northbound.server import serve
from nf.media.northbound.settings import HttpSettings
from nf.telemetry.alarms import Severity

PATH: Final = "/dvbi/service-list.xml"
STALE: Final = "service-list-stale"
_LOOK_S: Final = 1.0
"""So often it is seen whether another revision is committed, and what could not be written is tried again."""
_KEPT_S: Final = 10

Plain = Annotated[str, Field(min_length=1, max_length=100)]


class DvbiSettings(HttpSettings):
    """list      unique identifier of the service list (tag URI)
    name      what people call it; provider: who makes it
    language  BCP 47; country: ISO 3166-1 alpha-3, of all regions
    scheme    http or https: how the path's hosts are asked for OTT instances
    """

    list: TagUri
    name: Plain
    provider: Plain
    language: Annotated[
        str, Form(r"[a-zA-Z]{2,3}(-[a-zA-Z0-9]{2,8})*", "a language is a BCP 47 tag", "write it as en")
    ] = "en"
    country: Annotated[str, Form(r"[A-Z]{3}", "a country is ISO 3166-1 alpha-3", "write it as FRA")]
    scheme: Literal["http", "https"] = "https"

    @property
    def head(self) -> Head:
        return Head(self.list, self.name, self.provider, self.language, self.country, self.scheme)


class Dvbi:
    """Implements `nf.contracts.service.Service`."""

    def __init__(self, receptions: tuple[Receptions, ...] | None = None) -> None:
        self._receptions = receptions

    @property
    def name(self) -> str:
        return "dvbi"

    @property
    def settings(self) -> type[DocumentModel]:
        return DvbiSettings

    async def run(self, context: ServiceContext) -> None:
        """Raises UnavailableError (the address is taken), InputError (the certificate), and what the records raise."""
        settings = context.settings
        if not isinstance(settings, DvbiSettings):
            raise InputError("these are no settings of it", where=self.name)
        found = load_receptions() if self._receptions is None else self._receptions
        lists = Lists(context, settings.head, found)
        await lists.load()
        async with asyncio.TaskGroup() as group:
            group.create_task(lists.run(), name="dvbi lists")
            app = application(lists)
            group.create_task(serve(app, settings, lambda port: context.ready(port=port)), name="dvbi http")


@dataclass(slots=True)
class _Shown:
    """`by_region`: the documents, the whole list under the empty name. `sites`: that have one."""

    by_region: dict[str, bytes] = field(default_factory=dict)


class Lists:
    """Every list as it is now. A list is shown when its versions are kept, and never before."""

    def __init__(self, context: ServiceContext, head: Head, receptions: tuple[Receptions, ...]) -> None:
        self._context = context
        self._head = head
        self._sources = receptions
        self._book = Book(context.records)
        self._revision = -1
        self._receptions: tuple[Reception, ...] = ()
        self._changed = asyncio.Event()
        self._shown = _Shown()

    def document(self, region: str) -> bytes | None:
        return self._shown.by_region.get(region)

    async def load(self) -> None:
        await self._book.load()
        await self._make()

    async def run(self) -> None:
        """Until cancelled: anew with every change of a ranking, and of the committed documents."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear(), name="dvbi rankings")
            while True:
                await self._wait()
                self._changed.clear()
                try:
                    await self._make()
                except NfError as error:
                    self._changed.set()
                    remedy = "make room for the NOC's store; receivers are shown the list as it was"
                    self._context.alarm(STALE, "list", Severity.MAJOR, f"a change cannot be kept: {error}", remedy)
                    await self._context.clock.sleep(_LOOK_S)
                else:
                    self._context.alarm(STALE, "list", Severity.CLEARED)

    async def _hear(self) -> None:
        changes: Any = self._context.paths.changes()
        async with aclosing(changes):
            async for _ in changes:
                self._changed.set()

    async def _wait(self) -> None:
        while not self._changed.is_set() and self._context.committed().revision == self._revision:
            waiting = asyncio.ensure_future(self._changed.wait())
            looking = asyncio.ensure_future(self._context.clock.sleep(_LOOK_S))
            try:
                await asyncio.wait({waiting, looking}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                looking.cancel()
                await asyncio.gather(waiting, looking, return_exceptions=True)

    async def _make(self) -> None:
        committed = self._context.committed()
        if committed.revision != self._revision:
            self._receptions = tuple(
                one for source in self._sources for one in source(committed.lineup, committed.fleet)
            )
        rankings = self._context.paths.rankings()
        made = {region: await self._list(committed, rankings, region) for region in _regions(committed)}
        self._shown = _Shown(made)
        self._revision = committed.revision

    async def _list(self, committed: Committed, rankings: tuple[Ranking, ...], region: str) -> bytes:
        content = content_of(committed.lineup, committed.fleet, self._receptions, rankings, region)
        return render(content, self._head, await self._book.number(content, self._head))


def _regions(committed: Committed) -> list[str]:
    """Sites at which anything is delivered, after the whole."""
    named = {
        str(site)
        for channel in committed.lineup.spec.channels
        for path in channel.delivery
        for site in getattr(path, "sites", ())
    }
    return ["", *(site.id for site in committed.fleet.spec.sites if site.id in named)]


def application(lists: Lists) -> Starlette:
    async def service_list(request: Request) -> Response:
        query = request.query_params
        region = query.get("regionId", query.get("regionID", ""))
        document = lists.document(region)
        if document is None:
            return refusal(404, "no region of this name has a service list")
        return answer(request, document, MEDIA_TYPE, f"public, max-age={_KEPT_S}")

    async def unknown(_request: Request, _error: Exception) -> Response:
        return refusal(404, f"there is {PATH} here")

    async def not_allowed(_request: Request, _error: Exception) -> Response:
        return refusal(405, "it is read only", Allow="GET, HEAD")

    return Starlette(
        routes=[Route(PATH, service_list, methods=["GET"])], exception_handlers={404: unknown, 405: not_allowed}
    )
