"""The published mask (docs/interception-mask.yaml): what is not compared, each with its reason, and nothing else."""

from __future__ import annotations

import re
from collections import Counter
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


class MaskedField(_Part):
    """What `pattern` finds in an item becomes `replace`."""

    pattern: Text
    replace: str

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        re.compile(pattern)
        return pattern


class Slack(_Part):
    """How far a figure may be from those of all runs without a task: beside as much again as they differ themselves."""

    absolute: Annotated[float, Field(ge=0)] = 0.0
    relative: Annotated[float, Field(ge=0)] = 0.0


class Grain(_Part):
    """Times that differ by less count as equal: `seconds`, which whoever listens cannot tell apart."""

    seconds: Annotated[float, Field(gt=0)]


class Mask(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    fields: tuple[MaskedField, ...] = ()
    figures: tuple[Slack, ...] = ()
    times: tuple[Grain, ...] = ()

    def ids(self) -> list[str]:
        return [part.id for part in (*self.fields, *self.figures, *self.times)]

    def slack(self, source: str, value: float) -> float:
        return max(
            (one.absolute + one.relative * abs(value) for one in self.figures if one.concerns(source)), default=0
        )

    def grain(self, source: str) -> float:
        return max((one.seconds for one in self.times if one.concerns(source)), default=0.0)


class Masking:
    """A mask at work: `used` counts what each of its fields replaced."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.used: Counter[str] = Counter()
        self._known: dict[str, list[tuple[str, re.Pattern[str], str]]] = {}

    def item(self, source: str, text: str) -> str:
        parts = self._known.get(source)
        if parts is None:
            concerned = [one for one in self.mask.fields if one.concerns(source)]
            parts = self._known[source] = [(one.id, re.compile(one.pattern), one.replace) for one in concerned]
        for name, pattern, replace in parts:
            text, count = pattern.subn(replace, text)
            if count:
                self.used[name] += count
        return text


def published(path: Path = PUBLISHED) -> Mask:
    """Raises OSError, ValueError."""
    return Mask.model_validate(yaml.safe_load(path.read_text()))
