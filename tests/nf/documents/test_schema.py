from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from core5g.documents import BreakoutPath
from headend.multicast.documents import EXTENSION as MULTICAST
from headend.multicast.documents import SsmPath
from headend.satellite.documents import SatellitePath
from nf.documents.lineup import DeliveryPath
from nf.documents.registry import registry
from nf.documents.schema import FILES, schema_files, schemas
from nf.media.documents import EXTENSION as MEDIA
from nf.media.documents import CdnPath
from tests.nf.planning.samples import DOCUMENTS

SCHEMAS = Path(__file__).parents[3] / "docs" / "schema"
INSTALLED = registry()


def test_the_published_files_are_up_to_date() -> None:
    assert {path.name: path.read_text() for path in SCHEMAS.glob("*.json")} == schema_files(INSTALLED)


@pytest.mark.parametrize("name", sorted(path.name for path in DOCUMENTS.glob("*.yaml")))
def test_the_editor_hint_of_a_sample_points_at_the_schema_of_its_kind(name: str) -> None:
    text = (DOCUMENTS / name).read_text()
    hint = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert hint is not None
    target = (DOCUMENTS / hint[1]).resolve()
    kind = json.loads(target.read_text())["properties"]["kind"]["const"]
    assert f"\nkind: {kind}\n" in text
    assert target.name == FILES[kind]


@pytest.mark.parametrize(
    ("kind", "model"), [("cdn", CdnPath), ("dvb-s2x", SatellitePath), ("ssm", SsmPath), ("upf-breakout", BreakoutPath)]
)
def test_a_delivery_path_is_judged_by_the_schema_of_its_type(kind: str, model: type[DeliveryPath]) -> None:
    schema: dict[str, Any] = schemas(INSTALLED)["LineUp"]
    items = schema["$defs"]["Channel"]["properties"]["delivery"]["items"]
    assert items["properties"]["type"]["enum"] == ["cdn", "dvb-s2x", "ssm", "upf-breakout"]
    (judged,) = [rule["then"] for rule in items["allOf"] if rule["if"]["properties"]["type"]["const"] == kind]
    assert judged == {"$ref": f"#/$defs/{model.__name__}"}
    path = schema["$defs"][model.__name__]
    assert path["additionalProperties"] is False
    assert set(path["properties"]) == {f.alias or name for name, f in model.model_fields.items()}


def test_sections_are_closed_and_typed() -> None:
    schema: dict[str, Any] = schemas(INSTALLED)["ApplianceConfig"]
    sections = schema["properties"]["sections"]
    assert sections["additionalProperties"] is False
    assert set(sections["properties"]) == set(INSTALLED.sections)
    assert set(MULTICAST.sections) | set(MEDIA.sections) <= set(INSTALLED.sections)


@pytest.mark.parametrize("kind", sorted(FILES))
def test_every_reference_resolves_and_every_default_has_the_form_it_asks_for(kind: str) -> None:
    schema: dict[str, Any] = schemas(INSTALLED)[kind]
    references = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema)))
    assert references <= set(schema["$defs"])
    for model in schema["$defs"].values():
        for value in model.get("properties", {}).values():
            if value.get("default") and "pattern" in value:
                assert re.search(value["pattern"], value["default"])
