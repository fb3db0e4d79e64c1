"""Operations on a carrier: putting it on the air takes two people; taking it off takes one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from headend.satellite.uplink.control import power, reference, rungs, timing
from headend.satellite.uplink.memory import Transmission
from headend.satellite.whatif import plan_fade
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import InputError, NotFoundError, RefusedError

if TYPE_CHECKING:
    from headend.satellite.documents import UplinkCarrier
    from headend.satellite.uplink.driver import SatelliteUplink

APPROVE_WITHIN_S: Final = 900.0
"""So long a request to transmit waits for a second person."""
DEEPEST_FADE_DB: Final = 60.0


def _carrier(driver: SatelliteUplink, arguments: JsonObject) -> UplinkCarrier:
    name = str(arguments.get("carrier", ""))
    found = next((one for one in driver.carriers() if one.carrier.id == name), None)
    if found is None:
        known = ", ".join(one.carrier.id for one in driver.carriers()) or "none"
        raise NotFoundError("no such carrier here", where=name, remedy=f"known: {known}")
    return found


class Transmit:
    """Arguments: carrier, act (ask, approve, mute), reason, author (set by the NOC)."""

    def __init__(self, driver: SatelliteUplink) -> None:
        self._driver = driver

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002
        """Raises NotFoundError, InputError, RefusedError (one person twice, too late, nothing asked), DriverError."""
        carrier = _carrier(self._driver, arguments)
        author, reason = str(arguments.get("author", "")), str(arguments.get("reason", "")).strip()
        if not author:
            raise InputError("nobody is named who wants it", where="transmit", remedy="ask through the NOC")
        match arguments.get("act"):
            case "ask":
                return self._ask(carrier, author, reason, context)
            case "approve":
                return await self._approve(carrier, author, context)
            case "mute":
                return await self._mute(carrier, author)
        raise InputError("a transmission is asked for, approved or muted", where="transmit")

    def _ask(self, carrier: UplinkCarrier, author: str, reason: str, context: Context) -> JsonObject:
        name = carrier.carrier.id
        if not reason:
            raise InputError("a request to transmit has a reason", where=name, remedy="add --reason")
        until = context.clock.now() + APPROVE_WITHIN_S
        self._keep(name, Transmission(asked_by=author, until=until, reason=reason))
        return {"state": "asked", "by": author, "until": until, "text": "waits for a second person's --approve"}

    async def _approve(self, carrier: UplinkCarrier, author: str, context: Context) -> JsonObject:
        name = carrier.carrier.id
        standing = self._driver.memory.of(name)
        if not standing.asked_by or standing.on_air:
            state = "is on the air already" if standing.on_air else "nobody has asked for it"
            raise RefusedError(state, where=name, remedy=f"ask first: nf link transmit {name} --reason WHY")
        if standing.asked_by == author:
            raise RefusedError(
                f"{author} asked for it and may not approve it too", where=name, remedy="let another person approve it"
            )
        if context.clock.now() > standing.until:
            self._keep(name, Transmission())
            raise RefusedError("the request is too old", where=name, remedy="ask anew")
        power = carrier.carrier.power
        async with self._driver.lock(name):
            chain = await self._driver.chain(carrier)
            await chain.modem.set({"tx_level": power.clear_dbm})
            await chain.transmit()
        self._keep(name, replace(standing, on_air=True, approved_by=author))
        return {"state": "on the air", "asked_by": standing.asked_by, "approved_by": author, "text": "on the air"}

    async def _mute(self, carrier: UplinkCarrier, author: str) -> JsonObject:
        name = carrier.carrier.id
        async with self._driver.lock(name):
            await (await self._driver.chain(carrier)).mute()
        self._keep(name, Transmission())
        return {"state": "muted", "by": author, "text": "muted"}

    def _keep(self, name: str, transmission: Transmission) -> None:
        self._driver.memory.transmission[name] = transmission
        self._driver.memory.save()


class LinkPlan:
    """What a fade would do. Arguments: carrier, fade_db, site (empty: the uplink's)."""

    def __init__(self, driver: SatelliteUplink) -> None:
        self._driver = driver

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002
        """Raises NotFoundError, InputError."""
        carrier = _carrier(self._driver, arguments)
        fade_db, site = arguments.get("fade_db"), str(arguments.get("site", ""))
        sites = {receiver.site for receiver in carrier.receivers}
        if not isinstance(fade_db, int | float) or not 0 < fade_db <= DEEPEST_FADE_DB:
            raise InputError(f"a fade is more than 0 and at most {DEEPEST_FADE_DB:.0f} dB", where=str(fade_db))
        if site and site not in sites:
            raise InputError("no receiver of this carrier is there", where=site, remedy=f"one of: {', '.join(sites)}")
        given = carrier.carrier
        found = await asyncio.to_thread(
            plan_fade, rungs(carrier), reference(carrier), power(given), timing(given), float(fade_db), site=site
        )
        return {
            "fade_db": found.fade_db,
            "site": found.site,
            "power_db": found.power_db,
            "lowest": found.lowest.modcod.name,
            "relocks": found.relocks,
            "recovered": found.recovered,
            "outage_s": dict(found.outage_s),
            "events": [{"at_s": event.at_s, "fade_db": event.fade_db, "text": event.text} for event in found.events],
            "lines": [*found.explain(), *_measured(self._driver, given.id, found.relocks)],
        }


def _measured(driver: SatelliteUplink, carrier: str, relocks: int) -> list[str]:
    """What a relock has cost so far."""
    control = driver.controls.get(carrier)
    if not relocks or control is None or not control.relock_s:
        return ["what a relock costs was not measured yet"] if relocks else []
    sites = ", ".join(f"{seconds:.1f} s at {site}" for site, seconds in sorted(control.relock_s.items()))
    return [f"the last relock took {sites}"]


class LinkStatus:
    """What `nf link show` shows of a carrier. Arguments: carrier."""

    def __init__(self, driver: SatelliteUplink) -> None:
        self._driver = driver

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002
        """Raises NotFoundError."""
        carrier = _carrier(self._driver, arguments)
        name = carrier.carrier.id
        control = self._driver.controls.get(name)
        standing = await (await self._driver.chain(carrier)).standing()
        rung = carrier.ladder[standing.rung or 0]
        transmission = self._driver.memory.of(name)
        sites: JsonObject = {}
        if control is not None:
            for site, values in control.seen.receivers.items():
                sites[site] = {key: value.value for key, value in values.items() if value.good}
        modem: JsonObject = (
            {key: value.value for key, value in control.seen.modem.items() if value.good} if control else {}
        )
        return {
            "carrier": name,
            "on_air": bool(standing.transmitting),
            "asked_by": transmission.asked_by,
            "approved_by": transmission.approved_by,
            "modcod": rung.modcod,
            "rung": standing.rung,
            "rungs": len(carrier.ladder),
            "net_bitrate_bps": rung.net_rate_bps,
            "ts_bitrate_bps": rung.ts_rate_bps,
            "reserve": carrier.carrier.reserve,
            "si_bitrate_bps": carrier.carrier.si_rate_bps,
            "margin_db": control.adaptation.margin_db if control is not None else None,
            "services": [
                {
                    "channel": service.channel,
                    "path": service.path,
                    "service_id": service.service_id,
                    "bitrate_bps": next(
                        (s.rate_bps for s in rung.services if (s.channel, s.path) == (service.channel, service.path)), 0
                    ),
                }
                for service in carrier.services
            ],
            "relock_s": dict(control.relock_s) if control is not None else {},
            "modem": modem,
            "sites": sites,
            "encoder": standing.encoder,
            "standby": (
                None
                if carrier.standby is None
                else next(one.id for one in (carrier.encoder, carrier.standby) if one.id != standing.encoder)
            ),
            "not_standing_by": standing.idle,
            "silent": list(standing.silent),
            "deviations": list(standing.deviations),
        }
