"""What the image tests read and reckon, without an image: menu page, an upgrade's times, the documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.scenarios import appliance
from lab.scenarios.image_set import Image, flipped
from lab.scenarios.technician import Unit, read_state
from lab.scenarios.upgrade import Progress, Sample
from lab.topology import load_topology
from nf.documents.loader import load_document

# As the menu prints it.
PAGE = """
  software     pop 1.0.0
  slot         A
  serial       SV-POP1-0001
  enrolled as  pop1
  data         encrypted, key in the TPM

  UNIT                     STATE     DETAIL
  nf-agent.service         active    running
  nf-first-boot.service    inactive  dead
  nf-network.service       active    exited
  nf-zebra.service         failed    failed
"""


def test_the_menus_page_is_understood() -> None:
    facts, units = read_state(PAGE)
    assert facts["slot"] == "A"
    assert facts["data"] == "encrypted, key in the TPM"
    assert units == (
        Unit("nf-agent.service", "active", "running"),
        Unit("nf-first-boot.service", "inactive", "dead"),
        Unit("nf-network.service", "active", "exited"),
        Unit("nf-zebra.service", "failed", "failed"),
    )
    assert [unit.name for unit in units if not unit.well] == ["nf-zebra.service"]


@pytest.mark.parametrize("page", ["", "nothing", "\x1b[0m> 2", "  UNIT  STATE  DETAIL\n"])
def test_a_page_without_units_has_none(page: str) -> None:
    assert read_state(page)[1] == ()


def test_an_upgrade_is_split_into_its_parts() -> None:
    progress = Progress("u1", began=0.0, brought_s=1.0)
    for at, state, text in (
        (0, "pending", ""),
        (1, "transfer", ""),
        (11, "install", "Verifying signature"),
        (14, "install", "Copying image to rootfs.1"),
        (40, "installed", ""),
        (41, "activate", ""),
        (42, "reboot", "restarting into slot B"),
        (90, "trial", "driver frr: not converged"),
        (100, "trial", ""),
        (120, "good", ""),
    ):
        progress.samples.append(Sample(float(at), state, 0.0, text))
    assert progress.split() == {
        "transfer": 10.0,
        "verify": 3.0,
        "write": 26.0,
        "activate": 2.0,
        "boot": 48.0,
        "trial": 30.0,
    }
    assert progress.ended


def test_a_flipped_bit_is_one_bit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(1000))
    altered = flipped(tmp_path / "a", tmp_path / "b" / "a").read_bytes()
    assert sum(octet.bit_count() for octet in altered) == 1
    assert len(altered) == 1000


def test_a_build_that_did_not_end_is_no_image(tmp_path: Path) -> None:
    assert Image.at(tmp_path) is None
    (tmp_path / "manifest.json").write_text('{"role": "pop", "version": "1"}')
    assert Image.at(tmp_path) is None
    (tmp_path / "manifest.json").write_text("{")
    assert Image.at(tmp_path) is None


def test_topology_and_fleet_name_the_same_places() -> None:
    topology = load_topology(appliance.TOPOLOGY)
    fleet = load_document(appliance.FLEET.read_bytes(), file=str(appliance.FLEET)).document
    ends = {str(end) for end in topology.ends()}
    for member in fleet.spec.appliances:
        assert topology.node(member.id).management == member.management
        assert {f"{member.id}:{interface.name}" for interface in member.interfaces} <= ends
    pop = fleet.appliance(appliance.POP)
    assert pop.serial == appliance.SERIAL
    assert f"{pop.management}/24" == appliance.MANAGEMENT
    assert {interface.name for interface in pop.interfaces} < set(appliance.INTERFACES)
