from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from pydantic import Field

from headend.multicast.documents import EXTENSION, SsmPath
from nf.documents.fleet import Fleet
from nf.documents.lineup import DeliveryPath, LineUp
from nf.documents.loader import load_document, load_fleet, load_lineup
from nf.documents.model import Document, DocumentModel
from nf.documents.quantities import DurationMs
from nf.documents.registry import Extension, Registry, registry
from nf.documents.schema import schema_files, schemas
from nf.errors import DocumentError, IntegrityError
from tests.nf.planning.samples import DOCUMENTS


class Other(DeliveryPath):
    type: Literal["ssm"]


class Loose(DeliveryPath):
    pass


class Section(DocumentModel):
    pass


def test_what_is_installed_is_found_by_entry_point() -> None:
    assert registry().path_types["ssm"] is SsmPath
    assert set(EXTENSION.sections) <= set(registry().sections)


def test_two_extensions_with_one_path_type_are_refused() -> None:
    with pytest.raises(IntegrityError) as caught:
        Registry([EXTENSION, Extension(path_types={"ssm": Other})])
    assert "two extensions register the path type 'ssm'" in caught.value.message
    assert "headend.multicast.documents.SsmPath" in caught.value.message
    assert caught.value.remedy


def test_two_extensions_with_one_section_are_refused() -> None:
    with pytest.raises(IntegrityError, match="two extensions register the section 'frr'"):
        Registry([EXTENSION, Extension(sections={"frr": Section})])


def test_a_path_type_names_itself() -> None:
    with pytest.raises(IntegrityError, match="Literal"):
        Registry([Extension(path_types={"loose": Loose})])
    with pytest.raises(IntegrityError, match="Literal"):
        Registry([Extension(path_types={"other": Other})])


class TimetableSpec(DocumentModel):
    gap_ms: DurationMs = Field(alias="gap", default=500)


class TimeTable(Document):
    """A document that some domain could bring."""

    kind: Literal["TimeTable"]
    spec: TimetableSpec


TIMETABLE = "apiVersion: streamverse.nf/v1\nkind: TimeTable\nmetadata: {name: night}\nspec:\n  gap: 2s\n"
WITH_TIMETABLE = Registry([EXTENSION, Extension(kinds={"TimeTable": TimeTable})])


def test_a_kind_of_a_domain_is_loaded_by_its_head_and_its_unknown_keys_are_refused() -> None:
    loaded = load_document(TIMETABLE, file="night.yaml", extensions=WITH_TIMETABLE).document
    assert isinstance(loaded, TimeTable)
    assert loaded.spec.gap_ms == 2000
    with pytest.raises(DocumentError) as caught:
        load_document(TIMETABLE.replace("gap: 2s", "gap: 2\n  gab: 1s"), file="night.yaml", extensions=WITH_TIMETABLE)
    problems = caught.value.problems
    assert [(p.file, p.line, p.key) for p in problems] == [
        ("night.yaml", 5, "spec.gap"),
        ("night.yaml", 6, "spec.gab"),
    ]
    assert all(problem.remedy for problem in problems)


def test_the_kinds_of_the_house_load_by_their_head_too() -> None:
    text = (DOCUMENTS / "lineup.yaml").read_text()
    assert load_document(text, file="l.yaml") == load_lineup(text, file="l.yaml")
    assert isinstance(load_document((DOCUMENTS / "fleet.yaml").read_bytes(), file="f.yaml").document, Fleet)


@pytest.mark.parametrize(
    ("text", "rule", "line"),
    [
        (TIMETABLE, "no such kind of document", 2),  # its domain is not installed
        ("kind: [LineUp]\n", "no such kind of document", 1),
        ("metadata: {name: x}\n", "is missing", 1),
        ("- 1\n", "a document is a mapping", 1),
    ],
)
def test_a_kind_that_nobody_registered_is_refused_where_it_stands(text: str, rule: str, line: int) -> None:
    with pytest.raises(DocumentError) as caught:
        load_document(text, file="x.yaml", extensions=Registry([EXTENSION]))
    (problem,) = caught.value.problems
    assert (problem.rule, problem.line) == (rule, line)
    assert "LineUp" in problem.remedy or rule == "a document is a mapping"


def test_the_schema_of_a_domains_kind_is_published_beside_the_others() -> None:
    schema = schemas(WITH_TIMETABLE)["TimeTable"]
    assert schema["additionalProperties"] is False
    assert set(schema_files(WITH_TIMETABLE)) == {
        "lineup.json", "fleet.json", "appliance-config.json", "time-table.json",
    }  # fmt: skip


def test_a_kind_is_registered_once_names_itself_and_is_none_of_the_house() -> None:
    with pytest.raises(IntegrityError, match="two extensions register the kind 'TimeTable'"):
        Registry([Extension(kinds={"TimeTable": TimeTable}), Extension(kinds={"TimeTable": LineUp})])
    with pytest.raises(IntegrityError, match="two extensions register the kind 'Fleet'"):
        Registry([Extension(kinds={"Fleet": TimeTable})])
    with pytest.raises(IntegrityError, match="`kind` must be Literal"):
        Registry([Extension(kinds={"Other": TimeTable})])


class Rack(DocumentModel):
    units: int


WITH_RACK = Registry([EXTENSION, Extension(equipment={"rack": Rack})])
FLEET_WITH_RACK = """\
apiVersion: streamverse.nf/v1
kind: Fleet
metadata: {name: lab}
spec:
  equipment:
    rack: {units: 42}
"""


def test_a_part_of_the_fleets_equipment_is_typed_and_goes_through_json() -> None:
    fleet = load_fleet(FLEET_WITH_RACK, file="fleet.yaml", extensions=WITH_RACK).document
    assert fleet.spec.equipment == {"rack": Rack(units=42)}
    again = load_fleet(json.dumps(fleet.to_json()), file="fleet.json", extensions=WITH_RACK).document
    assert again == fleet


@pytest.mark.parametrize(
    ("wrong", "rule", "key"),
    [
        ("rakc: {units: 42}", "no such equipment", "spec.equipment.rakc"),
        ("rack: {units: many}", "must be a whole number", "spec.equipment.rack.units"),
        ("rack: {units: 42, height: 1}", "unknown key", "spec.equipment.rack.height"),
    ],
)
def test_equipment_that_is_wrong_is_refused_where_it_stands(wrong: str, rule: str, key: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load_fleet(FLEET_WITH_RACK.replace("rack: {units: 42}", wrong), file="fleet.yaml", extensions=WITH_RACK)
    (problem,) = caught.value.problems
    assert (problem.rule, problem.key, problem.line) == (rule, key, 6)
    assert problem.remedy


def test_equipment_is_registered_once_and_published() -> None:
    with pytest.raises(IntegrityError, match="two extensions register the equipment 'rack'"):
        Registry([Extension(equipment={"rack": Rack}), Extension(equipment={"rack": Section})])
    schema: dict[str, Any] = schemas(WITH_RACK)["Fleet"]
    assert set(schema["$defs"]["FleetSpec"]["properties"]["equipment"]["properties"]) == {"bgp", "multicast", "rack"}
