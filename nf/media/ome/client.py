"""The REST API of an OvenMediaEngine: few calls, each bounded, errors in the house's words."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
from typing import Any, Final
from urllib.parse import quote

from nf.errors import DeniedError, DriverError, NotFoundError, RefusedError, UnavailableError
from nf.media.documents import endpoint_address

_TIMEOUT_S: Final = 5.0
_MAX_OCTETS: Final = 4 << 20


class Ome:
    """One virtual host. The token shows nowhere.

    Raises UnavailableError (no answer), DeniedError (token), RefusedError (403: what Server.xml declares cannot be
    written), NotFoundError, DriverError.
    """

    def __init__(self, endpoint: str, token: str, vhost: str) -> None:
        self._endpoint = endpoint
        self._authorization = "Basic " + base64.b64encode(token.encode()).decode()
        self._base = f"/v1/vhosts/{quote(vhost)}"

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """The `response` of what the API answers, None when it has none (204 too)."""
        return await asyncio.to_thread(self._call, method, path, body)

    def _call(self, method: str, path: str, body: object) -> Any:
        address, port = endpoint_address(self._endpoint)
        connection = http.client.HTTPConnection(str(address), port, timeout=_TIMEOUT_S)
        headers = {"Authorization": self._authorization, "Content-Type": "application/json"}
        try:
            connection.request(method, self._base + path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            data = answer.read(_MAX_OCTETS)
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(
                f"the engine does not answer: {type(error).__name__}",
                where=self._endpoint,
                remedy="see whether OvenMediaEngine runs, and <Bind><Managers><API> in its Server.xml",
            ) from None
        finally:
            connection.close()
        return self._read(answer.status, data, path)

    def _read(self, status: int, data: bytes, path: str) -> Any:
        try:
            found = json.loads(data) if data.strip() else {}
        except ValueError:
            found = None
        envelope = found[0] if isinstance(found, list) and found else found
        if not isinstance(envelope, dict):
            raise DriverError(
                "what answers is no OvenMediaEngine", where=self._endpoint, remedy="see what listens there"
            )
        # A list of answers is 200 or 207 as a whole; each says what became of its own.
        code = envelope.get("statusCode", status)
        code = code if isinstance(code, int) else status
        message = str(envelope.get("message", ""))[:200]
        where = f"{self._endpoint}{path}"
        if 200 <= code < 300:
            return envelope.get("response")
        if code == 401:
            raise DeniedError("the engine refuses the token", where=where, remedy="put its AccessToken into the secret")
        if code == 403:
            rule = f"the engine lets nobody write this: {message}"
            raise RefusedError(
                rule, where=where, remedy="it is declared in Server.xml: change it there, or choose another app"
            )
        if code == 404:
            raise NotFoundError(message or "the engine knows no such object", where=where)
        raise DriverError(f"the engine answered {code}: {message}", where=where, remedy="read its log")

    async def app(self, name: str) -> dict[str, Any] | None:
        """None when there is no such application."""
        try:
            found = await self.call("GET", f"/apps/{quote(name)}")
        except NotFoundError:
            return None
        return found if isinstance(found, dict) else None

    async def create_app(self, name: str, profile: str) -> None:
        await self.call("POST", "/apps", [{"name": name, "type": "live", "outputProfiles": _profiles(profile)}])

    async def change_app(self, name: str, profile: str) -> None:
        """Restarts the application."""
        await self.call("PUT", f"/apps/{quote(name)}", {"outputProfiles": _profiles(profile)})

    async def delete_app(self, name: str) -> None:
        await self.call("DELETE", f"/apps/{quote(name)}")

    async def apps(self) -> list[str]:
        return [str(name) for name in await self.call("GET", "/apps") or ()]

    async def streams(self, app: str) -> list[str]:
        try:
            return [str(name) for name in await self.call("GET", f"/apps/{quote(app)}/streams") or ()]
        except NotFoundError:
            return []

    async def pull(self, app: str, name: str, urls: tuple[str, ...]) -> None:
        body = {"name": name, "urls": list(urls), "properties": {"persistent": True}}
        await self.call("POST", f"/apps/{quote(app)}/streams", body)

    async def delete_stream(self, app: str, name: str) -> None:
        await self.call("DELETE", f"/apps/{quote(app)}/streams/{quote(name)}")

    async def pushes(self, app: str) -> list[dict[str, Any]]:
        try:
            found = await self.call("POST", f"/apps/{quote(app)}:pushes", {})
        except NotFoundError:
            return []
        return [push for push in found or () if isinstance(push, dict)]

    async def start_push(self, app: str, name: str, url: str) -> None:
        body = {"id": name, "stream": {"name": name}, "protocol": "mpegts", "url": url, "streamKey": ""}
        await self.call("POST", f"/apps/{quote(app)}:startPush", body)

    async def stop_push(self, app: str, name: str) -> None:
        await self.call("POST", f"/apps/{quote(app)}:stopPush", {"id": name})


def _profiles(name: str) -> dict[str, Any]:
    encodes = {"videos": [{"bypass": True}], "audios": [{"bypass": True}]}
    profile = {"name": name, "outputStreamName": "${OriginStreamName}", "encodes": encodes}
    return {"outputProfile": [profile]}


def profile_names(app: dict[str, Any]) -> set[str]:
    """The output profiles of an application, as it is described by the engine."""
    held = app.get("outputProfiles")
    found = held.get("outputProfile", ()) if isinstance(held, dict) else ()
    return {str(profile.get("name")) for profile in found if isinstance(profile, dict)}
