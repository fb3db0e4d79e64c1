"""The API over HTTP: its operations, who may call them, what it answers when it refuses.

Follows code/API_definitions/traffic-influence.yaml, version 0.10.0 (CAMARA TrafficInfluence, release r1.3). Where that
wants an access token, a consumer shows the client certificate that the NOC gave it as an operator: reading takes the
role viewer, everything else engineer. A consumer sees what it made itself, and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core5g.steering.influence.engine import Engine
from core5g.steering.influence.faults import ApiError, invalid
from core5g.steering.influence.notify import check_sink
from core5g.steering.influence.resource import Resource, State
from core5g.steering.influence.settings import TrafficInfluenceSettings
from core5g.steering.influence.wire import MAX_BODY, Body, DeviceIntent, Intent, Patch, parse, parse_json
from nf.clock import Clock
from nf.contracts.json import JsonObject
from nf.contracts.service import Caller, ServiceContext
from nf.errors import NfError
from nf.trust.roles import OperatorRole

_log = logging.getLogger(__name__)

ROOT: Final = "/traffic-influence/v0.10"
RESOURCES: Final = f"{ROOT}/traffic-influences"
DEVICES: Final = f"{ROOT}/traffic-influence-devices"
CERTIFICATE: Final = "client_certificate"
"""Key, in the scope of a request, of the client's certificate in DER."""

BODY_S: Final = 15.0
"""So long a body may take."""

_CORRELATOR: Final = re.compile(r"[a-zA-Z0-9\-_:;./<>{}]{0,256}")
_FIXED: Final = ("apiConsumerId", "appId")
_CALLERS: Final = 1000

Handler: TypeAlias = Callable[[Request, Caller], Awaitable[Response]]


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Allowances:
    """So many requests a second of each caller, with a burst of twice as many. The longest silent one is forgotten."""

    def __init__(self, rate: float, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, caller: str) -> bool:
        now, most = self._clock.monotonic(), 2 * self._rate
        bucket = self._buckets.pop(caller, None) or _Bucket(most, now)
        bucket.tokens = min(most, bucket.tokens + (now - bucket.at) * self._rate)
        bucket.at = now
        self._buckets[caller] = bucket
        while len(self._buckets) > _CALLERS:
            self._buckets.pop(next(iter(self._buckets)))
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


class Api:
    def __init__(self, context: ServiceContext, engine: Engine, settings: TrafficInfluenceSettings) -> None:
        self._context = context
        self._engine = engine
        self._settings = settings
        self._allowances = Allowances(settings.rate, context.clock)

    def application(self) -> Starlette:
        read, write = OperatorRole.VIEWER, OperatorRole.ENGINEER
        one = f"{RESOURCES}/{{identity}}"
        handlers: dict[str, dict[str, tuple[OperatorRole, Handler]]] = {
            RESOURCES: {"GET": (read, self._list), "POST": (write, self._post)},
            DEVICES: {"POST": (write, self._post_device)},
            one: {"GET": (read, self._get), "PATCH": (write, self._patch), "DELETE": (write, self._delete)},
        }
        routes = [Route(path, self._dispatch(by_method), methods=[*_METHODS]) for path, by_method in handlers.items()]
        return Starlette(routes=routes, exception_handlers={404: _unknown, Exception: _fault})

    def _dispatch(self, by_method: dict[str, tuple[OperatorRole, Handler]]) -> Callable[[Request], Awaitable[Response]]:
        allowed = ", ".join(sorted(by_method))

        async def answered(request: Request) -> Response:
            _check_correlator(request)
            found = by_method.get(request.method)
            if found is None:
                refused = _refusal(ApiError(405, "METHOD_NOT_ALLOWED", f"this resource takes {allowed}"))
                refused.headers["Allow"] = allowed
                return refused
            role, handler = found
            return await handler(request, await self._caller(request, role))

        async def handle(request: Request) -> Response:
            try:
                answer = await answered(request)
            except ApiError as error:
                answer = _refusal(error)
            except NfError as error:
                if (refused := ApiError.of(error)).status >= 500:
                    _log.error("%s %s", request.method, request.url.path, exc_info=error)
                answer = _refusal(refused)
            except ClientDisconnect:
                answer = Response(status_code=400)
            answer.headers["x-correlator"] = _correlator(request)
            return answer

        return handle

    async def _caller(self, request: Request, role: OperatorRole) -> Caller:
        certificate = request.scope.get(CERTIFICATE)
        if not isinstance(certificate, bytes):
            raise ApiError(401, "UNAUTHENTICATED", "no client certificate was shown")
        caller = await self._context.authorize(certificate, role, f"{request.method.lower()}-traffic-influence")
        if not self._allowances.take(str(caller.spiffe_id)):
            raise ApiError(429, "TOO_MANY_REQUESTS", f"more than {self._settings.rate:g} requests a second")
        return caller

    # ---- operations ----

    async def _list(self, request: Request, caller: Caller) -> Response:
        """getTrafficInfluence. Those that are deleted are read by their id only."""
        app_id: UUID | None = None
        if (asked := request.query_params.get("appId")) is not None:
            try:
                app_id = UUID(asked)
            except ValueError:
                raise invalid("appId: not a UUID") from None
        found = [one for one in self._engine.of(str(caller.spiffe_id)) if one.state is not State.DELETED]
        return JSONResponse([one.to_wire() for one in found if app_id is None or one.intent.app_id == app_id])

    async def _post(self, request: Request, caller: Caller) -> Response:
        """postTrafficInfluence."""
        intent, given = parse(Intent, await _body(request))
        return await self._create(caller, intent, given)

    async def _post_device(self, request: Request, caller: Caller) -> Response:
        """postTrafficInfluenceDevice. A certificate names no subscriber: the body has to."""
        intent, given = parse(DeviceIntent, await _body(request))
        if intent.device is None:
            raise ApiError(422, "MISSING_IDENTIFIER", "the device cannot be identified: name it")
        return await self._create(caller, intent, given)

    async def _create(self, caller: Caller, intent: Intent, given: JsonObject) -> Response:
        self._check(intent)
        owner = str(caller.spiffe_id)
        alive = [one for one in self._engine.of(owner) if one.state not in {State.DELETED, State.ERROR}]
        if any(_same(one.given, given) for one in alive):
            raise ApiError(409, "ALREADY_EXISTS", "there is a resource with this very intent")
        if not await self._engine.make_room(owner, self._settings.resources):
            raise ApiError(429, "QUOTA_EXCEEDED", f"a consumer may have {self._settings.resources} resources")
        fresh = await self._engine.create(owner, given)
        return JSONResponse(fresh.to_wire(), 201, headers={"Location": f"{RESOURCES}/{fresh.id}"})

    async def _get(self, request: Request, caller: Caller) -> Response:
        """getAllTrafficInfluences, as the definition calls the reading of one."""
        return JSONResponse(self._own(request, caller).to_wire())

    async def _patch(self, request: Request, caller: Caller) -> Response:
        """patchTrafficInfluence: what is given replaces what was."""
        known = self._own(request, caller)
        _, given = parse(Patch, await _body(request))
        known = self._own(request, caller)  # time has passed
        for key in _FIXED:
            if key in given and given[key] != known.given.get(key):
                raise invalid(f"{key}: cannot be changed")
        if known.state is not State.ACTIVE:
            message = f"the resource is {known.state.value!r}: it can be changed when it is 'active'"
            raise ApiError(409, "DENIED_WAIT", message)
        fresh = {**known.given, **given}
        model: type[Body] = DeviceIntent if "device" in fresh else Intent
        intent, _ = parse(model, fresh)
        if isinstance(intent, Intent):
            self._check(intent)
        if fresh != known.given:
            known = await self._engine.change(known, fresh)
        return JSONResponse(known.to_wire(), headers={"Location": f"{RESOURCES}/{known.id}"})

    async def _delete(self, request: Request, caller: Caller) -> Response:
        """deleteTrafficInfluence."""
        known = self._own(request, caller)
        if known.state is State.DELETED:
            raise _absent()
        await self._engine.delete(known)
        return Response(status_code=202)

    def _own(self, request: Request, caller: Caller) -> Resource:
        known = self._engine.get(str(request.path_params["identity"]))
        if known is None or known.owner != str(caller.spiffe_id):
            raise _absent()
        return known

    def _check(self, intent: Intent) -> None:
        """Whether it could be done now, before anything is promised. Raises ApiError."""
        if intent.subscription is not None:
            check_sink(intent.subscription, self._settings.sinks)
        self._engine.catalogue().orders("check", intent)


_METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
_TOLD: Final = frozenset({"subscriptionRequest", "apiConsumerId"})
"""What two intents may differ in and still be the same."""


def _same(one: JsonObject, other: JsonObject) -> bool:
    def about(given: JsonObject) -> str:
        return json.dumps({k: v for k, v in given.items() if k not in _TOLD}, sort_keys=True).lower()

    return about(one) == about(other)


def _absent() -> ApiError:
    return ApiError(404, "NOT_FOUND", "there is no such resource")


def _refusal(error: ApiError) -> JSONResponse:
    return JSONResponse(error.to_json(), error.status)


def _correlator(request: Request) -> str:
    """The caller's, when it is of the form that the API says; else one of ours."""
    given = request.headers.get("x-correlator", "")
    return given if given and _CORRELATOR.fullmatch(given) else str(uuid.uuid4())


def _check_correlator(request: Request) -> None:
    if not _CORRELATOR.fullmatch(request.headers.get("x-correlator", "")):
        raise invalid("x-correlator: not of the form that the API says")


async def _fault(request: Request, _error: Exception) -> Response:
    """A mistake of ours: the server logs it."""
    answer = _refusal(ApiError(500, "INTERNAL", "internal error"))
    answer.headers["x-correlator"] = _correlator(request)
    return answer


async def _unknown(_request: Request, _error: Any) -> Response:
    answer = _refusal(ApiError(404, "NOT_FOUND", f"there is nothing here: the API is below {ROOT}"))
    answer.headers["x-correlator"] = str(uuid.uuid4())
    return answer


async def _body(request: Request) -> JsonObject:
    """Raises ApiError for what is too much, or no JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", "the body is application/json")
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                found += chunk
                if len(found) > MAX_BODY:
                    raise invalid(f"the body is larger than {MAX_BODY} octets")
    except TimeoutError:
        raise ApiError(408, "REQUEST_TIMEOUT", f"the body did not come within {BODY_S:g} s") from None
    return parse_json(bytes(found))
