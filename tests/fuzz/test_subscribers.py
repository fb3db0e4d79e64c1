"""Whatever the bytes: entries, or problems that all have a place, a rule and a remedy, and never a key."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core5g.open5gs.subscribers import addresses_of
from core5g.open5gs.subscribers_shape import data_of
from core5g.subscribers.columns import cells_of
from core5g.subscribers.importing import prepare
from core5g.subscribers.keys import Sealer
from core5g.subscribers.reading import parse
from nf.errors import DocumentError
from tests.core5g.subscribers.support import CORE, OPC, OURS, K, csv_text, imsi, table

THOROUGH = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SEALER = Sealer("ab" * 32, "the test")
TABLE = csv_text(table(range(1, 4))).encode()
LIST = json.dumps([{"imsi": imsi(1), "security": {"k": K, "opc": OPC}, "sessions": [{"dnn": "internet"}]}]).encode()

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["imsi", "sessions", "security", "k", "dnn", "slice", "session", "ue", "ipv4", "ambr", "qos"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


def judge(data: bytes) -> None:
    try:
        prepare(data, parse(data, "some"), CORE, OURS, SEALER, existing="refuse")
    except DocumentError as error:
        for problem in error.problems:
            assert problem.rule
            assert problem.remedy
            if problem.file:
                assert problem.line >= 1
                assert problem.column >= 1
            assert len(problem.value) <= 60
        text = str([str(problem) for problem in error.problems]).lower()
        assert K not in text
        assert OPC not in text


@THOROUGH
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    judge(data)


@THOROUGH
@given(st.text(alphabet='imsik,;\t"\n\r#[]{}:0129.-\ufeff\u2028\x00', max_size=200))
def test_text_full_of_delimiters(text: str) -> None:
    judge(b"imsi,k,opc\n" + text.encode())
    judge(text.encode())


@THOROUGH
@given(st.sampled_from([TABLE, LIST]), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6))
def test_a_good_file_with_some_bytes_changed(data: bytes, changes: list[tuple[int, int]]) -> None:
    altered = bytearray(data)
    for position, value in changes:
        altered[position % len(altered)] = value
    judge(bytes(altered))


@THOROUGH
@given(st.sampled_from([TABLE, LIST]), st.integers(0, 400))
def test_a_good_file_cut_off(data: bytes, end: int) -> None:
    judge(data[:end])


@THOROUGH
@given(st.lists(JSON, max_size=3))
def test_any_json(values: list[Any]) -> None:
    judge(json.dumps(values).encode())
    judge(json.dumps({"subscribers": values}).encode())


@THOROUGH
@given(st.dictionaries(st.sampled_from(["imsi", "slice", "ambr", "msisdn", "security", "subscriber_status"]), JSON))
def test_documents_that_others_wrote(document: dict[str, Any]) -> None:
    data = data_of(document)
    cells_of(data)
    json.dumps(data)
    assert "security" not in data
    list(addresses_of(document))
