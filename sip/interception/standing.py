"""What a proxy has at the moment, from its RPC: calls that are up and registrations. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nf.contracts.json import Json, JsonObject
from sip.interception.items import read_relay
from sip.interception.messages import uri_of

UNCONFIRMED, EARLY, ACKED, CONFIRMED = 1, 2, 3, 4
"""States of the module dialog; 5 is one that has ended."""
_UP: Final = (UNCONFIRMED, EARLY, ACKED, CONFIRMED)


@dataclass(frozen=True, slots=True, repr=False)
class Dialog:
    """parties: (key, role), as the proxy would have found them when the call began; `relay`: its number there."""

    key: tuple[str, str]
    caller: str
    called: str
    parties: tuple[tuple[str, str], ...]
    relay: int | None
    began: float
    answered: bool

    def details(self) -> JsonObject:
        return {"caller": self.caller, "called": self.called, "call_id": self.key[0]}


@dataclass(frozen=True, slots=True, repr=False)
class Contact:
    address: str
    received: str
    expires: int

    def details(self) -> JsonObject:
        return {"contact": self.address, "received": self.received, "expires": self.expires}


def dialogs(answer: Json) -> Iterator[Dialog]:
    """Of the answer to `dlg.list`."""
    for entry in _objects(answer):
        state, caller = entry.get("state"), _object(entry.get("caller"))
        call_id, tag = entry.get("call-id"), caller.get("tag")
        if state not in _UP or not isinstance(call_id, str) or not isinstance(tag, str):
            continue
        from_uri, to_uri = str(entry.get("from_uri", "")), str(entry.get("to_uri", ""))
        variables = _pairs(entry.get("variables"))
        began = entry.get("init_ts")
        yield Dialog(
            key=(call_id, tag),
            caller=from_uri,
            called=to_uri,
            parties=tuple(_parties(from_uri, to_uri, _profiles(entry.get("profiles")))),
            relay=read_relay(str(variables.get("relay", ""))),
            began=float(began) if isinstance(began, int) else 0.0,
            answered=state in {ACKED, CONFIRMED},
        )


def _parties(from_uri: str, to_uri: str, accounts: list[str]) -> Iterator[tuple[str, str]]:
    """A call to a subscriber counts among its calls, by whichever number it came: that is the proxy's profile `sub`."""
    callers, called = _keys(from_uri), _keys(to_uri)
    yield from ((key, "c") for key in callers)
    yield from ((key, "d") for key in called)
    yield from ((key, "d") for key in accounts if key not in {*callers, *called})


def _keys(uri: str) -> list[str]:
    match = re.match(r"(?:sips?|tel):([^@;:?]+)(?::[^@]*)?(?:@([^;:?>]+))?", uri_of(uri), re.IGNORECASE)
    if match is None:
        return []
    return [f"{match[1]}@{match[2].lower()}", match[1]] if match[2] else [match[1]]


def _profiles(value: Json) -> list[str]:
    return [str(found) for name, found in _pairs(value).items() if name == "sub"] + [
        str(one["sub"]) for one in _objects(value) if isinstance(one.get("sub"), str)
    ]


def contacts(answer: Json) -> Iterator[Contact]:
    """Of the answer to `ul.lookup`."""
    found = _object(answer)
    for entry in _objects(found.get("Contacts")):
        contact = _object(entry.get("Contact", entry))
        expires = contact.get("Expires")
        if isinstance(contact.get("Address"), str):
            received = str(contact.get("Received", ""))
            whole = expires if isinstance(expires, int) else 0
            yield Contact(str(contact["Address"]), "" if received == "[not set]" else received, whole)


def _objects(value: Json) -> list[JsonObject]:
    listed = value if isinstance(value, list) else [value]
    return [one for one in listed if isinstance(one, dict)]


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _pairs(value: Json) -> JsonObject:
    """Kamailio writes some of its maps as lists of maps of one."""
    return {key: one for entry in _objects(value) for key, one in entry.items()}
