"""Pure: the steps from the carriers that are received to those that are wanted, and what differs in words."""

from __future__ import annotations

from collections.abc import Mapping

from headend.satellite.documents import ReceivedCarrier, ReceivedService, ReceiverSection
from nf.contracts.driver import State, Step
from nf.contracts.json import JsonObject

CONFIGURE, REMOVE, RESTORE = "receiver.configure", "receiver.remove", "receiver.restore"
_CONFIGURE_S, _REMOVE_S = 40.0, 15.0


def carriers_of(section: ReceiverSection | None) -> dict[str, ReceivedCarrier]:
    return {} if section is None else {carrier.carrier: carrier for carrier in section.carriers}


def altered_of(have: State) -> Mapping[str, str]:
    """Carrier -> what is not as its file says."""
    altered = have.value.get("altered") if have.value is not None else None
    return {name: str(line) for name, line in altered.items()} if isinstance(altered, dict) else {}


def section_of(have: State) -> ReceiverSection | None:
    if have.value is None:
        return None
    return ReceiverSection.model_validate({key: part for key, part in have.value.items() if key != "altered"})


def plan(have: State, want: ReceiverSection | None) -> tuple[Step, ...]:
    """One step for each carrier that is new, other, damaged or no longer wanted."""
    received, wanted, altered = carriers_of(section_of(have)), carriers_of(want), altered_of(have)
    steps = []
    for name in sorted(received.keys() | wanted.keys() | altered.keys()):
        old, new = received.get(name), wanted.get(name)
        if new is None:
            steps.append(_remove(name, old))
        elif old != new or name in altered:
            steps.append(_configure(old, new))
    return tuple(steps)


def _configure(old: ReceivedCarrier | None, new: ReceivedCarrier) -> Step:
    channels = ", ".join(service.channel for service in new.services) or "no service"
    return Step(
        id=f"receive {new.carrier}",
        kind=CONFIGURE,
        arguments={"carrier": new.to_json()},
        requires=frozenset(new.requires),
        budget_s=_CONFIGURE_S,
        undo_budget_s=_CONFIGURE_S,
        disruption=_disruption(old, new),
        summary=f"receive carrier {new.carrier} from {new.device.id}: {channels}",
    )


def _remove(name: str, old: ReceivedCarrier | None) -> Step:
    arguments: JsonObject = {"carrier": name}
    channels = ", ".join(service.channel for service in old.services) if old is not None else ""
    return Step(
        id=f"remove {name}",
        kind=REMOVE,
        arguments=arguments,
        budget_s=_REMOVE_S,
        undo_budget_s=_CONFIGURE_S,
        disruption=f"{channels} from carrier {name} no longer sent at this PoP" if channels else "",
        summary=f"stop receiving carrier {name}",
    )


def _disruption(old: ReceivedCarrier | None, new: ReceivedCarrier) -> str:
    """What viewers notice: services that are new, or go out of other addresses too, cost nobody anything."""
    if old is None:
        return ""
    if (old.input, old.input_port) != (new.input, new.input_port):
        return f"everything received of carrier {new.carrier} stops until the receiver sends to the new input"
    wanted = {_key(service): service for service in new.services}
    stopped, restarted = [], []
    for service in old.services:
        other = wanted.get(_key(service))
        if other is None or not set(service.outputs) <= set(other.outputs):
            stopped.append(service.channel)
        elif old.transport_stream_id != new.transport_stream_id or _stream(service) != _stream(other):
            restarted.append(service.channel)
    parts = [f"no longer sent at this PoP: {', '.join(stopped)}"] if stopped else []
    parts += [f"interrupted for a moment: {', '.join(restarted)}"] if restarted else []
    return "; ".join(parts)


def _key(service: ReceivedService) -> tuple[str, str]:
    return service.channel, service.path


def _stream(service: ReceivedService) -> ReceivedService:
    """What makes it another stream when it changes."""
    return service.model_copy(update={"outputs": (), "failover": None})


def differences(have: State, want: ReceiverSection | None) -> tuple[str, ...]:
    """In an operator's words; empty when all is as wanted."""
    received, wanted, altered = carriers_of(section_of(have)), carriers_of(want), altered_of(have)
    lines = [f"carrier {name} is still received" for name in (received.keys() | altered.keys()) - wanted.keys()]
    for name, carrier in wanted.items():
        if name not in received and name not in altered:
            lines.append(f"carrier {name} is not received")
        elif name in altered:
            lines.append(f"carrier {name}: {altered[name]}")
        elif received[name] != carrier:
            lines.append(f"carrier {name} is received with other settings")
    return tuple(sorted(lines))
