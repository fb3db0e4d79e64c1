"""The service `metrics` of the NOC: `GET /metrics`, in the text of Prometheus or as OpenMetrics 1.0."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from nf.contracts.service import ServiceContext
from nf.documents.model import DocumentModel
from nf.errors import InputError
from nf.media.export.metrics import Totals, families
from nf.media.northbound.server import serve
from nf.media.northbound.settings import ClientPrefix, HttpSettings

_THIS_MACHINE: Final = tuple(ip_address(text) for text in ("127.0.0.1", "::1"))


class MetricsSettings(HttpSettings):
    """`scrapers`: prefixes from which it may be asked, beside this machine."""

    scrapers: tuple[ClientPrefix, ...] = ()

    def admits(self, address: str) -> bool:
        found = _address(address)
        return found in _THIS_MACHINE or (found is not None and any(found in prefix for prefix in self.scrapers))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


class Metrics:
    """Implements `nf.contracts.service.Service`."""

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def settings(self) -> type[DocumentModel]:
        return MetricsSettings

    async def run(self, context: ServiceContext) -> None:
        """Raises UnavailableError (the address is taken), InputError (the certificate)."""
        settings = context.settings
        if not isinstance(settings, MetricsSettings):
            raise InputError("these are no settings of it", where=self.name)
        app = application(context, settings)
        await serve(app, settings, lambda port: context.ready(port=port))


class _Taken(Collector):
    """What was known at one moment."""

    def __init__(self, taken: tuple[Metric, ...]) -> None:
        self._taken = taken

    def collect(self) -> Iterator[Metric]:
        return iter(self._taken)


def application(context: ServiceContext, settings: MetricsSettings) -> Starlette:
    totals = Totals()

    async def metrics(request: Request) -> Response:
        peer = request.client.host if request.client is not None else ""
        if not settings.admits(peer):
            return PlainTextResponse("not from this address: nf noc service set metrics scrapers=...\n", 403)
        # It is gathered in the loop's own thread, to which it belongs; written in another, since that takes longer.
        taken = tuple(families(context.telemetry, context.paths, totals, context.clock.now()))
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        text = await asyncio.to_thread(encode, _Taken(taken))
        return Response(text, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    return Starlette(routes=[Route("/metrics", metrics, methods=["GET"])])
