"""Devices of a section as open devices: model, credentials, session. Each is opened once and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headend.devices.credentials import parse_credentials
from headend.devices.device import Device
from headend.devices.documents import SnmpDevice
from headend.devices.model import Range
from headend.devices.modelfile import find_model
from headend.snmp.engine import EngineWatch
from headend.snmp.session import Session
from headend.snmp.setter import Setter
from headend.snmp.stack import Stack
from headend.snmp.target import Target
from nf.clock import Clock

ResolveSecret = Callable[[str], str]


class OpenDevices:
    """Opens devices and keeps their sessions, so that v3 keys are made once."""

    def __init__(self, resolve: ResolveSecret, clock: Clock, watch: EngineWatch | None = None) -> None:
        self._resolve = resolve
        self._clock = clock
        self._watch = watch
        self._stack = Stack()
        self._open: dict[str, tuple[str, Device, Session]] = {}

    async def get(self, device: SnmpDevice, limits: Mapping[str, Range] | None = None) -> Device:
        """The open device; anew when its credentials' text has changed. `limits` replace those that it had.

        Raises NotFoundError (model or secret), IntegrityError, InputError.
        """
        text = self._resolve(device.credentials)
        key = device.model_dump_json()
        known = self._open.get(key)
        if known is not None:
            if known[0] == text:
                if limits is not None:
                    known[1].limits = dict(limits)
                return known[1]
            await known[2].close()
        target = Target(str(device.address), device.port, parse_credentials(text, device.credentials))
        session = Session(target, self._clock, name=device.id, watch=self._watch, stack=self._stack)
        setter = Setter(self._stack)
        opened = Device(find_model(device.model), target, session, setter, self._clock, name=device.id, limits=limits)
        self._open[key] = (text, opened, session)
        return opened

    async def close(self) -> None:
        for _, _, session in self._open.values():
            await session.close()
        self._open.clear()
        self._stack.close()
