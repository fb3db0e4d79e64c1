"""Dialogs of a proxy: as Kamailio lists them, as they are shown, and their end at somebody else's word.

Rows have the fields that are written here and no others: whatever else a daemon lists never leaves the appliance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from nf.contracts.json import Json, JsonObject
from sip.calling.messages import SipSyntaxError, Uri
from sip.kamailio.documents import KamailioSection
from sip.kamailio.jsonrpc import RpcRefused

STATES: Final[Mapping[int, str]] = {1: "calling", 2: "ringing", 3: "answered", 4: "talking"}
"""Of dialogs (module dialog, dlg_hash.h): 3 is confirmed without ACK, 5 has ended."""
TALKING: Final = 4
_ANSWERED: Final = 3
_UNSET: Final = frozenset({"[not set]", "<null>", ""})


class Rpc(Protocol):
    """`sip.kamailio.rpc.RpcClient`. Raises RpcRefused for what Kamailio does not do."""

    async def call(self, method: str, *parameters: str | float) -> Json: ...


async def dialogs(rpc: Rpc, call: str = "") -> tuple[Mapping[str, Any], ...]:
    """As Kamailio lists them; `call`: of this Call-ID only."""
    try:
        listed = await (rpc.call("dlg.dlg_list", call) if call else rpc.call("dlg.list"))
    except RpcRefused as refused:
        if refused.code in {404, 500} and call:
            return ()  # there is none
        raise
    return tuple(one for one in (listed if isinstance(listed, list) else [listed]) if isinstance(one, dict))


def call_row(dialog: Mapping[str, Any]) -> JsonObject | None:
    """None: it has ended, or is none."""
    state = dialog.get("state")
    call = dialog.get("call-id")
    if not isinstance(state, int) or state not in STATES or not isinstance(call, str):
        return None
    start, begun = whole(dialog.get("start_ts")), whole(dialog.get("init_ts"))
    return {
        "call": call,
        "from": plain(dialog.get("from_uri")),
        "to": plain(dialog.get("to_uri")),
        "state": STATES[state],
        "since": start or begun,
        "seconds": whole(dialog.get("duration")),
        "caller": _party(dialog.get("caller")),
        "called": _party(dialog.get("callee")),
    }


def _party(found: Any) -> str:
    """Where it is reached."""
    contact = found.get("contact", "") if isinstance(found, dict) else ""
    return plain(contact)


def variable(dialog: Mapping[str, Any], name: str) -> str:
    """Of the dialog; empty: it has none of this name."""
    listed = dialog.get("variables")
    named = (one for one in (listed if isinstance(listed, list) else ()) if isinstance(one, dict) and name in one)
    return str(next(named, {name: ""})[name])


def emergency_number(dialog: Mapping[str, Any], section: KamailioSection | None) -> str:
    """That it was called by; empty: it is no emergency call."""
    number = _user(plain(dialog.get("to_uri")))
    numbers = section.emergency.numbers if section is not None and section.emergency is not None else ()
    return number if number in numbers else variable(dialog, "sos")


async def end(rpc: Rpc, dialog: Mapping[str, Any], headers: str = "") -> None:
    """BYE to both, with `headers` (whole lines), or CANCEL while it rings. One that is over has ended.

    Raises RpcRefused.
    """
    caller = dialog.get("caller")
    try:
        if whole(dialog.get("state")) < _ANSWERED:
            number = str(caller.get("cseq", "")) if isinstance(caller, dict) else ""
            await rpc.call("tm.cancel", str(dialog["call-id"]), number)
        elif headers:
            await rpc.call("dlg.end_dlg", whole(dialog.get("h_entry")), whole(dialog.get("h_id")), headers)
        else:
            await rpc.call("dlg.terminate_dlg", str(dialog["call-id"]), *map(_tag, (caller, dialog.get("callee"))))
    except RpcRefused as refused:
        if refused.code != 404:
            raise


def _tag(party: Any) -> str:
    return str(party.get("tag", "")) if isinstance(party, dict) else ""


def _user(uri: str) -> str:
    try:
        return Uri.parse(uri).user
    except SipSyntaxError:
        return ""


def plain(value: Any) -> str:
    """As it may be shown: strangers wrote it."""
    text = value if isinstance(value, str) else ""
    return "" if text in _UNSET else "".join(one if one.isprintable() else "?" for one in text)[:300]


def whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
