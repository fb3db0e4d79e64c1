"""The JSON lines that the supervisor and its client exchange.

One request a line: {"id": n, "method": "...", "params": {...}}; one answer a line: {"id": n, "result": ...} or
{"id": n, "error": {"type", "message", "where", "remedy"}}. After `watch` the connection carries events only.

`list` with the parameter `known`, a tag or "", is answered by {"tag": "...", "units": [...]}; `units` is null when the
tag of what stands now is the one that is known. The line {"changed": true} follows on that connection, once, as soon as
the answer would be another one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nf import errors
from nf.contracts.json import Json, JsonObject, canonical
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec, UnitState, UnitStatus
from nf.errors import InputError, NfError

MAX_LINE_BYTES = 1 << 20
UNIT_NAME = re.compile(r"[a-z][a-z0-9@._-]{0,99}")

_ERRORS: Mapping[str, type[NfError]] = {
    cls.__name__: cls
    for cls in (
        errors.BusyError,
        errors.DeadlineError,
        errors.DriverError,
        errors.InputError,
        errors.NotFoundError,
        errors.RefusedError,
        errors.StorageError,
        errors.UnavailableError,
    )
}


@dataclass(frozen=True, slots=True)
class Request:
    id: int
    method: str
    params: JsonObject


def encode(message: Mapping[str, Json]) -> bytes:
    return canonical(message).encode() + b"\n"


def decode_line(line: bytes) -> JsonObject:
    """One JSON object. Raises InputError."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError("not a line of JSON", where="supervisor") from None
    if not isinstance(data, dict):
        raise InputError("a message is a JSON object", where="supervisor")
    return data


def decode_request(line: bytes) -> Request:
    """Raises InputError for anything that is no request."""
    data = decode_line(line)
    number, method, params = data.get("id"), data.get("method"), data.get("params", {})
    if not isinstance(number, int) or isinstance(number, bool):
        raise InputError("a request has a whole number as `id`", where="supervisor")
    if not isinstance(method, str) or not isinstance(params, dict):
        raise InputError("a request has a `method` and an object `params`", where="supervisor")
    return Request(number, method, params)


def error_to_json(error: NfError) -> JsonObject:
    name = next((key for key, cls in _ERRORS.items() if isinstance(error, cls)), "DriverError")
    return {"type": name, "message": error.message, "where": error.where, "remedy": error.remedy}


def error_from_json(data: Mapping[str, Json]) -> NfError:
    cls = _ERRORS.get(str(data.get("type")), errors.DriverError)
    return cls(str(data.get("message", "")), where=str(data.get("where", "")), remedy=str(data.get("remedy", "")))


def unit_name(value: Json) -> str:
    """A name that is safe as a file name. Raises InputError."""
    if not isinstance(value, str) or UNIT_NAME.fullmatch(value) is None:
        raise InputError(
            f"{value!r} is no name of a unit",
            where="supervisor",
            remedy="lower-case letters, digits and @ . _ -, a letter first",
        )
    return value


def spec_to_json(spec: UnitSpec) -> JsonObject:
    return {
        "name": spec.name,
        "argv": list(spec.argv),
        "environment": [[key, value] for key, value in spec.environment],
        "after": list(spec.after),
        "ready": {
            "kind": spec.ready.kind.value,
            "target": spec.ready.target,
            "timeout_s": spec.ready.timeout_s,
        },
        "restart": spec.restart,
        "backoff_first_s": spec.backoff_first_s,
        "backoff_last_s": spec.backoff_last_s,
        "stable_s": spec.stable_s,
        "stop_signal": spec.stop_signal,
        "stop_timeout_s": spec.stop_timeout_s,
        "directory": str(spec.directory),
        "sandbox": _sandbox_to_json(spec.sandbox),
    }


def _sandbox_to_json(sandbox: Sandbox) -> JsonObject:
    return {
        "user": sandbox.user,
        "group": sandbox.group,
        "capabilities": list(sandbox.capabilities),
        "families": list(sandbox.families),
        "writable": [str(path) for path in sandbox.writable],
        "executable": [str(path) for path in sandbox.executable],
        "readable": [str(path) for path in sandbox.readable],
        "devices": list(sandbox.devices),
        "system_calls": list(sandbox.system_calls),
        "write_execute": sandbox.write_execute,
        "kernel_files": sandbox.kernel_files,
        "real_time": sandbox.real_time,
        "nice": sandbox.nice,
    }


class _Fields:
    """Typed reading of an object that came from outside; every mismatch is an InputError naming the key."""

    def __init__(self, data: Json, what: str) -> None:
        self._what = what
        if not isinstance(data, dict):
            raise InputError(f"{what} is no object", where="supervisor")
        self._data = data

    def _wrong(self, key: str, expected: str) -> InputError:
        return InputError(f"`{key}` of {self._what} is not {expected}", where="supervisor")

    def has(self, key: str) -> bool:
        return key in self._data

    def get(self, key: str) -> Json:
        if key not in self._data:
            raise self._wrong(key, "there")
        return self._data[key]

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str) or "\0" in value:
            raise self._wrong(key, "text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
            raise self._wrong(key, "a list of text")
        return tuple(str(item) for item in value)

    def seconds(self, key: str) -> float:
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise self._wrong(key, "a number of seconds")
        return float(value)

    def whole(self, key: str, low: int, high: int) -> int:
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong(key, f"a whole number from {low} to {high}")
        return value

    def flag(self, key: str) -> bool:
        value = self.get(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value


def _environment(fields: _Fields) -> tuple[tuple[str, str], ...]:
    pairs = []
    value = fields.get("environment")
    for pair in value if isinstance(value, list) else [None]:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise InputError("`environment` is a list of [name, value]", where="supervisor")
        key, text = str(pair[0]), str(pair[1])
        if not key or "=" in key or "\0" in key + text:
            raise InputError(f"{key!r} is no name of an environment variable", where="supervisor")
        pairs.append((key, text))
    return tuple(pairs)


def _sandbox_from_json(data: Json) -> Sandbox:
    fields = _Fields(data, "`sandbox`")
    return Sandbox(
        user=fields.text("user"),
        group=fields.text("group"),
        capabilities=fields.texts("capabilities"),
        families=fields.texts("families"),
        writable=tuple(map(Path, fields.texts("writable"))),
        executable=tuple(map(Path, fields.texts("executable"))) if fields.has("executable") else (),
        readable=tuple(map(Path, fields.texts("readable"))),
        devices=fields.texts("devices"),
        system_calls=fields.texts("system_calls"),
        write_execute=fields.flag("write_execute"),
        kernel_files=fields.flag("kernel_files"),
        real_time=fields.flag("real_time"),
        nice=fields.whole("nice", -20, 19),
    )


def spec_from_json(data: Json) -> UnitSpec:
    """Raises InputError."""
    fields = _Fields(data, "the definition of a unit")
    ready = _Fields(fields.get("ready"), "`ready`")
    try:
        kind = ReadyKind(ready.text("kind"))
    except ValueError:
        raise InputError("`ready.kind` is unknown", where="supervisor") from None
    argv = fields.texts("argv")
    if not argv or not argv[0]:
        raise InputError("`argv` names no program", where="supervisor")
    return UnitSpec(
        name=unit_name(fields.get("name")),
        argv=argv,
        environment=_environment(fields),
        after=tuple(unit_name(name) for name in fields.texts("after")),
        ready=Readiness(kind, ready.text("target"), ready.seconds("timeout_s")),
        restart=fields.flag("restart"),
        backoff_first_s=fields.seconds("backoff_first_s"),
        backoff_last_s=fields.seconds("backoff_last_s"),
        stable_s=fields.seconds("stable_s"),
        stop_signal=fields.whole("stop_signal", 1, 64),
        stop_timeout_s=fields.seconds("stop_timeout_s"),
        directory=Path(fields.text("directory")),
        # Absent in what older software kept.
        sandbox=_sandbox_from_json(fields.get("sandbox")) if fields.has("sandbox") else Sandbox(),
    )


def status_to_json(status: UnitStatus) -> JsonObject:
    return {
        "name": status.name,
        "state": status.state.value,
        "pid": status.pid,
        "since": status.since,
        "restarts": status.restarts,
        "last_exit": status.last_exit,
        "spec": None if status.spec is None else spec_to_json(status.spec),
    }


def status_from_json(data: Json) -> UnitStatus:
    """Raises InputError."""
    fields = _Fields(data, "the status of a unit")
    pid, spec = fields.get("pid"), fields.get("spec")
    try:
        state = UnitState(fields.text("state"))
    except ValueError:
        raise InputError("`state` is unknown", where="supervisor") from None
    return UnitStatus(
        name=fields.text("name"),
        state=state,
        pid=None if pid is None else fields.whole("pid", 1, 1 << 30),
        since=fields.seconds("since"),
        restarts=fields.whole("restarts", 0, 1 << 53),
        last_exit=fields.text("last_exit"),
        spec=None if spec is None else spec_from_json(spec),
    )


def statuses_from_json(data: Json) -> tuple[UnitStatus, ...]:
    """Raises InputError."""
    return tuple(status_from_json(item) for item in data) if isinstance(data, list) else ()
