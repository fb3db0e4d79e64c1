"""Processes of interception as an image runs them: users of their own, and observation points that know them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console as Terminal

from lab.interception.bring_up import bring_up
from lab.interception.places import PLAIN, REFERENCE, Agency, LabSite, Plan, Point
from lab.native.handle import Lab
from lab.scenarios.console import Console
from lab.scenarios.interception import apart
from lab.scenarios.verdicts import Verdicts
from sip.interception.documents import InterceptionSection
from sip.interception.units import CALLER, directory

pytestmark = [pytest.mark.root, pytest.mark.daemon]

NETWORK = Path(__file__).parents[3] / "lab/topologies/streamverse.clab.yml"
OURS = ("pop1", "li", "agency1", "br-li")
PLAN = Plan(
    REFERENCE.domain,
    REFERENCE.li,
    REFERENCE.li_address,
    (Point("pop1", "10.7.0.3", {"sip": {"content": "media", "copies": "10.7.0.3"}}, ("voice",)),),
    (Agency("agency1", "10.7.0.21", PLAIN),),
)


def topology() -> str:
    """Of the reference network, what interception needs; the appliance is its POI and an observation point alone."""
    whole = yaml.safe_load(NETWORK.read_text())
    made = whole["topology"]
    section = InterceptionSection(address="127.0.0.1", ports=(26000, 26003)).model_dump_json()
    words = f"--section '{section}' --run-dir /run/nf --caller {CALLER}"
    observer = f"mkdir -p {directory(Path('/run/nf'))}; exec {sys.executable} -m sip.interception.process {words}"
    observed = made["groups"]["observed"]
    observed["cmd"] = observed["cmd"].replace("exec nf supervisor run --boot-agent", observer.replace('"', '\\"'))
    observed["binds"] = [one for one in observed["binds"] if not one.startswith("..")]
    made["nodes"] = {name: made["nodes"][name] for name in OURS}
    made["links"] = [
        one for one in made["links"] if all(isinstance(end, dict) and end["node"] in OURS for end in one["endpoints"])
    ]
    return yaml.safe_dump(whole)


def test_each_process_has_its_user_and_points_answer_theirs_alone(make_lab: Any, tmp_path: Path) -> None:
    lab: Lab = make_lab(topology())
    console = Console(lab.state.name)
    site = LabSite(console, PLAN)
    bring_up(site)
    verdicts = Verdicts(Terminal(), tmp_path / "verdicts.json")
    apart(console, site, verdicts)
    assert verdicts.good, [(row.step, row.figure) for row in verdicts.rows]
