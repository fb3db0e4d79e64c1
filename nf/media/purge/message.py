"""The purge message, as `nf purge`, gRPC and the topic `cdn-purges` carry it. Pure.

    {"id": "2f1c", "scope": "tag", "match": "ch1/video", "mode": "refetch", "expires": "2026-11-29T12:00:00Z",
     "issued_by": "cms", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}

What each scope takes for `match`:

    url     http://HOST/CHANNEL/NAME           one object
    prefix  http://HOST/CHANNEL/DIRECTORY/     all whose URL begins so
    tag     CHANNEL[/RENDITION][:KIND]         KIND is manifest, init or segment
    regex   ^/CHANNEL/...                      of the path that a player asks for
    all     CHANNEL                            all of it
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, WithJsonSchema, model_validator
from pydantic_core import ErrorDetails

from nf.contracts.json import Json
from nf.documents.model import DocumentModel, Form, RuleError, Whole
from nf.errors import DocumentError, InputError, Problem
from nf.media.purge.expression import channel_of_expression
from nf.media.purge.tags import parse_tag, plain_channel
from nf.media.purge.urls import parse_url

PURGE: Final = "purge"
"""Name of the operation, at the drivers and for the fleet."""

PURGE_RULES: Final = "purge-rules"
"""Name of the operation that tells and ends the rules of the edges."""

EVERY_EDGE: Final = "edges"
"""What the rules are asked of."""

MAX_MATCHES: Final = 10_000
MAX_OCTETS: Final = 1024 * 1024
LASTS: Final = timedelta(hours=24)
"""How long a message holds that does not say: as long as an object may stay fresh in a cache."""
LONGEST: Final = timedelta(days=7)


class Scope(StrEnum):
    URL = "url"
    TAG = "tag"
    PREFIX = "prefix"
    REGEX = "regex"
    ALL = "all"


class Mode(StrEnum):
    """`refetch`: what was purged is as if it had never been there. `refresh`: it is asked for with its validator
    (RFC 9110 section 13), and stays when the origin says that it is still the same."""

    REFRESH = "refresh"
    REFETCH = "refetch"


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _one_or_several(values: tuple[str, ...]) -> str | list[str]:
    return values[0] if len(values) == 1 else [*values]


def _moment(value: object) -> object:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, datetime) or found.tzinfo is None:
        raise RuleError("a time is written as in RFC 3339, with its zone", "write it as 2026-11-29T12:00:00Z")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise RuleError("this time is none that can be waited for", "write it as 2026-11-29T12:00:00Z") from None


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    PlainSerializer(_written, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]

Matches = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...],
    BeforeValidator(_several),
    Field(min_length=1, max_length=MAX_MATCHES),
    PlainSerializer(_one_or_several, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]

MessageId = Annotated[
    str,
    Form(
        r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}",
        "an id is at most 64 letters, digits, dots, colons, hyphens and underscores",
        "a UUID will do",
    ),
]

Traceparent = Annotated[
    str,
    Form(
        r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}",
        "this is no traceparent of W3C Trace Context",
        "leave it out, or write 00-TRACE-SPAN-FLAGS in hexadecimal",
    ),
]


class PurgeMessage(DocumentModel):
    """One purge. The same `id` given again is the same purge, which is done once.

    seq         its number among those of its CDN; the NOC gives it
    match       what is to go; several of one scope may be listed
    not_before  it is done then, and not earlier
    expires     who could not do it until then need not do it any more; a rule of a cache ends then (24 h)
    issued_by   who wants it, in the words of the sender; the NOC knows by itself who sent it
    force       also an expression that takes more than a person may have meant
    """

    id: MessageId = Field(default_factory=lambda: uuid.uuid4().hex)
    seq: Annotated[Whole, Field(ge=1)] | None = None
    scope: Scope
    match: Matches
    mode: Mode = Mode.REFETCH
    not_before: Moment | None = None
    expires: Moment | None = None
    issued_by: Annotated[str, Field(max_length=200)] = ""
    traceparent: Traceparent | None = None
    force: bool = False

    @model_validator(mode="after")
    def _matches_fit(self) -> Self:
        for match in self.match:
            channel_of(self.scope, match, force=self.force)
        if self.not_before is not None and self.expires is not None and self.expires <= self.not_before:
            raise RuleError("it expires before it may be done", "let `expires` be later than `not_before`")
        return self


def channel_of(scope: Scope, match: str, *, force: bool = False) -> str:
    """The channel that `match` is about; empty: every channel, which only a forced expression is.

    Raises RuleError.
    """
    match scope:
        case Scope.URL | Scope.PREFIX:
            return parse_url(match, below=scope is Scope.PREFIX).channel
        case Scope.TAG:
            return parse_tag(match).channel
        case Scope.REGEX:
            return channel_of_expression(match, force=force)
        case Scope.ALL:
            return plain_channel(match)


def parse_message(data: object, where: str = PURGE) -> PurgeMessage:
    """Of JSON, as text or read already. Raises DocumentError with everything that is wrong, InputError."""
    if isinstance(data, bytes | str):
        if len(data) > MAX_OCTETS:
            raise InputError(f"the message has more than {MAX_OCTETS} octets", where=where, remedy="send several")
        try:
            data = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the message is not JSON: {error}", where=where, remedy="send a JSON object") from None
    if not isinstance(data, dict):
        raise InputError("the message is no JSON object", where=where, remedy='send {"scope": ..., "match": ...}')
    try:
        return PurgeMessage.model_validate(data)
    except ValidationError as error:
        raise DocumentError([_problem(one, where) for one in error.errors()], where=where) from None


def lifetime(message: PurgeMessage, now: float) -> tuple[float, float]:
    """From when on and until when it holds, in seconds since the epoch. Raises InputError when that is over."""
    begins = now if message.not_before is None else max(now, message.not_before.timestamp())
    ends = begins + LASTS.total_seconds() if message.expires is None else message.expires.timestamp()
    if ends <= now:
        raise InputError("it has expired", where=f"purge {message.id}", remedy="send it anew, with a later `expires`")
    if ends > now + LONGEST.total_seconds():
        days = LONGEST.days
        raise InputError(
            f"it would hold for more than {days} days",
            where=f"purge {message.id}",
            remedy=f"let `expires` be within {days} days: no cache keeps an object so long",
        )
    return begins, ends


def by_channel(message: PurgeMessage, known: Mapping[str, object] | frozenset[str]) -> dict[str, PurgeMessage]:
    """The message for each channel that it is about. Raises InputError for a channel that is not `known`."""
    found: dict[str, list[str]] = {}
    for match in message.match:
        channel = channel_of(message.scope, match, force=message.force)
        for name in (channel,) if channel else sorted(known):
            found.setdefault(name, []).append(match)
    strange = sorted(set(found) - set(known))
    if strange:
        raise InputError(
            f"no such channel: {', '.join(strange[:5])}",
            where=f"purge {message.id}",
            remedy=f"one of: {', '.join(sorted(known)[:20])}" if known else "no channel has caches now",
        )
    return {
        name: message.model_copy(update={"match": tuple(dict.fromkeys(matches))}) for name, matches in found.items()
    }


def _problem(error: ErrorDetails, where: str) -> Problem:
    key = ".".join(str(part) for part in error["loc"]) or "match"
    rule = error.get("ctx", {}).get("error")
    value: Json | object = error.get("input")
    shown = str(value)[:80] if isinstance(value, str | int | float) else ""
    if isinstance(rule, RuleError):
        return Problem(rule.rule, rule.remedy, file=where, key=key, value=shown)
    if error["type"] == "extra_forbidden":
        known = ", ".join(PurgeMessage.model_fields)
        return Problem("there is no such key", f"one of: {known}", file=where, key=key)
    return Problem(error["msg"], "see `nf schema PurgeMessage`", file=where, key=key, value=shown)
