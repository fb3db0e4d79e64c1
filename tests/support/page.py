"""A page of documentation as a test: its commands, and whether what came back is what the page shows.

Of a page count its fenced `console` blocks below headings such as `## 4. Tonight`. A line `$ COMMAND` or
`NODE$ COMMAND` is what is typed, the lines below it are what is seen. There, `...` is any text, and alone on a line any
lines; points in time match any; ids of eight hexadecimal digits and the numbers behind `revision` stand for those of
the day: what they turned out to be is remembered, put into later commands, and must be the same wherever the page says
the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

NOC = ""
_TASK = re.compile(r"## (\d+)\. (.+)")
_PROMPT = re.compile(r"([a-z][a-z0-9]*)?\$ (\S.*)")
_RULE = re.compile("─+")
_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:[+-]\d\d:\d\d)?"
_ANYTHING = "..."
_PARTS = re.compile(rf"(?P<any>\.\.\.)|(?P<time>{_TIME})|(?P<id>\b[0-9a-f]{{8}}\b)|(?P<revision>(?<=\brevision )\d+\b)")
_ID = re.compile(r"\b[0-9a-f]{8}\b")


class PageError(Exception):
    """The page cannot be read, or it shows what is not so."""


@dataclass(frozen=True, slots=True)
class Command:
    """`node` empty: at the NOC. `code`: what the page says with `echo $?` behind it, else 0."""

    line: int
    node: str
    text: str
    shown: tuple[str, ...]
    code: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    number: int
    title: str
    blocks: tuple[tuple[Command, ...], ...]


def read_page(text: str) -> tuple[Task, ...]:
    """Raises PageError for a command that is outside of every task, or in a block that nobody would execute."""
    tasks: list[tuple[int, str, list[tuple[Command, ...]]]] = []
    block: list[tuple[int, str]] = []
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            if not fence:
                fence, block = line.removeprefix("```") or "plain", []
                continue
            if fence == "console":
                if not tasks:
                    raise PageError(f"line {number}: a console block before the first task")
                tasks[-1][2].append(tuple(_commands(block)))
            fence = ""
        elif fence == "console":
            block.append((number, line))
        elif _PROMPT.match(line.strip(" `")):
            raise PageError(f"line {number}: a command outside of a console block: {line}")
        elif heading := _TASK.fullmatch(line):
            tasks.append((int(heading[1]), heading[2], []))
    return tuple(Task(number, title, tuple(blocks)) for number, title, blocks in tasks)


def _commands(block: Sequence[tuple[int, str]]) -> Iterator[Command]:
    found: list[tuple[int, str, str, list[str]]] = []
    for number, line in block:
        if typed := _PROMPT.fullmatch(line):
            found.append((number, typed[1] or NOC, typed[2], []))
        elif found:
            found[-1][3].append(line)
        else:
            raise PageError(f"line {number}: a console block begins with what is typed")
    for (number, node, text, shown), behind in zip(found, [*found[1:], None], strict=True):
        if text == "echo $?":
            continue
        told = behind is not None and behind[2] == "echo $?"
        yield Command(number, node, text, tuple(shown), int(behind[3][0]) if told and behind is not None else 0)


@dataclass(slots=True)
class Bindings:
    """What the ids and revisions of the page turned out to be."""

    known: dict[str, str] = field(default_factory=dict)

    def command(self, text: str) -> str:
        """As it is typed today."""
        return _ID.sub(lambda match: self.known.get(match[0], match[0]), text)

    def compare(self, command: Command, output: str) -> None:
        """Raises PageError with both when the output is not what the page shows."""
        seen = [_flat(line) for line in output.splitlines() if line.strip()]
        shown = [_flat(line) for line in command.shown if line.strip()]
        at, skipping = 0, False
        for line in shown:
            if line == _ANYTHING:
                skipping = True
                continue
            while at < len(seen) and not self._matches(line, seen[at]) and skipping:
                at += 1
            if at == len(seen) or not self._matches(line, seen[at]):
                raise PageError(f"line {command.line}: `{command.text}` does not show `{line}`, but:\n{output}")
            self._remember(line, seen[at])
            at, skipping = at + 1, False
        if at < len(seen) and not skipping:
            raise PageError(f"line {command.line}: `{command.text}` shows more: `{seen[at]}` of:\n{output}")

    def _matches(self, shown: str, seen: str) -> bool:
        match = _pattern(shown)[0].fullmatch(seen)
        names = _pattern(shown)[1]
        return match is not None and all(
            self.known.get(name, value) == value for name, value in zip(names, match.groups(), strict=True)
        )

    def _remember(self, shown: str, seen: str) -> None:
        pattern, names = _pattern(shown)
        match = pattern.fullmatch(seen)
        if match is not None:
            self.known.update(zip(names, match.groups(), strict=True))


def _flat(line: str) -> str:
    """Tables are as wide as their widest cell: how many spaces there are says nothing."""
    return re.sub(r"\s+", " ", _RULE.sub("─", line)).strip()


def _pattern(shown: str) -> tuple[re.Pattern[str], list[str]]:
    """What a shown line stands for, and the names of its groups."""
    pattern, names, at = "", [], 0
    for part in _PARTS.finditer(shown):
        pattern += re.escape(shown[at : part.start()])
        at = part.end()
        if part["any"]:
            pattern += ".*?"
        elif part["time"]:
            pattern += _TIME
        else:
            pattern += r"(\d+)" if part["revision"] else "([0-9a-f]{8})"
            names.append(part["id"] or f"revision {part['revision']}")
    return re.compile(pattern + re.escape(shown[at:])), names
