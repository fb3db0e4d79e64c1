"""What transponders, carriers and devices of a fleet must obey, and what is only worth a warning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from headend.devices.documents import SnmpDevice
from headend.satellite import sitebudgets
from headend.satellite import transponder as picture
from headend.satellite.documents import LONGEST_WITH_BACKUP, Carrier, SatelliteEquipment, SatellitePath, Transponder
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.rules import unique, unknown
from nf.errors import Problem

KEY = "spec.equipment.satellite"


def spectrum(transponder: Transponder, carriers: tuple[Carrier, ...]) -> tuple[picture.Carrier, ...]:
    """The carriers of `transponder` as they stand in its spectrum."""
    return tuple(
        picture.Carrier(carrier.id, carrier.centre_hz, carrier.symbol_rate_baud, carrier.roll_off)
        for carrier in carriers
        if carrier.transponder == transponder.id
    )


def problems(satellite: SatelliteEquipment, devices: Mapping[str, SnmpDevice], fleet: Fleet) -> Iterator[Problem]:
    """Every broken rule of the fleet's satellite equipment."""
    listed = [device.id for device in devices.values()]
    yield from unique(
        "there is a transponder of this name already: {first}",
        "rename one of them",
        ((f"{KEY}.transponders[{n}].id", t.id, t.id) for n, t in enumerate(satellite.transponders)),
    )
    yield from unique(
        "there is a carrier of this name already: {first}",
        "rename one of them",
        ((f"{KEY}.carriers[{n}].id", c.id, c.id) for n, c in enumerate(satellite.carriers)),
    )
    transponders = {transponder.id: transponder for transponder in satellite.transponders}
    appliances = {appliance.id for appliance in fleet.spec.appliances}
    sites = {site.id for site in fleet.spec.sites}
    for number, carrier in enumerate(satellite.carriers):
        key = f"{KEY}.carriers[{number}]"
        if carrier.transponder not in transponders:
            yield unknown("transponder", f"{key}.transponder", carrier.transponder, transponders)
        if carrier.appliance not in appliances:
            yield unknown("appliance in the fleet", f"{key}.appliance", carrier.appliance, appliances)
        for role in ("encoder", "mux", "modem"):
            yield from _device(f"{key}.{role}", getattr(carrier, role), devices, needs_data=role != "encoder")
        if carrier.encoder_backup is not None:
            yield from _device(f"{key}.encoder_backup.device", carrier.encoder_backup.device, devices, needs_data=False)
            if len(carrier.id) > LONGEST_WITH_BACKUP:
                rule = f"the name of a carrier with a second encoder has at most {LONGEST_WITH_BACKUP} characters"
                yield Problem(rule, "choose a shorter one", key=f"{key}.id", value=carrier.id)
        for index, receiver in enumerate(carrier.receivers):
            yield from _device(f"{key}.receivers[{index}].device", receiver.device, devices, needs_data=False)
            if receiver.site not in sites:
                yield unknown("site in the fleet", f"{key}.receivers[{index}].site", receiver.site, sites)
    yield from unique(
        "the device has work already: {first}",
        "a device makes or receives one carrier: name another",
        _uses(satellite, set(listed)),
    )
    yield from _spectrum(satellite, transponders)
    yield from sitebudgets.problems(satellite, transponders)


def _device(key: str, name: str, devices: Mapping[str, SnmpDevice], *, needs_data: bool) -> Iterator[Problem]:
    device = devices.get(name)
    if device is None:
        yield unknown("device in spec.equipment.snmp of the fleet", key, name, devices)
    elif needs_data and device.data_address is None:
        rule = "the device has no data_address, and its input comes from another device"
        yield Problem(rule, "add data_address: to it, where it takes in its transport stream", key=key, value=name)


def _uses(satellite: SatelliteEquipment, known: set[str]) -> Iterator[tuple[str, str, str]]:
    for number, carrier in enumerate(satellite.carriers):
        key = f"{KEY}.carriers[{number}]"
        named = [(f"{key}.{role}", str(getattr(carrier, role))) for role in ("encoder", "mux", "modem")]
        if carrier.encoder_backup is not None:
            named.append((f"{key}.encoder_backup.device", carrier.encoder_backup.device))
        named += [(f"{key}.receivers[{i}].device", receiver.device) for i, receiver in enumerate(carrier.receivers)]
        yield from ((place, name, name) for place, name in named if name in known)


def _spectrum(satellite: SatelliteEquipment, transponders: Mapping[str, Transponder]) -> Iterator[Problem]:
    """Symbol rate x (1 + roll-off) within the transponder, guards kept; told at the carrier that is too much."""
    keys = {carrier.id: f"{KEY}.carriers[{n}].centre" for n, carrier in enumerate(satellite.carriers)}
    for number, transponder in enumerate(transponders.values()):
        room = picture.Transponder(
            transponder.id, transponder.centre_hz, transponder.bandwidth_hz, transponder.guard_hz
        )
        for problem in picture.problems(room, spectrum(transponder, satellite.carriers)):
            yield replace(problem, key=keys.get(problem.value, f"{KEY}.transponders[{number}].id"))


def warnings(satellite: SatelliteEquipment, lineup: LineUp) -> Iterator[Problem]:
    """Two satellite paths of one channel on one transponder: one failure takes both."""
    transponder_of = {carrier.id: carrier.transponder for carrier in satellite.carriers}
    for number, channel in enumerate(lineup.spec.channels):
        first: dict[str, str] = {}
        for index, path in enumerate(channel.delivery):
            if not isinstance(path, SatellitePath) or path.carrier not in transponder_of:
                continue
            transponder = transponder_of[path.carrier]
            if transponder in first:
                yield Problem(
                    f"shares transponder {transponder} with {channel.id}/{first[transponder]}: one failure takes both",
                    "put one of them on a carrier of another transponder",
                    key=f"spec.channels[{number}].delivery[{index}].carrier",
                    value=path.carrier,
                )
            first.setdefault(transponder, path.id)
