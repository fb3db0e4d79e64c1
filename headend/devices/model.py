"""A device model: one declarative file per model, `models/*.yaml`, as frozen data.

What stands in a file follows the vendor's MIB and, where they differ, what a real device was seen to answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Literal

from pydantic import Field, Strict

from headend.devices.rows import IndexKind
from headend.snmp.values import Syntax
from nf.documents.model import Document, DocumentModel, Form, Name, Whole
from nf.errors import NotFoundError
from nf.telemetry.alarms import Severity

Oid = Annotated[
    str,
    Form(
        r"1\.3(\.(0|[1-9][0-9]{0,9})){1,126}",
        "an OID is numbers with dots, beginning with 1.3 and without a leading dot",
        "write it as 1.3.6.1.4.1.8000.22.2.1.0",
    ),
]
ObjectOid = Annotated[
    str,
    Form(
        r"1\.3(\.(0|[1-9][0-9]{0,9}|#)){1,126}",
        "an OID is numbers with dots, beginning with 1.3, no leading dot; # stands for a subtree's number",
        "write it as 1.3.6.1.4.1.8000.22.2.1.0",
    ),
]
ParameterName = Annotated[
    str,
    Form(
        r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?",
        "a parameter is a lower-case word, or table.column",
        "write it as tx_level or service.bitrate",
    ),
]
Word = Annotated[str, Form(r"[a-z][a-z0-9_]*", "a lower-case word with digits and underscores", "such as service")]
Number = Annotated[float, Strict()]
Scalar = bool | int | float | str
"""What a parameter may be set to, or compared with."""


class Access(Enum):
    """`command`: a SET does something once and the object holds nothing (reset counters, reboot)."""

    READ_ONLY = "ro"
    READ_WRITE = "rw"
    WRITE_ONLY = "wo"
    COMMAND = "command"

    @property
    def readable(self) -> bool:
        return self in (Access.READ_ONLY, Access.READ_WRITE)


class Encoding(Enum):
    """How the wire carries a value, where its syntax alone does not say."""

    PLAIN = "plain"  # numbers as numbers, octets as text, OIDs and addresses as their text
    DECIMAL_TEXT = "decimal_text"  # a number written as text: "65.32624", "-40"
    RATIO_TEXT = "ratio_text"  # "<1.0E-9": a number with a bound in front of it
    HEX = "hex"  # octets, or a number, shown as hexadecimal digits
    MAC = "mac"  # six octets, shown with colons
    PADDED_TEXT = "padded_text"  # text filled up with spaces or NULs
    BIG_ENDIAN = "big_endian"  # a number in octets, most significant first
    LITTLE_ENDIAN = "little_endian"
    ADDRESS_OCTETS = "address_octets"  # an IPv4 address in four octets


class Write(Enum):
    """How a change is written."""

    SET = "set"  # a SET of the object itself
    APPLY = "apply"  # SET of the staged object, then of the object that makes all staged ones true
    COMMAND = "command"  # text for the device's command line, through one object


class Range(DocumentModel):
    """In the parameter's own unit, ends included."""

    minimum: Number | None = None
    maximum: Number | None = None
    step: Annotated[float, Strict(), Field(gt=0)] | None = None


class Parameter(DocumentModel):
    """One thing a device knows or does. `oid` is the whole instance of a scalar, or the column of a table.

    scale        value = wire * scale + offset; UHP's "level x -10 dBm" is scale -0.1
    signed       the wire type is unsigned and negatives come wrapped (4294965151 is -2145)
    null         wire values that mean that there is no value
    enum         names for wire values; the value is then the name
    settle_s     how long after a SET the object may still hold the old value
    tolerance    how far a value read back may be from the one set, in its unit; devices round
    write_oid    where it is written when that is not where it is read (staged objects)
    command      text to send, `{value}` in it is the wire value
    secret       keys: never read into snapshots, history or errors
    configuration  part of the device's configuration: goes into snapshots and comes back with `restore`
    radiates     the value that puts a carrier on the air: only two people may, and no template or restore
    """

    oid: ObjectOid
    access: Access = Access.READ_ONLY
    syntax: Syntax
    encoding: Encoding = Encoding.PLAIN
    scale: Number = 1
    offset: Number = 0
    signed: bool = False
    unit: str = ""
    enum: dict[str, int | str] = Field(default_factory=dict)
    null: tuple[int | str, ...] = ()
    range: Range | None = None
    write: Write = Write.SET
    write_oid: ObjectOid | None = None
    apply: Word | None = None
    command: str | None = None
    settle_s: Annotated[float, Strict(), Field(ge=0, le=120)] = 0.0
    tolerance: Annotated[float, Strict(), Field(ge=0)] = 0.0
    secret: bool = False
    configuration: bool = True
    radiates: Scalar | None = None
    description: str = ""

    @property
    def writable(self) -> bool:
        return self.access is not Access.READ_ONLY


class Table(DocumentModel):
    """`index`: the kinds of its index objects, in order. `rows`: the column that lists the rows.

    `subtrees`: it is no SNMP table; that many rows are subtrees, numbered from 1, and `#` in the OID of a column, which
    is a whole instance then, stands for the number.
    """

    index: Annotated[tuple[IndexKind, ...], Field(min_length=1)] = (IndexKind.INTEGER,)
    rows: Word | None = None
    subtrees: Annotated[Whole, Field(ge=1, le=1000)] | None = None
    description: str = ""


class Apply(DocumentModel):
    """What makes staged values true: SET `oid` to `value`."""

    oid: Oid
    syntax: Syntax = Syntax.INTEGER
    value: int = 1


class CommandLine(DocumentModel):
    """The object that takes command text."""

    oid: Oid


class Condition(DocumentModel):
    """Exactly one of them. `tracks`: within `tolerance_percent` of what another parameter holds (of the same row)."""

    equals: Scalar | None = None
    differs: Scalar | None = None
    any_of: tuple[Scalar, ...] | None = None
    at_least: Number | None = None
    at_most: Number | None = None
    tracks: ParameterName | None = None
    tolerance_percent: Annotated[float, Strict(), Field(ge=0)] = 0.0

    @property
    def given(self) -> tuple[str, ...]:
        names = ("equals", "differs", "any_of", "at_least", "at_most", "tracks")
        return tuple(name for name in names if getattr(self, name) is not None)


class Effect(DocumentModel):
    """What in the world confirms a set of one of `parameters` (empty: of any): `watch` comes to `expect` in time.

    `when`: only if these hold after the change (a muted modulator locks no receiver). `watch` in the same table as the
    parameter that was set means the same row. `always`: part of every set; else one that is asked for by its `name`.
    """

    name: Word | None = None
    always: bool = True
    parameters: tuple[ParameterName, ...] = ()
    watch: ParameterName
    expect: Condition
    when: dict[ParameterName, Scalar] = Field(default_factory=dict)
    within_s: Annotated[float, Strict(), Field(gt=0, le=600)] = 10.0
    text: str = ""


class Interlock(DocumentModel):
    """`parameters` may be set (to one of `to`, if given) only while every parameter in `needs` has that value."""

    parameters: Annotated[tuple[ParameterName, ...], Field(min_length=1)]
    to: tuple[Scalar, ...] = ()
    needs: dict[ParameterName, Scalar]
    because: str
    remedy: str = ""


class Identify(DocumentModel):
    """A vendor's object, since sysObjectID lies: several devices answer with that of plain Linux."""

    oid: Oid
    equals: int | str | None = None
    matches: str | None = None  # regular expression, searched in the text
    present: Literal[True] | None = None


class TelemetryGroup(DocumentModel):
    """What is polled together, and how often. A table's name stands for all its readable columns."""

    every_s: Annotated[float, Strict(), Field(gt=0, le=86_400)]
    parameters: Annotated[tuple[ParameterName, ...], Field(min_length=1)]


class AlarmRule(DocumentModel):
    """`clear_when`: what has to hold before it clears, where that is not just the opposite (hysteresis).

    `when`: only while these hold (a channel that is off misses no input); else it is clear.
    """

    cause: Name
    parameter: ParameterName
    raise_when: Condition
    clear_when: Condition | None = None
    when: dict[ParameterName, Scalar] = Field(default_factory=dict)
    severity: Severity
    text: str
    remedy: str = ""


class Template(DocumentModel):
    """A service in the device's own terms: values with `{field}` in them, rendered with what an operator gives."""

    fields: dict[Word, Scalar | None] = Field(default_factory=dict)  # with their defaults; null: has to be given
    values: Annotated[dict[str, Scalar], Field(min_length=1)]
    description: str = ""


class Kind(Enum):
    ENCODER = "encoder"
    MULTIPLEXER = "multiplexer"
    MODULATOR = "modulator"
    MODEM = "modem"
    RECEIVER = "receiver"
    STREAMER = "streamer"
    HEADEND = "headend"


class Spec(DocumentModel):
    """`get_batch`, `set_batch`: how many objects the device takes in one request. `hms_alarms`: it keeps its standing
    alarms in SCTE-HMS-PROPERTY-MIB's currentAlarmTable.
    """

    vendor: str
    product: str
    kind: Kind
    mibs: tuple[str, ...] = ()
    proven_on: str = Field(alias="provenOn")
    identify: Annotated[tuple[Identify, ...], Field(min_length=1)]
    get_batch: Annotated[Whole, Field(ge=1, le=100)] = Field(default=20, alias="getBatch")
    set_batch: Annotated[Whole, Field(ge=1, le=50)] = Field(default=10, alias="setBatch")
    tables: dict[Word, Table] = Field(default_factory=dict)
    applies: dict[Word, Apply] = Field(default_factory=dict)
    command_line: CommandLine | None = Field(default=None, alias="commandLine")
    parameters: Annotated[dict[ParameterName, Parameter], Field(min_length=1)]
    effects: tuple[Effect, ...] = ()
    interlocks: tuple[Interlock, ...] = ()
    telemetry: tuple[TelemetryGroup, ...] = ()
    alarms: tuple[AlarmRule, ...] = ()
    hms_alarms: bool = Field(default=False, alias="hmsAlarms")
    templates: dict[Word, Template] = Field(default_factory=dict)


class Model(Document):
    kind: Literal["DeviceModel"] = "DeviceModel"
    spec: Spec

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return self.spec.parameters

    def table_of(self, parameter: str) -> tuple[str, Table] | None:
        """The table that a parameter is a column of; None for a scalar."""
        table, dot, _ = parameter.partition(".")
        return (table, self.spec.tables[table]) if dot else None

    def columns(self, table: str) -> Iterator[str]:
        """The parameters of a table, in the file's order."""
        return (name for name in self.spec.parameters if name.startswith(f"{table}."))

    @property
    def standing_effects(self) -> tuple[Effect, ...]:
        """Those that confirm every set."""
        return tuple(effect for effect in self.spec.effects if effect.always)

    def effect(self, name: str) -> Effect:
        """One that is asked for by name. Raises NotFoundError."""
        for effect in self.spec.effects:
            if effect.name == name:
                return effect
        raise NotFoundError("no such effect", where=f"{self.name} {name}", remedy="see `effects` in the model's file")

    def rows_column(self, table: str) -> str:
        """The parameter that is walked to list the rows of a table."""
        named = self.spec.tables[table].rows
        if named is not None:
            return f"{table}.{named}"
        return next(name for name in self.columns(table) if self.spec.parameters[name].access.readable)
