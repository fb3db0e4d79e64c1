"""A switch of redundancy as a verified transaction: every part is set and proved, or all parts are taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headend.devices.device import Device
from headend.devices.errors import Aftermath, DeviceError
from headend.devices.model import Effect
from headend.devices.values import Value
from headend.devices.wanted import SetOutcome
from nf.errors import NfError


@dataclass(frozen=True, slots=True)
class Move:
    """One device's part of a switch. `confirm`: the effect that proves it; None: the model's own."""

    device: Device
    changes: Mapping[str, Value]
    confirm: Sequence[Effect] | None = None


async def carry_out(moves: Sequence[Move]) -> tuple[SetOutcome, ...]:
    """In order: the one that takes over first, the one that leaves last, so that there is no gap of its own making.

    Raises DeviceError: what failed, and whether everything is as it was before.
    """
    done: list[tuple[Move, SetOutcome]] = []
    for move in moves:
        try:
            done.append((move, await move.device.set(move.changes, confirm=move.confirm)))
        except NfError as error:
            left = await _take_back(done)
            own = error.aftermath if isinstance(error, DeviceError) else Aftermath.UNCHANGED
            whole = not left and own in (Aftermath.UNCHANGED, Aftermath.ROLLED_BACK)
            told = f"; not taken back: {', '.join(left)}" if left else ""
            raise DeviceError(
                f"the switch failed: {error.message}{told}",
                where=move.device.name,
                remedy="everything is as it was before" if whole else "look at the devices of this group",
                problems=error.problems,
                aftermath=Aftermath.ROLLED_BACK if whole else Aftermath.CHANGED,
                before=error.before if isinstance(error, DeviceError) else {},
            ) from error
    return tuple(outcome for _, outcome in done)


async def _take_back(done: Sequence[tuple[Move, SetOutcome]]) -> list[str]:
    """Names of the devices that did not take their old values."""
    left: list[str] = []
    for move, outcome in reversed(done):
        before = {name: change.before for name, change in outcome.changed.items() if change.before is not None}
        try:
            await move.device.set(before, confirm=())
        except NfError:
            left.append(move.device.name)
    return left
