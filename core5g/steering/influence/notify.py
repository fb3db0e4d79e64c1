"""Changes told to the sinks of consumers: CloudEvents 1.0 over HTTPS (callback onTrafficInfluenceChanged).

A sink gets the changes of a resource in their order. One that does not answer is tried again a few times; what it did
not take then is dropped, under an alarm: consumers can always read the resource.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import ssl
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from core5g.steering.influence.faults import invalid
from core5g.steering.influence.resource import Resource
from core5g.steering.influence.wire import EVENT_TYPE, Subscription, rfc3339
from nf.contracts.json import JsonObject
from nf.contracts.service import ServiceContext
from nf.errors import NfError
from nf.telemetry.alarms import Severity

_log = logging.getLogger(__name__)

UNREACHABLE: Final = "notification-sink-unreachable"
_PAUSES_S: Final = (1.0, 5.0, 30.0)
_TIMEOUT_S: Final = 10.0
_WAITING: Final = 100
"""So many changes of one resource wait at most."""
_GONE: Final = frozenset({204, 410})
"""The sink wants no more (0.10.0: 204; Generic410)."""

Note = Callable[[str, int, bool], Awaitable[None]]
"""Hears of a change that was taken: of which resource, how many it were by now, whether the sink wants no more."""


def check_sink(subscription: Subscription, hosts: Sequence[str]) -> None:
    """Only hosts that the operator of the NOC has named are ever called. Raises ApiError."""
    try:
        parts = urlsplit(subscription.sink)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise invalid("subscriptionRequest.sink: not a URL") from None
    if not host or parts.username is not None or parts.fragment:
        raise invalid("subscriptionRequest.sink: a URL with a host, without credentials and fragment")
    if not any(host == known or host.endswith(f".{known}") for known in hosts):
        raise invalid(f"subscriptionRequest.sink: the host {host!r} is not one that this operator notifies")


def event(resource: Resource, source: str, at: float) -> JsonObject:
    """Schema CloudEvent, its data a TrafficInfluenceNotification."""
    data: JsonObject = {**resource.to_wire(), "selected_appInstanceId": [*resource.instances]}
    if resource.device_used is not None:
        data["deviceResponse"] = resource.device_used
    return {
        "id": str(uuid.uuid4()),
        "source": source,
        "specversion": "1.0",
        "type": EVENT_TYPE,
        "datacontenttype": "application/json",
        "time": rfc3339(at),
        "data": data,
    }


@dataclass(frozen=True, slots=True)
class Sink:
    """Posts one event; the status of the answer. Blocks. Raises OSError, http.client.HTTPException."""

    tls: ssl.SSLContext

    def post(self, subscription: Subscription, body: bytes) -> int:
        parts = urlsplit(subscription.sink)
        headers = {"Content-Type": "application/cloudevents+json", "x-correlator": str(uuid.uuid4())}
        if subscription.credential is not None:
            headers["Authorization"] = f"Bearer {subscription.credential.access_token}"
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port or 443, timeout=_TIMEOUT_S, context=self.tls
        )
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()


class Notifier:
    def __init__(self, context: ServiceContext, sink: Sink, note: Note, source: str) -> None:
        self._context = context
        self._clock = context.clock
        self._sink = sink
        self._note = note
        self._source = source
        self._waiting: dict[str, asyncio.Queue[Resource]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def changed(self, resource: Resource) -> None:
        """Tell its sink, if it has one."""
        if resource.silent or not resource.given.get("subscriptionRequest"):
            return
        queue = self._waiting.get(resource.id)
        if queue is None:
            queue = self._waiting[resource.id] = asyncio.Queue(_WAITING)
            task = asyncio.create_task(self._serve(resource.id, queue), name=f"notifications of {resource.id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if not queue.full():
            queue.put_nowait(resource)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, identity: str, queue: asyncio.Queue[Resource]) -> None:
        events, gone = 0, False
        try:
            while not queue.empty():
                resource = queue.get_nowait()
                events = max(events, resource.events)
                if gone or not self._wanted(resource, events):
                    continue
                status = await self._deliver(resource)
                if status is not None:
                    events, gone = events + 1, status in _GONE
                    await self._note(identity, events, gone)
        except NfError as error:
            _log.warning("notifications of %s: %s", identity, error)
        finally:
            self._waiting.pop(identity, None)

    def _wanted(self, resource: Resource, events: int) -> bool:
        """Whether subscription and credential still hold."""
        subscription = resource.intent.subscription
        if subscription is None:
            return False
        config, credential, now = subscription.config, subscription.credential, self._clock.now()
        over = config.expires is not None and config.expires.timestamp() <= now
        full = config.max_events is not None and events >= config.max_events
        stale = credential is not None and credential.expires.timestamp() <= now
        first = resource.version == 1 and not config.initial_event
        return not (over or full or stale or first)

    async def _deliver(self, resource: Resource) -> int | None:
        """The status; None: it was dropped."""
        subscription = resource.intent.subscription
        if subscription is None:
            return None
        host = urlsplit(subscription.sink).hostname or ""
        body = json.dumps(event(resource, self._source, resource.changed_at)).encode()
        why = ""
        for pause_s in (0.0, *_PAUSES_S):
            await self._clock.sleep(pause_s)
            try:
                status = await asyncio.to_thread(self._sink.post, subscription, body)
            except (OSError, http.client.HTTPException) as error:
                why = str(error) or type(error).__name__
                continue
            if status < 300 or status in _GONE:
                self._context.alarm(UNREACHABLE, host, Severity.CLEARED)
                return status
            why = f"it answered {status}"
            if status < 500 and status != 429:
                break
        text = f"a change of {resource.id} was not taken: {why}"[:500]
        remedy = "tell the consumer; it can read the resource meanwhile"
        self._context.alarm(UNREACHABLE, host, Severity.WARNING, text, remedy)
        return None
