"""The published mask (docs/interception-mask.yaml): what is not compared, each with its reason, and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

PUBLISHED: Final = Path(__file__).resolve().parents[2] / "docs" / "interception-mask.yaml"

Text = Annotated[str, StringConstraints(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Text
    sources: tuple[Text, ...]
    reason: Annotated[str, StringConstraints(min_length=10)]

    def concerns(self, source: str) -> bool:
        return any(fnmatchcase(source, one) for one in self.sources)


class LeftOut(_Part):
    """An item in which `pattern` is found is not compared at all."""

    pattern: Text

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        re.compile(pattern)
        return pattern


class MaskedField(LeftOut):
    """What `pattern` finds in an item becomes `replace`."""

    replace: str


class Number(LeftOut):
    """The group of `pattern` is a number, which is compared as a figure: the least and the greatest among a run's items
    that are else the same. `absolute`, `relative`: as those of `Slack`."""

    absolute: Annotated[float, Field(ge=0)] = 0.0
    relative: Annotated[float, Field(ge=0)] = 0.0

    @field_validator("pattern")
    @classmethod
    def _has_one_group(cls, pattern: str) -> str:
        if re.compile(pattern).groups != 1:
            raise ValueError("one group, which is the number")
        return pattern


class Slack(_Part):
    """How far a figure, or how often an item is there that is in some run without a task, may be from those of all runs
    without one: beside as much again as these differ themselves."""

    absolute: Annotated[float, Field(ge=0)] = 0.0
    relative: Annotated[float, Field(ge=0)] = 0.0


class Grain(_Part):
    """Times that differ by less than `seconds` count as equal, and so does what so small a `share` of them does."""

    seconds: Annotated[float, Field(ge=0)] = 0.0
    share: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Mask(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    left_out: tuple[LeftOut, ...] = ()
    fields: tuple[MaskedField, ...] = ()
    numbers: tuple[Number, ...] = ()
    figures: tuple[Slack, ...] = ()
    times: tuple[Grain, ...] = ()

    def ids(self) -> list[str]:
        return [part.id for part in (*self.left_out, *self.fields, *self.numbers, *self.figures, *self.times)]

    def slack(self, source: str, value: float) -> float:
        return max(
            (one.absolute + one.relative * abs(value) for one in self.figures if one.concerns(source)), default=0
        )

    def grain(self, source: str) -> tuple[float, float]:
        """Seconds, and share."""
        found = [one for one in self.times if one.concerns(source)]
        return max((one.seconds for one in found), default=0.0), max((one.share for one in found), default=0.0)


@dataclass(frozen=True, slots=True)
class Seen:
    """What of an item is compared. `number`: where `part` says that there is one, of which `text` has `#`."""

    text: str
    part: Number | None = None
    number: float = 0.0


class Masking:
    """A mask at work: `used` counts what each of its parts left out, replaced or measured."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.used: Counter[str] = Counter()
        self._known: dict[str, list[tuple[LeftOut, re.Pattern[str]]]] = {}

    def item(self, source: str, text: str) -> Seen | None:
        """What of it is compared; None: nothing."""
        for part, pattern in self._parts(source):
            if isinstance(part, MaskedField):
                text, count = pattern.subn(part.replace, text)
                self.used[part.id] += count
            elif found := pattern.search(text):
                self.used[part.id] += 1
                if not isinstance(part, Number):
                    return None
                begin, end = found.span(1)
                return Seen(f"{text[:begin]}#{text[end:]}", part, float(text[begin:end]))
        return Seen(text)

    def unused(self, sources: Iterable[str]) -> list[str]:
        """Parts about these sources that had nothing to do."""
        seen = [*sources]
        parts = (*self.mask.left_out, *self.mask.fields, *self.mask.numbers)
        return [one.id for one in parts if not self.used[one.id] and any(map(one.concerns, seen))]

    def _parts(self, source: str) -> list[tuple[LeftOut, re.Pattern[str]]]:
        parts = self._known.get(source)
        if parts is None:
            parts = [
                (one, re.compile(one.pattern))
                for one in (*self.mask.left_out, *self.mask.fields, *self.mask.numbers)
                if one.concerns(source)
            ]
            self._known[source] = parts
        return parts


def published(path: Path = PUBLISHED) -> Mask:
    """Raises OSError, ValueError."""
    return Mask.model_validate(yaml.safe_load(path.read_text()))
