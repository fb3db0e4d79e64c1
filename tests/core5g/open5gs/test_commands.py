"""`nf upf`: what it asks the NOC for, and what it says of the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core5g.open5gs.commands import app, upfs
from nf.contracts.json import Json, JsonObject
from nf.contracts.noc_client import CLIENT, CommittedDocuments, NodeOutcome, OperationOutcome
from nf.errors import DriverError


@dataclass
class Noc:
    complete: bool = True
    text: str = "edge1 is drained: 0 sessions left"
    asked: list[tuple[str, str, JsonObject]] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)

    def run_operation(
        self, name: str, target: str, arguments: JsonObject, *, past_failures: bool, profile: Path | None
    ) -> OperationOutcome:
        self.asked.append((name, target, arguments))
        node = NodeOutcome("pop1", "open5gs", 0, "done" if self.complete else "failed", self.text)
        return OperationOutcome(self.complete, (node,), 1.0, {"complete": self.complete})

    def operation_objects(self, name: str) -> tuple[str, ...]:
        return ("central", "edge1") if name == "drain" else ()

    def committed(self, *, profile: Path | None, timeout_s: float = 15.0) -> CommittedDocuments:
        raise NotImplementedError

    def print_json(self, value: Json) -> None:
        self.said.append(value)

    def print_table(self, columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> None:
        raise NotImplementedError

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def noc() -> Iterator[Noc]:
    made = Noc()
    token = CLIENT.set(made)
    yield made
    CLIENT.reset(token)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments])


def test_a_drain_asks_for_what_was_typed(noc: Noc) -> None:
    assert run("drain", "edge1", "--limit", "5", "--wait", "60", "--admit").exit_code == 0
    assert noc.asked == [("drain", "edge1", {"limit": 5, "wait_s": 60, "admit": True})]
    assert noc.said == ["edge1 is drained: 0 sessions left"]


def test_it_may_take_sessions_again(noc: Noc) -> None:
    assert run("admit", "edge1", "--json").exit_code == 0
    assert noc.asked == [("drain", "edge1", {"end": True})]
    assert noc.said == [{"complete": True}]


def test_a_drain_in_vain_is_an_error_with_what_is_left(noc: Noc) -> None:
    noc.complete, noc.text = False, "12 of 12 sessions are left, more than 0"
    error = run("drain", "edge1").exception
    assert isinstance(error, DriverError)
    assert error.message == "pop1 is failed: 12 of 12 sessions are left, more than 0"


def test_the_noc_is_not_asked_to_wait_longer_than_it_does(noc: Noc) -> None:
    assert run("drain", "edge1", "--wait", "301").exit_code == 2
    assert noc.asked == []


def test_completion(noc: Noc) -> None:
    assert upfs("e") == ["edge1"]
