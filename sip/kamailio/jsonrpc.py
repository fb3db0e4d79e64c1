"""JSON-RPC 2.0 as Kamailio's module jsonrpcs speaks it: bytes to values and back. Sans-IO.

What answers is a program that repeats what strangers sent it (user agents, tags): bytes that are no UTF-8 and control
characters within strings are taken as they come, and nothing that stands in an answer can raise but what is told here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from nf.contracts.json import Json
from nf.errors import DriverError

LONGEST: Final = 64 * 1024 * 1024
"""Of an answer, in octets."""

Parameter = str | int | float


@dataclass(frozen=True, slots=True)
class Answer:
    """`code` 0: it was done, and `result` is what came of it. Otherwise `message` says why not."""

    id: int
    result: Json = None
    code: int = 0
    message: str = ""


class RpcRefused(DriverError):  # noqa: N818 - the word of the tree
    """Kamailio answered that it did not do it. `code` as SIP and HTTP have them: 404, 500."""

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"{method}: {code} {message}", where="kamailio", remedy="read the log of the unit kamailio")
        self.code = code
        self.reason = message


def request(method: str, parameters: Iterable[Parameter], number: int) -> bytes:
    call = {"jsonrpc": "2.0", "method": method, "params": [*parameters], "id": number}
    return json.dumps(call, separators=(",", ":"), allow_nan=False).encode()


def answer(data: bytes) -> Answer | None:
    """None for what is no answer to a request of ours: not JSON, no object, without its number."""
    if len(data) > LONGEST:
        return None
    try:
        found = json.loads(data.decode(errors="replace"), strict=False, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    number = found.get("id")
    if not isinstance(number, int) or isinstance(number, bool):
        return None
    if "error" not in found:
        return Answer(number, found.get("result")) if "result" in found else None
    error: Any = found["error"]
    code, text = (error.get("code"), error.get("message")) if isinstance(error, dict) else (None, error)
    known = code if isinstance(code, int) and not isinstance(code, bool) else 0
    return Answer(number, code=known or 500, message=str(text)[:500])


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")
