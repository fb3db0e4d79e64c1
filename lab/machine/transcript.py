"""What a serial console showed: text without terminal control, each line with its time. Sans-IO."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

# ECMA-48: control sequences, control strings, and other escapes.
_CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-OQ-Z\\`-~])")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]P^_][^\x07\x1b]*\x1b?|[ -/]*)$")
_NOISE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LONGEST_CONTROL = 256


@dataclass(frozen=True, slots=True)
class Line:
    """`at`: seconds since power on, when its first character came."""

    at: float
    text: str


class Transcript:
    """Grows only. Positions are those of `text`."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._rest = ""
        self.text = ""
        self.lines: list[Line] = []
        self._open: Line | None = None

    def feed(self, data: bytes, at: float) -> None:
        told = self._rest + self._decode(data)
        unfinished = _UNFINISHED.search(told)
        cut = unfinished.start() if unfinished and len(told) - unfinished.start() < _LONGEST_CONTROL else len(told)
        self._rest = told[cut:]
        clean = _NOISE.sub("", _CONTROL.sub("", told[:cut]))
        self.text += clean
        first, *others = clean.split("\n")
        self._extend(first, at)
        for part in others:
            self.lines.append(self._open or Line(at, ""))
            self._open = None
            self._extend(part, at)

    def find(self, pattern: str | re.Pattern[str], start: int = 0) -> re.Match[str] | None:
        """In the text from position `start`; `^` and `$` are ends of lines."""
        return re.compile(pattern, re.MULTILINE).search(self.text, start)

    def stamp(self, position: int) -> float:
        """When the line that holds this position of the text began, in seconds since power on."""
        number = self.text.count("\n", 0, position)
        if number < len(self.lines):
            return self.lines[number].at
        return self._open.at if self._open else (self.lines[-1].at if self.lines else 0.0)

    def tail(self, count: int = 15) -> str:
        """The last lines, as an error may show them."""
        lines = [*self.lines[-count:], *([self._open] if self._open else [])]
        return "\n".join(f"{line.at:9.3f} {line.text}" for line in lines if line.text.strip())

    def _extend(self, part: str, at: float) -> None:
        if part:
            self._open = Line(at, part) if self._open is None else Line(self._open.at, self._open.text + part)
