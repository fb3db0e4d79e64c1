"""The lab's simulated headend and two receivers on loopback addresses, each a process, for tests of what sets them."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headend.devices.documents import SnmpDevice
from headend.satellite.documents import UplinkCarrier, UplinkSection
from headend.snmp.header import discovery_request
from lab.devices.control import Control, DeviceFault
from tests.headend.satellite.documents import carrier, compiled, fleet_data, lineup_data, satellite_path

ENCODER, MUX, MODEM, RX1, RX2, SECOND_ENCODER = (f"127.71.0.{n}" for n in range(1, 7))
PORT = 10161
CREDENTIALS = "community private"
FEEDS = {1: 17001, 2: 17002}
OUTPUTS = {RX1: 15101, RX2: 15102}


@dataclass(frozen=True)
class Simulated:
    """Directories of the devices' control files, by device."""

    run_dirs: dict[str, Path]
    logs: Path


def _configs() -> dict[str, tuple[str, dict[str, object]]]:
    def snmp(address: str) -> dict[str, object]:
        return {"address": address, "port": PORT, "read_community": "public", "write_community": "private"}

    sky = {"address": "239.255.71.9", "port": 17100, "via": "127.0.0.1"}
    nowhere = {"address": MUX, "port": 20099}

    def channels(address: str) -> list[dict[str, object]]:
        return [
            {
                "name": f"row {row}",
                "input": {"address": address, "port": FEEDS.get(row, 17000 + row)},
                "output": nowhere,
                "bit_rate_kbps": 1000,
                "enabled": False,
            }
            for row in (1, 2, 3)
        ]

    services = [
        {
            "name": f"row {row}",
            "service_id": 900 + row,
            "input": {"address": MUX, "port": 20000 + row},
            "pid_base": 4000 + 16 * row,
            "enabled": False,
        }
        for row in (1, 2, 3)
    ]
    return {
        **{
            name: ("encoder", {"name": name, "boot_s": 0, "snmp": snmp(address), "channels": channels(address)})
            for name, address in (("enc1", ENCODER), ("enc2", SECOND_ENCODER))
        },
        "mux1": (
            "mux",
            {
                "name": "mux1",
                "boot_s": 0,
                "snmp": snmp(MUX),
                "output": {"address": MODEM, "port": 5000},
                "bit_rate_bps": 1_000_000,
                "services": services,
            },
        ),
        "mod1": (
            "modem",
            {"name": "mod1", "boot_s": 0, "snmp": snmp(MODEM), "input": {"address": MODEM, "port": 5000}, "sky": sky},
        ),
        **{
            name: (
                "receiver",
                {
                    "name": name,
                    "site": site,
                    "boot_s": 0,
                    "snmp": snmp(address),
                    "sky": sky,
                    "output": {"address": "127.0.0.1", "port": OUTPUTS[address]},
                },
            )
            for name, site, address in (("rx1", "pop1", RX1), ("rx2", "pop2", RX2))
        },
    }


@contextmanager
def simulated(directory: Path, *, second_encoder: bool = False) -> Iterator[Simulated]:
    """All five devices and the feeds, until the end of the block; with a second encoder, that gets the feeds too."""
    run_dirs = {}
    with ExitStack() as stack:
        encoders = {"enc1": ENCODER} | ({"enc2": SECOND_ENCODER} if second_encoder else {})
        for name, (kind, config) in _configs().items():
            if kind == "encoder" and name not in encoders:
                continue
            place = directory / name
            run_dirs[name] = place / "run"
            place.mkdir()
            file = place / "config.yaml"
            file.write_text(json.dumps(config))
            argv = [sys.executable, "-m", "lab.devices", kind, "--config", str(file)]
            argv += ["--run-dir", str(place / "run"), "--state-dir", str(place / "state")]
            stack.enter_context(_process(argv, place / "log"))
        feeds = [f"--feed=ch{row}={address}:{port}" for address in encoders.values() for row, port in FEEDS.items()]
        stack.enter_context(_process([sys.executable, "-m", "lab.contribution", *feeds], directory / "feeds.log"))
        for address in (*encoders.values(), MUX, MODEM, RX1, RX2):
            _await_agent(address)
        yield Simulated(run_dirs, directory)


@contextmanager
def _process(argv: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as out, subprocess.Popen(argv, stdout=out, stderr=out) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_agent(address: str) -> None:
    """Until something answers an SNMPv3 discovery."""
    deadline = time.monotonic() + 90
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((address, PORT))
        asking.settimeout(0.2)
        while time.monotonic() < deadline:
            try:
                asking.send(discovery_request(1))
                if asking.recv(2048):
                    return
            except OSError:
                time.sleep(0.05)
    raise RuntimeError(f"no agent at {address}")


def device(name: str) -> SnmpDevice:
    addresses = {"enc1": ENCODER, "enc2": SECOND_ENCODER, "mux1": MUX, "mod1": MODEM, "rx1": RX1, "rx2": RX2}
    models = {"enc": "nf-lab-encoder", "mux": "nf-lab-mux", "mod": "nf-lab-modem", "rx": "nf-lab-receiver"}
    address, model = addresses[name], models[name.rstrip("12")]
    data = {"data_address": address} if name in {"mux1", "mod1"} else {}
    return SnmpDevice.model_validate(
        {"id": name, "appliance": "headend", "model": model, "address": address, "port": PORT}
        | {"credentials": "secret:headend-devices"}
        | data
    )


def section(
    *,
    margins: dict[str, Any] | None = None,
    modcods: list[str] | None = None,
    rates: dict[int, str] | None = None,
    second_encoder: bool = False,
) -> UplinkSection:
    """What the planner makes of the lab's documents, with the addresses of these devices. `rates` by channel number."""
    fleet, lineup = fleet_data(), lineup_data()
    carrier(fleet)["margins"].update(margins or {})
    carrier(fleet)["modcods"] = modcods or carrier(fleet)["modcods"]
    for row, port in FEEDS.items():
        path = satellite_path(lineup, row - 1)
        rate = (rates or {}).get(row, path["rate"])
        path |= {"input": port, "rate": rate, "min_rate": "300k"}
    planned = compiled(lineup, fleet).configs["headend"].sections["satellite-uplink"]
    assert isinstance(planned, UplinkSection)
    (one,) = planned.carriers
    receivers = tuple(receiver.model_copy(update={"device": device(receiver.device.id)}) for receiver in one.receivers)
    placed: UplinkCarrier = one.model_copy(
        update={"receivers": receivers} | {role: device(getattr(one, role).id) for role in ("encoder", "mux", "modem")}
    )
    if second_encoder:
        placed = placed.model_copy(update={"standby": device("enc2")})
    return UplinkSection(carriers=(placed,))


@contextmanager
def fault(devices: Simulated, name: str, kind: str) -> Iterator[None]:
    """A fault of one device, for the block; the device has noticed it when the block begins."""
    control = Control(devices.run_dirs[name])
    control.put(DeviceFault(kind))
    control.await_noticed(DeviceFault(kind), stands=True)
    try:
        yield
    finally:
        control.take_away(DeviceFault(kind))


def credentials(_reference: str) -> str:
    return CREDENTIALS


async def eventually(look: Callable[[], Awaitable[bool]], timeout_s: float = 120.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await look():  # noqa: ASYNC110 - a device tells nobody: it is asked
            await asyncio.sleep(0.2)


def fade(devices: Simulated, name: str, db: float, slope_db_s: float) -> None:
    """Rain: of the modem over the uplink, of a receiver over its site."""
    control = Control(devices.run_dirs[name])
    control.set_fade(control.fade().towards(db, slope_db_s, time.monotonic()))
