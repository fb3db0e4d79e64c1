"""Drafting a model file from a walk and its MIB modules.

The draft loads as it is. What the walk shows and the MIB does not say (or says otherwise) is taken from the walk and
marked with a comment; ranges, effects, interlocks and alarms are for a person to add.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from headend.devices.mib import MibObject
from headend.devices.rows import IndexKind, decode_row, format_oid, parse_oid
from headend.devices.walkfile import Walk
from headend.snmp.values import Syntax, Varbind
from nf.errors import InputError

_SYSTEM: Final = "1.3.6.1.2.1.1."
_ENTERPRISES: Final = "1.3.6.1.4.1."
_LYING_ARCS: Final = ("1.3.6.1.4.1.8072.", "1.3.6.1.4.1.2021.")
"""net-snmp's own: what a device says that nobody has told who it is."""
_DECIMAL = re.compile(rb"\s*[-+]?\d+(\.\d*)?\s*")
_RATIO = re.compile(rb"\s*[<>]\s*\d+(\.\d*)?([eE][-+]?\d+)?\s*")
_TENTH = re.compile(
    r"(?:0\.1|1/10(?:th)?|tenths?)(?: of| of a)?\s*-?\s*(dBm|dBuV|dBW|dB|deg C|Mbps|volts?)", re.IGNORECASE
)
_UNITS: Final[Mapping[str, tuple[str, float]]] = {
    "db": ("dB", 0.1),
    "dbm": ("dBm", 0.1),
    "dbuv": ("dBuV", 0.1),
    "dbw": ("dBW", 0.1),
    "deg c": ("Cel", 0.1),
    "mbps": ("bit/s", 100_000),
    "volt": ("V", 0.1),
    "volts": ("V", 0.1),
}
_WRAPPED: Final = 2**31


@dataclass(slots=True)
class _Seen:
    """One MIB object and what the walk holds of it."""

    item: MibObject
    values: list[Varbind] = field(default_factory=list)
    suffixes: list[tuple[int, ...]] = field(default_factory=list)


def learn(walk: Walk, mibs: Mapping[str, MibObject], *, name: str) -> str:
    """The text of a model file. Raises InputError when nothing of the walk is in the MIB modules."""
    seen, unknown = _match(walk, mibs)
    if not seen:
        raise InputError("no object of the walk is in these MIB modules", remedy="give the vendor's own modules too")
    names = _names(seen)
    return "\n".join(_document(walk, seen, names, unknown, name)) + "\n"


def _match(walk: Walk, mibs: Mapping[str, MibObject]) -> tuple[list[_Seen], list[Varbind]]:
    """Vendor objects with their instances, in OID order, and vendor instances that no MIB knows."""
    seen: dict[str, _Seen] = {}
    unknown: list[Varbind] = []
    for varbind in walk.varbinds:
        if not varbind.oid.startswith(_ENTERPRISES):
            continue
        found = _object_of(varbind.oid, mibs)
        if found is None:
            unknown.append(varbind)
            continue
        item, suffix = found
        entry = seen.setdefault(item.oid, _Seen(item))
        entry.values.append(varbind)
        entry.suffixes.append(suffix)
    return list(seen.values()), unknown


def _object_of(oid: str, mibs: Mapping[str, MibObject]) -> tuple[MibObject, tuple[int, ...]] | None:
    numbers = parse_oid(oid)
    for length in range(len(numbers), 6, -1):
        item = mibs.get(format_oid(numbers[:length]))
        if item is not None and item.syntax != "SEQUENCE OF":
            suffix = numbers[length:]
            return (item, suffix) if suffix and _fits(item, suffix) else None
    return None


def _fits(item: MibObject, suffix: tuple[int, ...]) -> bool:
    if item.index is None:
        return suffix == (0,)
    try:
        decode_row(item.index, suffix)
    except ValueError:
        return False
    return True


# ---- names ----


def _names(seen: Sequence[_Seen]) -> dict[str, str]:
    """Parameter names by OID: the MIB's, in snake case, without what all columns of a table begin with."""
    tables = _table_names(seen)
    taken: Counter[str] = Counter()
    names: dict[str, str] = {}
    for entry in seen:
        item = entry.item
        word = _snake(item.name)
        if item.table:
            word = word.removeprefix(_common(seen, item.table)) or word
        if not re.match(r"[a-z]", word):
            word = f"x_{word}"
        full = f"{tables[item.table]}.{word}" if item.table else word
        taken[full] += 1
        names[item.oid] = full if taken[full] == 1 else f"{full}_{taken[full]}"
    return names


def _table_names(seen: Sequence[_Seen]) -> dict[str, str]:
    scalars = {_snake(entry.item.name) for entry in seen if not entry.item.table}
    found: dict[str, str] = {}
    for table in dict.fromkeys(entry.item.table for entry in seen if entry.item.table):
        word = _snake(table).removesuffix("_table") or "table"
        word = word if re.match(r"[a-z]", word) else f"x_{word}"
        while word in scalars or word in found.values():
            word += "_row"
        found[table] = word
    return found


def _common(seen: Sequence[_Seen], table: str) -> str:
    """The words that all columns of a table begin with, if there are two columns or more."""
    names = [_snake(entry.item.name).split("_") for entry in seen if entry.item.table == table]
    shared: list[str] = []
    for words in zip(*names, strict=False):
        if len(set(words)) > 1 or len(names) == 1:
            break
        shared.append(words[0])
    return "_".join(shared) + "_" if shared else ""


def _snake(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name.replace("-", "_"))
    return re.sub(r"[^a-z0-9_]", "_", spaced.lower())


# ---- text ----


def _document(
    walk: Walk, seen: Sequence[_Seen], names: Mapping[str, str], unknown: Sequence[Varbind], name: str
) -> Iterator[str]:
    said = {varbind.oid: varbind for varbind in walk.varbinds}
    yield f"# Drafted from a walk of {len(walk.varbinds)} objects: check every line; add ranges, effects and alarms."
    if walk.duplicates or walk.disorder:
        yield f"# The walk has {walk.duplicates} objects twice and {walk.disorder} out of order."
    if unknown:
        yield f"# {len(unknown)} objects of the walk are in no MIB module, such as {unknown[0].oid}."
    yield "apiVersion: streamverse.nf/v1"
    yield "kind: DeviceModel"
    yield f"metadata: {{name: {name}, description: {_quoted(_text(said.get(_SYSTEM + '1.0')) or name)}}}"
    yield "spec:"
    yield "  vendor: to be filled in"
    yield "  product: to be filled in"
    yield "  kind: headend  # encoder, multiplexer, modulator, modem, receiver, streamer or headend"
    yield f"  mibs: [{', '.join(dict.fromkeys(entry.item.module for entry in seen))}]"
    yield "  provenOn: a walk; no SET was tried"
    yield "  identify:"
    yield from _identify(seen, said)
    yield from _tables(seen)
    yield "  parameters:"
    for entry in seen:
        yield from _parameter(entry, names[entry.item.oid])
    yield "  telemetry:"
    readable = [names[entry.item.oid] for entry in seen]
    yield "    - every_s: 10.0"
    yield "      parameters:"
    yield from (f"        - {parameter}" for parameter in readable)


def _identify(seen: Sequence[_Seen], said: Mapping[str, Varbind]) -> Iterator[str]:
    object_id = said.get(_SYSTEM + "2.0")
    if object_id is not None and str(object_id.value).startswith(_ENTERPRISES):
        told = str(object_id.value)
        if told.startswith(_LYING_ARCS):
            yield f"    # sysObjectID is {told}, net-snmp's own: it tells nothing"
        else:
            yield f"    - {{oid: {_SYSTEM}2.0, equals: {told}}}"
    scalars = [entry for entry in seen if entry.item.index is None]
    first = scalars[0] if scalars else seen[0]
    yield f"    - {{oid: {first.values[0].oid}, present: true}}"


def _tables(seen: Sequence[_Seen]) -> Iterator[str]:
    tables = _table_names(seen)
    if not tables:
        return
    yield "  tables:"
    for table, word in tables.items():
        index = next(entry.item.index for entry in seen if entry.item.table == table) or (IndexKind.INTEGER,)
        yield f"    {word}: {{index: [{', '.join(kind.value for kind in index)}]}}"


def _parameter(entry: _Seen, name: str) -> Iterator[str]:
    item = entry.item
    syntax = Counter(varbind.syntax for varbind in entry.values).most_common(1)[0][0]
    told = _mib_syntax(item.syntax)
    if told is not None and told is not syntax:
        yield f"    # the MIB says {item.syntax}, the device sends {syntax.value}"
    fields = [f"oid: {item.oid}" + (".0" if item.index is None else ""), f"syntax: {syntax.value}"]
    access = _access(item)
    if access != "ro":
        fields.append(f"access: {access}")
    notes, extra = _form(entry, syntax)
    fields += extra
    if access == "rw" and item.bounds is not None and not item.enum and syntax is not Syntax.OCTETS:
        scale = next((float(text.removeprefix("scale: ")) for text in extra if text.startswith("scale: ")), 1.0)
        low, high = (f"{bound * scale:.10g}" for bound in item.bounds)
        fields.append(f"range: {{minimum: {low}, maximum: {high}}}")
    yield from (f"    # {note}" for note in notes)
    yield f"    {name}:"
    yield from (f"      {text}" for text in fields)
    if item.description:
        yield f"      description: {_quoted(item.description[:160])}"


def _access(item: MibObject) -> str:
    return "rw" if item.writable and item.readable else "ro"


def _mib_syntax(text: str) -> Syntax | None:
    known = {
        "INTEGER": Syntax.INTEGER, "Integer32": Syntax.INTEGER, "Gauge32": Syntax.GAUGE32, "Gauge": Syntax.GAUGE32,
        "Unsigned32": Syntax.GAUGE32, "Counter32": Syntax.COUNTER32, "Counter": Syntax.COUNTER32,
        "Counter64": Syntax.COUNTER64, "TimeTicks": Syntax.TIMETICKS, "IpAddress": Syntax.IPADDRESS,
        "DisplayString": Syntax.OCTETS, "OCTET STRING": Syntax.OCTETS, "OBJECT IDENTIFIER": Syntax.OID,
    }  # fmt: skip
    return known.get(text)


def _form(entry: _Seen, syntax: Syntax) -> tuple[list[str], list[str]]:
    """Notes, and the fields that say how values are carried."""
    item = entry.item
    if item.enum and syntax is not Syntax.OCTETS:
        choices = ", ".join(f"{_quoted(_snake(word))}: {number}" for word, number in _distinct(item.enum).items())
        outside = sorted({v.value for v in entry.values if isinstance(v.value, int)} - set(item.enum.values()))
        notes = [f"the device says {outside[0]}, which the MIB does not know"] if outside else []
        return notes, [f"enum: {{{choices}}}"]
    if syntax is Syntax.OCTETS:
        return _octets(entry)
    if syntax not in (Syntax.INTEGER, Syntax.GAUGE32, Syntax.COUNTER32):
        return [], []
    notes, fields = [], []
    numbers = [varbind.value for varbind in entry.values if isinstance(varbind.value, int)]
    if syntax is Syntax.GAUGE32 and any(number >= _WRAPPED for number in numbers):
        notes.append("values above 2^31 were seen: taken as wrapped negatives")
        fields.append("signed: true")
    match = _TENTH.search(item.units) or _TENTH.search(item.description)
    if match is not None:
        unit, scale = _UNITS[match[1].lower()]
        notes += [] if item.units else ["unit and scale are from the description"]
        fields += [f"scale: {scale:g}", f"unit: {unit}"]
    elif item.units:
        fields.append(f"unit: {_quoted(item.units)}")
    return notes, fields


def _distinct(enum: Mapping[str, int]) -> dict[str, int]:
    """One name for each number: vendors have been seen to number twice."""
    by_number: dict[int, str] = {}
    for word, number in enum.items():
        by_number.setdefault(number, word)
    return {word: number for number, word in by_number.items()}


def _octets(entry: _Seen) -> tuple[list[str], list[str]]:
    held = [varbind.value for varbind in entry.values if isinstance(varbind.value, bytes) and varbind.value]
    if held and all(_DECIMAL.fullmatch(octets) for octets in held):
        return ["a number as text"], ["encoding: decimal_text"]
    if any(_RATIO.fullmatch(octets) for octets in held):
        others = sorted({octets.decode("latin-1") for octets in held if not re.search(rb"\d", octets)})
        return ["a number with a bound"], ["encoding: ratio_text", *([f"null: {json.dumps(others)}"] if others else [])]
    if all(_printable(octets) for octets in held):
        return [], ["encoding: padded_text"] if any(octets != octets.strip(b"\0 ") for octets in held) else []
    if all(len(octets) == 6 for octets in held):
        return [], ["encoding: mac"]
    sample = held[0].hex()[:40]
    return [f"octets that are no text, such as {sample}: a number may be in them"], ["encoding: hex"]


def _printable(octets: bytes) -> bool:
    try:
        return octets.strip(b"\0").decode("utf-8").isprintable()
    except UnicodeDecodeError:
        return False


def _text(varbind: Varbind | None) -> str:
    value = varbind.value if varbind is not None else None
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
    return "".join(character for character in text if character.isprintable()).strip()[:80]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=True)
