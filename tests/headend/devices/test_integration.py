"""`nf device probe` and `nf device learn` as an integrator calls them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from nf.cli.main import main
from nf.cli.profile import given
from tests.headend.devices.conftest import OWN
from tests.headend.devices.test_learn import MIB, WALK
from tests.lab.devices.conftest import StartDevice, start_device
from tests.lab.devices.samples import receiver
from tests.support.ports import free_port
from tests.support.snmp import CAPTURED

__all__ = ["start_device"]


async def nf(*arguments: str) -> int:
    given.set(None)
    return await asyncio.to_thread(main, arguments)


@pytest.mark.daemon
async def test_a_device_is_asked_what_it_is(
    start_device: StartDevice, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = start_device("receiver", receiver()).subject
    port = str(subject.port)
    assert await nf("device", "probe", subject.address, "--port", port) == 0
    told = capsys.readouterr().out
    assert "simulated DVB-S2X receiver: model nf-lab-receiver" in told
    assert f"model: nf-lab-receiver, address: {subject.address}, port: {port}" in told
    secret = tmp_path / "secret"
    secret.write_text("community private\n")
    assert await nf("device", "probe", subject.address, "--port", port, "--credentials", str(secret), "--json") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "receiver"


async def test_what_is_no_device_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await nf("device", "probe", "127.0.0.1", "--port", str(free_port())) == 5
    assert "check address and credentials" in capsys.readouterr().err
    assert await nf("device", "probe", "encoder.example") == 2
    assert "172.20.20.21" in capsys.readouterr().err
    secret = tmp_path / "secret"
    secret.write_text("v3 nf SHA-999 a-long-password\n")
    assert await nf("device", "probe", "127.0.0.1", "--credentials", str(secret)) == 9
    told = capsys.readouterr().err
    assert "unknown authentication protocol" in told
    assert "a-long-password" not in told
    assert await nf("device", "probe", "127.0.0.1", "--credentials", str(tmp_path / "none")) == 10


async def test_a_model_is_drafted_from_a_walk_and_the_mib_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walk, mibs = tmp_path / "Vendor Modem.walk", tmp_path / "mibs"
    walk.write_text(WALK)
    mibs.mkdir()
    (mibs / "VENDOR-MIB").write_text(MIB)
    assert await nf("device", "learn", str(walk), "--mib", str(mibs)) == 0
    assert "metadata: {name: vendor-modem" in capsys.readouterr().out
    draft = tmp_path / "draft.yaml"
    assert await nf("device", "learn", str(walk), "--mib", str(mibs), "--name", "modem", "-o", str(draft)) == 0
    assert "check every line" in capsys.readouterr().out
    assert "metadata: {name: modem" in draft.read_text()
    assert await nf("device", "learn", str(walk), "--mib", str(mibs), "--json") == 0
    assert json.loads(capsys.readouterr().out)["model"] == "vendor-modem"


async def test_what_cannot_be_learnt_from_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await nf("device", "learn", str(tmp_path / "none")) == 10
    assert await nf("device", "learn", str(OWN / "octets.snmprec")) == 2
    assert "no MIB module is there" in capsys.readouterr().err
    assert await nf("device", "learn", str(OWN / "octets.snmprec"), "--mib", str(tmp_path / "none")) == 2
    (tmp_path / "text").write_text("hello")
    assert await nf("device", "learn", str(tmp_path / "text")) == 2
    assert "snmpbulkwalk" in capsys.readouterr().err


@pytest.mark.skipif(not CAPTURED.is_dir(), reason="no captured walks")
async def test_a_captured_walk_gives_a_draft(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    walk = CAPTURED / "uhp.snmprec"
    draft = tmp_path / "uhp.yaml"
    assert await nf("device", "learn", str(walk), "--mib", str(CAPTURED.parent / "mibs" / "uhp"), "-o", str(draft)) == 0
    assert draft.stat().st_size > 1000
