"""`nf-network.service`: the management interface by systemd-networkd, names of interfaces by their MAC address.

Data-plane interfaces get a name and nothing else: what runs over them is the drivers' alone. Networkd is told to leave
alone every route and rule that it has not made. Reads `network.json`, which `identity` wrote from the seed.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from images.appliance.places import Places
from images.appliance.system import Executor, System, program
from nf.errors import NfError

_log = logging.getLogger("nf-network")

WAIT_S: Final = 15.0
"""So long for interfaces that the seed names."""
_SPARE: Final = "nfspare"
_ETHERNET: Final = 1  # ARPHRD_ETHER

_UNTOUCHED = """\
[Network]
ManageForeignRoutes=no
ManageForeignRoutingPolicyRules=no
"""
_OTHERS = """\
[Match]
Name=*

[Link]
Unmanaged=yes
"""


@dataclass(frozen=True, slots=True)
class Interface:
    """`place` orders the ports of a machine: its path in sysfs."""

    name: str
    mac: str
    place: str


@dataclass(frozen=True, slots=True)
class Rename:
    old: str
    new: str


def wired(sys_class: Path = Path("/sys/class/net")) -> list[Interface]:
    """The machine's Ethernet ports, in the order of their slots. Virtual interfaces have no device."""
    found = []
    for one in sorted(sys_class.iterdir()):
        try:
            if not (one / "device").exists() or (one / "wireless").exists():
                continue
            if int((one / "type").read_text()) == _ETHERNET:
                mac = (one / "address").read_text().strip().lower()
                found.append(Interface(one.name, mac, str(one.resolve())))
        except (OSError, ValueError):  # it went away meanwhile
            continue
    return sorted(found, key=lambda interface: _natural(interface.place))


def _natural(text: str) -> list[tuple[int, int | str]]:
    """eth10 after eth9."""
    parts: list[str] = []
    for character in text:
        if parts and parts[-1][-1].isdigit() == character.isdigit():
            parts[-1] += character
        else:
            parts.append(character)
    return [(0, int(part)) if part.isdecimal() and part.isascii() else (1, part) for part in parts]


def renames(present: Sequence[Interface], wanted: Mapping[str, str]) -> tuple[Rename, ...]:
    """The steps that give each MAC address of `wanted` (name -> MAC) its name; no two interfaces ever share one.

    An interface in the way gets a spare name; one that is not there is left out.
    """
    by_mac = {interface.mac: interface.name for interface in present}
    goals = {by_mac[mac]: name for name, mac in sorted(wanted.items()) if mac in by_mac and by_mac[mac] != name}
    taken = {interface.name for interface in present}
    steps: list[Rename] = []
    blocked = [name for name in sorted(goals.values()) if name in taken]
    aside: dict[str, str] = {}
    for name in blocked:
        number = next(
            n for n in range(len(taken) + len(goals) + 1) if f"{_SPARE}{n}" not in taken | set(goals.values())
        )
        aside[name] = f"{_SPARE}{number}"
        taken = (taken - {name}) | {aside[name]}
        steps.append(Rename(name, aside[name]))
    steps += [Rename(aside.get(old, old), new) for old, new in sorted(goals.items())]
    return tuple(steps)


def management_interface(management: Mapping[str, Any], present: Sequence[Interface]) -> str | None:
    """Its name now; without any in the seed the first port. None: there is none yet."""
    if name := management.get("interface"):
        return str(name) if any(one.name == name for one in present) else None
    if mac := management.get("mac"):
        return next((one.name for one in present if one.mac == mac), None)
    return present[0].name if present else None


def render(management: Mapping[str, Any], name: str) -> dict[str, str]:
    """Files below /run/systemd: name -> text."""
    address = str(management.get("address", "dhcp"))
    lines = ["[Match]", f"Name={name}", "", "[Link]", "RequiredForOnline=yes", "", "[Network]"]
    lines += ["LinkLocalAddressing=no", "IPv6AcceptRA=no", "LLDP=yes"]
    lines += ["DHCP=ipv4"] if address == "dhcp" else [f"Address={address}"]
    if gateway := management.get("gateway"):
        lines.append(f"Gateway={gateway}")
    lines += [f"DNS={server}" for server in management.get("dns", ())]
    ntp = [str(server) for server in management.get("ntp", ())]
    lines += [f"NTP={server}" for server in ntp]
    if address == "dhcp":
        lines += ["", "[DHCPv4]", "ClientIdentifier=mac", "UseHostname=no", "UseDomains=no"]
    files = {
        "network/10-nf-management.network": "\n".join(lines) + "\n",
        "network/99-nf-others.network": _OTHERS,
        "networkd.conf.d/nf.conf": _UNTOUCHED,
    }
    if ntp:
        files["timesyncd.conf.d/nf.conf"] = f"[Time]\nNTP={' '.join(ntp)}\n"
    return files


class Network:
    def __init__(self, places: Places, executor: Executor, sys_class: Path = Path("/sys/class/net")) -> None:
        self._places = places
        self._executor = executor
        self._sys = sys_class

    def start(self, wait_s: float = WAIT_S) -> None:
        """Names, then the files that networkd reads when it starts. Without a seed: DHCP on the first port."""
        wanted = self._wanted()
        names = {str(name): str(one["mac"]) for name, one in wanted.get("interfaces", {}).items()}
        management = dict(wanted.get("management", {}))
        self._await(names, management, wait_s)
        for step in renames(wired(self._sys), names):
            _log.info("%s is called %s", step.old, step.new)
            for arguments in (("set", "dev", step.old, "down"), ("set", "dev", step.old, "name", step.new)):
                self._executor.run(program("ip", "link", *arguments, why=f"name {step.new}"))
        name = management_interface(management, wired(self._sys))
        if name is None:
            _log.error("THE MANAGEMENT INTERFACE IS NOT THERE: %s", management or "no wired interface")
            name = str(management.get("interface", "nf-none"))
        for file, text in render(management, name).items():
            path = self._places.root / "run/systemd" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self._hostname(str(wanted.get("hostname", "")))
        (self._places.run / "management").write_text(f"{name}\n")

    def _wanted(self) -> dict[str, Any]:
        try:
            read = json.loads((self._places.etc / "network.json").read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            _log.error("network.json cannot be read (%s): DHCP on the first port", error)
            return {}
        return read if isinstance(read, dict) else {}

    def _await(self, names: Mapping[str, str], management: Mapping[str, Any], wait_s: float) -> None:
        macs = set(names.values()) | ({str(management["mac"])} if "mac" in management else set())
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            present = wired(self._sys)
            renamed = str(management.get("interface", "")) in names
            if macs <= {one.mac for one in present} and (renamed or management_interface(management, present)):
                return
            time.sleep(0.25)

    def _hostname(self, name: str) -> None:
        if name:
            (self._places.root / "proc/sys/kernel/hostname").write_text(name)


def main() -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="nf-network: %(message)s")
    try:
        Network(Places(), System()).start()
    except (NfError, OSError) as error:
        _log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
