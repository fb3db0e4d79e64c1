"""`nf link` as a person types it, with an answering machine for a NOC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from headend.satellite import rain
from headend.satellite.commands import app
from headend.satellite.rain import RainTable
from nf.contracts.json import Json, JsonObject
from nf.contracts.noc_client import CLIENT, NodeOutcome, OperationOutcome
from nf.errors import DriverError, InputError, UnavailableError
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
    "relock_s": {"pop1": 0.7},
    "encoder": "enc2",
    "standby": "enc1",
    "not_standing_by": "enc1 does not answer",
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
    assert noc.said[1] == "encoder enc2 is heard; enc1: enc1 does not answer"
    assert "level -4.0 dBm" in noc.said[2]
    services, sites = noc.tables
    assert services[1] == (("101", "ch1/sat", "1.200"), ("103", "ch3/sat", "left out"))
    assert sites[1] == (("pop1", "locked", "6.9", "3.7", "QPSK 3/5", "1", "0.7"),)
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


def test_a_budget_is_read_from_the_fleet_document(noc: Machine, tmp_path: Path) -> None:
    fleet = str(DOCUMENTS / "fleet.yaml")
    link("budget", "sat1", "--fleet", fleet)
    assert noc.said == ["sat1: 2 Msym/s, 6 dB of power left for rain, 99.9 % of the year wanted"]
    sites, modcods = noc.tables
    assert [row[0] for row in sites[1]] == ["pop1", "pop2"]
    assert modcods[1][0][:2] == ("pop1", "8PSK 3/4")
    assert float(modcods[1][0][-1]) > 99.9
    link("budget", "sat1", "--fleet", fleet, "--json")
    (printed,) = noc.printed
    assert isinstance(printed, dict)
    assert printed["headroom_db"] == 6
    with pytest.raises(InputError, match="no such carrier"):
        link("budget", "sat2", "--fleet", fleet)
    assert not noc.asked


def test_what_a_budget_lacks_is_named(noc: Machine, tmp_path: Path) -> None:
    text = (DOCUMENTS / "fleet.yaml").read_text()
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(re.sub(r" {10}station: .*\n", "", text, count=1))
    with pytest.raises(InputError, match="station of carrier sat1") as refused:
        link("budget", "sat1", "--fleet", str(fleet))
    assert "docs/satellite.md" in refused.value.remedy
    fleet.write_text(re.sub(r" {6}rain:\n( {8}- .*\n)+", "", text))
    link("budget", "sat1", "--fleet", str(fleet))
    assert noc.tables[-1][1][0][-1] == "-"
    assert "nf link rain --fleet FILE" in noc.said[-1]


def test_rain_tables_are_made_once_and_written_into_the_fleet(
    noc: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def tabulate(site: str, **path: float) -> RainTable:
        made.append(site)
        return RainTable(site, path["frequency_hz"], path["elevation_deg"], path["tilt_deg"], ((0.01, 5.0), (1.0, 0.5)))

    monkeypatch.setattr(rain, "tabulate", tabulate)
    text = (DOCUMENTS / "fleet.yaml").read_text()
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(text)
    fleet.chmod(0o640)
    link("rain", "--fleet", str(fleet))
    assert (made, fleet.read_text()) == ([], text)  # all are there
    fleet.write_text(text.replace("latitude: 45.76", "latitude: 41.5", 1))
    link("rain", "--fleet", str(fleet))
    assert made == ["pop1"]
    assert "1 tables made, 2 kept, 1 dropped" in noc.said[-1]
    assert "rows: [[0.01, 5.0], [1.0, 0.5]]" in fleet.read_text()
    assert fleet.stat().st_mode & 0o777 == 0o640
    before = fleet.read_text()
    link("rain", "--fleet", str(fleet), "--again", "--print")
    assert made == ["pop1", "hub", "pop1", "pop2"]
    assert fleet.read_text() == before
    assert noc.said[-1].startswith("rain:\n  - {")
    link("rain", "--fleet", str(fleet), "--json")
    assert isinstance(noc.printed[-1], dict)
    assert noc.printed[-1]["made"] == 0


def test_without_the_package_the_extra_is_named_and_the_file_stays(
    noc: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(rain, "import_module", absent)
    fleet = tmp_path / "fleet.yaml"
    text = (DOCUMENTS / "fleet.yaml").read_text()
    fleet.write_text(text)
    with pytest.raises(UnavailableError, match="package itur") as refused:
        link("rain", "--fleet", str(fleet), "--again")
    assert "pip install 'streamverse-nf[satellite]'" in refused.value.remedy
    assert fleet.read_text() == text
    assert [*tmp_path.iterdir()] == [fleet]


def test_a_fleet_without_stations_has_nothing_to_tabulate(noc: Machine, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(
        (DOCUMENTS / "fleet.yaml").read_text().replace("          station: {latitude: 48.86", "          # {")
    )
    with pytest.raises(InputError, match="no carrier has stations"):
        link("rain", "--fleet", str(fleet))
