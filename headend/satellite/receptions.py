"""How receivers take the paths of type `dvb-s2x` (entry point `nf.receptions`)."""

from __future__ import annotations

from collections.abc import Iterator

from headend.multicast.planning.spt import Topology
from headend.satellite.documents import Carrier, SatelliteEquipment, SatellitePath, Transponder
from headend.satellite.modcod import by_name
from nf.contracts.reception import Broadcast, Multicast, Reception
from nf.documents.fleet import Fleet, Role
from nf.documents.lineup import LineUp


def receptions(lineup: LineUp, fleet: Fleet) -> Iterator[Reception]:
    """From the air, at the operating point in clear sky; and what the PoPs at the path's sites give out of it."""
    equipment = fleet.spec.equipment.get("satellite")
    if not isinstance(equipment, SatelliteEquipment):
        return
    carriers = {carrier.id: carrier for carrier in equipment.carriers}
    transponders = {transponder.id: transponder for transponder in equipment.transponders}
    lans = _lans(fleet)
    for channel in lineup.spec.channels:
        for path in channel.delivery:
            carrier = carriers.get(path.carrier) if isinstance(path, SatellitePath) else None
            transponder = transponders.get(carrier.transponder) if carrier is not None else None
            if not isinstance(path, SatellitePath) or carrier is None or transponder is None:
                continue
            yield Reception(channel.id, path.id, "", _broadcast(path, carrier, transponder))
            for site in path.sites:
                for source in lans.get(site, ()):
                    out = Multicast(source, str(path.output.group), path.output.port, "udp", path.rate_bps)
                    yield Reception(channel.id, path.id, site, out)


def _broadcast(path: SatellitePath, carrier: Carrier, transponder: Transponder) -> Broadcast:
    modcod = by_name(carrier.modcods[0])
    rate, _, quasi_linear = modcod.rate.partition("-")
    return Broadcast(
        transport_stream_id=carrier.transport_stream_id,
        service_id=path.service_id,
        position_deg=transponder.position_deg,
        frequency_hz=int(carrier.centre_hz),
        polarization=transponder.polarization.downlink,
        symbol_rate_baud=int(carrier.symbol_rate_baud),
        roll_off=carrier.roll_off,
        system=modcod.standard.value,
        modulation=f"{modcod.constellation}-L" if quasi_linear else modcod.constellation,
        fec=rate,
    )


def _lans(fleet: Fleet) -> dict[str, list[str]]:
    """Site -> the addresses of its PoPs towards receivers."""
    topology = Topology(fleet)
    found: dict[str, list[str]] = {}
    for appliance in fleet.spec.appliances:
        if appliance.role is Role.POP:
            faces = [face for face in topology.faces[appliance.id] if topology.receivers(appliance.id, face.link)]
            found.setdefault(appliance.site, []).extend(sorted(str(face.address.ip) for face in faces))
    return found
