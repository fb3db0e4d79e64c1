"""A small web page of what was received, for officers with certificates: no scripts, nothing from elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lawful_intercept.https import peer_certificate
from lawful_intercept.lemf import pages
from lawful_intercept.lemf.audio import record
from lawful_intercept.lemf.evidence import export
from lawful_intercept.lemf.sessions import Archive
from lawful_intercept.lemf.settings import LemfSettings
from nf.clock import Clock
from nf.errors import IdentityError, NfError, NotFoundError
from nf.trust.certificates import spiffe_id_of

T = TypeVar("T")
PAGE: Final = 100
_SCRATCH: Final = ".portal-"
_AUDIO: Final = frozenset({"from-target", "to-target", "other", "mixed"})
HEADERS: Final = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; style-src 'self'; media-src 'self'; base-uri 'none'; form-action 'none'; "
            b"frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Portal:
    """`opened`: a fresh archive. `domain`: whose officers may look. Serve `application` by HttpsServer."""

    def __init__(self, opened: Callable[[], Archive], settings: LemfSettings, domain: str, clock: Clock) -> None:
        self._opened, self._settings, self._domain, self._clock = opened, settings, domain, clock
        # One at a time: making audio and packages is heavy, and must not slow what receives.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="lemf-portal")
        for left in settings.state.glob(f"{_SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        routes = [
            Route("/", self._sessions),
            Route("/style.css", _style),
            Route("/sessions/{number:int}", self._session),
            Route("/sessions/{number:int}/audio/{name}.wav", self._audio),
            Route("/sessions/{number:int}/evidence.zip", self._evidence),
        ]
        starlette = Starlette(routes=routes, exception_handlers={NfError: _told})
        self.application: ASGIApp = _Guard(starlette, domain)

    async def _sessions(self, request: Request) -> Response:
        asked = request.query_params.get("offset", "0")
        offset = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0

        def read(archive: Archive) -> str:
            found = archive.sessions(PAGE + 1, offset)
            return pages.sessions(
                found[:PAGE],
                messages=archive.operator_messages(20),
                unreadable=archive.unreadable(),
                offsets=(offset - PAGE if offset else None, offset + PAGE if len(found) > PAGE else None),
            )

        return HTMLResponse(await self._read(read))

    async def _session(self, request: Request) -> Response:
        number = int(request.path_params["number"])
        return HTMLResponse(await self._read(lambda archive: pages.session(archive, archive.session(number))))

    async def _audio(self, request: Request) -> Response:
        number, name = int(request.path_params["number"]), str(request.path_params["name"])
        if name not in _AUDIO:
            raise NotFoundError("there is no such file")

        def make(archive: Archive, folder: Path) -> Path:
            archive.session(number)
            record(archive, number, folder)
            path = folder / f"{name}.wav"
            if not path.exists():
                raise NotFoundError("there is no such file")
            return path

        return await self._made(make, "audio/wav")

    async def _evidence(self, request: Request) -> Response:
        number = int(request.path_params["number"])

        def make(archive: Archive, folder: Path) -> Path:
            path = folder / f"session-{number}.zip"
            name, signing = self._settings.name, self._settings.tls
            export(archive, number, path, receiver=name, signing=signing, made_at=self._clock.now())
            return path

        return await self._made(make, "application/zip", attached=True)

    async def _read(self, work: Callable[[Archive], T]) -> T:
        def run() -> T:
            with self._opened() as archive:
                return work(archive)

        return await asyncio.get_running_loop().run_in_executor(self._worker, run)

    async def _made(
        self, make: Callable[[Archive, Path], Path], media_type: str, *, attached: bool = False
    ) -> Response:
        """A file that is made for this answer and removed after it."""
        folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=self._settings.state))
        try:
            path = await self._read(lambda archive: make(archive, folder))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return _Made(path, media_type=media_type, filename=path.name if attached else None)


class _Made(FileResponse):
    """Its folder goes with it, also when the other side went first."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            shutil.rmtree(Path(self.path).parent, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Guard:
    """Officers of this trust domain alone, and the same headers on every answer."""

    application: ASGIApp
    domain: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        with contextlib.suppress(IdentityError):
            peer = spiffe_id_of(peer_certificate(scope))
            if peer.domain == self.domain and peer.kind == "officer":
                await self.application(scope, receive, sent)
                return
        await HTMLResponse(pages.problem("this page is for officers"), 403)(scope, receive, sent)


async def _style(_request: Request) -> Response:
    return Response(pages.STYLE, media_type="text/css")


async def _told(_request: Request, error: Exception) -> Response:
    status = 404 if isinstance(error, NotFoundError) else 500
    return HTMLResponse(pages.problem(error.message if isinstance(error, NfError) else ""), status)
