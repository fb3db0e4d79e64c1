"""`nf link` as a person types it, with an answering machine for a NOC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from headend.satellite.commands import app
from nf.contracts.json import Json, JsonObject
from nf.contracts.noc_client import CLIENT, NodeOutcome, OperationOutcome
from nf.errors import DriverError, InputError
from tests.nf.planning.samples import DOCUMENTS

STATUS: JsonObject = {
    "on_air": True,
    "approved_by": "spiffe://streamverse.test/operator/bob",
    "modcod": "QPSK 3/5",
    "rung": 1,
    "rungs": 3,
    "net_bitrate_bps": 2_320_052,
    "ts_bitrate_bps": 2_204_049,
    "services": [
        {"channel": "ch1", "path": "sat", "service_id": 101, "bitrate_bps": 1_200_000},
        {"channel": "ch3", "path": "sat", "service_id": 103, "bitrate_bps": 0},
    ],
    "modem": {"tx_level": -4.0, "beacon_level": -64.1, "dropped_packets": 0},
    "sites": {"pop1": {"lock": "locked", "es_n0": 6.9, "margin": 3.7, "modcod": "QPSK 3/5", "relock_count": 1}},
    "silent": ["rx2"],
    "deviations": [],
}


@dataclass
class Machine:
    """Answers every operation with `result`; keeps what it was asked and what was said."""

    result: JsonObject = field(default_factory=dict)
    complete: bool = True
    asked: list[tuple[str, str, JsonObject]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    tables: list[tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]] = field(default_factory=list)
    printed: list[Json] = field(default_factory=list)

    def run_operation(
        self, name: str, target: str, arguments: JsonObject, *, past_failures: bool, profile: Path | None
    ) -> OperationOutcome:
        self.asked.append((name, target, arguments))
        state = "done" if self.complete else "failed"
        node = NodeOutcome("headend", "satellite-uplink", 0, state, "the request is too old", self.result)
        return OperationOutcome(self.complete, (node,), 0.1, {})

    def operation_objects(self, name: str) -> tuple[str, ...]:
        return ("sat1", "sat2")

    def print_json(self, value: Json) -> None:
        self.printed.append(value)

    def print_table(self, columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> None:
        self.tables.append((columns, rows))

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def noc() -> Iterator[Machine]:
    machine = Machine()
    token = CLIENT.set(machine)
    yield machine
    CLIENT.reset(token)


def link(*arguments: str) -> Any:
    """Raises what the command raises."""
    done = CliRunner().invoke(app, arguments, catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_show_tells_margin_power_and_who_is_left_out(noc: Machine) -> None:
    noc.result = STATUS
    link("show", "sat1")
    assert noc.asked == [("link-status", "sat1", {"carrier": "sat1"})]
    assert noc.said[0] == "sat1: on the air, approved by bob; QPSK 3/5, rung 2 of 3"
    assert "level -4.0 dBm" in noc.said[1]
    services, sites = noc.tables
    assert services[1] == (("101", "ch1/sat", "1.200"), ("103", "ch3/sat", "left out"))
    assert sites[1] == (("pop1", "locked", "6.9", "3.7", "QPSK 3/5", "1"),)
    assert noc.said[-1] == "rx2 does not answer"
    link("show", "sat1", "--json")
    assert noc.printed == [STATUS]


@pytest.mark.parametrize(("text", "db"), [("6dB", 6.0), ("12", 12.0), ("0.5 dB", 0.5)])
def test_plan_takes_a_fade_with_or_without_its_unit(noc: Machine, text: str, db: float) -> None:
    noc.result = {"lines": ["one step down"]}
    link("plan", "sat1", "--fade", text)
    assert noc.asked == [("link-plan", "sat1", {"carrier": "sat1", "fade_db": db, "site": ""})]
    assert noc.said == ["one step down"]


def test_a_fade_that_is_none_is_refused(noc: Machine) -> None:
    with pytest.raises(InputError, match="a fade is a number of dB"):
        link("plan", "sat1", "--fade", "heavy")
    assert not noc.asked


def test_transmission_is_asked_for_approved_or_muted_and_one_of_them_only(noc: Machine) -> None:
    noc.result = {"state": "asked"}
    link("transmit", "sat1", "--reason", "service begins")
    assert noc.asked[-1][2] == {"carrier": "sat1", "act": "ask", "reason": "service begins"}
    assert "another person" in noc.said[-1]
    noc.result = {"state": "on the air"}
    link("transmit", "sat1", "--approve")
    assert noc.said[-1] == "sat1: on the air"
    for wrong in ((), ("--approve", "--mute")):
        with pytest.raises(InputError, match="exactly one"):
            link("transmit", "sat1", *wrong)
    noc.complete = False
    with pytest.raises(DriverError, match="too old"):
        link("transmit", "sat1", "--approve")


def test_the_spectrum_is_drawn_from_the_fleet_document(noc: Machine, tmp_path: Path) -> None:
    fleet = str(DOCUMENTS / "fleet.yaml")
    picture = tmp_path / "ku7.svg"
    link("spectrum", "ku7", "--fleet", fleet, "--svg", str(picture))
    assert "sat1: 11750.000 MHz, 2.000 Msym/s" in noc.said[0]
    assert "free: 11732.000 to 11748.800 MHz" in noc.said[1]
    assert ET.parse(picture).getroot().tag.endswith("svg")  # noqa: S314 - our own picture
    with pytest.raises(InputError, match="no such transponder"):
        link("spectrum", "ku8", "--fleet", fleet)
    with pytest.raises(InputError, match="cannot be read"):
        link("spectrum", "ku7", "--fleet", str(tmp_path / "nothing.yaml"))
