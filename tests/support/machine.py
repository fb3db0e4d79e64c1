"""A machine with two slots, for tests only: its RAUC and its boot loader are STAND-INS written from GRUB's and RAUC's
documentation: they speak the product's types and share none of its logic. The real RAUC is driven by
`tests/images/update/test_rauc_live.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from images.update.machine import Machine
from images.update.rauc import Group, Progress, Slot, Status
from images.update.release import Release
from nf.errors import RefusedError

COMPATIBLE = "streamverse-nf-pop-amd64"


class PowerCut(BaseException):
    """Nothing that runs goes on, and nothing is tidied up."""


@dataclass
class SlotContent:
    version: str = ""
    whole: bool = True
    starts: bool = True
    status: str = ""
    sha256: str = ""
    installs: int = 0
    ok: int = 1
    tried: int = 0


@dataclass
class FakeMachine:
    """GRUB's variables (ORDER, X_OK, X_TRY), two slots, and what RAUC does to them.

    point    is called at every effect, before and after it: raises PowerCut when power goes there
    versions bundle's digest -> the version in it; refuse: RAUC's reason to refuse any bundle
    """

    order: list[str] = field(default_factory=lambda: ["A", "B"])
    slots: dict[str, SlotContent] = field(
        default_factory=lambda: {"A": SlotContent("0.1.0", status="ok"), "B": SlotContent(ok=0)}
    )
    booted: str = "A"
    boot_id: str = "boot-0"
    versions: dict[str, str] = field(default_factory=dict)
    refuse: str = ""
    sick: frozenset[str] = frozenset()
    doomed: frozenset[str] = frozenset()
    reboots: int = 0
    rebooting: Callable[[], None] = lambda: None
    point: Callable[[str], None] = lambda _name: None

    # ---- the boot loader ----

    def start(self) -> str:
        """Power on: slots are taken in their order, each once; none left: all are tried again."""
        for _ in range(6):
            for name in self.order:
                slot = self.slots[name]
                if slot.ok and not slot.tried:
                    slot.tried = 1
                    if slot.whole and slot.version and slot.starts and slot.version not in self.doomed:
                        self.booted, self.boot_id = name, uuid.uuid4().hex
                        return name
            for slot in self.slots.values():
                slot.tried = 0
        raise AssertionError(f"nothing starts any more: {self.slots}")

    @property
    def version(self) -> str:
        return self.slots[self.booted].version

    @property
    def other(self) -> str:
        return "B" if self.booted == "A" else "A"

    def machine(self) -> Machine:
        release = Release("pop", self.version, COMPATIBLE, self.booted, self.boot_id)
        return Machine(release, FakeRauc(self), self._reboot)

    async def _reboot(self) -> None:
        self.point("reboot")
        self.reboots += 1
        self.rebooting()


class FakeRauc:
    """Implements `images.update.rauc.Installer` as RAUC's GRUB back-end does it."""

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine

    async def status(self) -> Status:
        machine = self._machine
        found = {}
        for index, (name, slot) in enumerate(machine.slots.items()):
            good = bool(slot.ok and not slot.tried)
            rootfs = Slot(
                f"rootfs.{index}", "rootfs", name, "", name == machine.booted, good, slot.status, slot.version,
                COMPATIBLE, slot.sha256, slot.installs,
            )  # fmt: skip
            boot = Slot(f"boot.{index}", "boot", parent=rootfs.name, status=slot.status, installs=slot.installs)
            found[name] = Group(rootfs, (boot,))
        primary = next((found[name].slot.name for name in machine.order if found[name].good), "")
        return Status(COMPATIBLE, machine.booted, "idle", "", primary, found)

    async def install(self, bundle: Path, progress: Progress) -> None:
        machine = self._machine
        if machine.refuse:
            raise RefusedError(machine.refuse, where="rauc")
        slot = machine.slots[machine.other]
        for what, change in (
            ("bad", {"ok": 0, "tried": 0}),
            ("pending", {"status": "pending", "whole": False, "version": "half"}),
            ("written", {"version": machine.versions[bundle.stem], "whole": True, "sha256": bundle.stem}),
            ("ok", {"status": "ok", "installs": slot.installs + 1}),
        ):
            machine.point(f"install {what}")
            for key, value in change.items():
                setattr(slot, key, value)
            progress(0.5, what)
            machine.point(f"installed {what}")

    async def mark(self, state: str, slot: str) -> None:
        machine = self._machine
        name = {"booted": machine.booted, "other": machine.other, "rootfs.0": "A", "rootfs.1": "B"}[slot]
        machine.point(f"mark {state} {name}")
        content = machine.slots[name]
        content.ok, content.tried = (0, 0) if state == "bad" else (1, 0)
        if state == "active":
            machine.order = [name, *(one for one in machine.order if one != name)]
        machine.point(f"marked {state} {name}")
        assert any(one.ok for one in machine.slots.values()), "both slots are bad"


def order(order_id: str, sha256: str, size: int, version: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": order_id,
        "sha256": sha256,
        "size": size,
        "version": version,
        "compatible": COMPATIBLE,
        "hold_s": 5.0,
        "patience_s": 60.0,
    } | changes
