"""Finding the model of a device: by its vendor's objects, since sysObjectID lies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headend.devices.instances import batches
from headend.devices.model import Identify, Model
from headend.devices.modelfile import load_models
from headend.devices.transport import Reader
from headend.snmp.values import Quality, Reading
from nf.errors import NotFoundError, RefusedError, UnavailableError

SYS_DESCR: Final = "1.3.6.1.2.1.1.1.0"
SYS_OBJECT_ID: Final = "1.3.6.1.2.1.1.2.0"
_BATCH: Final = 8


@dataclass(frozen=True, slots=True)
class Identified:
    """`matched`: the objects that told it, for people."""

    model: Model
    description: str
    object_id: str
    matched: tuple[str, ...]


async def identify(session: Reader, models: Mapping[str, Model] | None = None, *, where: str = "") -> Identified:
    """The model whose every `identify` line holds; of several, the one with the most of them.

    Raises UnavailableError (no answer), NotFoundError (no model; it says what the device calls itself), RefusedError
    (two models fit equally well).
    """
    known = load_models() if models is None else models
    oids = [SYS_DESCR, SYS_OBJECT_ID, *(probe.oid for model in known.values() for probe in model.spec.identify)]
    found: dict[str, Reading] = {}
    for batch in batches(list(dict.fromkeys(oids)), _BATCH):
        found.update(await session.get(batch))
        if all(reading.quality is Quality.UNREACHABLE for reading in found.values()):
            raise UnavailableError("the device does not answer", where=where, remedy="check address and credentials")
    fitting = [
        model for model in known.values() if all(holds(probe, found.get(probe.oid)) for probe in model.spec.identify)
    ]
    description, object_id = text(found.get(SYS_DESCR)), text(found.get(SYS_OBJECT_ID))
    if not fitting:
        raise NotFoundError(
            f"no model fits: it calls itself {description!r}, sysObjectID {object_id or 'none'}",
            where=where,
            remedy="walk it with `snmpbulkwalk -On` and draft a model with `nf device learn`",
        )
    best = max(len(model.spec.identify) for model in fitting)
    winners = [model for model in fitting if len(model.spec.identify) == best]
    if len(winners) > 1:
        names = ", ".join(model.name for model in winners)
        raise RefusedError(
            f"several models fit: {names}", where=where, remedy="name the model, or tell them apart in `identify`"
        )
    matched = tuple(f"{probe.oid} = {text(found[probe.oid])}" for probe in winners[0].spec.identify)
    return Identified(winners[0], description, object_id, matched)


def holds(probe: Identify, reading: Reading | None) -> bool:
    """Whether what the device says is what the model's file expects."""
    if reading is None or reading.quality is not Quality.GOOD:
        return False
    said = text(reading)
    if probe.equals is not None:
        return said == str(probe.equals)
    return probe.matches is None or re.search(probe.matches, said) is not None


def text(reading: Reading | None) -> str:
    """What a reading says, for people."""
    value = reading.value if reading is not None else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip("\0 ")
    return "" if value is None else str(value)
