"""Units of images that run lawful intercept: each begins where it is configured, and shows nothing."""

from __future__ import annotations

import shlex
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

from lawful_intercept.commands.run import app

IMAGES = Path(__file__).parents[2] / "images"
UNITS = IMAGES / "files/common/usr/lib/systemd/system"
KINDS = {"nf-intercept": "points", "nf-li-administration": "admf", "nf-li-mediation": "mdf"}


def commands() -> dict[str, list[str]]:
    """By unit, of all that run `nf-li`."""
    lines = {
        path.stem: path.read_text().partition("ExecStart=")[2].partition("\n")[0]
        for path in UNITS.glob("*.service")
        if path.is_file()
    }
    return {unit: shlex.split(line) for unit, line in lines.items() if line.startswith("/usr/bin/nf-li ")}


def test_the_operators_processes_have_one_each_and_the_agencys_none() -> None:
    kinds = {one.name for one in app.registered_commands}
    assert {unit: words[2] for unit, words in commands().items()} == KINDS
    assert kinds - {*KINDS.values()} == {"lemf"}


@pytest.mark.parametrize("unit", KINDS)
def test_it_begins_where_it_is_configured_and_shows_nothing(unit: str) -> None:
    read = ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read(UNITS / f"{unit}.service")
    service, config = read["Service"], Path(commands()[unit][-1])
    assert read["Unit"]["ConditionPathExists"] == str(config), "the last of them, which is its configuration"
    assert Path("/var/lib", service["StateDirectory"]) == config.parent
    assert (service["StateDirectoryMode"], service["LimitCORE"]) == ("0700", "0")
    assert service["StandardOutput"] == service["StandardError"] == "null"
    recipe = yaml.safe_load((IMAGES / "roles" / "base.yaml").read_text())["spec"]
    assert service["User"] in {user["name"] for user in recipe["users"]}
