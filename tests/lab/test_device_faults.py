"""`nf lab fault fade` and `nf lab fault device` in a lab of a modulator and two receivers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.device_faults import devices
from lab.devices.control import Control, DeviceFault
from lab.faults import Fault, Faults, Kind
from lab.native.handle import Lab
from nf.errors import InputError, NotFoundError

pytestmark = pytest.mark.root
NF = str(Path(sys.executable).with_name("nf"))
SKY = """\
name: sky
topology:
  defaults: {kind: linux}
  nodes:
    mod1:
      binds: ["__clabDir__/mod1.yaml:/etc/device.yaml:ro"]
      cmd: python -m lab.devices modem --config /etc/device.yaml
    rx1:
      binds: ["__clabDir__/rx1.yaml:/etc/device.yaml:ro"]
      cmd: python -m lab.devices receiver --config /etc/device.yaml
    rx2:
      binds: ["__clabDir__/rx2.yaml:/etc/device.yaml:ro"]
      cmd: python -m lab.devices receiver --config /etc/device.yaml
    plain: {}
    br-sky: {kind: bridge}
  links:
    - endpoints: [{node: mod1, interface: eth1, ipv4: 10.71.0.1/24}, "br-sky:mod1"]
    - endpoints: [{node: rx1, interface: eth1, ipv4: 10.71.0.2/24}, "br-sky:rx1"]
    - endpoints: [{node: rx2, interface: eth1, ipv4: 10.71.0.3/24}, "br-sky:rx2"]
"""
ES_N0 = "1.3.6.1.4.1.8072.9999.9999.71.1.5.2.2.0"
COMMIT, TX_ENABLE = "1.3.6.1.4.1.8072.9999.9999.71.1.4.1.6.0", "1.3.6.1.4.1.8072.9999.9999.71.1.4.3.1.0"


def await_true(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 90
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.fixture
def lab(make_lab: Callable[..., Lab], require_programs: Callable[..., None], tmp_path: Path) -> Lab:
    require_programs("snmpget", "snmpset")
    sources = {"mod1": ("10.71.0.1", "input: {port: 5000}")}
    sources |= {f"rx{n}": (f"10.71.0.{n + 1}", f"site: pop{n}\noutput: {{port: 5100}}") for n in (1, 2)}
    for node, (via, rest) in sources.items():
        (tmp_path / f"{node}.yaml").write_text(f"name: {node}\nboot_s: 0\nsky: {{via: {via}}}\n{rest}\n")
    made = make_lab(SKY.replace("__clabDir__", str(tmp_path)))
    assert await_true(lambda: len(devices(made)) == 3)
    return made


def snmp(lab: Lab, node: str, program: str, *arguments: str) -> str:
    command = (program, "-v2c", "-c", "private", "-m", "", "-Oqv", "-t", "1", "-r", "1", "127.0.0.1", *arguments)
    return lab.run(node, *command).stdout.strip()


def es_n0(lab: Lab) -> list[str]:
    return [snmp(lab, node, "snmpget", ES_N0) for node in ("rx1", "rx2")]


def radiate(lab: Lab) -> None:
    assert await_true(lambda: snmp(lab, "mod1", "snmpset", COMMIT, "i", "2", TX_ENABLE, "i", "1") != "")
    assert await_true(lambda: es_n0(lab) == ["130", "130"])


def test_it_rains_where_it_is_told_to(lab: Lab) -> None:
    faults = Faults(lab)
    radiate(lab)
    assert faults.fade(None, 3.0, 10.0) == ("mod1",)
    assert faults.fade("pop2", 2.0, 0.0) == ("rx2",)
    assert await_true(lambda: es_n0(lab) == ["100", "80"])
    shown = {(fault.node, fault.target): fault.detail for fault in faults.standing()}
    assert shown == {("mod1", "uplink"): "3 dB at 10 dB/s", ("rx2", "pop2"): "2 dB at 0 dB/s"}
    faults.fade(None, 0.0, 10.0)
    assert [fault.node for fault in faults.standing()] == ["rx2"]
    assert await_true(lambda: es_n0(lab) == ["130", "110"])
    assert faults.clear() == (Fault(Kind.FADE, "rx2", "pop2"),)
    assert await_true(lambda: es_n0(lab) == ["130", "130"])


def test_devices_misbehave_until_they_are_mended(lab: Lab) -> None:
    faults = Faults(lab)
    weather = Control(lab.root("rx1") / "run/nf/device").weather
    assert faults.disturb("rx1", "slow", seconds=1.5)
    assert faults.disturb("rx1", "ignored-set")
    assert weather().faults == {DeviceFault.SLOW: {"seconds": 1.5}, DeviceFault.IGNORED_SET: {}}
    assert faults.mend_device("rx1", "slow") == ("slow",)
    assert [fault.target for fault in faults.standing()] == ["ignored-set"]
    assert len(faults.clear()) == 1
    assert weather().faults == {}
    assert not faults.disturb("rx1", "reboot")
    assert faults.standing() == ()
    assert await_true(lambda: not (lab.root("rx1") / "run/nf/device/order-reboot").exists())


def test_what_cannot_be_is_named(lab: Lab) -> None:
    faults = Faults(lab)
    with pytest.raises(NotFoundError, match="pop9") as caught:
        faults.fade("pop9", 3.0, 0.0)
    assert "pop1, pop2" in caught.value.remedy
    with pytest.raises(InputError):
        faults.fade(None, -3.0, 0.0)
    with pytest.raises(InputError, match="sulks"):
        faults.disturb("rx1", "sulks")
    with pytest.raises(NotFoundError) as caught:
        faults.disturb("plain", "slow")
    assert "mod1, rx1, rx2" in caught.value.remedy


def test_the_commands(lab: Lab) -> None:
    def nf(*arguments: str) -> Any:
        command = [NF, "lab", "fault", *arguments, "--lab", lab.state.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done

    assert (
        nf("fade", "--uplink", "--db", "12", "--slope", "0.5").stdout.strip()
        == "uplink: 12 dB at 0.5 dB/s, seen by mod1"
    )
    assert nf("device", "mod1", "silent").returncode == 0
    assert json.loads(nf("list", "--json").stdout)["faults"] == [
        {"kind": "fade", "node": "mod1", "target": "uplink", "detail": "12 dB at 0.5 dB/s"},
        {"kind": "device", "node": "mod1", "target": "silent"},
    ]
    assert "12 dB at 0.5 dB/s" in nf("list").stdout
    assert nf("mend-device", "mod1").stdout.strip() == "mod1: silent is taken back"
    assert nf("fade", "--db", "3").returncode == 2
    assert nf("fade", "--db", "3", "--uplink", "--site", "pop1").returncode == 2
    assert nf("device", "mod1", "sulks").returncode == 2
    assert nf("clear").stdout.strip() == "fade mod1:uplink is taken back"
