from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec, UnitState, UnitStatus
from nf.errors import DriverError, InputError, NotFoundError, RefusedError
from nf.supervisor import protocol

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
names = st.from_regex(r"[a-z][a-z0-9@._-]{0,20}", fullmatch=True)
seconds = st.floats(0, 1e6)
variables = texts.filter(lambda text: text and "=" not in text)
paths = st.lists(texts.map(Path), max_size=2).map(tuple)
words = st.lists(texts, max_size=2).map(tuple)
sandboxes = st.builds(
    Sandbox,
    user=texts,
    group=texts,
    capabilities=words,
    families=words,
    writable=paths,
    executable=paths,
    readable=paths,
    devices=words,
    system_calls=words,
    write_execute=st.booleans(),
    kernel_files=st.booleans(),
    real_time=st.booleans(),
    nice=st.integers(-20, 19),
)
specs = st.builds(
    UnitSpec,
    name=names,
    argv=st.builds(lambda first, rest: (first, *rest), texts.filter(bool), st.lists(texts, max_size=4)),
    environment=st.lists(st.tuples(variables, texts), max_size=3).map(tuple),
    after=st.lists(names, max_size=3).map(tuple),
    ready=st.builds(Readiness, st.sampled_from(ReadyKind), texts, seconds),
    restart=st.booleans(),
    backoff_first_s=seconds,
    backoff_last_s=seconds,
    stable_s=seconds,
    stop_signal=st.integers(1, 64),
    stop_timeout_s=seconds,
    directory=st.just(Path("/")),
    sandbox=sandboxes,
)
statuses = st.builds(
    UnitStatus,
    name=names,
    state=st.sampled_from(UnitState),
    pid=st.none() | st.integers(1, 1 << 22),
    since=seconds,
    restarts=st.integers(0, 1000),
    last_exit=texts,
    spec=st.none() | specs,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(statuses)
def test_a_status_survives_the_wire(status: UnitStatus) -> None:
    line = protocol.encode(protocol.status_to_json(status))
    assert line.count(b"\n") == 1
    assert protocol.status_from_json(protocol.decode_line(line)) == status


@given(specs, st.data())
def test_a_definition_with_one_key_changed_is_an_input_error_or_valid(spec: UnitSpec, data: st.DataObject) -> None:
    damaged = protocol.spec_to_json(spec)
    key = data.draw(st.sampled_from(sorted(damaged)))
    value = data.draw(json_values)
    damaged[key] = value
    try:
        again = protocol.spec_from_json(damaged)
    except InputError:
        return
    assert protocol.spec_from_json(protocol.spec_to_json(again)) == again


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_a_line_is_a_request_or_an_input_error(line: bytes) -> None:
    try:
        request = protocol.decode_request(line)
    except InputError:
        return
    assert isinstance(request.method, str)


@pytest.mark.parametrize("name", ["", "A", "../x", "a/b", "a\n", "a" * 200, "1a", None, 7])
def test_a_name_that_is_no_file_name_is_refused(name: str | int | None) -> None:
    with pytest.raises(InputError):
        protocol.unit_name(name)


@pytest.mark.parametrize("kind", [DriverError, RefusedError, NotFoundError])
def test_an_error_keeps_its_kind_place_and_remedy(kind: type[DriverError]) -> None:
    again = protocol.error_from_json(protocol.error_to_json(kind("what", where="here", remedy="do this")))
    assert type(again) is kind
    assert (again.message, again.where, again.remedy) == ("what", "here", "do this")


def test_a_definition_of_before_there_were_sandboxes_is_read() -> None:
    spec = UnitSpec("sleeper", ("sleep", "1"))
    kept = protocol.spec_to_json(spec)
    del kept["sandbox"]
    assert protocol.spec_from_json(kept) == spec
