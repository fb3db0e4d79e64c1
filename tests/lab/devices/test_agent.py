"""The agents' own ways: version 3, traps, and the faults that they can be given."""

from __future__ import annotations

import asyncio
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.devices.config import ModemConfig, load
from lab.devices.control import DeviceFault, Order
from lab.devices.modem import defaults
from nf.errors import InputError
from tests.lab.devices import samples
from tests.lab.devices.conformance import oid
from tests.lab.devices.conftest import LOOPBACK, PROGRAMS, Capture, Running, StartDevice, await_true, devices

with warnings.catch_warnings():
    # pysnmp asks pysmi for a name that is out of use; nothing of it is needed here.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pysnmp.hlapi.v3arch import asyncio as hlapi

pytestmark = pytest.mark.daemon
USERS = [
    {"name": "watcher", "auth_key": "auth-watcher", "privacy_key": "priv-watcher"},
    {"name": "setter", "auth_key": "auth-setter", "privacy_key": "priv-setter", "write": True},
]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, require_programs: Callable[..., None]) -> Iterator[Running]:
    require_programs(*PROGRAMS)
    with devices(tmp_path_factory.mktemp("agent")) as start:
        yield start("receiver", samples.receiver() | {"snmp": {"users": USERS}})


@pytest.fixture
def receiver(standing: Running) -> Running:
    """A receiver without a sky: it has an agent like any other, with users; well, and as it was made."""
    for fault in DeviceFault:
        standing.control.take_away(fault)
    assert await_true(lambda: standing.put("RcvRelockTime", "u", 500) == "" and standing.number("RcvRelockTime") == 500)
    return standing


def v3(device: Running, program: str, user: str, *arguments: str, level: str = "authPriv") -> str:
    keys = ["-a", "SHA-256", "-A", f"auth-{user}", "-x", "AES", "-X", f"priv-{user}"]
    options = ["-v3", "-u", user, "-l", level, *keys, "-m", "", "-Oqvet", "-t", "3", "-r", "1"]
    command = [program, *options, f"{LOOPBACK}:{device.subject.port}", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "SNMP_PERSISTENT_DIR": str(device.subject.home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def test_version_3_reads_and_sets_by_user(receiver: Running) -> None:
    relock = oid("RcvRelockTime")
    assert v3(receiver, "snmpget", "watcher", relock) == "500"
    assert "noAccess" in v3(receiver, "snmpset", "watcher", relock, "u", "300")
    assert v3(receiver, "snmpset", "setter", relock, "u", "300") == "300"
    assert receiver.number("RcvRelockTime") == 300
    assert "Unsupported security level" in v3(receiver, "snmpget", "setter", relock, level="noAuthNoPriv")
    assert "Unknown user name" in v3(receiver, "snmpget", "nobody", relock)


@pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")  # of pysmi, by pysnmp
async def test_pysnmp_sets_with_both_versions(receiver: Running) -> None:
    keys = {"authProtocol": hlapi.usmHMAC192SHA256AuthProtocol, "privProtocol": hlapi.usmAesCfb128Protocol}
    credentials = hlapi.CommunityData("private"), hlapi.UsmUserData("setter", "auth-setter", "priv-setter", **keys)
    engine, context = hlapi.SnmpEngine(), hlapi.ContextData()
    target = await hlapi.UdpTransportTarget.create((LOOPBACK, receiver.subject.port), timeout=5, retries=1)

    def variable(name: str, value: Any) -> Any:
        return hlapi.ObjectType(hlapi.ObjectIdentity(name.strip(".")), value)

    relock, port = oid("RcvRelockTime"), oid("RcvOutputPort")
    for value, who in enumerate(credentials, 7000):
        good = variable(relock, hlapi.Unsigned32(value)), variable(port, hlapi.Unsigned32(value))
        error, status, _, _ = await hlapi.set_cmd(engine, who, target, context, *good)
        assert (error, int(status)) == (None, 0)
        bad = variable(relock, hlapi.Unsigned32(1)), variable(port, hlapi.Integer32(1))
        error, status, index, _ = await hlapi.set_cmd(engine, who, target, context, *bad)
        assert (error, status.prettyPrint(), int(index)) == (None, "wrongType", 2)
        asked = [variable(name, hlapi.Null("")) for name in (relock, port, "1.3.6.1.2.1.1.1.0")]
        _, _, _, bindings = await hlapi.get_cmd(engine, who, target, context, *asked)
        assert [int(bindings[0][1]), int(bindings[1][1])] == [value, value]
        assert "not a real device" in str(bindings[2][1])
    engine.close_dispatcher()


def test_alarms_are_told_as_traps_and_kept_in_the_table(start_device: StartDevice, capture: Capture) -> None:
    """The receiver has no carrier, and said so when it started."""
    traps = [{"address": LOOPBACK, "port": capture.port}]
    receiver = start_device("receiver", samples.receiver() | {"snmp": {"traps": traps}})
    assert await_true(lambda: receiver.numbers("SysDeviceKind") == [4])
    assert receiver.number("AlarmState", 7) == 2
    assert receiver.subject.value("AlarmText", 7) == "no carrier"
    assert receiver.number("AlarmRaisedCount", 7) == 1
    first, second = capture.datagrams_waiting(2)
    assert b"\x2b\x06\x01\x06\x03\x01\x01\x05\x01" in first  # snmpTraps.1, coldStart
    assert b"no carrier" in second


def test_an_ignored_set_is_answered_and_not_done(receiver: Running) -> None:
    receiver.disturb(DeviceFault.IGNORED_SET)
    assert receiver.put("RcvRelockTime", "u", 900) == ""
    assert receiver.number("RcvRelockTime") == 500
    assert receiver.put("RcvRelockTime", "u", 90_000) == "wrongValue"
    receiver.mend(DeviceFault.IGNORED_SET)
    assert receiver.put("RcvRelockTime", "u", 900) == ""
    assert receiver.number("RcvRelockTime") == 900


def test_an_altered_set_does_something_else(receiver: Running) -> None:
    receiver.disturb(DeviceFault.ALTERED_SET)
    assert receiver.put("RcvRelockTime", "u", 900) == ""
    assert receiver.number("RcvRelockTime") == 450


def test_a_wrong_answer_is_text_for_a_number(receiver: Running) -> None:
    receiver.disturb(DeviceFault.WRONG_ANSWER)
    (answer,) = receiver.subject.get(oid("RcvEsN0"))
    assert (answer.shown, answer.text) == ("STRING", "#ERR")
    assert receiver.uptime() > 0
    receiver.mend(DeviceFault.WRONG_ANSWER)
    assert receiver.number("RcvEsN0") == -1000


def test_a_slow_device_answers_late(receiver: Running) -> None:
    receiver.disturb(DeviceFault.SLOW, seconds=1.0)
    assert receiver.uptime() == -1
    done = receiver.subject.run("snmpget", "public", oid("RcvEsN0"), wait_s=5, retries=0)
    assert "-1000" in done.stdout


def test_a_silent_device_says_nothing(receiver: Running) -> None:
    receiver.disturb(DeviceFault.SILENT)
    assert receiver.uptime() == -1
    receiver.mend(DeviceFault.SILENT)
    assert receiver.uptime() > 0


def boots(device: Running) -> int:
    done = device.subject.run("snmpget", "public", "-Oqv", ".1.3.6.1.6.3.10.2.1.2.0", wait_s=0.3, retries=0)
    return int(done.stdout) if done.returncode == 0 else -1


@pytest.mark.parametrize("how", ["order", "set"])
def test_a_reboot_counts_and_keeps_what_was_set(receiver: Running, how: str) -> None:
    receiver.put("RcvRelockTime", "u", 800)
    before = boots(receiver)
    if how == "order":
        receiver.order(Order.REBOOT)
    else:
        assert receiver.put("SysRebootCommand", "i", 2) == ""
    assert await_true(lambda: boots(receiver) == before + 1)
    assert receiver.number("RcvRelockTime") == 800
    assert v3(receiver, "snmpget", "watcher", oid("RcvRelockTime")) == "800"


def test_a_reboot_in_the_middle_of_a_set_does_its_first_variable(receiver: Running) -> None:
    before = boots(receiver)
    receiver.order(Order.REBOOT_IN_SET)
    port = receiver.number("RcvOutputPort")
    error = receiver.subject.set((oid("RcvRelockTime"), "u", 800), (oid("RcvOutputPort"), "u", port + 1))
    # Asked again by net-snmp when no answer came, the device is up anew, and does it.
    assert error in ("", "Timeout") or "Timeout" in error
    assert await_true(lambda: boots(receiver) == before + 1)
    assert receiver.number("RcvRelockTime") == 800


def test_boots_can_be_lost(receiver: Running) -> None:
    before = boots(receiver)
    receiver.order(Order.REBOOT)
    assert await_true(lambda: boots(receiver) == before + 1)
    receiver.order(Order.BOOTS_LOST)
    assert await_true(lambda: boots(receiver) == 1)


def test_net_snmp_and_the_agent_agree_on_many_requests_at_once(receiver: Running) -> None:
    async def ask() -> list[str]:
        command = ["snmpbulkwalk", "-v2c", "-c", "public", "-m", "", "-Oqn", "-t", "10"]
        command += [f"{LOOPBACK}:{receiver.subject.port}", ".1.3.6.1.4.1.8072.9999.9999.71.1.1"]
        started = [await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE) for _ in range(8)]
        return [(await process.communicate())[0].decode() for process in started]

    answers = asyncio.run(ask())
    assert len(set(answers)) == 1
    assert answers[0].count("\n") > 10


def test_a_configuration_that_is_wrong_is_named(tmp_path: Path) -> None:
    file = tmp_path / "modem.yaml"
    file.write_text("name: m\ninput: {port: 5000}\nnoise: 1\n")
    with pytest.raises(InputError, match="noise"):
        load(file, ModemConfig)
    file.write_text("name: m\ninput: {port: 5000}\ncarrier: {modcod: 8PSK 4/5}\n")
    with pytest.raises(InputError, match="8PSK 4/5"):
        defaults(load(file, ModemConfig))
