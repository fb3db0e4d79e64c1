"""Answers that may be kept: entity tags, conditional requests (RFC 9110 section 13), refusals as JSON."""

from __future__ import annotations

import hashlib

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

ANY_ORIGIN = {"Access-Control-Allow-Origin": "*"}
"""Players in pages of anybody ask, and nothing here is secret."""


def answer(request: Request, body: bytes, media_type: str, cache_control: str, **headers: str) -> Response:
    """`body`, or 304 to who has it already."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    known = request.headers.get("if-none-match", "")
    shared = {"ETag": tag, "Cache-Control": cache_control, **ANY_ORIGIN, **headers}
    if known.strip() == "*" or tag in [one.strip().removeprefix("W/") for one in known.split(",")]:
        return Response(status_code=304, headers=shared)
    return Response(body, media_type=media_type, headers=shared)


def refusal(status: int, text: str, **headers: str) -> Response:
    return JSONResponse(
        {"status": status, "message": text}, status, {"Cache-Control": "no-store", **ANY_ORIGIN, **headers}
    )
