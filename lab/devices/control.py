"""Rain and faults, from whoever makes them to the device: small files in the device's run directory.

They stand there until they are taken away, so that a device that restarts finds the weather as it was. Times are of the
machine's monotonic clock, which all nodes of a lab share.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

RUN_DIR = Path("/run/nf/device")
IDENTITY = "identity.json"
_FADE = "fade.json"
_FAULT = "fault-"
_ORDER = "order-"
_IN_FORCE = "in-force.json"
_TICK_NS = 50_000_000


class DeviceFault(Enum):
    """What stands until it is taken away."""

    IGNORED_SET = "ignored-set"  # a SET is answered as done, and nothing changes
    ALTERED_SET = "altered-set"  # a number is set to half of what was asked for
    WRONG_ANSWER = "wrong-answer"  # numbers come as text that is none
    SLOW = "slow"  # every answer comes late
    SILENT = "silent"  # no answers; what the device carries goes on
    BEACON_LOST = "beacon-lost"  # the beacon receiver has no lock


class Order(Enum):
    """What happens once."""

    REBOOT = "reboot"
    REBOOT_IN_SET = "reboot-in-set"  # in the middle of the next SET, its first variable done
    BOOTS_LOST = "boots-lost"  # a reboot that forgets how often it booted (snmpEngineBoots goes down)


KINDS = tuple(kind.value for kind in (*DeviceFault, *Order))


@dataclass(frozen=True, slots=True)
class Fade:
    """Attenuation on its way from one value to another. The clear sky is `Fade()`."""

    from_db: float = 0.0
    to_db: float = 0.0
    slope_db_s: float = 0.0  # 0: at once
    since: float = 0.0

    def at(self, now: float) -> float:
        """In dB."""
        way = self.to_db - self.from_db
        done = self.slope_db_s * max(0.0, now - self.since)
        if not self.slope_db_s or done >= abs(way):
            return self.to_db
        return self.from_db + (done if way > 0 else -done)

    def towards(self, db: float, slope_db_s: float, now: float) -> Fade:
        """From where it is at `now`."""
        return Fade(self.at(now), db, slope_db_s, now)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device says of itself to whoever looks for it in a lab."""

    kind: str
    name: str
    site: str


@dataclass(frozen=True, slots=True)
class Weather:
    """All that comes from outside. `faults` with their options."""

    fade: Fade
    faults: Mapping[DeviceFault, Mapping[str, float]]

    def has(self, fault: DeviceFault) -> bool:
        return fault in self.faults


CLEAR_SKY = Weather(Fade(), {})


class Control:
    """The files. Whoever writes and the device use the same ones; OSError goes through."""

    def __init__(self, run_dir: Path = RUN_DIR) -> None:
        self._dir = run_dir
        self._seen = 0

    def introduce(self, identity: Identity) -> None:
        self._dir.mkdir(parents=True, exist_ok=True)
        self._write(IDENTITY, asdict(identity))

    def identity(self) -> Identity | None:
        """Who works here; None when no device does."""
        try:
            return Identity(**json.loads((self._dir / IDENTITY).read_bytes()))
        except FileNotFoundError:
            return None

    def fade(self) -> Fade:
        try:
            return Fade(**json.loads((self._dir / _FADE).read_bytes()))
        except FileNotFoundError:
            return Fade()

    def set_fade(self, fade: Fade) -> None:
        self._write(_FADE, asdict(fade))

    def put(self, fault: DeviceFault, **options: float) -> None:
        self._write(_FAULT + fault.value, options)

    def take_away(self, fault: DeviceFault) -> None:
        (self._dir / (_FAULT + fault.value)).unlink(missing_ok=True)

    def tell(self, faults: Iterable[DeviceFault]) -> None:
        """The device: these are in force from now on."""
        self._write(_IN_FORCE, {fault.value: True for fault in faults})

    def in_force(self) -> frozenset[DeviceFault]:
        """What the device has noticed, a moment after it was put or taken away."""
        try:
            return frozenset(map(DeviceFault, json.loads((self._dir / _IN_FORCE).read_bytes())))
        except FileNotFoundError:
            return frozenset()

    def await_noticed(self, fault: DeviceFault, *, stands: bool, timeout_s: float = 10.0) -> None:
        """Until the device has noticed that the fault stands, or that it does no longer. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while (fault in self.in_force()) is not stands:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the device took no notice of {fault.value} within {timeout_s:g} s")
            time.sleep(0.02)

    def order(self, order: Order) -> None:
        self._write(_ORDER + order.value, {})

    def changed(self) -> bool:
        """Whether something may have been put or taken away since this was asked before; `ordered` counts too."""
        now = time.time_ns()
        try:
            at = os.stat(self._dir).st_mtime_ns  # noqa: PTH116 - asked ten times a second
        except FileNotFoundError:
            at = 0
        if at == self._seen:
            return False
        # A second change within one tick of the kernel's clock leaves the same time.
        self._seen = at if now - at > _TICK_NS else 0
        return True

    def weather(self) -> Weather:
        """What stands now."""
        try:
            present = set(os.listdir(self._dir))  # noqa: PTH208 - names alone
        except FileNotFoundError:
            return CLEAR_SKY
        faults = {fault: self._options(fault) for fault in DeviceFault if _FAULT + fault.value in present}
        return Weather(self.fade() if _FADE in present else Fade(), faults)

    def ordered(self, order: Order) -> bool:
        """Whether this stands; it does no longer after the answer."""
        try:
            (self._dir / (_ORDER + order.value)).unlink()
        except FileNotFoundError:
            return False
        return True

    def _options(self, fault: DeviceFault) -> Mapping[str, float]:
        try:
            options: Mapping[str, float] = json.loads((self._dir / (_FAULT + fault.value)).read_bytes())
        except FileNotFoundError:
            return {}  # taken away just now: gone at the next look
        return options

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        """The rename is what the device sees: it changes the directory's own time."""
        fresh = self._dir / f".{name}.{os.getpid()}"
        fresh.write_text(json.dumps(content), encoding="utf-8")
        fresh.replace(self._dir / name)
