"""Every message of the control plane becomes plain JSON whose keys say their unit."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.cli.wire import enum_word, to_json
from nf.control.v1 import common_pb2, noc_pb2

MESSAGES = [
    getattr(module, name)
    for module in (common_pb2, noc_pb2)
    for name in sorted(module.DESCRIPTOR.message_types_by_name)
]


@pytest.mark.parametrize("message", MESSAGES, ids=[kind.__name__ for kind in MESSAGES])
def test_an_empty_message_has_all_its_keys(message: Any) -> None:
    data = to_json(message())
    assert len(data) == len(message.DESCRIPTOR.fields)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", key) and not key.endswith("_json") for key in data)
    json.dumps(data)


@given(st.integers(0, 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False), st.text())
def test_values_keep_their_type(revision: int, at: float, comment: str) -> None:
    text = comment.encode("utf-8", "ignore").decode()
    data = json.loads(json.dumps(to_json(noc_pb2.RevisionSummary(revision=revision, at=at, comment=text))))
    assert (data["revision"], data["at"], data["comment"]) == (revision, at, text)


def test_words_of_enums() -> None:
    assert enum_word("Outcome", "OUTCOME_CONFIRMED") == "confirmed"
    assert enum_word("TransactionState", "TRANSACTION_STATE_APPLYING") == "applying"
    assert enum_word("Severity", "SEVERITY_UNSPECIFIED") is None


def test_maps_and_lists() -> None:
    sample = common_pb2.Sample(kind="unit", labels={"b": "2", "a": "1"}, values={"x_ms": 1.5})
    assert to_json(sample)["labels"] == {"a": "1", "b": "2"}
    assert to_json(sample)["values"] == {"x_ms": 1.5}
