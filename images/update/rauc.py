"""Client of RAUC over D-Bus (interface de.pengutronix.rauc.Installer of RAUC 1.8), asynchronous.

What RAUC calls good is what the boot loader may take: a slot on trial (its one try is used) is `bad` till it is marked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from dbus_fast import BusType, DBusError, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from nf.errors import DriverError, RefusedError, UnavailableError

NAME: Final = "de.pengutronix.rauc"
INTERFACE: Final = "de.pengutronix.rauc.Installer"
PATH: Final = "/"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_DBUS: Final = "org.freedesktop.DBus"
_CALL_S: Final = 30.0
"""Marking writes the ESP, which may be slow."""

Progress = Callable[[float, str], None]
"""(fraction 0..1, what RAUC says that it does)."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot as RAUC tells it.

    name, bootname  "rootfs.0", "A"; a slot that belongs to another one (boot.0) has a parent and no bootname
    booted          this system runs from it
    good            the boot loader may take it at the next start; None for one with a parent
    status          "ok" when it was written to its end, "pending" when that was broken off, "" when never written
    version, sha256 of what was written; installs counts how often
    """

    name: str
    slot_class: str = ""
    bootname: str = ""
    parent: str = ""
    booted: bool = False
    good: bool | None = None
    status: str = ""
    version: str = ""
    compatible: str = ""
    sha256: str = ""
    installs: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """A slot that can be started, with those that belong to it."""

    slot: Slot
    members: tuple[Slot, ...] = ()

    @property
    def good(self) -> bool:
        return bool(self.slot.good)

    @property
    def all(self) -> tuple[Slot, ...]:
        return (self.slot, *self.members)

    @property
    def fingerprint(self) -> dict[str, str]:
        """Tells one writing of it from every other: what it holds, and which one it was."""
        return {one.name: f"{one.sha256}/{one.installs}" for one in self.all}


@dataclass(frozen=True, slots=True)
class Status:
    """`groups`: by bootname. `operation`: idle or installing. `primary`: name of the slot that is started next."""

    compatible: str
    boot_slot: str
    operation: str
    last_error: str
    primary: str
    groups: dict[str, Group]

    @property
    def booted(self) -> Group:
        """Raises DriverError when RAUC does not know what it runs from."""
        for group in self.groups.values():
            if group.slot.booted:
                return group
        raise DriverError("does not know which slot is booted", where="rauc", remedy="see rauc.service's options")

    @property
    def other(self) -> Group:
        """Raises DriverError unless there are two."""
        rest = [group for group in self.groups.values() if not group.slot.booted]
        if len(rest) != 1:
            raise DriverError(f"{len(self.groups)} slots can be started, not two", where="rauc")
        return rest[0]


class Installer(Protocol):
    """What an update needs of RAUC. All raise UnavailableError when it is not there, DriverError when it failed."""

    async def status(self) -> Status: ...

    async def install(self, bundle: Path, progress: Progress) -> None:
        """Write the other slot; it is not started by that. Raises RefusedError with RAUC's reason."""

    async def mark(self, state: str, slot: str) -> None:
        """`good`, `bad` or `active`; `slot` is `booted`, `other` or a slot's name."""


class Rauc:
    """Implements `Installer`. Each call has a connection of its own: nothing is to be kept up for months."""

    def __init__(self, address: str | None = None) -> None:
        """`address`: of the bus; None = the system's (or DBUS_SYSTEM_BUS_ADDRESS)."""
        self._address = address

    # ---- asking ----

    async def status(self) -> Status:
        async with self._connected() as bus:
            properties = await self._properties(bus)
            (slots,) = await self._call(bus, "GetSlotStatus")
            primary = await self._primary(bus)
        return Status(
            compatible=str(properties.get("Compatible", "")),
            boot_slot=str(properties.get("BootSlot", "")),
            operation=str(properties.get("Operation", "")),
            last_error=str(properties.get("LastError", "")),
            primary=primary,
            groups=groups([slot_of(name, _plain(fields)) for name, fields in slots]),
        )

    async def _primary(self, bus: MessageBus) -> str:
        """Empty when no slot may be started: the boot loader then tries them all again."""
        try:
            (name,) = await self._call(bus, "GetPrimary")
        except DriverError:
            return ""
        return str(name)

    async def _properties(self, bus: MessageBus) -> dict[str, Any]:
        (found,) = await self._call(bus, "GetAll", "s", [INTERFACE], interface=_PROPERTIES)
        return _plain(found)

    # ---- changing ----

    async def mark(self, state: str, slot: str) -> None:
        async with self._connected() as bus:
            await self._call(bus, "Mark", "ss", [state, slot])

    async def install(self, bundle: Path, progress: Progress) -> None:
        """Only Completed(0) is success: the call itself returns as soon as RAUC has begun.

        One that is under way already (the agent was restarted) is waited for, and then done anew: whose it was, nobody
        can tell.
        """
        ended: asyncio.Queue[int | None] = asyncio.Queue()

        def hear(message: Message) -> None:
            _hear(message, ended, progress)

        async with self._connected() as bus:
            for rule in (
                f"type='signal',sender='{NAME}',path='{PATH}'",
                f"type='signal',sender='{_DBUS}',member='NameOwnerChanged',arg0='{NAME}'",
            ):
                await self._call(
                    bus, "AddMatch", "s", [rule], name=_DBUS, path="/org/freedesktop/DBus", interface=_DBUS
                )
            bus.add_message_handler(hear)
            if (await self._properties(bus)).get("Operation") == "installing":
                await ended.get()
            await self._call(bus, "InstallBundle", "sa{sv}", [str(bundle), {}])
            result = await ended.get()
            if result is None:
                raise DriverError("it ended while it installed", where="rauc", remedy="see its log: journalctl -u rauc")
            if result != 0:
                why = str((await self._properties(bus)).get("LastError", "")) or f"result {result}"
                raise RefusedError(why, where="rauc", remedy="see what the bundle is for: `nf image verify FILE`")

    # ---- the bus ----

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[MessageBus]:
        try:
            bus = await MessageBus(bus_address=self._address, bus_type=BusType.SYSTEM).connect()
        except (OSError, DBusError, EOFError, ValueError) as error:
            where = self._address or os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or "system bus"
            raise UnavailableError(f"no D-Bus: {error}", where=where, remedy="see that dbus.service runs") from error
        try:
            yield bus
        finally:
            bus.disconnect()
            with contextlib.suppress(OSError, EOFError):
                await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    @staticmethod
    async def _call(
        bus: MessageBus,
        member: str,
        signature: str = "",
        body: list[Any] | None = None,
        *,
        name: str = NAME,
        path: str = PATH,
        interface: str = INTERFACE,
    ) -> list[Any]:
        message = Message(
            destination=name, path=path, interface=interface, member=member, signature=signature, body=body or []
        )
        try:
            async with asyncio.timeout(_CALL_S):
                reply = await bus.call(message)
        except TimeoutError:
            raise UnavailableError(f"no answer to {member} in {_CALL_S:.0f} s", where="rauc") from None
        except (OSError, EOFError) as error:
            raise UnavailableError(f"the bus went away: {error}", where="rauc") from error
        if reply is None or reply.message_type is MessageType.ERROR:
            raise _error(member, reply)
        return list(reply.body)


def _error(member: str, reply: Message | None) -> UnavailableError | DriverError:
    kind = (reply.error_name or "") if reply is not None else ""
    text = str(reply.body[0]) if reply is not None and reply.body else kind or "no answer"
    if kind.startswith("org.freedesktop.DBus.Error.") and kind.rpartition(".")[2] in {
        "ServiceUnknown",
        "NameHasNoOwner",
        "NoReply",
        "Disconnected",
        "Spawn.ChildExited",
        "TimedOut",
    }:
        return UnavailableError(text, where="rauc", remedy="see that rauc.service runs")
    return DriverError(f"{member}: {text}", where="rauc", remedy="see its log: journalctl -u rauc")


def _hear(message: Message, ended: asyncio.Queue[int | None], progress: Progress) -> None:
    """One signal: progress, the end, or the end of RAUC itself."""
    if message.message_type is not MessageType.SIGNAL:
        return
    if message.member == "Completed" and message.interface == INTERFACE:
        ended.put_nowait(int(message.body[0]))
    elif message.member == "PropertiesChanged" and message.body and message.body[0] == INTERFACE:
        changed = _plain(message.body[1])
        if "Progress" in changed:
            percent, text, _depth = changed["Progress"]
            progress(min(max(int(percent), 0), 100) / 100, str(text))
    elif message.member == "NameOwnerChanged" and not message.body[2]:
        ended.put_nowait(None)


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value.value if isinstance(value, Variant) else value for key, value in fields.items()}


def slot_of(name: str, fields: dict[str, Any]) -> Slot:
    """From what GetSlotStatus says. `boot-status` stands only at slots that can be started."""
    good = fields.get("boot-status")
    return Slot(
        name=str(name),
        slot_class=str(fields.get("class", "")),
        bootname=str(fields.get("bootname") or ""),
        parent=str(fields.get("parent") or ""),
        booted=fields.get("state") == "booted",
        good=None if good is None else good == "good",
        status=str(fields.get("status", "")),
        version=str(fields.get("bundle.version", "")),
        compatible=str(fields.get("bundle.compatible", "")),
        sha256=str(fields.get("sha256", "")),
        installs=int(fields.get("installed.count", 0)),
    )


def groups(slots: list[Slot]) -> dict[str, Group]:
    """By bootname; members in the order of their names."""
    by_parent: dict[str, list[Slot]] = {}
    for slot in sorted(slots, key=lambda one: one.name):
        by_parent.setdefault(slot.parent, []).append(slot)
    return {
        slot.bootname: Group(slot, tuple(by_parent.get(slot.name, ())))
        for slot in by_parent.get("", ())
        if slot.bootname
    }
