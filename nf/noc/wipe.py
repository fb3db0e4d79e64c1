"""Wiping an appliance that runs from an image: in two steps, by a code that the appliance itself gives out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nf.contracts.json import JsonObject
from nf.errors import InputError, NfError, RefusedError
from nf.noc.maintenance import require_reason
from nf.noc.node import Node

WIPE_S: Final = 60.0
"""Longest time until its keys are destroyed."""
_ACTION: Final = "appliance.wipe"


@dataclass(frozen=True, slots=True)
class Wiped:
    """`code`, for `expires_s`, when it is still to be confirmed; else it reboots in `reboots_in_s`."""

    wiped: bool
    code: str = ""
    expires_s: int = 0
    reboots_in_s: int = 0


async def wipe(node: Node, appliance: str, code: str, reason: str, author: str) -> Wiped:
    """On record before it is ordered, since what is ordered cannot be taken back and its answer may be lost.

    Raises NotFoundError, InputError (no reason), UnavailableError (it is offline), RefusedError (it runs from no image;
    the code is not the one), DriverError (the appliance could not).
    """
    node.lineups.current.appliance(appliance)
    reason = require_reason(reason)
    session = node.sessions.get(appliance)
    if session is None:
        raise node.sessions.offline(appliance)
    if node.image_of(appliance) is None:
        raise RefusedError(
            "runs from no image: there is nothing that could wipe it from outside",
            where=appliance,
            remedy=f"wipe it by hand; to shut it out of the fleet: nf appliance replace {appliance}",
        )
    target, detail = f"appliance/{appliance}", {"reason": reason}
    code = code.strip()
    await node.book.audit(author, _ACTION, target, "begun" if code else "asked", {**detail})
    try:
        answer = await session.request("image.wipe", {"code": code}, WIPE_S)
        if not isinstance(answer, dict) or bool(answer.get("wiped")) != bool(code):
            raise InputError("the appliance answered something else", where=appliance)
    except NfError as error:
        await node.book.audit(author, _ACTION, target, "failed", {**detail, "error": str(error)[:1000]})
        raise
    if code:
        await node.book.audit(author, _ACTION, target, "done", {**detail})
    return Wiped(bool(code), str(answer.get("code", "")), _whole(answer, "expires_s"), _whole(answer, "reboots_in_s"))


def _whole(answer: JsonObject, key: str) -> int:
    value = answer.get(key)
    return int(value) if isinstance(value, int | float) else 0
