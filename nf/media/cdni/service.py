"""The service `cdni` of the NOC: `GET /OC/FCI/advertisement`, for upstream CDNs that show a token (RFC 6750)."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nf.contracts.service import ServiceContext
from nf.documents.model import DocumentModel
from nf.errors import InputError, IntegrityError
from nf.media.cdni.advertisement import advertisement
from nf.media.northbound.answers import answer, refusal
from nf.media.northbound.server import serve
from nf.media.northbound.settings import HttpSettings
from nf.trust.files import read_private

PATH: Final = "/OC/FCI/advertisement"
_KEPT_S: Final = 30
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class CdniSettings(HttpSettings):
    """`partners`: a file of mode 0600, JSON: name of an upstream CDN -> SHA-256 of its token, in hexadecimal."""

    partners: Path


class Partners:
    """Who may ask. The file is read anew for each request: a token that was taken out counts no longer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Mapping[str, str]:
        """Raises IntegrityError, which does not quote the file, and the errors of `read_private`."""
        text = read_private(self._path, "the tokens of upstream CDNs")
        try:
            found = json.loads(text)
            partners = {str(name): str(digest) for name, digest in found.items()}
        except (ValueError, AttributeError):
            partners = {"": ""}
        if not all(_DIGEST.fullmatch(digest) for digest in partners.values()):
            remedy = 'write {"NAME": "SHA-256 of its token, 64 hexadecimal digits"}'
            raise IntegrityError("not a list of partners", where=str(self._path), remedy=remedy)
        return partners

    def named(self, authorization: str) -> str:
        """The partner that shows this header; empty: nobody."""
        scheme, _, token = authorization.partition(" ")
        shown = hashlib.sha256(token.strip().encode()).hexdigest()
        matches = [name for name, digest in self.read().items() if hmac.compare_digest(digest, shown)]
        return matches[0] if matches and scheme.lower() == "bearer" and token.strip() else ""


class Cdni:
    """Implements `nf.contracts.service.Service`."""

    @property
    def name(self) -> str:
        return "cdni"

    @property
    def settings(self) -> type[DocumentModel]:
        return CdniSettings

    async def run(self, context: ServiceContext) -> None:
        """Raises UnavailableError (the address is taken), InputError (the certificate), and those of `Partners`."""
        settings = context.settings
        if not isinstance(settings, CdniSettings):
            raise InputError("these are no settings of it", where=self.name)
        partners = Partners(settings.partners)
        partners.read()
        await serve(application(context, partners), settings, lambda port: context.ready(port=port))


def application(context: ServiceContext, partners: Partners) -> Starlette:
    async def advertise(request: Request) -> Response:
        if not partners.named(request.headers.get("authorization", "")):
            return refusal(401, "a token of this network is needed", **{"WWW-Authenticate": 'Bearer realm="cdni"'})
        committed = context.committed()
        made = advertisement(committed.lineup, committed.fleet, context.paths.health())
        return answer(request, json.dumps(made).encode(), "application/json", f"private, max-age={_KEPT_S}")

    async def unknown(_request: Request, _error: Exception) -> Response:
        return refusal(404, f"there is {PATH} here")

    async def not_allowed(_request: Request, _error: Exception) -> Response:
        return refusal(405, "it is read only", Allow="GET, HEAD")

    return Starlette(
        routes=[Route(PATH, advertise, methods=["GET"])], exception_handlers={404: unknown, 405: not_allowed}
    )
