"""The officers' API: POST /v1/METHOD with JSON, over HTTPS with the officer's certificate.

An answer is JSON. An error is {"error": {kind, status, message, where, remedy, problems}}, for that officer alone.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lawful_intercept.administration import audit_desk, site_desk, warrant_desk
from lawful_intercept.administration.links import Links
from lawful_intercept.administration.office import Caller, Office
from lawful_intercept.administration.officers import METHODS
from lawful_intercept.https import peer_certificate
from nf.contracts.json import Json, JsonObject
from nf.errors import InputError, NfError, NotFoundError, Status
from nf.trust.certificates import spiffe_id_of

Act = Callable[[Office, Caller, JsonObject], Awaitable[Json]]

_WARRANTS: Final[dict[str, Act]] = {
    "warrant.create": warrant_desk.create,
    "warrant.submit": warrant_desk.submit,
    "warrant.approve": warrant_desk.approve,
    "warrant.reject": warrant_desk.reject,
    "warrant.revoke": warrant_desk.revoke,
    "warrant.list": warrant_desk.list_,
    "warrant.show": warrant_desk.show,
    "warrant.export": warrant_desk.export,
    "warrant.import": warrant_desk.import_,
}
_SITE: Final[dict[str, Act]] = {
    "officer.add": site_desk.officer_add,
    "officer.list": site_desk.officer_list,
    "officer.remove": site_desk.officer_remove,
    "agency.add": site_desk.agency_add,
    "agency.list": site_desk.agency_list,
    "agency.show": site_desk.agency_show,
    "agency.remove": site_desk.agency_remove,
    "element.add": site_desk.element_add,
    "element.list": site_desk.element_list,
    "element.check": site_desk.element_check,
    "element.remove": site_desk.element_remove,
    "status": site_desk.status,
    "alarms": site_desk.alarms,
}

HTTP: Final = {
    Status.INVALID_ARGUMENT: 400,
    Status.UNAUTHENTICATED: 401,
    Status.PERMISSION_DENIED: 403,
    Status.NOT_FOUND: 404,
    Status.FAILED_PRECONDITION: 409,
    Status.ABORTED: 409,
    Status.UNAVAILABLE: 503,
    Status.DEADLINE_EXCEEDED: 503,
    Status.RESOURCE_EXHAUSTED: 507,
}


class Service:
    """`path` and `key`: the store's file and the public key of its audit, for auditors."""

    def __init__(self, office: Office, links: Links, path: Path, key: Ed25519PublicKey) -> None:
        self._office = office
        self._links = links
        self._path = path
        self._key = key
        self.application = Starlette(routes=[Route("/v1/{method}", self._call, methods=["POST"])])

    async def _call(self, request: Request) -> Response:
        try:
            caller = caller_of(request)
            body = await request.body()
            return JSONResponse(await self.answer(caller, request.path_params["method"], body))
        except NfError as error:
            return JSONResponse({"error": error_json(error)}, HTTP.get(error.status, 500))

    async def answer(self, caller: Caller, method: str, body: bytes) -> Json:
        """Raises NfError."""
        office = self._office
        if caller.name not in office.officers:
            await office.reload_officers()
        arguments, thing = _arguments(body), method.partition(".")[0]
        if method not in METHODS:
            return await office.perform(caller, "unknown", "administration", _no_such_method)
        act: Callable[[], Awaitable[Json]]
        if method in _WARRANTS:
            thing = warrant_desk.thing(office, arguments)
            act = lambda: _WARRANTS[method](office, caller, arguments)  # noqa: E731 - one of four, each a line
        elif method in _SITE:
            thing = site_desk.thing(office, method, arguments)
            act = lambda: _SITE[method](office, caller, arguments)  # noqa: E731
        elif method == "audit.verify":
            act = lambda: audit_desk.verify(office, caller, self._path, self._key)  # noqa: E731
        elif method == "audit.export":
            act = lambda: audit_desk.export(office, caller, arguments, self._path)  # noqa: E731
        else:
            act = lambda: audit_desk.list_(office, caller, arguments)  # noqa: E731
        answer = await office.perform(caller, method, thing, act)
        if method == "element.check":  # not while others wait for their turn
            return await self._links.check(str(arguments["name"]))
        return answer


async def _no_such_method() -> Json:
    raise NotFoundError("no such method")


def caller_of(request: Request) -> Caller:
    """Raises IdentityError."""
    certificate = peer_certificate(request.scope)
    return Caller(spiffe_id_of(certificate), certificate.fingerprint(hashes.SHA256()).hex())


def _arguments(body: bytes) -> JsonObject:
    try:
        arguments = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise InputError("the arguments are no JSON object", remedy="use nf-li of this release")
    return arguments


def error_json(error: NfError) -> JsonObject:
    problems: list[Json] = [
        {
            "file": one.file,
            "line": one.line,
            "column": one.column,
            "key": one.key,
            "rule": one.rule,
            "remedy": one.remedy,
        }
        for one in error.problems
    ]
    kind = type(error).__name__ if type(error).__module__ == NfError.__module__ else _kind_of(error)
    return {
        "kind": kind,
        "status": error.status.name,
        "message": error.message,
        "where": error.where,
        "remedy": error.remedy,
        "problems": problems,
    }


def _kind_of(error: NfError) -> str:
    """The class in `nf.errors` that it is one of."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == NfError.__module__)
