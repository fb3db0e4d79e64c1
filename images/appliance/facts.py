"""What a technician at the box wants to know, read from what is there; each reading bounded, none of them fails."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from images.appliance.network import wired
from images.appliance.places import Places
from images.appliance.system import Executor, Program
from nf.errors import NfError

Row = tuple[str, ...]

_REACH_S: Final = 3.0
_PROGRAM_S: Final = 10.0
_RELEASE: Final = ("etc/nf-release", "usr/lib/os-release")


class BoxFacts:
    def __init__(self, places: Places, executor: Executor) -> None:
        self._places = places
        self._executor = executor

    # ---- network ----

    def interfaces(self) -> list[Row]:
        """Name, MAC, link, addresses; management is marked."""
        management = self._text(self._places.run / "management")
        ports = {interface.name: interface.mac for interface in self._wired()}
        rows: list[Row] = [("NAME", "MAC", "LINK", "ADDRESSES")]
        for one in self._json("ip", "-json", "address", "show"):
            name = str(one.get("ifname", ""))
            if name not in ports:
                continue
            addresses = [
                f"{a.get('local')}/{a.get('prefixlen')}" for a in one.get("addr_info", ()) if a.get("scope") == "global"
            ]
            flags = one.get("flags", ())
            link = "up" if "LOWER_UP" in flags else "no carrier" if "UP" in flags else "off"
            mark = " (management)" if name == management else ""
            rows.append((name + mark, ports[name], link, ", ".join(addresses) or "-"))
        return rows

    def _wired(self) -> Sequence[Any]:
        try:
            return wired(self._places.root / "sys/class/net")
        except OSError:
            return ()

    def gateway(self) -> str:
        found = [
            str(one["gateway"]) for one in self._json("ip", "-json", "route", "show", "default") if "gateway" in one
        ]
        return ", ".join(found) or "none"

    def noc(self) -> list[Row]:
        """Each address that this machine dials, and whether it answers a TCP connection now."""
        known = self._read_json(self._places.state / "noc.json") or self._read_json(self._places.etc / "enrolment.json")
        addresses = [str(one) for one in known.get("noc", ()) if isinstance(one, str)]
        return [(address, _reach(address)) for address in addresses[:8]] or [("none known", "no seed, no enrolment")]

    # ---- state ----

    def state(self) -> list[Row]:
        places = self._places
        rows: list[Row] = [("software", self._software()), ("slot", self._text(places.run / "slot") or "unknown")]
        rows.append(("serial", self._text(places.etc / "serial") or "none: no seed was taken"))
        known = self._read_json(places.state / "noc.json")
        waiting = "waiting for enrolment" if (places.etc / "enrolment.json").exists() else "not enrolled"
        rows.append(("enrolled as", str(known["appliance"]) if "appliance" in known else waiting))
        storage = {"tpm2": "encrypted, key in the TPM", "key-file": "encrypted, KEY ON THE SAME DISK"}
        kept = str(self._read_json(places.storage_state).get("encryption", ""))
        failed = self._text(places.storage_failed)
        rows.append(("data", f"NOT THERE: {failed}" if failed else storage.get(kept, "unknown")))
        if places.wiped.exists():
            rows.append(("wiped", "by order of the NOC; enrols only when a seed is taken here"))
        agent = self._read_json(places.run / "agent.json")
        if agent:
            rows.append(("revision", str(agent.get("revision") or "none yet")))
            rows.append(("session with the NOC", "yes" if agent.get("connected") is True else "no"))
            rows.append(("alarms", str(agent.get("alarms", "unknown"))))
        return rows

    def units(self) -> list[Row]:
        """Units of ours, and any that has failed."""
        rows: list[Row] = [("UNIT", "STATE", "DETAIL")]
        seen = set()
        for arguments in (("nf-*.service",), ("--state=failed",)):
            for one in self._json("systemctl", "list-units", "--all", "--output=json", *arguments):
                name = str(one.get("unit", ""))
                if name not in seen and not name.startswith("nf-console@"):
                    seen.add(name)
                    rows.append((name, str(one.get("active", "")), str(one.get("sub", ""))))
        return rows

    def _software(self) -> str:
        for name in _RELEASE:
            lines = self._text(self._places.root / name).splitlines()
            found = {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}
            version = found.get("IMAGE_VERSION") or found.get("VERSION")
            if version:
                return f"{found.get('IMAGE_ID') or found.get('ROLE') or found.get('ID', '')} {version}".strip()
        return "unknown"

    # ---- reading ----

    def text_of(self, *argv: str) -> str:
        """Of a program; what went wrong when it failed."""
        try:
            return self._executor.run(Program(argv, "look", timeout_s=_PROGRAM_S)).decode(errors="replace")
        except NfError as error:
            return f"{error}\n"

    def _json(self, *argv: str) -> list[dict[str, Any]]:
        try:
            read = json.loads(self._executor.run(Program(argv, "look", timeout_s=_PROGRAM_S)) or b"[]")
        except (NfError, ValueError):
            return []
        return [one for one in read if isinstance(one, dict)] if isinstance(read, list) else []

    @staticmethod
    def _text(path: Path) -> str:
        try:
            return path.read_text(errors="replace").strip()
        except OSError:
            return ""

    @staticmethod
    def _read_json(path: Path) -> dict[str, Any]:
        try:
            read = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return {}
        return read if isinstance(read, dict) else {}


def _reach(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        return "not an address"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except (OSError, ValueError, OverflowError) as error:
        return f"not reached: {error}"
    return "reached"
