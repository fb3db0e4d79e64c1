"""Dataclasses to JSON and back, for the store and the officers' API: unknown keys, wrong types and forms are refused.

No error repeats a value: it may be a target's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, AwareDatetime, ConfigDict, TypeAdapter, ValidationError

from nf.contracts.json import Json, JsonObject, canonical
from nf.errors import InputError, IntegrityError, Problem

T = TypeVar("T")

CLOSED = ConfigDict(extra="forbid")
"""For `pydantic.with_config` above a dataclass that is read from outside."""

Moment = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]
"""A point in time with an offset, kept in UTC."""


class Codec(Generic[T]):
    """Of one dataclass. `what` names it in errors."""

    def __init__(self, kind: type[T], what: str) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)
        self._what = what

    def json(self, value: T) -> JsonObject:
        data: JsonObject = self._adapter.dump_python(value, mode="json")
        return data

    def read(self, data: Json) -> T:
        """What came from outside. Raises InputError with all problems: key and rule."""
        try:
            return self._adapter.validate_json(canonical(data), strict=True)
        except ValidationError as error:
            problems = [_problem(detail) for detail in error.errors(include_url=False, include_input=False)]
            raise InputError(f"this is not {self._what}", problems=problems) from None

    def stored(self, data: Json) -> T:
        """What the store gives is what this software wrote. Raises IntegrityError."""
        try:
            return self.read(data)
        except InputError:
            raise IntegrityError(f"the store holds what is not {self._what}", remedy="nf-li audit verify") from None


def _problem(detail: Any) -> Problem:
    key = ".".join(str(part) for part in detail["loc"])
    return Problem(str(detail["msg"]), "correct it", key=key)


def spelled(at: datetime) -> str:
    """RFC 3339 in UTC, with Z."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment_of(seconds: float) -> datetime:
    """Seconds since the epoch as a point in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
