"""Model files: text into `Model`, every broken rule at once with file, line, key, value, rule and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Formatter
from types import MappingProxyType

from headend.devices.model import Access, Condition, Encoding, Model, Parameter, Write
from headend.devices.rows import IndexKind, parse_name
from headend.snmp.values import Syntax
from nf.documents.keys import format_key
from nf.documents.loader import load_document
from nf.documents.registry import Extension, Registry
from nf.documents.rules import unknown
from nf.errors import DocumentError, NotFoundError, Problem

EXTENSION = Extension(kinds={"DeviceModel": Model})
_REGISTRY = Registry([EXTENSION])
_NUMBERS = frozenset({Syntax.INTEGER, Syntax.GAUGE32, Syntax.COUNTER32, Syntax.COUNTER64, Syntax.TIMETICKS})
_READ_ONLY = frozenset({Encoding.RATIO_TEXT, Encoding.BIG_ENDIAN, Encoding.LITTLE_ENDIAN})
_IN_OCTETS = frozenset(set(Encoding) - {Encoding.PLAIN})


def load_model(text: str | bytes, *, file: str) -> Model:
    """Raises DocumentError with every problem."""
    loaded = load_document(text, file=file, extensions=_REGISTRY)
    model = loaded.document
    if not isinstance(model, Model):
        problem = Problem("is no device model", "write kind: DeviceModel", file=file, key="kind", line=1, column=1)
        raise DocumentError([problem], where=file)
    problems = [loaded.place(problem) for problem in check_model(model)]
    if problems:
        raise DocumentError(sorted(problems, key=lambda problem: (problem.line, problem.key)), where=file)
    return model


@cache
def load_models() -> Mapping[str, Model]:
    """The models that come with the software, by name. Raises DocumentError."""
    found = (path for path in files("headend.devices").joinpath("models").iterdir() if path.name.endswith(".yaml"))
    return _by_name((load_model(path.read_text("utf-8"), file=path.name), path.name) for path in found)


def load_directory(directory: Path) -> Mapping[str, Model]:
    """The model files of an operator's own directory. Raises DocumentError."""
    found = sorted(directory.glob("*.yaml"))
    return _by_name((load_model(path.read_bytes(), file=str(path)), str(path)) for path in found)


def find_model(name: str, models: Mapping[str, Model] | None = None) -> Model:
    """Raises NotFoundError."""
    known = load_models() if models is None else models
    if name not in known:
        raise NotFoundError("no such device model", where=name, remedy=f"known: {', '.join(sorted(known))}")
    return known[name]


def _by_name(found: Iterable[tuple[Model, str]]) -> Mapping[str, Model]:
    models: dict[str, Model] = {}
    for model, file in found:
        if model.name in models:
            problem = Problem(
                "two files have this name", "rename one", file=file, key="metadata.name", value=model.name
            )
            raise DocumentError([problem], where=file)
        models[model.name] = model
    return MappingProxyType(dict(sorted(models.items())))


def check_model(model: Model) -> Iterator[Problem]:
    """The rules that one value alone cannot break; keys without a place."""
    for name, parameter in model.parameters.items():
        yield from _check_parameter(model, name, parameter, format_key(("spec", "parameters", name)))
    for table, index in model.spec.tables.items():
        key = format_key(("spec", "tables", table))
        if not any(model.parameters[column].access.readable for column in model.columns(table)):
            yield Problem("the table has no readable column", "add one, or remove the table", key=key)
        if index.rows is not None:
            yield from _known(model, f"{table}.{index.rows}", f"{key}.rows")
        if any(kind in (IndexKind.IMPLIED_OID, IndexKind.IMPLIED_STRING) for kind in index.index[:-1]):
            yield Problem("only the last index object can be without its length", "change the kind", key=f"{key}.index")
    for number, probe in enumerate(model.spec.identify):
        key = f"spec.identify[{number}]"
        if sum(given is not None for given in (probe.equals, probe.matches, probe.present)) != 1:
            yield Problem("needs one of equals, matches and present", "write exactly one", key=key)
        elif probe.matches is not None:
            yield from _check_pattern(probe.matches, f"{key}.matches")
    yield from _check_effects(model)
    yield from _check_references(model)
    yield from _check_templates(model)


def _check_parameter(model: Model, name: str, parameter: Parameter, key: str) -> Iterator[Problem]:
    table, dot, _ = name.partition(".")
    if dot and table not in model.spec.tables:
        yield unknown("table", key, table, model.spec.tables)
    if not dot and name in model.spec.tables:
        yield Problem("is the name of a table as well", "rename one of the two", key=key)
    subtrees = dot and table in model.spec.tables and model.spec.tables[table].subtrees is not None
    for field, oid in (("oid", parameter.oid), ("write_oid", parameter.write_oid or parameter.oid)):
        if oid.count("#") != int(bool(subtrees)):
            rule = "needs one # where the row's number stands" if subtrees else "only subtrees have a # in their OID"
            yield Problem(rule, "see `subtrees` of the table", key=f"{key}.{field}", value=oid)
    yield from _check_syntax(parameter, key)
    yield from _check_write(model, parameter, key)
    if parameter.radiates is not None and parameter.enum and parameter.radiates not in parameter.enum:
        yield Problem("is no choice of its enum", f"one of: {', '.join(parameter.enum)}", key=f"{key}.radiates")
    wires = list(parameter.enum.values())
    if len(set(wires)) != len(wires):
        yield Problem("two names stand for one wire value", "keep one of them", key=f"{key}.enum")
    limits = parameter.range
    if limits is not None and limits.minimum is not None and limits.maximum is not None:
        yield from _check_order(limits.minimum, limits.maximum, f"{key}.range")


def _check_order(minimum: float, maximum: float, key: str) -> Iterator[Problem]:
    if minimum > maximum:
        yield Problem("the minimum is above the maximum", "swap them", key=key)


def _check_syntax(parameter: Parameter, key: str) -> Iterator[Problem]:
    numeric = parameter.syntax in _NUMBERS
    number_in_hex = parameter.encoding is Encoding.HEX and numeric
    if parameter.encoding in _IN_OCTETS and parameter.syntax is not Syntax.OCTETS and not number_in_hex:
        yield Problem("this encoding is one of octets", "write syntax: octets", key=f"{key}.encoding")
    if (parameter.encoding in _READ_ONLY or number_in_hex) and parameter.writable:
        yield Problem("a value of this encoding can only be read", "write access: ro", key=f"{key}.encoding")
    if parameter.signed and parameter.syntax not in (Syntax.GAUGE32, Syntax.COUNTER32, Syntax.TIMETICKS):
        yield Problem("only an unsigned wire type wraps negatives", "remove it", key=f"{key}.signed")
    if parameter.scale == 0:
        yield Problem("must not be 0", "write the factor, such as 0.1", key=f"{key}.scale")
    texts = [wire for wire in parameter.enum.values() if isinstance(wire, str)]
    if numeric and texts:
        yield Problem("a number's enum has numbers", "write digits without quotes", key=f"{key}.enum", value=texts[0])


def _check_write(model: Model, parameter: Parameter, key: str) -> Iterator[Problem]:
    if parameter.access is Access.READ_ONLY:
        for field in ("apply", "command", "write_oid"):
            if getattr(parameter, field) is not None:
                yield Problem("the parameter is read-only", "remove it, or write access: rw", key=f"{key}.{field}")
        return
    if parameter.write is Write.APPLY and parameter.apply not in model.spec.applies:
        yield unknown("apply group in spec.applies", f"{key}.apply", parameter.apply or "", model.spec.applies)
    if parameter.write is Write.COMMAND:
        if model.spec.command_line is None:
            yield Problem("the model has no commandLine", "add spec.commandLine.oid", key=f"{key}.write")
        if parameter.command is None or _fields(parameter.command) - {"value", "row"}:
            remedy = "write the device's own command, such as `profile {value}`"
            yield Problem("needs a command with nothing in braces but {value} and {row}", remedy, key=f"{key}.command")


def _check_effects(model: Model) -> Iterator[Problem]:
    proved: set[str] = set()
    for number, effect in enumerate(model.spec.effects):
        key = f"spec.effects[{number}]"
        if effect.always:
            proved.update(effect.parameters or model.parameters)
        elif effect.name is None:
            yield Problem("nobody can ask for it", "give it a name, or remove `always: false`", key=key)
        for place, name in enumerate(effect.parameters):
            yield from _known(model, name, f"{key}.parameters[{place}]", writable=True)
        yield from _beside(model, effect.parameters, effect.watch, f"{key}.watch")
        yield from _condition(model, effect.expect, f"{key}.expect", effect.parameters)
        for name in effect.when:
            yield from _beside(model, effect.parameters, name, format_key(("spec", "effects", number, "when", name)))
    for name, parameter in model.parameters.items():
        if parameter.access is Access.WRITE_ONLY and name not in proved:
            key = format_key(("spec", "parameters", name, "access"))
            remedy = "add an effect that proves it; `access: command` where it holds nothing"
            yield Problem("a write-only object can lie, and nothing proves it", remedy, key=key)


def _check_references(model: Model) -> Iterator[Problem]:
    for number, interlock in enumerate(model.spec.interlocks):
        key = f"spec.interlocks[{number}]"
        for place, name in enumerate(interlock.parameters):
            yield from _known(model, name, f"{key}.parameters[{place}]", writable=True)
        for name in interlock.needs:
            place_key = format_key(("spec", "interlocks", number, "needs", name))
            yield from _beside(model, interlock.parameters, name, place_key)
    for number, group in enumerate(model.spec.telemetry):
        for place, name in enumerate(group.parameters):
            if name not in model.spec.tables:
                yield from _known(model, name, f"spec.telemetry[{number}].parameters[{place}]")
    for number, rule in enumerate(model.spec.alarms):
        key = f"spec.alarms[{number}]"
        yield from _known(model, rule.parameter, f"{key}.parameter")
        yield from _condition(model, rule.raise_when, f"{key}.raise_when", (rule.parameter,))
        if rule.clear_when is not None:
            yield from _condition(model, rule.clear_when, f"{key}.clear_when", (rule.parameter,))
        for name in rule.when:
            yield from _beside(model, (rule.parameter,), name, format_key(("spec", "alarms", number, "when", name)))


def _beside(model: Model, parameters: Sequence[str], name: str, key: str) -> Iterator[Problem]:
    """A column is looked at in the row of what was set: that has to have one."""
    yield from _known(model, name, key)
    table, dot, _ = name.partition(".")
    if dot and (not parameters or any(parameter.partition(".")[0] != table for parameter in parameters)):
        remedy = f"name parameters of {table} only, or look at a scalar"
        yield Problem("it is a table's: nothing says which row is meant", remedy, key=key, value=name)


def _check_templates(model: Model) -> Iterator[Problem]:
    for name, template in model.spec.templates.items():
        for target, value in template.values.items():
            key = format_key(("spec", "templates", name, "values", target))
            missing = (_fields(target) | _fields(str(value))) - set(template.fields)
            if missing:
                yield Problem(f"no such field: {', '.join(sorted(missing))}", "add it to fields", key=key)
            try:
                parsed = parse_name(target.replace("{", '"').replace("}", '"'))
            except ValueError as error:
                yield Problem(str(error), "write it as service[{row}].bitrate", key=key)
            else:
                yield from _known(model, parsed.parameter, key, writable=True)


def _known(model: Model, name: str, key: str, *, writable: bool = False) -> Iterator[Problem]:
    if name not in model.parameters:
        yield replace(unknown("parameter", key, name, model.parameters), value=name)
    elif writable and not model.parameters[name].writable:
        yield Problem("the parameter is read-only", "name one that can be set", key=key, value=name)
    elif not writable and not model.parameters[name].access.readable:
        yield Problem("the parameter cannot be read", "name one that can be read", key=key, value=name)


def _condition(model: Model, condition: Condition, key: str, parameters: Sequence[str]) -> Iterator[Problem]:
    if len(condition.given) != 1:
        rule = "needs exactly one of equals, differs, any_of, at_least, at_most and tracks"
        yield Problem(rule, "write one of them", key=key)
    if condition.tracks is not None:
        yield from _beside(model, parameters, condition.tracks, f"{key}.tracks")


def _check_pattern(pattern: str, key: str) -> Iterator[Problem]:
    try:
        re.compile(pattern)
    except re.error as error:
        yield Problem(f"is no regular expression: {error}", "correct it", key=key, value=pattern)


def _fields(text: str) -> set[str]:
    """The names in braces; a text that is no format has a field that nobody knows."""
    try:
        return {field for _, field, _, _ in Formatter().parse(text) if field is not None}
    except ValueError:
        return {"{"}
