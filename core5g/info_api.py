"""The info API of Open5GS' functions (/pdu-info, /ue-info, /gnb-info), on the port where their metrics are."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any, Final

from nf.errors import UnavailableError

PAGE_SIZE: Final = 100
"""The most that it gives at once."""
MAX_PAGES: Final = 2_000
_LONGEST: Final = 16 << 20


async def get(address: str, target: str, timeout_s: float = 2.0) -> bytes:
    """Of the function at `HOST:PORT`. Raises UnavailableError when it does not answer, or not what it should."""
    return await asyncio.to_thread(_get, address, target, timeout_s)


async def items(address: str, path: str, timeout_s: float = 2.0) -> list[dict[str, Any]]:
    """All pages. What ends while they are read may be missed or told twice: the API has no snapshot, and no total.

    Raises UnavailableError.
    """
    found: list[dict[str, Any]] = []
    for page in range(MAX_PAGES):
        body = await get(address, f"{path}?page={page}&page_size={PAGE_SIZE}", timeout_s)
        listed = _page(body, address)
        found += [item for item in listed if isinstance(item, dict)]
        if len(listed) < PAGE_SIZE:
            return found
    raise UnavailableError(f"more than {MAX_PAGES} pages of {path}", where=address)


def _page(body: bytes, address: str) -> list[Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    listed = found.get("items") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise UnavailableError("what answers is no info API", where=address)
    return listed


def _get(address: str, target: str, timeout_s: float) -> bytes:
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        body = answer.read(_LONGEST + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        text = str(error) or type(error).__name__
        raise UnavailableError(f"no answer: {text}", where=address, remedy="see whether the function runs") from None
    finally:
        connection.close()
    if answer.status != http.client.OK or len(body) > _LONGEST:
        raise UnavailableError(f"status {answer.status} for {target}", where=address)
    return body
