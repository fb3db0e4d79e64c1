"""The uplink against the lab's simulators, which are none of our code's kin."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable

import pytest

from headend.satellite.documents import UplinkCarrier, UplinkSection
from headend.satellite.uplink.driver import SatelliteUplink
from headend.satellite.uplink.operations import Transmit
from nf.contracts.driver import Checkpoint, Context, Step
from nf.contracts.json import JsonObject
from nf.errors import InputError, RefusedError
from tests.support import satellite

pytestmark = [pytest.mark.daemon]
NOBODY = Checkpoint({}, lambda _data: None)


async def commit(uplink: SatelliteUplink, want: UplinkSection | None, context: Context) -> list[Step]:
    steps = uplink.plan(await uplink.observe(), want)
    await uplink.check(steps, want)
    for step in steps:
        await uplink.prepare(step)
        await uplink.apply(step, context)
    assert not await uplink.verify(want, context)
    return list(steps)


async def transmit(uplink: SatelliteUplink, context: Context, author: str, act: str) -> JsonObject:
    arguments: JsonObject = {"carrier": "sat1", "act": act, "reason": "the evening programme", "author": author}
    return await Transmit(uplink).run(arguments, NOBODY, context)


def services_at(port: int) -> dict[str, set[str]]:
    """Service name -> codecs of what a receiver gives out, as ffprobe sees it."""
    argv = ["ffprobe", "-v", "error", "-show_programs", "-of", "json", "-i", f"udp://127.0.0.1:{port}?timeout=8000000"]
    found = json.loads(subprocess.run(argv, capture_output=True, check=True, timeout=30).stdout)
    return {
        programme["tags"]["service_name"]: {stream["codec_name"] for stream in programme["streams"]}
        for programme in found["programs"]
    }


async def test_a_carrier_comes_muted_goes_on_the_air_by_two_people_and_arrives(
    uplink: SatelliteUplink, within: Callable[[float], Context]
) -> None:
    (step,) = await commit(uplink, satellite.section(), within(40))
    assert "two people" in step.disruption
    (carrier,) = uplink.carriers()
    chain = await uplink.chain(carrier)
    assert (await chain.standing()).transmitting is False
    assert uplink.plan(await uplink.observe(), satellite.section()) == ()

    with pytest.raises(RefusedError, match="nobody has asked"):
        await transmit(uplink, within(10), "alice", "approve")
    assert (await transmit(uplink, within(10), "alice", "ask"))["state"] == "asked"
    with pytest.raises(RefusedError, match="may not approve it too"):
        await transmit(uplink, within(10), "alice", "approve")
    assert (await chain.standing()).transmitting is False
    assert (await transmit(uplink, within(10), "bob", "approve"))["state"] == "on the air"

    found = await asyncio.to_thread(services_at, satellite.OUTPUTS[satellite.RX1])
    assert {name: codecs >= {"h264", "aac"} for name, codecs in found.items()} == {
        "Channel One": True,
        "Channel Two": True,
    }
    assert (await transmit(uplink, within(10), "carol", "mute"))["state"] == "muted"


async def test_a_change_of_rates_and_its_undo_leave_no_packet_dropped(
    uplink: SatelliteUplink, within: Callable[[float], Context]
) -> None:
    await commit(uplink, satellite.section(), within(40))
    (carrier,) = uplink.carriers()
    chain = await uplink.chain(carrier)
    before = (await chain.modem.read(["dropped_packets"]))["dropped_packets"].value
    lower = satellite.section(modcods=["QPSK 3/5", "QPSK 1/3"], rates={1: "1M", 2: "900k"})
    steps = uplink.plan(await uplink.observe(), lower)
    assert "relock" in steps[0].disruption
    undo = await uplink.prepare(steps[0])
    await uplink.apply(steps[0], within(40))
    assert not await uplink.verify(lower, within(20))
    assert (await chain.modem.read(["modcod"]))["modcod"].value == "QPSK 3/5"
    await uplink.undo(undo, within(40))
    assert not await uplink.verify(satellite.section(), within(20))
    assert uplink.plan(await uplink.observe(), satellite.section()) == ()
    assert (await chain.modem.read(["dropped_packets"]))["dropped_packets"].value == before


async def test_what_somebody_changes_by_hand_is_seen_and_put_back(
    uplink: SatelliteUplink, within: Callable[[float], Context]
) -> None:
    await commit(uplink, satellite.section(), within(40))
    (carrier,) = uplink.carriers()
    chain = await uplink.chain(carrier)
    await chain.encoder.set({"channel[1].bit_rate": 700_000, "channel[3].admin_state": "enabled"}, confirm=())
    state = await uplink.observe()
    assert state.value is not None
    told = str(state.value["altered"])
    assert "channel[1].bit_rate is 700000" in told
    assert "channel[3].admin_state is enabled, and nobody uses the row" in told
    await commit(uplink, satellite.section(), within(40))
    assert (await chain.encoder.read(["channel[3].admin_state"]))["channel[3].admin_state"].value == "disabled"


async def test_a_silent_device_refuses_what_touches_it_and_is_no_deviation(
    uplink: SatelliteUplink, sky: satellite.Simulated, within: Callable[[float], Context]
) -> None:
    await commit(uplink, satellite.section(), within(40))
    with satellite.fault(sky, "enc1", "silent"):
        assert uplink.plan(await uplink.observe(), satellite.section()) == ()
        other = satellite.section(rates={1: "1100k"})
        steps = uplink.plan(await uplink.observe(), other)
        with pytest.raises(RefusedError) as caught:
            await uplink.check(steps, other)
        assert "enc1 does not answer" in caught.value.problems[0].rule
    await satellite.eventually(lambda: _answers(uplink, uplink.carriers()[0]))


async def _answers(uplink: SatelliteUplink, carrier: UplinkCarrier) -> bool:
    return not (await (await uplink.chain(carrier)).standing()).silent


async def test_a_device_that_ignores_a_set_is_found_out(
    uplink: SatelliteUplink, sky: satellite.Simulated, within: Callable[[float], Context]
) -> None:
    await commit(uplink, satellite.section(), within(40))
    other = satellite.section(rates={2: "900k"})
    (step,) = uplink.plan(await uplink.observe(), other)
    undo = await uplink.prepare(step)
    with satellite.fault(sky, "enc1", "ignored-set"), pytest.raises(Exception, match="bit_rate"):
        await uplink.apply(step, within(40))
    await uplink.undo(undo, within(40))
    assert not await uplink.verify(satellite.section(), within(20))


async def test_a_request_to_transmit_names_its_person_and_its_reason(
    uplink: SatelliteUplink, within: Callable[[float], Context]
) -> None:
    await commit(uplink, satellite.section(), within(40))
    with pytest.raises(InputError, match="nobody is named"):
        await transmit(uplink, within(10), "", "ask")
    with pytest.raises(InputError, match="has a reason"):
        await Transmit(uplink).run({"carrier": "sat1", "act": "ask", "author": "alice"}, NOBODY, within(10))
