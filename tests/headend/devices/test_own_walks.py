"""The habits of real devices, each in a small walk of our own, served by snmpsim and read through a model."""

from __future__ import annotations

import pytest

from headend.devices.errors import Aftermath, DeviceError
from headend.devices.identify import identify
from headend.devices.model import Model
from headend.devices.modelfile import load_model
from headend.snmp.values import Quality
from nf.errors import InputError, NotFoundError, RefusedError
from tests.headend.devices.conftest import Opener
from tests.support.snmp import Simulator

ARC = "1.3.6.1.4.1.8072.9999.9999.72"


def model(parameters: str, tables: str = "{}", name: str = "own", identify: str = "") -> Model:
    probe = identify or "{oid: 1.3.6.1.2.1.1.1.0, present: true}"
    text = f"""\
apiVersion: streamverse.nf/v1
kind: DeviceModel
metadata: {{name: {name}}}
spec:
  vendor: nobody
  product: walks of our own
  kind: receiver
  provenOn: itself
  identify: [{probe}]
  tables: {tables}
  parameters:
{parameters}
"""
    return load_model(text.replace("ARC", ARC), file="own.yaml")


async def test_numbers_as_text(own: Simulator, opened: Opener) -> None:
    device = opened(own, "numbers-as-text", model("""
    c_n: {oid: ARC.1.1.0, syntax: octets, encoding: decimal_text, unit: dB}
    level: {oid: ARC.1.2.0, syntax: octets, encoding: decimal_text, unit: dBm}
    rate: {oid: ARC.1.3.0, syntax: octets, encoding: decimal_text, unit: Mbit/s}
    errors: {oid: ARC.1.4.0, syntax: octets, encoding: decimal_text, null: [-1]}
    spaced: {oid: ARC.1.5.0, syntax: octets, encoding: decimal_text}
    words: {oid: ARC.1.6.0, syntax: octets, encoding: decimal_text}
    number_after_all: {oid: ARC.1.7.0, syntax: octets, encoding: decimal_text}
    as_integer: {oid: ARC.1.5.0, syntax: integer}
"""))  # fmt: skip
    found = await device.read()
    assert {name: value.value for name, value in found.items()} == {
        "c_n": 10, "level": -40, "rate": 65.5, "errors": None, "spaced": 7, "words": None, "number_after_all": 12,
        "as_integer": 7,
    }  # fmt: skip
    assert found["errors"].quality is Quality.MISSING
    assert found["words"].quality is Quality.UNREADABLE


async def test_wrapped_negatives_and_a_parent_instance(own: Simulator, opened: Opener) -> None:
    device = opened(own, "wrapped", model("""
    tts: {oid: ARC.2.1.0, syntax: gauge32, signed: true}
    level: {oid: ARC.2.2.0, syntax: gauge32, scale: -0.1, unit: dBm}
    input: {oid: ARC.2.3.0, syntax: gauge32, scale: -0.1, unit: dBm}
    delta: {oid: ARC.2.4.0, syntax: integer, scale: -0.1, unit: dB}
    packets: {oid: ARC.2.5.0, syntax: counter32}
"""))  # fmt: skip
    found = {name: value.value for name, value in (await device.read()).items()}
    assert found == {"tts": -2145, "level": -11.9, "input": -11.2, "delta": 2.1, "packets": 4294967295}


async def test_text_locks_and_bounds_in_subtrees_that_are_no_table(own: Simulator, opened: Opener) -> None:
    device = opened(own, "text-lock", model("""
    tuner.lock: {oid: ARC.3.#.1.0, syntax: octets, enum: {locked: Locked, unlocked: Unlocked}}
    tuner.errors: {oid: ARC.3.#.2.0, syntax: octets, encoding: ratio_text, null: ["-"]}
""", "{tuner: {subtrees: 2}}"))  # fmt: skip
    found = await device.read(["tuner"])
    assert found["tuner[1].lock"].value == "locked"
    assert found["tuner[2].lock"].value == "unlocked"
    assert (found["tuner[1].errors"].value, found["tuner[1].errors"].bound) == (1e-9, "<")
    assert found["tuner[2].errors"].quality is Quality.MISSING


async def test_octets_that_are_something_else(own: Simulator, opened: Opener) -> None:
    device = opened(own, "octets", model("""
    little: {oid: ARC.4.1.0, syntax: octets, encoding: little_endian}
    big: {oid: ARC.4.2.0, syntax: octets, encoding: big_endian}
    mac: {oid: ARC.4.3.0, syntax: octets, encoding: mac}
    address: {oid: ARC.4.4.0, syntax: octets, encoding: address_octets}
    padded: {oid: ARC.4.5.0, syntax: octets, encoding: padded_text}
    real_address: {oid: ARC.4.6.0, syntax: ipaddress}
    hex: {oid: ARC.4.7.0, syntax: octets, encoding: hex}
    no_text: {oid: ARC.4.7.0, syntax: octets}
    number: {oid: ARC.4.8.0, syntax: gauge32, encoding: hex}
"""))  # fmt: skip
    found = await device.read()
    assert {name: value.value for name, value in found.items()} == {
        "little": 8450052, "big": 8450052, "mac": "00:0e:26:ff:ba:38", "address": "10.0.2.1", "padded": "text",
        "real_address": "10.0.2.143", "hex": "ff00ff", "no_text": None, "number": "306002d",
    }  # fmt: skip
    assert found["no_text"].quality is Quality.UNREADABLE


async def test_a_walk_out_of_order(own: Simulator, opened: Opener) -> None:
    device = opened(own, "out-of-order", model("    row.value: {oid: ARC.5.1, syntax: integer}", "{row: {}}"))
    found = await device.read()
    assert {name: value.value for name, value in found.items()} == {f"row[{n}].value": n for n in (1, 2, 3, 4)}


async def test_rows_by_what_their_index_is(own: Simulator, opened: Opener) -> None:
    device = opened(own, "oid-index", model("""
    by_oid.state: {oid: ARC.6.1.2, syntax: integer}
    by_name.state: {oid: ARC.6.2.2, syntax: integer}
    by_address.state: {oid: ARC.6.3.2, syntax: integer}
    by_both.state: {oid: ARC.6.4.2, syntax: integer}
""", "{by_oid: {index: [oid]}, by_name: {index: [string]}, by_address: {index: [address]}, "
     "by_both: {index: [oid, integer]}}"))  # fmt: skip
    found = {name: value.value for name, value in (await device.read()).items()}
    assert found == {
        "by_oid[1.3.5.0].state": 7,
        "by_oid[1.3.6.1.4.2].state": 6,
        'by_name["ch one"].state': 5,  # and the row whose suffix is too long for a string is none
        "by_address[10.1.1.31].state": 4,
        "by_both[1.3.6.1.4.1.3715.17.2.2.1.1.6,2].state": 2,
    }
    again = await device.read(['by_name["ch one"].state', "by_oid[1.3.5.0].state"])
    assert [value.value for value in again.values()] == [5, 7]


async def test_the_vendors_object_tells_what_it_is(own: Simulator, opened: Opener) -> None:
    parameters = "    x: {oid: ARC.7.2.0, syntax: integer}"
    right = model(parameters, name="right", identify=f'{{oid: {ARC}.7.1.0, matches: "^Vendor Modulator"}}')
    other = model(parameters, name="other", identify=f"{{oid: {ARC}.7.1.0, equals: Vendor Receiver}}")
    vague = model(parameters, name="vague", identify=f"{{oid: {ARC}.7.2.0, equals: 3}}")
    session = opened(own, "wrong-identity", right).session
    assert (await identify(session, {"right": right, "other": other})).model is right
    with pytest.raises(RefusedError, match="several models fit: right, vague"):
        await identify(session, {"right": right, "vague": vague})
    with pytest.raises(NotFoundError, match=r"sysObjectID 1\.3\.6\.1\.4\.1\.8072\.3\.2\.10"):
        await identify(session, {"other": other})


WRITABLE = """
    level: {oid: ARC.8.1.0, access: rw, syntax: integer, scale: 0.1, unit: dBm}
    transmit: {oid: ARC.8.2.0, access: rw, syntax: integer, enum: {"off": 1, "on": 2}}
    frequency: {oid: ARC.8.3.0, access: rw, syntax: gauge32, unit: kHz}
    said_to_be_writable: {oid: ARC.8.4.0, access: rw, syntax: integer}
    name: {oid: ARC.8.5.0, access: rw, syntax: octets}
    of_another_type: {oid: ARC.8.6.0, access: rw, syntax: integer}
"""


async def test_sets_with_a_write_cache(own: Simulator, opened: Opener) -> None:
    device = opened(own, "writable", model(WRITABLE))
    outcome = await device.set({"level": -12.5, "transmit": "on", "name": "second"})
    assert {name: change.after for name, change in outcome.changed.items()} == {
        "level": -12.5, "transmit": "on", "name": "second",
    }  # fmt: skip
    found = await device.read(["level", "transmit", "name"])
    assert [value.value for value in found.values()] == [-12.5, "on", "second"]


async def test_the_devices_own_range(own: Simulator, opened: Opener) -> None:
    device = opened(own, "writable", model(WRITABLE))
    await device.set({"frequency": 800_000})
    with pytest.raises(DeviceError, match="refuses frequency: wrongValue") as caught:
        await device.set({"frequency": 80_000_000})
    assert caught.value.aftermath is Aftermath.UNCHANGED
    assert (await device.read(["frequency"]))["frequency"].value == 800_000


@pytest.mark.parametrize("name", ["said_to_be_writable", "of_another_type"])
async def test_a_set_that_answers_without_an_error_and_does_nothing(own: Simulator, opened: Opener, name: str) -> None:
    device = opened(own, "writable", model(WRITABLE))
    with pytest.raises(DeviceError) as caught:
        await device.set({name: 6})
    assert caught.value.problems[0].key == name
    assert caught.value.aftermath is Aftermath.UNCHANGED


async def test_one_that_cannot_be_set_among_others_leaves_nothing_changed(own: Simulator, opened: Opener) -> None:
    device = opened(own, "writable", model(WRITABLE))
    before = await device.read()
    with pytest.raises(DeviceError) as caught:
        await device.set({"level": -20.0, "said_to_be_writable": 6})
    assert caught.value.aftermath in (Aftermath.UNCHANGED, Aftermath.ROLLED_BACK)
    after = await device.read()
    assert {name: value.value for name, value in after.items()} == {name: value.value for name, value in before.items()}


async def test_a_value_that_the_wire_cannot_carry(own: Simulator, opened: Opener) -> None:
    device = opened(own, "writable", model(WRITABLE))
    with pytest.raises(InputError, match="does not fit gauge32"):
        await device.set({"frequency": 2**32})
