"""Which contributions are received for others, and what a line-up may not say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nf.documents.lineup import LineUp, Source
from nf.media.ingest.planner import ingests, source_problems
from nf.media.ingest.units import source_of, unit_spec

MAIN = {"id": "main", "appliance": "headend", "port": 6011, "bitrate": "1M"}
BACKUP = {"id": "other", "appliance": "headend", "port": 6012, "bitrate": "1M"}


def lineup(*sources: dict[str, Any]) -> LineUp:
    head = {"apiVersion": "streamverse.nf/v1", "kind": "LineUp", "metadata": {"name": "l"}}
    return LineUp.model_validate({**head, "spec": {"sources": list(sources)}})


def told(*sources: dict[str, Any], packaged: tuple[str, ...] = ("main",)) -> list[str]:
    return [problem.rule for problem in source_problems(lineup(*sources), packaged)]


def test_a_plain_source_needs_nobody() -> None:
    assert ingests(lineup(MAIN, BACKUP), {"headend"}) == {}


def test_a_source_with_a_backup_is_received_and_its_unit_read_back() -> None:
    switch = {"detect": "300ms", "failback": "auto", "hold": "10s"}
    given = lineup({**MAIN, "type": "srt", "arrival": 9001, "backup": "other", "switch": switch}, BACKUP)
    (entry,) = ingests(given, {"headend"})["headend"].sources
    assert (entry.port, entry.arrival, entry.backup_port) == (6011, 9001, 6012)
    assert (entry.detect_ms, entry.failback_ms) == (300, 10_000)
    assert source_of(unit_spec(entry, Path("/run/nf"))) == entry
    assert told(*({**s} for s in (MAIN | {"arrival": 9001, "backup": "other"}, BACKUP))) == []


@pytest.mark.parametrize(
    ("change", "other", "packaged", "said"),
    [
        ({"backup": "absent"}, {}, ("main",), "no such source"),
        ({"backup": "main"}, {}, ("main",), "another source"),
        ({"backup": "other"}, {"appliance": "pop1"}, ("main",), "has to switch"),
        ({"backup": "other"}, {}, ("main", "other"), "one reader"),
        ({"backup": "other", "arrival": 6012}, {}, ("main",), "taken by source"),
    ],
)
def test_what_a_backup_may_not_be(
    change: dict[str, Any], other: dict[str, Any], packaged: tuple[str, ...], said: str
) -> None:
    rules = told({**MAIN, "arrival": 9001, **change}, {**BACKUP, **other}, packaged=packaged)
    assert any(said in rule for rule in rules), rules


@pytest.mark.parametrize(
    "change",
    [
        {"type": "srt"},
        {"type": "rist", "peer": "10.0.0.1:9000"},
        {"arrival": 9000},
        {"type": "srt", "arrival": 9000, "peer": "10.0.0.1:9000"},
        {"type": "srt", "arrival": 6011},
        {"latency": "100ms"},
        {"switch": {"detect": "400ms"}},
    ],
)
def test_a_source_comes_in_at_one_place(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Source.model_validate({**MAIN, **change})
