"""A file of subscribers, CSV or JSON, into entries that know where everything stands in it.

A line that is broken breaks alone: a quote left open in one does not swallow the next. Nothing is judged here but the
form of the file; whatever it is, reading ends with entries and problems, and no value of a key is in a problem.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from core5g.subscribers import columns, jsonfile
from core5g.subscribers.showing import shown
from nf.documents.keys import Loc, format_key
from nf.errors import DocumentError, InputError, Problem

MAX_BYTES: Final = 256 * 1024 * 1024
_MAX_LINE = 64 * 1024
_NUMBER_OF_A_SPREADSHEET = re.compile(r"[0-9]+([.,][0-9]+)?[eE]\+?[0-9]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One subscriber as written. `security` is apart, so that nothing that is shown comes near it.

    `line` counts from 1; `places` gives line and column of what stands at a place. `cells`: of a CSV file, as written.
    """

    line: int
    data: dict[str, Any] = field(repr=False)
    security: dict[str, Any] = field(repr=False)
    places: Places = field(repr=False)
    cells: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def imsi(self) -> str:
        """As written; may be wrong, or empty."""
        imsi = self.data.get("imsi")
        return imsi if isinstance(imsi, str) else ""

    def over(self, before: dict[str, Any]) -> Entry:
        """What it says, over what there is already: cell by cell in a table, key by key in JSON. Without keys."""
        data = {**before, **self.data} if self.cells is None else columns.fill(before, self.cells)
        return Entry(self.line, data, {}, self.places, self.cells)


class Places(Protocol):
    """Where the parts of an entry stand."""

    def find(self, loc: Loc) -> tuple[int, int, str]:
        """Line, column, and the key that a person knows the place by."""


class Typed:
    """On the command line there are no lines."""

    def find(self, loc: Loc) -> tuple[int, int, str]:
        return 0, 0, columns.column_of(loc)


@dataclass(frozen=True, slots=True)
class File:
    """`header`: the columns of a CSV file, empty for JSON."""

    name: str
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    header: tuple[str, ...] = ()
    delimiter: str = ","


def read(path: Path) -> tuple[bytes, File]:
    """Its octets, and what is in it.

    Raises InputError when it cannot be read, DocumentError when it is no list of subscribers at all.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), remedy="check the path") from None
    return data, parse(data, str(path))


def parse(data: bytes, name: str) -> File:
    """CSV or JSON, as its first character says. Raises DocumentError."""
    text = _decode(data, name)
    start = text.lstrip()[:1]
    if not start:
        raise _fatal(name, "the file is empty", "write a header line and a line for each subscriber")
    return _json(text, name) if start in ("[", "{") else _csv(text, name)


def _fatal(name: str, rule: str, remedy: str, line: int = 1, column: int = 1) -> DocumentError:
    return DocumentError([Problem(rule, remedy, file=name, line=line, column=column)], where=name)


def _decode(data: bytes, name: str) -> str:
    if len(data) > MAX_BYTES:
        raise _fatal(name, f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB", "split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = error.start - before.rfind(b"\n")
        raise _fatal(name, "the file is not UTF-8", "save it as UTF-8", before.count(b"\n") + 1, column) from None


# ---- JSON ----


class _JsonPlaces:
    """Looked for only when somebody asks: the entry is read a second time."""

    def __init__(self, source: jsonfile.Source, offset: int) -> None:
        self._source, self._offset = source, offset

    def find(self, loc: Loc) -> tuple[int, int, str]:
        line, column = self._source.position(jsonfile.find(self._source.text, self._offset, loc))
        return line, column, format_key(loc)


def _json(text: str, name: str) -> File:
    source = jsonfile.Source(text)
    entries: list[Entry] = []
    problems: list[Problem] = []
    for item in jsonfile.items(source):
        line, column = source.position(item.offset)
        if item.rule:
            problems.append(Problem(item.rule, item.remedy, file=name, line=line, column=column))
        elif not isinstance(item.value, dict):
            problems.append(
                Problem("a subscriber is an object", 'write {"imsi": "...", ...}', file=name, line=line, column=column)
            )
        else:
            data = dict(item.value)
            security = data.pop("security", {})
            places = _JsonPlaces(source, item.offset)
            if isinstance(security, dict) and not security.keys() - set(columns.SECURITY):
                entries.append(Entry(line, data, security, places))
                continue
            line, column, key = places.find(("security",))
            remedy = f"known in it: {', '.join(columns.SECURITY)}"
            problems.append(Problem("not the keys of a subscriber", remedy, name, line, column, key))
    return File(name, tuple(entries), tuple(problems))


# ---- CSV ----


class _CsvPlaces:
    def __init__(self, line: int, raw: str, table: _Table) -> None:
        self._line, self._raw, self._table = line, raw, table

    def find(self, loc: Loc) -> tuple[int, int, str]:
        column = columns.column_of(loc)
        index = self._table.header.index(column) if column in self._table.header else None
        if index is None:
            return self._line, 1, column
        return self._line, _cell_start(self._raw, index, self._table.delimiter), column


@dataclass(frozen=True, slots=True)
class _Table:
    header: tuple[str, ...]
    delimiter: str


def _csv(text: str, name: str) -> File:
    lines = _lines(text)
    number, first = next(lines)
    table = _table(name, number, first)
    entries: list[Entry] = []
    problems: list[Problem] = []
    for number, raw in lines:
        cells, problem = _cells(raw, table)
        if problem is not None:
            problems.append(Problem(problem[0], problem[1], name, number, problem[2], problem[3]))
            continue
        data = columns.fill({}, cells)
        security = data.pop("security", {})
        own = {name: cell for name, cell in cells.items() if name not in columns.SECURITY}
        entries.append(Entry(number, data, security, _CsvPlaces(number, raw, table), own))
    return File(name, tuple(entries), tuple(problems), table.header, table.delimiter)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Those that are not empty and no comment. There is one at least."""
    kept = False
    for number, line in enumerate(text.split("\n"), 1):
        raw = line.removesuffix("\r")
        if raw.strip() and not raw.startswith("#"):
            kept = True
            yield number, raw
    if not kept:
        yield 1, ""


def _split(raw: str, delimiter: str) -> list[str]:
    """Raises csv.Error."""
    if len(raw) > _MAX_LINE:
        raise csv.Error("too long")
    (row,) = csv.reader([raw], delimiter=delimiter, strict=True)
    return row


def _table(name: str, number: int, raw: str) -> _Table:
    delimiter = max(",;\t", key=raw.count)
    try:
        names = [cell.strip().lower() for cell in _split(raw, delimiter)]
    except (csv.Error, ValueError):
        raise _fatal(name, "the header line is not CSV", "write the names of the columns with commas", number) from None
    found: list[Problem] = []
    for index, column in enumerate(names):
        place = _cell_start(raw, index, delimiter)
        if columns.place_of(column) is None:
            found.append(
                Problem("no such column", columns.suggestion(column), name, number, place, "header", shown(column))
            )
        elif column in names[:index]:
            found.append(Problem("the column stands there twice", "remove one", name, number, place, column))
    if not found and "imsi" not in names:
        found.append(Problem("there is no column imsi", "add it to the header line", name, number, 1))
    if found:
        raise DocumentError(found, where=name)
    return _Table(tuple(names), delimiter)


def _cells(raw: str, table: _Table) -> tuple[Mapping[str, str], tuple[str, str, int, str] | None]:
    """Column -> text, or rule, remedy, column in the line and key of what is wrong with the line as a whole."""
    try:
        row = _split(raw, table.delimiter)
    except (csv.Error, ValueError):
        return {}, ("the line is not CSV", "close every quote on its line, and double those inside a cell", 1, "")
    if len(row) != len(table.header):
        rule = f"the line has {len(row)} cells, and the header has {len(table.header)}"
        return {}, (rule, "add or remove a delimiter; quote a cell that has one in it", 1, "")
    imsi = table.header.index("imsi")
    if _NUMBER_OF_A_SPREADSHEET.fullmatch(row[imsi].strip()):
        rule, remedy = "a spreadsheet has rounded the IMSI", "make the column text there, and fill it again"
        return {}, (rule, remedy, _cell_start(raw, imsi, table.delimiter), "imsi")
    return dict(zip(table.header, row, strict=True)), None


def _cell_start(raw: str, index: int, delimiter: str) -> int:
    """The column, from 1, where the cell begins in its line."""
    quoted = False
    for position, letter in enumerate(raw):
        if index == 0:
            return position + 1
        if letter == '"':
            quoted = not quoted
        elif letter == delimiter and not quoted:
            index -= 1
    return len(raw) + 1 if index == 0 else 1
