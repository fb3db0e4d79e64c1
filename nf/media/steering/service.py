"""The service `steering` of the NOC: `GET /steering/v1/{hls|dash}/{channel}[?path=PATH][&site=SITE]`."""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nf.clock import Clock
from nf.contracts.paths import Paths
from nf.contracts.service import Committed, ServiceContext
from nf.documents.model import DocumentModel
from nf.errors import InputError
from nf.media.documents import SHARED_PATHWAY
from nf.media.northbound.answers import answer, refusal
from nf.media.northbound.server import serve
from nf.media.northbound.settings import PlayerSettings
from nf.media.northbound.whereabouts import Whereabouts, client_address
from nf.media.steering.choice import Knowledge, Ttl, choose, manifest, steered_path
from nf.media.steering.counts import Counts

ROOT: Final = "/steering/v1"
FORMS: Final = ("hls", "dash")
FRESH_S: Final = 0.25
"""So old may be what an answer rests on: many players ask at once, and what is known is gathered once for them."""

_KEPT_S: Final = 2
"""So long a cache in front may keep an answer: a switch reaches players that ask then, that much later at most."""


class SteeringSettings(PlayerSettings):
    """As all services for players."""


class Steering:
    """Implements `nf.contracts.service.Service`."""

    @property
    def name(self) -> str:
        return "steering"

    @property
    def settings(self) -> type[DocumentModel]:
        return SteeringSettings

    async def run(self, context: ServiceContext) -> None:
        """Raises UnavailableError (the address is taken), InputError (the certificate)."""
        settings = context.settings
        if not isinstance(settings, SteeringSettings):
            raise InputError("these are no settings of it", where=self.name)
        app = Api(context, settings).application()
        await serve(app, settings, lambda port: context.ready(port=port))


class _State:
    """What answers rest on, gathered anew when it is old."""

    def __init__(self, context: ServiceContext, settings: PlayerSettings) -> None:
        self._context = context
        self._settings = settings
        self._clock: Clock = context.clock
        self._paths: Paths = context.paths
        self._at = -FRESH_S
        self.committed: Committed = context.committed()
        self.whereabouts = Whereabouts(self.committed.fleet, settings)
        self.known = Knowledge({}, {})

    def refresh(self) -> None:
        now = self._clock.monotonic()
        if now - self._at < FRESH_S and self._at >= 0:
            return
        self._at = now
        committed = self._context.committed()
        if committed.revision != self.committed.revision:
            self.committed = committed
            self.whereabouts = Whereabouts(committed.fleet, self._settings)
        self.known = Knowledge.of(self._paths.health(), self._paths.rankings())


class Api:
    def __init__(self, context: ServiceContext, settings: PlayerSettings) -> None:
        self._state = _State(context, settings)
        self._settings = settings
        self.counts = Counts()

    def application(self) -> Starlette:
        routes = [
            Route(f"{ROOT}/{{form}}/{{channel}}", self._manifest, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
        ]
        return Starlette(routes=routes, exception_handlers={404: _unknown, 405: _not_allowed})

    async def _manifest(self, request: Request) -> Response:
        form, channel_id = request.path_params["form"], request.path_params["channel"]
        query = request.query_params
        state = self._state
        state.refresh()
        lineup = state.committed.lineup
        found = steered_path(lineup, channel_id, query.get("path", "")) if form in FORMS else None
        if found is None:
            return refusal(404, "no channel of this name is steered, or not by this path")
        channel, path = found
        named = query.get("site", "")
        sites = {site.id for site in state.committed.fleet.spec.sites}
        if named and named not in sites:
            return refusal(404, "no such site")
        site = named or state.whereabouts.site_of(client_address(request, self._settings.proxies))
        policy = lineup.spec.policy.steering
        ttl = Ttl(policy.ttl_calm_ms // 1000, policy.ttl_alert_ms // 1000)
        choice = choose(channel, path, site, state.known, ttl)
        self.counts.count(channel.id, form, site, query, (SHARED_PATHWAY, *path.sites))
        reload_uri = f"{ROOT}/{form}/{quote(channel.id)}?path={quote(path.id)}"
        reload_uri += f"&site={quote(site)}" if site else ""
        body = json.dumps(manifest(choice, form, path, reload_uri), separators=(",", ":")).encode()
        # Who is at no known place may be elsewhere at the next request; what names its site is the same for all.
        scope = "public" if named else "private"
        return answer(request, body, "application/json", f"{scope}, max-age={min(_KEPT_S, choice.ttl_s)}")

    async def _metrics(self, request: Request) -> Response:
        """For what scrapes on this machine."""
        peer = request.client.host if request.client is not None else ""
        if peer not in {"127.0.0.1", "::1", "::ffff:127.0.0.1"}:
            return refusal(403, "counts are told to this machine only")
        return Response(self.counts.exposition(), media_type="text/plain; version=0.0.4")


async def _unknown(_request: Request, _error: Exception) -> Response:
    return refusal(404, f"there is {ROOT}/{{hls|dash}}/{{channel}} here")


async def _not_allowed(_request: Request, _error: Exception) -> Response:
    return refusal(405, "it is read only", Allow="GET, HEAD")
