"""systemd's manager on D-Bus (org.freedesktop.systemd1(5)): calls, and what changes of our units."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError, InterfaceNotFoundError

from nf.errors import DeniedError, DriverError, NfError, NotFoundError, UnavailableError
from nf.supervisor.systemd.names import OBJECTS, file_of, object_path, unit_of

_NAME: Final = "org.freedesktop.systemd1"
_MANAGER_PATH: Final = "/org/freedesktop/systemd1"
_MANAGER: Final = "org.freedesktop.systemd1.Manager"
_UNIT: Final = "org.freedesktop.systemd1.Unit"
_SERVICE: Final = "org.freedesktop.systemd1.Service"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_RULE: Final = (
    f"type='signal',sender='{_NAME}',interface='{_PROPERTIES}',member='PropertiesChanged',"
    f"path_namespace='{OBJECTS.rstrip('/')}'"
)
_CALL_TIMEOUT_S: Final = 30.0
_UNKNOWN: Final = frozenset({f"{_NAME}.NoSuchUnit", "org.freedesktop.DBus.Error.UnknownObject"})
_DENIED: Final = frozenset(
    {"org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"}
)
_GONE: Final = frozenset(
    {
        "org.freedesktop.DBus.Error.NoReply",
        "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.DBus.Error.Disconnected",
        "org.freedesktop.DBus.Error.TimedOut",
    }
)

Properties = dict[str, Any]
Listener = Callable[[str, Properties], None]
"""Called with a unit's name and the properties that changed."""


def _plain(values: Mapping[str, Variant]) -> Properties:
    return {name: variant.value for name, variant in values.items()}


class Systemd:
    """Connects when it is first needed, and anew when the connection was lost.

    Every call raises UnavailableError when no systemd answers, DeniedError when it may not be asked for that.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._bus: MessageBus | None = None
        self._connecting = asyncio.Lock()
        self._listeners: list[Listener] = []
        self.lost = asyncio.Event()
        """Set while there is no connection."""
        self.lost.set()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """From now on, one after the other in the order they came; the returned function ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def connect(self) -> None:
        await self._connected()

    async def close(self) -> None:
        bus, self._bus = self._bus, None
        if bus is not None:
            self.lost.set()
            bus.disconnect()

    async def version(self) -> int:
        """Of systemd, such as 252."""
        (value,) = await self._call(_MANAGER_PATH, _PROPERTIES, "Get", "ss", [_MANAGER, "Version"])
        digits = "".join(c for c in str(value.value).partition(".")[0] if c.isdigit())
        return int(digits or "0")

    async def start(self, file: str) -> None:
        """Ask for it; what comes of it shows in its properties."""
        await self._manager("StartUnit", "ss", [file, "replace"])

    async def stop(self, file: str) -> None:
        """One that is not loaded is no error."""
        with contextlib.suppress(NotFoundError):
            await self._manager("StopUnit", "ss", [file, "replace"])

    async def reset_failed(self, file: str) -> None:
        with contextlib.suppress(NotFoundError):
            await self._manager("ResetFailedUnit", "s", [file])

    async def reload(self) -> None:
        """Have all files read anew."""
        await self._manager("Reload", "", [])

    async def loaded(self, file: str) -> bool:
        try:
            await self._manager("GetUnit", "s", [file])
        except NotFoundError:
            return False
        return True

    async def properties(self, file: str) -> Properties:
        """Of the unit and of the service, all of one moment."""
        (values,) = await self._call(object_path(file), _PROPERTIES, "GetAll", "s", [""])
        return _plain(values)

    async def _manager(self, member: str, signature: str, body: list[Any]) -> Sequence[Any]:
        return await self._call(_MANAGER_PATH, _MANAGER, member, signature, body)

    async def _call(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> Sequence[Any]:
        bus = await self._connected()
        message = Message(
            destination=_NAME, path=path, interface=interface, member=member, signature=signature, body=body
        )
        try:
            reply = await asyncio.wait_for(bus.call(message), _CALL_TIMEOUT_S)
        except (OSError, EOFError, TimeoutError, DBusError, InterfaceNotFoundError) as error:
            await self._forget(bus)
            raise self._unavailable(error) from error
        if reply is None:
            raise self._unavailable("no answer")
        if reply.message_type is MessageType.ERROR:
            raise _error(reply, str(body[0]) if body else member)
        return list(reply.body)

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._bus is not None and self._bus.connected:
                return self._bus
            bus = MessageBus(bus_address=self._address, bus_type=BusType.SYSTEM)
            try:
                await asyncio.wait_for(bus.connect(), _CALL_TIMEOUT_S)
                bus.add_message_handler(self._heard)
                for message in (
                    Message(
                        destination="org.freedesktop.DBus",
                        path="/org/freedesktop/DBus",
                        interface="org.freedesktop.DBus",
                        member="AddMatch",
                        signature="s",
                        body=[_RULE],
                    ),
                    Message(destination=_NAME, path=_MANAGER_PATH, interface=_MANAGER, member="Subscribe"),
                ):
                    reply = await asyncio.wait_for(bus.call(message), _CALL_TIMEOUT_S)
                    if reply is not None and reply.message_type is MessageType.ERROR:
                        raise _error(reply, message.member or "")
            except (OSError, EOFError, TimeoutError, DBusError) as error:
                with contextlib.suppress(OSError):
                    bus.disconnect()
                raise self._unavailable(error) from error
            self._bus = bus
            self.lost.clear()
            return bus

    async def _forget(self, bus: MessageBus) -> None:
        if self._bus is bus:
            self._bus = None
            self.lost.set()
        with contextlib.suppress(OSError):
            bus.disconnect()

    def _heard(self, message: Message) -> bool:
        if message.member == "Disconnected":
            self.lost.set()
        if message.message_type is not MessageType.SIGNAL or message.member != "PropertiesChanged":
            return False
        unit = unit_of(file_of(message.path or ""))
        if unit is None or message.body[0] not in {_UNIT, _SERVICE}:
            return False
        changed = _plain(message.body[1])
        for listener in tuple(self._listeners):
            listener(unit, changed)
        return False

    def _unavailable(self, cause: object) -> UnavailableError:
        return UnavailableError(
            f"systemd does not answer: {cause or type(cause).__name__}",
            where=self._address or "system bus",
            remedy="look at systemctl status dbus",
        )


def _error(reply: Message, what: str) -> NfError:
    name, text = reply.error_name or "", str(reply.body[0]) if reply.body else ""
    said = text or name
    if name in _UNKNOWN:
        return NotFoundError(said, where=what)
    if name in _DENIED:
        return DeniedError(said, where=what, remedy="run it as root")
    if name in _GONE:
        return UnavailableError(f"systemd does not answer: {said}", where=what, remedy="repeat it")
    return DriverError(f"systemd: {said}", where=what)
