"""Whatever the bytes: a document, or a DocumentError whose problems all have a place, a rule and a remedy."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, ScalarEvent

from nf.documents import tree
from nf.documents.loader import load_config, load_fleet, load_lineup
from nf.errors import DocumentError, Problem
from tests.nf.planning.samples import DOCUMENTS, REGISTRY, compiled, fleet_data, lineup_data

LOADERS: tuple[Callable[..., object], ...] = (load_lineup, load_fleet)
SAMPLES = {name: (DOCUMENTS / name).read_bytes() for name in ("lineup.yaml", "fleet.yaml")}
THOROUGH = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

YAML_LIKE = st.text(alphabet="abk:-[]{}&*!|>'\"%@`#,? \n\t\r~0189.\\Uxu<=\ufeff\x85\u2028é", max_size=80)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def problems_of(load: Callable[[], object]) -> tuple[Problem, ...]:
    """The problems found; none = a document. Any other exception is the test's failure."""
    try:
        load()
    except DocumentError as error:
        return error.problems or (Problem("", ""),)
    return ()


def judge(text: str | bytes) -> None:
    for load in LOADERS:
        for problem in problems_of(partial(load, text, file="some.yaml", extensions=REGISTRY)):
            assert problem.file == "some.yaml"
            assert problem.rule
            assert problem.remedy
            assert problem.line >= 1
            assert problem.column >= 1
            assert len(problem.value) <= 60


@THOROUGH
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    judge(data)


@THOROUGH
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    judge(text)


@THOROUGH
@given(YAML_LIKE)
def test_text_full_of_indicators(text: str) -> None:
    judge(text)


@pytest.mark.parametrize(
    "text",
    [
        '"\\Uffffffff"',
        "%TAG ! \x00",
        "%YAML 9.9\n---\n",
        "\ud800",
        "- " * 4000,
        "{" * 40,
        "&a" * 9,
        "!<",
        "a: |99999\n",
        "%",
    ],
)
def test_text_that_parsers_are_known_to_trip_over(text: str) -> None:
    judge(text)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.integers(min_value=0, max_value=2**32))
def test_mutated_samples(name: str, seed: int) -> None:
    judge(mutated(name, seed))


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.integers(min_value=0, max_value=2**32))
def test_another_parser_reads_the_same_scalars_at_the_same_places(name: str, seed: int) -> None:
    """Where both take the text. Empty values have no place that both would have to agree on."""
    text = mutated(name, seed).decode(errors="replace")
    try:
        events = list(YAML(typ="safe", pure=True).parse(text))
        root, problems = tree.parse(text)
    except (YAMLError, tree.DocumentSyntaxError):
        return
    if problems or any(isinstance(event, AliasEvent) for event in events):
        return  # of two equal keys, and of an alias, the tree does not hold all that is written
    marks = [(event, event.start_mark) for event in events if isinstance(event, ScalarEvent) and event.value]
    judged = [(mark.line + 1, mark.column + 1, event.value) for event, mark in marks]
    assert [scalar for scalar in scalars(root) if scalar[2]] == judged


def scalars(node: tree.Node) -> Iterator[tuple[int, int, str]]:
    """Line, column and text of every key and value, in their order."""
    if isinstance(node.value, dict):
        for key, entry in node.value.items():
            yield entry.line, entry.column, key
            yield from scalars(entry.node)
    elif isinstance(node.value, list):
        for item in node.value:
            yield from scalars(item)
    else:
        yield node.line, node.column, json.loads(node.text) if node.text[:1] == '"' else node.text


def mutated(name: str, seed: int) -> bytes:
    chance = random.Random(seed)  # noqa: S311 - reproducible mutations, no secret
    data = bytearray(SAMPLES[name])
    for _ in range(chance.randint(1, 6)):
        start = chance.randrange(len(data))
        size = chance.randint(0, 12)
        match chance.randrange(4):
            case 0:
                data[start : start + size] = b""
            case 1:
                data[start:start] = chance.randbytes(size)
            case 2:
                data[start:start] = data[chance.randrange(len(data)) :][: size * 4]
            case _:
                data[start : start + 1] = chance.choice(
                    [b":", b"\n", b"- ", b"{", b"]", b"\t", b"&a ", b"*a", b'"', b"\xff"]
                )
    return bytes(data)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_samples_with_a_value_replaced(data: st.DataObject) -> None:
    document = data.draw(st.sampled_from([lineup_data, fleet_data]))()
    _replace_somewhere(document, data)
    judge(json.dumps(document))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_configuration_with_a_value_replaced(data: st.DataObject) -> None:
    config: Any = compiled().configs["pop2"].to_json()
    _replace_somewhere(config, data)
    for problem in problems_of(partial(load_config, config, extensions=REGISTRY)):
        assert problem.rule
        assert problem.remedy


def _replace_somewhere(value: Any, data: st.DataObject) -> None:
    while isinstance(value, dict | list) and value:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(value[key], dict | list) or not value[key] or data.draw(st.booleans()):
            value[key] = data.draw(JSON)
            return
        value = value[key]
