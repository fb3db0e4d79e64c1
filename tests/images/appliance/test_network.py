"""Names by MAC address without two of a name, and what networkd is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.appliance.network import Interface, Network, management_interface, renames, render, wired
from images.appliance.places import Places
from images.appliance.system import Program

_NAMES = [*(f"eth{number}" for number in range(5)), "nfspare0", "nfspare1", "enp1s0"]


def _interfaces(names: list[str]) -> list[Interface]:
    return [Interface(name, f"52:54:00:00:00:{number:02x}", str(number)) for number, name in enumerate(names)]


@given(
    st.lists(st.sampled_from(_NAMES), unique=True, max_size=8),
    st.dictionaries(st.sampled_from(_NAMES), st.integers(0, 9), max_size=6),
)
def test_each_wanted_name_is_given_and_none_is_ever_taken_twice(present: list[str], wanted: dict[str, int]) -> None:
    macs = {name: f"52:54:00:00:00:{number:02x}" for name, number in wanted.items()}
    if len(set(macs.values())) != len(macs):
        return
    now = {one.name: one.mac for one in _interfaces(present)}
    there = set(now.values())
    for step in renames(_interfaces(present), macs):
        assert step.new not in now
        now[step.new] = now.pop(step.old)
    assert all(now[name] == mac for name, mac in macs.items() if mac in there)
    assert set(now.values()) == there


def test_a_swap_goes_over_spare_names() -> None:
    present = _interfaces(["eth0", "eth1"])
    steps = renames(present, {"eth0": present[1].mac, "eth1": present[0].mac})
    assert [(step.old, step.new) for step in steps] == [
        ("eth0", "nfspare0"),
        ("eth1", "nfspare1"),
        ("nfspare0", "eth1"),
        ("nfspare1", "eth0"),
    ]


def test_nothing_to_do_is_nothing_done() -> None:
    present = _interfaces(["eth0", "eth1"])
    assert renames(present, {"eth0": present[0].mac}) == ()


def _port(top: Path, name: str, mac: str, slot: str, *, kind: str = "1", device: bool = True) -> None:
    real = top / "devices" / slot / "net" / name
    real.mkdir(parents=True)
    (real / "address").write_text(f"{mac}\n")
    (real / "type").write_text(f"{kind}\n")
    if device:
        (real / "device").mkdir()
    (top / "class").mkdir(exist_ok=True)
    (top / "class" / name).symlink_to(real)


def test_ports_in_the_order_of_their_slots(tmp_path: Path) -> None:
    _port(tmp_path, "ethb", "52:54:00:00:00:02", "0000:00:10.0")
    _port(tmp_path, "etha", "52:54:00:00:00:01", "0000:00:9.0")
    _port(tmp_path, "lo", "00:00:00:00:00:00", "virtual", kind="772", device=False)
    assert [one.name for one in wired(tmp_path / "class")] == ["etha", "ethb"]


def test_the_management_interface() -> None:
    present = _interfaces(["eth0", "eth1"])
    assert management_interface({}, present) == "eth0"
    assert management_interface({"mac": present[1].mac}, present) == "eth1"
    assert management_interface({"interface": "eth1"}, present) == "eth1"
    assert management_interface({"interface": "eth9"}, present) is None
    assert management_interface({}, []) is None


def test_what_networkd_is_told() -> None:
    files = render({"address": "10.0.0.5/24", "gateway": "10.0.0.1", "dns": ["10.0.0.2"], "ntp": ["ntp.net"]}, "eth0")
    management = files["network/10-nf-management.network"]
    assert "Address=10.0.0.5/24\nGateway=10.0.0.1\nDNS=10.0.0.2\nNTP=ntp.net\n" in management
    assert "DHCP" not in management
    assert "Unmanaged=yes" in files["network/99-nf-others.network"]
    assert "ManageForeignRoutes=no" in files["networkd.conf.d/nf.conf"]
    assert files["timesyncd.conf.d/nf.conf"] == "[Time]\nNTP=ntp.net\n"
    assert "DHCP=ipv4" in render({}, "eth0")["network/10-nf-management.network"]


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_box_without_a_seed_asks_by_dhcp(tmp_path: Path, text: str | None) -> None:
    places = Places(tmp_path / "root")
    for directory in (places.etc, places.run, places.root / "proc/sys/kernel"):
        directory.mkdir(parents=True)
    if text is not None:
        (places.etc / "network.json").write_text(text)
    _port(tmp_path, "eth0", "52:54:00:00:00:01", "slot")
    ran: list[Program] = []

    class Executor:
        def run(self, program: Program) -> bytes:
            ran.append(program)
            return b""

    Network(places, Executor(), tmp_path / "class").start(wait_s=1.0)
    written = (places.root / "run/systemd/network/10-nf-management.network").read_text()
    assert "Name=eth0" in written
    assert "DHCP=ipv4" in written
    assert ran == []


def test_names_and_host_name_from_the_seed(tmp_path: Path) -> None:
    places = Places(tmp_path / "root")
    for directory in (places.etc, places.run, places.root / "proc/sys/kernel"):
        directory.mkdir(parents=True)
    wanted = {
        "management": {"interface": "mgmt"},
        "interfaces": {"mgmt": {"mac": "52:54:00:00:00:01"}},
        "hostname": "pop1",
    }
    (places.etc / "network.json").write_text(json.dumps(wanted))
    _port(tmp_path, "eth0", "52:54:00:00:00:01", "slot")
    ran: list[str] = []

    class Executor:
        def run(self, program: Program) -> bytes:
            ran.append(str(program))
            if "name" in program.argv:
                (tmp_path / "class/eth0").rename(tmp_path / "class/mgmt")
            return b""

    Network(places, Executor(), tmp_path / "class").start(wait_s=1.0)
    assert ran == ["ip link set dev eth0 down", "ip link set dev eth0 name mgmt"]
    assert "Name=mgmt" in (places.root / "run/systemd/network/10-nf-management.network").read_text()
    assert (places.root / "proc/sys/kernel/hostname").read_text() == "pop1"
