"""What goes over the observation socket: frames of a length and a kind (all integers big-endian). Sans-IO.

u32 length of what follows | u8 kind | body
REQUEST, ANSWER, EVENT, LOSS   body: JSON
CONTENT                        u64 at_ns | u64 sequence | u64 session | u8 direction | u8 form | u16 n | reference
                               | packet
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from nf.contracts.interception import (
    Content,
    ContentForm,
    Delivery,
    Direction,
    Event,
    EventKind,
    Identity,
    IdentityKind,
    Loss,
    LossPlace,
    Order,
)
from nf.contracts.json import Json, JsonObject

LONGEST: Final = 1 << 20
_LENGTH: Final = struct.Struct("!IB")
_CONTENT: Final = struct.Struct("!QQQBBH")
_DIRECTIONS: Final = tuple(Direction)
_FORMS: Final = tuple(ContentForm)


class Kind(IntEnum):
    REQUEST = 1
    ANSWER = 2
    EVENT = 3
    LOSS = 4
    CONTENT = 5


_KINDS: Final = frozenset(map(int, Kind))


class FrameError(ValueError):
    """The other side does not speak this; the connection is of no more use."""


def frame(kind: Kind, body: bytes) -> bytes:
    """Raises FrameError for what is too long."""
    if len(body) >= LONGEST:
        raise FrameError("longer than a frame may be")
    return _LENGTH.pack(len(body) + 1, kind) + body


def message(kind: Kind, data: JsonObject) -> bytes:
    return frame(kind, json.dumps(data, separators=(",", ":")).encode())


class Frames:
    """Of a stream, however it is cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """Raises FrameError."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            length, kind = _LENGTH.unpack_from(self._buffer)
            if not 1 <= length <= LONGEST or kind not in _KINDS:
                raise FrameError("no frame")
            if len(self._buffer) < 4 + length:
                return
            body = bytes(self._buffer[_LENGTH.size : 4 + length])
            del self._buffer[: 4 + length]
            yield Kind(kind), body


def json_body(body: bytes) -> JsonObject:
    """Raises FrameError."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FrameError("no JSON") from error
    if not isinstance(data, dict):
        raise FrameError("no JSON object")
    return data


def encode_delivery(delivery: Delivery) -> bytes:
    if isinstance(delivery, Content):
        reference = delivery.reference.encode()
        head = _CONTENT.pack(
            delivery.at_ns,
            delivery.sequence,
            delivery.session,
            _DIRECTIONS.index(delivery.direction),
            _FORMS.index(delivery.form),
            len(reference),
        )
        return frame(Kind.CONTENT, head + reference + delivery.octets)
    if isinstance(delivery, Event):
        return message(
            Kind.EVENT,
            {
                "reference": delivery.reference,
                "kind": delivery.kind.value,
                "at": delivery.at,
                "sequence": delivery.sequence,
                "session": delivery.session,
                "identities": [identity_json(one) for one in delivery.identities],
                "details": delivery.details,
                "octets": base64.b64encode(delivery.octets).decode(),
            },
        )
    return message(
        Kind.LOSS,
        {
            "reference": delivery.reference,
            "place": delivery.place.value,
            "at": delivery.at,
            "events": delivery.events,
            "copies": delivery.copies,
        },
    )


def decode_delivery(kind: Kind, body: bytes) -> Delivery:
    """Raises FrameError."""
    try:
        return _content(body) if kind is Kind.CONTENT else _told(kind, json_body(body))
    except FrameError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error) as error:
        raise FrameError("no delivery") from error


def _content(body: bytes) -> Content:
    at_ns, sequence, session, direction, form, length = _CONTENT.unpack_from(body)
    at = _CONTENT.size + length
    if at > len(body):
        raise FrameError("ends within its head")
    reference = body[_CONTENT.size : at].decode()
    return Content(reference, at_ns, sequence, session, _DIRECTIONS[direction], _FORMS[form], body[at:])


def _count(value: Json) -> int | None:
    return None if value is None else int(str(value))


def _told(kind: Kind, data: JsonObject) -> Event | Loss:
    reference, at = str(data["reference"]), float(str(data["at"]))
    if kind is Kind.LOSS:
        return Loss(reference, LossPlace(data["place"]), at, _count(data["events"]), _count(data["copies"]))
    if kind is not Kind.EVENT:
        raise FrameError("no delivery")
    identities, details = data["identities"], data["details"]
    if not isinstance(identities, list) or not isinstance(details, dict):
        raise FrameError("no event")
    return Event(
        reference,
        EventKind(data["kind"]),
        at,
        int(str(data["sequence"])),
        int(str(data["session"])),
        tuple(read_identity(one) for one in identities),
        details,
        base64.b64decode(str(data["octets"]), validate=True),
    )


def identity_json(identity: Identity) -> JsonObject:
    return {"kind": identity.kind.value, "value": identity.value}


def read_identity(data: object) -> Identity:
    """Raises FrameError."""
    try:
        if not isinstance(data, dict):
            raise FrameError("no identity")
        return Identity(IdentityKind(data["kind"]), str(data["value"]))
    except (KeyError, ValueError) as error:
        raise FrameError("no identity") from error


def order_json(order: Order) -> JsonObject:
    return {
        "reference": order.reference,
        "identity": identity_json(order.identity),
        "events": order.events,
        "content": order.content,
        "until": order.until,
    }


def read_order(data: object) -> Order:
    """Raises FrameError."""
    if not isinstance(data, dict):
        raise FrameError("no order")
    reference, events, content = data.get("reference"), data.get("events"), data.get("content")
    until = data.get("until")
    if not isinstance(reference, str) or not isinstance(events, bool) or not isinstance(content, str):
        raise FrameError("no order")
    if isinstance(until, bool) or not isinstance(until, int | float | None):
        raise FrameError("no order")
    return Order(reference, read_identity(data.get("identity")), events, content, until)
