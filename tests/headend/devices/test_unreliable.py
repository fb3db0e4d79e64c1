"""An agent on a bad wire: SETs that get lost, answers that get lost, and one that dies in the middle."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from headend.devices.device import Device
from headend.devices.errors import Aftermath, DeviceError
from headend.snmp.session import Session
from headend.snmp.setter import Setter
from headend.snmp.stack import Stack
from headend.snmp.target import Community
from nf.clock import RealClock
from nf.errors import UnavailableError
from tests.headend.devices.test_own_walks import WRITABLE, model
from tests.support.snmp import Simulator, rogue

SET = 0xA3


def pdu_type(message: bytes) -> int:
    """Of an SNMPv2c message (RFC 3416): behind version and community."""
    at = 2 + (message[1] & 0x7F if message[1] & 0x80 else 0)
    community = at + 3
    return message[community + 2 + message[community + 1]]


@dataclass
class Wire:
    """What lies between us and snmpsim. `on_set` says of each SET: whether it arrives, whether its answer does."""

    port: int
    on_set: Callable[[int], tuple[bool, bool]]
    dead: bool = False
    dies_at_set: bool = False
    sets: int = field(default=0)

    def __call__(self, data: bytes) -> list[bytes]:
        if self.dead:
            return []
        arrives = answered = True
        if pdu_type(data) == SET:
            self.sets += 1
            arrives, answered = self.on_set(self.sets)
            self.dead = self.dies_at_set
        reply = self._forward(data) if arrives else b""
        return [reply] if answered and reply and not self.dead else []

    def _forward(self, data: bytes) -> bytes:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asking:
            asking.connect(("127.0.0.1", self.port))
            asking.settimeout(5.0)
            asking.send(data)
            return asking.recv(65535)


async def level_set_over(wire: Wire, value: float) -> tuple[object, float]:
    """The outcome or the error of setting `level`, and the level that snmpsim then has."""
    stack = Stack()
    try:
        async with rogue(wire, Community("writable")) as target:
            session = Session(target, RealClock(), stack=stack)
            device = Device(model(WRITABLE), target, session, Setter(stack), RealClock(), name="far away")
            try:
                outcome: object = await device.set({"level": value})
            except (DeviceError, UnavailableError) as error:
                outcome = error
            wire.dead = False
            held = (await device.read(["level"]))["level"].value
            await session.close()
            assert isinstance(held, float)
            return outcome, held
    finally:
        stack.close()


async def test_the_answer_of_a_set_is_lost(own: Simulator) -> None:
    outcome, held = await level_set_over(Wire(own.port, lambda _: (True, False)), -31.5)
    assert not isinstance(outcome, Exception)
    assert held == -31.5


async def test_the_set_itself_is_lost(own: Simulator) -> None:
    await level_set_over(Wire(own.port, lambda _: (True, True)), -40.0)
    outcome, held = await level_set_over(Wire(own.port, lambda _: (False, False)), -32.5)
    assert isinstance(outcome, DeviceError)
    assert outcome.aftermath is Aftermath.UNCHANGED
    assert held == -40.0


@pytest.mark.parametrize("arrives", [True, False])
async def test_the_agent_dies_in_the_middle_of_a_set(own: Simulator, arrives: bool) -> None:
    wire = Wire(own.port, lambda _: (arrives, False), dies_at_set=True)
    outcome, _ = await level_set_over(wire, -33.5 if arrives else -34.5)
    assert isinstance(outcome, DeviceError)
    assert outcome.aftermath is Aftermath.UNKNOWN
    assert "level" in outcome.before


async def test_a_dead_agent_is_told_before_anything_is_sent(own: Simulator) -> None:
    wire = Wire(own.port, lambda _: (True, True), dead=True)
    outcome, _ = await level_set_over(wire, -35.5)
    assert isinstance(outcome, UnavailableError)
    assert wire.sets == 0
