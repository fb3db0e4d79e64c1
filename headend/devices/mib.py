"""Reading MIB modules, as vendors write them: SMIv1 and SMIv2 mixed, imports missing, comments everywhere.

It takes what it understands and leaves the rest; a validating compiler refuses half of the headend vendors' modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headend.devices.rows import IndexKind, format_oid
from nf.errors import InputError

_TOKEN = re.compile(r'"[^"]*"|--[^\n]*|::=|\.\.|\'[0-9A-Fa-f]*\'[HhBb]|[A-Za-z][\w-]*|-?\d+|[{}();,|\[\]]')
_ROOTS: Mapping[str, tuple[int, ...]] = {
    "ccitt": (0,),
    "iso": (1,),
    "org": (1, 3),
    "dod": (1, 3, 6),
    "internet": (1, 3, 6, 1),
    "mgmt": (1, 3, 6, 1, 2),
    "mib-2": (1, 3, 6, 1, 2, 1),
    "transmission": (1, 3, 6, 1, 2, 1, 10),
    "experimental": (1, 3, 6, 1, 3),
    "private": (1, 3, 6, 1, 4),
    "enterprises": (1, 3, 6, 1, 4, 1),
    "snmpV2": (1, 3, 6, 1, 6),
}
_MACROS = frozenset(
    {
        "OBJECT-TYPE", "MODULE-IDENTITY", "OBJECT-IDENTITY", "NOTIFICATION-TYPE", "OBJECT-GROUP",
        "NOTIFICATION-GROUP", "MODULE-COMPLIANCE", "AGENT-CAPABILITIES",
    }
)  # fmt: skip
_TEXT_TYPES = frozenset(
    {"OCTET STRING", "DisplayString", "SnmpAdminString", "PhysAddress", "MacAddress", "DateAndTime"}
)
_FIXED_SIZE = frozenset({"MacAddress"})
_STOPS = frozenset({"UNITS", "MAX-ACCESS", "ACCESS", "STATUS"})


@dataclass(frozen=True, slots=True)
class MibObject:
    """One OBJECT-TYPE. `syntax`: the base type's name, textual conventions resolved as far as they are known.

    `index`: of a column, the index objects of its table in order; None for a scalar.
    """

    name: str
    module: str
    oid: str
    syntax: str
    access: str
    enum: Mapping[str, int] = field(default_factory=dict)
    bounds: tuple[int, int] | None = None
    units: str = ""
    description: str = ""
    index: tuple[IndexKind, ...] | None = None
    table: str = ""

    @property
    def readable(self) -> bool:
        return self.access in ("read-only", "read-write", "read-create")

    @property
    def writable(self) -> bool:
        return self.access in ("read-write", "read-create", "write-only")


@dataclass(slots=True)
class _Declared:
    """What a module says about a name, before any OID is known."""

    name: str
    module: str
    place: Sequence[str]
    clauses: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(slots=True)
class _Module:
    name: str
    declared: dict[str, _Declared] = field(default_factory=dict)
    types: dict[str, Sequence[str]] = field(default_factory=dict)


def read_mibs(directory: Path) -> Mapping[str, MibObject]:
    """Every OBJECT-TYPE of every module in `directory` and below, by OID. Raises InputError when there is none."""
    modules = [module for path in sorted(directory.rglob("*")) if path.is_file() for module in _modules(_text(path))]
    if not modules:
        raise InputError("no MIB module is there", where=str(directory), remedy="name a directory with MIB files")
    return _Resolver(modules).objects()


def read_mib_texts(texts: Iterable[str]) -> Mapping[str, MibObject]:
    """The same for texts."""
    return _Resolver([module for text in texts for module in _modules(text)]).objects()


def _text(path: Path) -> str:
    content = path.read_bytes()
    return content.decode("latin-1") if b"DEFINITIONS" in content else ""


def _modules(text: str) -> Iterator[_Module]:
    words = [word for word in _TOKEN.findall(text) if not word.startswith("--")]
    starts = [number for number, word in enumerate(words) if word == "DEFINITIONS" and number]
    for number, start in enumerate(starts):
        end = starts[number + 1] - 1 if number + 1 < len(starts) else len(words)
        yield _module(words[start - 1], words[start:end])


def _module(name: str, words: Sequence[str]) -> _Module:
    module = _Module(name)
    for at, word in enumerate(words):
        if word in _MACROS and at and words[at - 1] not in (",", "IMPORTS", "FROM", ";"):
            _take_macro(module, words, at)
        elif word == "OBJECT" and words[at : at + 3] == ["OBJECT", "IDENTIFIER", "::="] and at:
            module.declared[words[at - 1]] = _Declared(words[at - 1], name, _braces(words, at + 3))
        elif word == "::=" and words[at - 1][:1].isupper() and words[at + 1 : at + 2] != ["{"]:
            module.types[words[at - 1]] = _type_tokens(words, at + 1)
    return module


def _take_macro(module: _Module, words: Sequence[str], at: int) -> None:
    end = next((i for i in range(at, len(words)) if words[i] == "::="), None)
    if end is None:
        return
    name, body = words[at - 1], words[at + 1 : end]
    clauses: dict[str, Sequence[str]] = {"macro": [words[at]]}
    if words[at] == "OBJECT-TYPE":
        clauses |= _clauses(body)
    module.declared[name] = _Declared(name, module.name, _braces(words, end + 1), clauses)


def _clauses(body: Sequence[str]) -> dict[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {}
    for at, word in enumerate(body):
        if word == "SYNTAX":
            stop = next((i for i in range(at, len(body)) if body[i] in _STOPS), len(body))
            found["syntax"] = body[at + 1 : stop]
        elif word in ("MAX-ACCESS", "ACCESS"):
            found["access"] = body[at + 1 : at + 2]
        elif word in ("UNITS", "DESCRIPTION"):
            found.setdefault(word.lower(), body[at + 1 : at + 2])
        elif word in ("INDEX", "AUGMENTS"):
            found[word.lower()] = _braces(body, at + 1)
    return found


def _braces(words: Sequence[str], at: int) -> Sequence[str]:
    """What stands between the braces that open at `at`; nothing when there are none."""
    if words[at : at + 1] != ["{"]:
        return ()
    end = next((i for i in range(at, len(words)) if words[i] == "}"), at)
    return words[at + 1 : end]


def _type_tokens(words: Sequence[str], at: int) -> Sequence[str]:
    """The type behind `Name ::=`; of a TEXTUAL-CONVENTION, what its SYNTAX says."""
    if words[at] == "TEXTUAL-CONVENTION":
        at = next((i for i in range(at, len(words)) if words[i] == "SYNTAX"), at) + 1
    return words[at : at + 600]


class _Resolver:
    def __init__(self, modules: Sequence[_Module]) -> None:
        self._modules = {module.name: module for module in modules}
        self._anywhere = {name: item for module in modules for name, item in module.declared.items()}
        self._types = {name: words for module in modules for name, words in module.types.items()}
        self._oids: dict[tuple[str, str], tuple[int, ...] | None] = {}

    def objects(self) -> Mapping[str, MibObject]:
        found: dict[str, MibObject] = {}
        for module in self._modules.values():
            for declared in module.declared.values():
                oid = self._oid(declared)
                if oid is not None and "syntax" in declared.clauses:
                    item = self._object(declared, oid)
                    found[item.oid] = item
        return found

    def _find(self, name: str, module: str) -> _Declared | None:
        return self._modules[module].declared.get(name) or self._anywhere.get(name)

    def _oid(self, declared: _Declared) -> tuple[int, ...] | None:
        key = (declared.module, declared.name)
        if key not in self._oids:
            self._oids[key] = None  # a module that goes in a circle has no OID
            self._oids[key] = self._place(declared)
        return self._oids[key]

    def _place(self, declared: _Declared) -> tuple[int, ...] | None:
        """`{ parent 3 }`, `{ enterprises netSnmp(8072) 71 }`, `{ iso(1) 3 }`."""
        parts = [part for part in declared.place if part not in ("(", ")")]
        if not parts:
            return None
        head, rest = parts[0], parts[1:]
        if head in _ROOTS:
            oid: tuple[int, ...] | None = _ROOTS[head]
            rest = rest[1:] if head == "iso" and rest[:1] == ["1"] else rest
        else:
            parent = self._find(head, declared.module)
            oid = self._oid(parent) if parent is not None else None
        if oid is None:
            return None
        return oid + tuple(int(part) for part in rest if part.isdigit())

    def _object(self, declared: _Declared, oid: tuple[int, ...]) -> MibObject:
        syntax = self._base(declared.clauses["syntax"])
        entry = self._entry(declared)
        return MibObject(
            name=declared.name,
            module=declared.module,
            oid=format_oid(oid),
            syntax=_type_name(syntax),
            access=next(iter(declared.clauses.get("access", ())), "not-accessible"),
            enum=_enum(syntax),
            bounds=_bounds(syntax),
            units=_quoted(declared.clauses.get("units", ())),
            description=_quoted(declared.clauses.get("description", ())),
            index=self._index(entry) if entry is not None else None,
            table=self._table_name(entry),
        )

    def _base(self, words: Sequence[str]) -> Sequence[str]:
        """Textual conventions replaced by what they stand for, at most eight deep."""
        for _ in range(8):
            name = _type_name(words)
            if name in _TEXT_TYPES or name not in self._types:
                return words
            inner, own = self._types[name], words[1:]
            words = inner if not own else [*inner[: 2 if inner[0] == "OCTET" else 1], *own]
        return words

    def _entry(self, declared: _Declared) -> _Declared | None:
        """The entry (row) that a column belongs to; None for what is no column."""
        parent = self._find(declared.place[0], declared.module) if declared.place else None
        return parent if parent is not None and {"index", "augments"} & set(parent.clauses) else None

    def _index(self, entry: _Declared) -> tuple[IndexKind, ...]:
        names = entry.clauses.get("index")
        if names is None:
            base = self._find(next(iter(entry.clauses["augments"]), ""), entry.module)
            return self._index(base) if base is not None and "index" in base.clauses else (IndexKind.IMPLIED_OID,)
        plain = [name for name in names if name not in (",", "IMPLIED")]
        open_end = len(plain) - 1 if "IMPLIED" in names else None
        kinds = (self._index_kind(name, entry.module, implied=at == open_end) for at, name in enumerate(plain))
        return tuple(kinds) or (IndexKind.INTEGER,)

    def _index_kind(self, name: str, module: str, *, implied: bool) -> IndexKind:
        declared = self._find(name, module)
        syntax = self._base(declared.clauses.get("syntax", ()) if declared is not None else (name,))
        kind = _type_name(syntax)
        if kind == "OBJECT IDENTIFIER":
            return IndexKind.IMPLIED_OID if implied else IndexKind.OID
        if kind in _TEXT_TYPES:
            low, high = _bounds(syntax) or (0, 1)
            fixed = kind in _FIXED_SIZE or low == high
            return IndexKind.IMPLIED_STRING if implied or fixed else IndexKind.STRING
        return IndexKind.ADDRESS if kind == "IpAddress" else IndexKind.INTEGER

    def _table_name(self, entry: _Declared | None) -> str:
        if entry is None:
            return ""
        table = next(iter(entry.place), entry.name)
        return table if table in self._anywhere else entry.name


def _type_name(words: Sequence[str]) -> str:
    head = list(words[:2])
    return " ".join(head) if head in (["OCTET", "STRING"], ["OBJECT", "IDENTIFIER"], ["SEQUENCE", "OF"]) else head[0]


def _enum(words: Sequence[str]) -> dict[str, int]:
    """`{ up(1), down(2) }` right behind a number's type."""
    if words[1:2] != ["{"]:
        return {}
    names = [word for word in _braces(words, 1) if word not in ("(", ")", ",")]
    pairs = zip(names[::2], names[1::2], strict=False)
    return {name: int(number) for name, number in pairs if re.fullmatch(r"-?\d+", number)}


def _bounds(words: Sequence[str]) -> tuple[int, int] | None:
    """`(0..15)`, `(SIZE (8))`, `(SIZE (0 | 8))`: the outermost ends."""
    start = 2 if _type_name(words) == "OCTET STRING" else 1
    if words[start : start + 1] != ["("]:
        return None
    end = next((i for i in range(start, len(words)) if words[i] == ")"), start)
    numbers = [int(word) for word in words[start:end] if re.fullmatch(r"-?\d+", word)]
    return (min(numbers), max(numbers)) if numbers else None


def _quoted(words: Sequence[str]) -> str:
    return " ".join(words[0].strip('"').split()) if words else ""
