"""The service `traffic-influence` of the NOC: engine, notifications and API, put together."""

from __future__ import annotations

import asyncio
import ssl

from core5g.steering.influence.api import Api
from core5g.steering.influence.engine import Engine
from core5g.steering.influence.notify import Notifier, Sink
from core5g.steering.influence.resource import Resource
from core5g.steering.influence.server import bind, serve
from core5g.steering.influence.settings import TrafficInfluenceSettings
from nf.contracts.service import ServiceContext
from nf.documents.model import DocumentModel
from nf.errors import InputError


class TrafficInfluence:
    """Implements `nf.contracts.service.Service`."""

    @property
    def name(self) -> str:
        return "traffic-influence"

    @property
    def settings(self) -> type[DocumentModel]:
        return TrafficInfluenceSettings

    async def run(self, context: ServiceContext) -> None:
        """Raises UnavailableError (the address is taken), InputError (sink_ca), and what the store raises."""
        settings = context.settings
        if not isinstance(settings, TrafficInfluenceSettings):
            raise InputError("these are no settings of it", where=self.name)
        source = f"https://{settings.address}"

        async def noted(identity: str, events: int, gone: bool) -> None:
            await engine.note(identity, events=events, silent=gone)

        def changed(resource: Resource) -> None:
            notifier.changed(resource)

        engine = Engine(context, changed)
        notifier = Notifier(context, Sink(_trust(settings)), noted, source)
        await engine.load()
        listening = bind(*settings.listen)
        port = listening.getsockname()[1]
        app = Api(context, engine, settings).application()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(engine.run(), name="traffic influence")
                group.create_task(
                    serve(app, listening, context.identity, context.state_dir, lambda: context.ready(port=port)),
                    name="traffic influence api",
                )
        finally:
            await notifier.close()


def _trust(settings: TrafficInfluenceSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.sink_ca)
    except (OSError, ValueError) as error:
        remedy = "write its certificates there in PEM"
        raise InputError(f"cannot be read: {error}", where=f"sink_ca {settings.sink_ca}", remedy=remedy) from error
