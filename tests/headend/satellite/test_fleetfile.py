"""Rain tables go into a person's file and leave the rest of it alone."""

from __future__ import annotations

import pytest

from headend.satellite.documents import SatelliteEquipment
from headend.satellite.fleetfile import lines_of, with_rain
from headend.satellite.ground import RainRecord
from nf.documents.loader import load_fleet
from nf.errors import InputError
from tests.headend.satellite.documents import REGISTRY
from tests.nf.planning.samples import DOCUMENTS

TEXT = (DOCUMENTS / "fleet.yaml").read_text()


def tables(text: str) -> tuple[RainRecord, ...]:
    satellite = load_fleet(text, file="fleet.yaml", extensions=REGISTRY).document.spec.equipment["satellite"]
    assert isinstance(satellite, SatelliteEquipment)
    return satellite.rain


def known() -> tuple[RainRecord, ...]:
    return tables(TEXT)


def test_what_is_there_is_written_the_same_again() -> None:
    assert with_rain(TEXT, known()) == TEXT


def test_tables_are_replaced_added_and_taken_out_and_every_other_line_stays() -> None:
    without = with_rain(TEXT, ())
    assert tables(without) == ()
    assert with_rain(without, known()) == TEXT
    one = with_rain(TEXT, known()[:1])
    assert tables(one) == known()[:1]
    assert [line for line in TEXT.splitlines() if line not in one.splitlines()] == TEXT.splitlines()[-2:]


def test_a_file_without_tables_gets_them_behind_its_last_key() -> None:
    cut = TEXT[: TEXT.index("      rain:\n")] + "# the end\n"
    made = with_rain(cut, known())
    assert tables(made) == known()
    assert made.endswith("# the end\n")


def test_what_stands_below_the_tables_stays() -> None:
    lines = TEXT.splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if line.startswith("      rain:"))
    start = next(n for n, line in enumerate(lines) if line.startswith("      transponders:"))
    moved = [*lines[:start], *lines[at:], "      # below\n", *lines[start:at]]
    made = with_rain("".join(moved), known()[:2])
    assert tables(made) == known()[:2]
    assert "      # below\n      transponders:\n" in made


def test_tables_in_block_style_are_replaced_whole() -> None:
    head = TEXT[: TEXT.index("      rain:\n")]
    block = head + "      rain:\n"
    for one in known():
        block += f"        - site: {one.site}\n          latitude: {one.latitude_deg}\n"
        block += f"          longitude: {one.longitude_deg}\n          frequency: {one.frequency_hz}\n"
        block += f"          elevation: {one.elevation_deg}\n          tilt: {one.tilt_deg}\n          rows:\n"
        block += "".join(f"            - [{percent}, {db}]\n" for percent, db in one.rows)
    assert tables(block) == known()
    assert with_rain(block, known()) == TEXT


@pytest.mark.parametrize(
    "text", ["a: [", "kind: Fleet\n", "spec: {equipment: {satellite: {carriers: []}}}\n", "spec:\n  equipment:\n"]
)
def test_a_form_that_cannot_be_written_to_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        with_rain(text, known())


def test_no_tables_are_an_empty_list() -> None:
    assert lines_of((), 2) == ["  rain: []"]
