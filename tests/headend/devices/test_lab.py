"""The lab's simulated devices through their models: agents of their own make, which know nothing of ours.

Simulators, not real devices.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from headend.devices.device import Device
from headend.devices.errors import Aftermath, DeviceError
from headend.devices.identify import identify
from headend.devices.instances import resolve
from headend.devices.model import Parameter
from headend.devices.modelfile import find_model
from headend.devices.snapshot import diff, restore, take
from headend.devices.values import Value
from headend.snmp.session import Session
from headend.snmp.setter import Setter
from headend.snmp.stack import Stack
from headend.snmp.target import Community, Target
from lab.devices.control import DeviceFault, Order
from nf.clock import RealClock
from nf.errors import RefusedError, UnavailableError
from tests.lab.devices.conftest import Running, StartDevice, start_device
from tests.lab.devices.samples import SAMPLES

pytestmark = pytest.mark.daemon
__all__ = ["start_device"]

Open = Callable[[Running, str], Device]
MODELS = {"encoder": "nf-lab-encoder", "mux": "nf-lab-mux", "modem": "nf-lab-modem", "receiver": "nf-lab-receiver"}


@pytest.fixture
async def open_lab() -> AsyncIterator[Open]:
    async with AsyncExitStack() as closing:
        stack = Stack()
        closing.callback(stack.close)

        def opener(running: Running, kind: str) -> Device:
            address, port = running.subject.address, running.subject.port
            target = Target(address, port, Community("private"), timeout_s=0.5, retries=1)
            session = Session(target, RealClock(), stack=stack)
            closing.push_async_callback(session.close)
            return Device(find_model(MODELS[kind]), target, session, Setter(stack), RealClock(), name=kind)

        yield opener


@pytest.mark.parametrize("kind", MODELS)
async def test_all_of_it_is_read(start_device: StartDevice, open_lab: Open, kind: str) -> None:
    device = open_lab(start_device(kind, SAMPLES[kind]()), kind)
    assert (await identify(device.session)).model.name == MODELS[kind]
    found = await device.read()
    bad = {name: value for name, value in found.items() if not value.good}
    no_carrier = {"es_n0", "margin", "modcod", "roll_off", "pilots", "carrier_id"}
    assert set(bad) == (no_carrier if kind == "receiver" else set()), bad


def another(parameter: Parameter, value: Value) -> Value:
    """A value that it may have and does not."""
    if parameter.enum:
        return next(name for name in parameter.enum if name != value)
    if isinstance(value, str):
        return "10.9.9.9" if parameter.syntax.value == "ipaddress" else "another"
    step = max(1, parameter.scale)
    limits = parameter.range
    high = limits.maximum if limits is not None and limits.maximum is not None else float("inf")
    assert isinstance(value, int | float)
    return value + step if value + step <= high else value - step


@pytest.mark.parametrize("kind", MODELS)
async def test_every_set_that_is_ignored_is_detected(start_device: StartDevice, open_lab: Open, kind: str) -> None:
    running = start_device(kind, SAMPLES[kind]())
    device = open_lab(running, kind)
    before = await take(device)
    running.disturb(DeviceFault.IGNORED_SET)
    changes = {name: another(resolve(device.model, name).parameter, value) for name, value in before.values.items()}
    with pytest.raises(DeviceError) as caught:
        await device.set(changes)
    assert {problem.key for problem in caught.value.problems} == set(changes)
    assert caught.value.aftermath in (Aftermath.UNCHANGED, Aftermath.ROLLED_BACK)
    running.mend(DeviceFault.IGNORED_SET)
    assert before.values
    assert diff(before, await take(device)) == ()


async def test_a_set_that_becomes_another_is_taken_back(start_device: StartDevice, open_lab: Open) -> None:
    running = start_device("mux", SAMPLES["mux"]())
    device = open_lab(running, "mux")
    before = await take(device)
    running.disturb(DeviceFault.ALTERED_SET)
    with pytest.raises(DeviceError, match="was set to 3000000 and reads 1500000 bit/s") as caught:
        await device.set({"output_bit_rate": 3_000_000})
    assert caught.value.aftermath is Aftermath.CHANGED  # it alters the old value too
    running.mend(DeviceFault.ALTERED_SET)
    await restore(device, before)
    assert diff(before, await take(device)) == ()


async def test_it_reboots_in_the_middle_of_a_set(start_device: StartDevice, open_lab: Open) -> None:
    running = start_device("mux", SAMPLES["mux"]())
    device = open_lab(running, "mux")
    before = await take(device)
    running.order(Order.REBOOT_IN_SET)
    with pytest.raises((DeviceError, UnavailableError)) as caught:
        await device.set({"network_name": "half", "transport_stream_id": 77})
    if isinstance(caught.value, DeviceError) and caught.value.aftermath is Aftermath.ROLLED_BACK:
        assert diff(before, await take(device)) == ()
    assert isinstance(caught.value, DeviceError)
    assert caught.value.before == {"network_name": "StreamVerse lab", "transport_stream_id": 1}


async def test_a_carrier_is_staged_and_committed(start_device: StartDevice, open_lab: Open) -> None:
    device = open_lab(start_device("modem", SAMPLES["modem"]()), "modem")
    before = await take(device)
    outcome = await device.set({"modcod": "QPSK 1/2", "roll_off": "0.25"})
    assert outcome.confirmed_by == ("the modulator has taken the carrier",)
    await device.set({"carrier_id_enable": "enabled"})
    outcome = await device.set({"tx_enable": "transmitting"})
    assert outcome.confirmed_by == ("the carrier is radiated",)
    with pytest.raises(RefusedError, match="hits its neighbours"):
        await device.set({"symbol_rate": 1_500_000})
    await device.set({"modcod": "QPSK 3/4"})
    outcome = await device.set({"tx_enable": "muted"})
    assert outcome.confirmed_by == ("nothing is radiated",)
    await restore(device, before)
    assert diff(before, await take(device)) == ()


async def test_a_level_above_what_the_amplifier_takes(start_device: StartDevice, open_lab: Open) -> None:
    device = open_lab(start_device("modem", SAMPLES["modem"]()), "modem")
    found = await device.read(["tx_level", "tx_level_maximum"])
    most = found["tx_level_maximum"].value
    assert isinstance(most, int | float)
    with pytest.raises(DeviceError, match="refuses tx_level: wrongValue"):
        await device.set({"tx_level": most + 0.1})
    assert (await device.read(["tx_level"]))["tx_level"].value == found["tx_level"].value
    await device.set({"tx_level": most})
