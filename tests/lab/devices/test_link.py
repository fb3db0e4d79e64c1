from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.devices import rf
from lab.devices.control import CLEAR_SKY, Control, DeviceFault, Fade, Identity, Order
from lab.devices.link import Demodulator, Lock, Received, Tuning, beacon_fade_db, threshold_db
from lab.devices.meter import Meter
from lab.devices.modcods import MODCODS
from lab.devices.rf import Carrier, Frame
from lab.devices.shaper import QUEUE_S, Shaper
from lab.devices.ts import NULL_PACKET

CARRIER = Carrier(14, 2_000_000, 1, 2, 142_500, bytes(range(8)))
TUNING = Tuning(142_500, 2_000_000, 0.5)


def test_modcods_are_those_of_the_standard() -> None:
    assert len(MODCODS) == 67
    assert (MODCODS[1].name, MODCODS[28].name, MODCODS[29].name) == ("QPSK 1/4", "32APSK 9/10", "QPSK 2/9")
    # What two receivers on the air report as their transport stream rate, within 10 ppm.
    three_quarters = MODCODS[14]
    assert three_quarters.net_bps(27_500_000, pilots=True) == pytest.approx(59_881_760, rel=1e-5)
    assert three_quarters.net_bps(30_000_000, pilots=True) == pytest.approx(65_326_240, rel=1e-5)
    # 128APSK fills its last slot: EN 302 307-2, table 17.
    modcod = next(modcod for modcod in MODCODS.values() if modcod.name == "128APSK 3/4")
    assert modcod.net_bps(1_000_000, pilots=False) == pytest.approx(5_163_248, rel=1e-6)


def test_more_efficient_modcods_of_one_kind_need_more() -> None:
    for bits in (2, 3, 4, 5):
        kind = sorted(
            (m for m in MODCODS.values() if m.bits_per_symbol == bits and m.number <= 28), key=lambda m: m.kbch_bits
        )
        assert [m.es_n0_db for m in kind] == sorted(m.es_n0_db for m in kind)


numbers = st.integers(0, 0xFFFFFFFF)
frames = st.builds(
    Frame,
    st.builds(
        Carrier, st.integers(0, 255), numbers, st.integers(0, 6), st.integers(0, 2), numbers,
        st.one_of(st.just(b""), st.binary(min_size=8, max_size=8).filter(any)),
    ),
    numbers, st.integers(-32768, 32767), st.integers(-32768, 32767),
)  # fmt: skip


@given(frames, st.binary(max_size=1316))
def test_frames_come_back(frame: Frame, payload: bytes) -> None:
    assert rf.unpack(rf.pack(frame) + payload) == frame


@given(st.binary(max_size=80))
def test_what_is_no_frame_is_none(noise: bytes) -> None:
    assert rf.unpack(noise) is None or noise.startswith(rf.MAGIC)


def at(es_n0_db: float, when: float, carrier: Carrier = CARRIER) -> Received:
    return Received(carrier, es_n0_db, when)


def locked() -> Demodulator:
    demodulator = Demodulator(TUNING, 0.5)
    demodulator.receive(at(13.0, 0.0))
    demodulator.receive(at(13.0, 0.5))
    assert demodulator.lock is Lock.LOCKED
    return demodulator


def test_lock_takes_its_time() -> None:
    demodulator = Demodulator(TUNING, 0.5)
    assert not demodulator.receive(at(13.0, 10.0))
    assert demodulator.lock is Lock.ACQUIRING
    assert not demodulator.receive(at(13.0, 10.49))
    assert demodulator.receive(at(13.0, 10.5))
    assert (demodulator.relocks, demodulator.last_outage_s) == (0, 0.0)
    assert demodulator.margin_db() == pytest.approx(13.0 - 7.91 - 0.5)


def test_below_the_threshold_nothing_comes_out() -> None:
    demodulator, edge = locked(), threshold_db(14, 0.5)
    assert demodulator.receive(at(edge + 0.01, 1.0))
    assert not demodulator.receive(at(edge - 0.01, 2.0))
    assert demodulator.lock is Lock.UNLOCKED
    assert not demodulator.receive(at(edge + 0.01, 5.0))
    assert demodulator.receive(at(edge + 0.01, 5.5))
    assert (demodulator.relocks, demodulator.last_outage_s) == (1, 3.5)


def test_a_change_of_modcod_costs_one_relock() -> None:
    demodulator, other = locked(), replace(CARRIER, modcod=12)
    assert not demodulator.receive(at(13.0, 1.0, other))
    assert not demodulator.receive(at(13.0, 1.4, other))
    assert demodulator.receive(at(13.0, 1.5, other))
    assert (demodulator.relocks, demodulator.last_outage_s) == (1, 0.5)


def test_a_carrier_identification_alone_disturbs_nothing() -> None:
    assert locked().receive(at(13.0, 1.0, replace(CARRIER, carrier_id=b"")))


def test_a_carrier_that_is_gone_is_lost() -> None:
    demodulator = locked()
    demodulator.idle(0.9)
    assert demodulator.lock is Lock.LOCKED
    demodulator.idle(1.1)
    assert (demodulator.lock, demodulator.margin_db()) == (Lock.UNLOCKED, None)


def test_other_carriers_are_not_heard() -> None:
    demodulator = Demodulator(TUNING, 0.5)
    assert not TUNING.hears(replace(CARRIER, frequency_100khz=142_600))
    assert TUNING.hears(replace(CARRIER, frequency_100khz=142_505))
    demodulator.receive(at(13.0, 0.0, replace(CARRIER, symbol_rate=1_000_000)))
    assert demodulator.lock is Lock.UNLOCKED
    demodulator = locked()
    demodulator.retune(replace(TUNING, relock_s=0.1), 1.0)
    assert demodulator.lock is Lock.LOCKED
    demodulator.retune(replace(TUNING, frequency_100khz=143_000), 1.0)
    assert demodulator.lock is Lock.UNLOCKED


def test_the_beacon_suffers_less_than_the_uplink() -> None:
    assert beacon_fade_db(14.8) == pytest.approx(10.0)


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 2), st.floats(0, 60)), max_size=6))
def test_a_fade_moves_at_its_slope_and_arrives(steps: list[tuple[float, float, float]]) -> None:
    fade, now = Fade(), 100.0
    for to_db, slope, lasts in steps:
        before = fade.at(now)
        fade = fade.towards(to_db, slope, now)
        middle, end = fade.at(now + lasts / 2), fade.at(now + lasts)
        low, high = sorted((before, to_db))
        assert low - 1e-9 <= middle <= high + 1e-9
        if slope == 0 or slope * lasts >= abs(to_db - before):
            assert end == pytest.approx(to_db, abs=1e-6)
        else:
            assert abs(end - before) == pytest.approx(slope * lasts, abs=1e-6)
        now += lasts


def test_a_device_looks_only_where_something_was_put_or_taken_away(tmp_path: Path) -> None:
    device, maker = Control(tmp_path / "run"), Control(tmp_path / "run")
    assert not device.changed()
    device.introduce(Identity("modem", "mod1", "site"))
    assert device.changed()
    os.utime(tmp_path / "run", (1_000, 1_000))
    assert device.changed()
    assert not device.changed()
    maker.put(DeviceFault.SLOW, seconds=1.0)
    assert device.changed()
    os.utime(tmp_path / "run", (1_000, 1_000))
    device.changed()
    maker.order(Order.REBOOT)
    assert device.changed()


def test_what_stands_survives_the_device(tmp_path: Path) -> None:
    device, maker = Control(tmp_path / "run"), Control(tmp_path / "run")
    assert (device.weather(), device.identity()) == (CLEAR_SKY, None)
    device.introduce(Identity("modem", "mod1", ""))
    assert maker.identity() == Identity("modem", "mod1", "")
    maker.set_fade(Fade(0, 12, 0.5, 7.0))
    maker.put(DeviceFault.SLOW, seconds=2.0)
    maker.order(Order.REBOOT)
    again = Control(tmp_path / "run")
    assert again.weather().fade.at(11.0) == 2.0
    assert again.weather().faults == {DeviceFault.SLOW: {"seconds": 2.0}}
    assert (again.ordered(Order.REBOOT), again.ordered(Order.REBOOT)) == (True, False)
    maker.take_away(DeviceFault.SLOW)
    maker.set_fade(Fade())
    assert again.weather() == CLEAR_SKY


def test_a_meter_forgets() -> None:
    meter = Meter(1.0)
    assert meter.per_second(0.0) == 0
    for tick in range(300):
        meter.add(tick / 100, 2)
    assert meter.per_second(3.0) == pytest.approx(200, rel=0.05)
    assert meter.per_second(10.0) == 0
    assert meter.total == 600


PAYLOAD = bytes((0x47, 0, 33, 0x10)) + bytes(184)


@given(
    st.lists(st.tuples(st.floats(0.001, 0.05), st.integers(0, 60), st.booleans()), min_size=1, max_size=200),
    st.sampled_from([1_000_000.0, 4_355_050.0]),
)
def test_the_shaper_keeps_the_net_rate_and_loses_nothing_unseen(
    steps: list[tuple[float, int, bool]], rate: float
) -> None:
    shaper, now, sent, offered, kept = Shaper(rate, 0.0), 0.0, 0, 0, 0
    for passes, count, nulls in steps:
        now += passes
        arrived = [NULL_PACKET if nulls and number % 3 == 0 else PAYLOAD for number in range(count)]
        leaving = shaper.carry(arrived, now)
        offered += sum(one is PAYLOAD for one in arrived)
        kept += sum(one is PAYLOAD for one in leaving)
        sent += len(leaving)
        assert len(leaving) % 7 == 0
        assert sent * 1504 <= rate * now + 1
        assert sent * 1504 > rate * now - 8 * 1504
        assert shaper.delay_s() <= QUEUE_S
    waiting = round(shaper.delay_s() * rate / 1504)
    assert offered - waiting - shaper.dropped <= kept <= offered


def test_what_does_not_fit_is_dropped_and_counted() -> None:
    """Half as much again as the carrier takes: a third of it goes, whatever of it is null packets."""
    for packet in (PAYLOAD, NULL_PACKET):
        shaper, rate = Shaper(1_504_000.0, 0.0), 1000
        for tick in range(1, 1001):
            shaper.carry([packet] * 15, tick / 100)
        assert shaper.dropped == pytest.approx(0.5 * rate * 10, rel=0.15)
        assert shaper.stuffed == 0


def test_a_clock_that_is_a_little_faster_is_followed() -> None:
    """An input of 1 % more than the net rate, a tenth of it null packets: nothing is dropped."""
    shaper = Shaper(1_504_000.0, 0.0)
    for tick in range(1, 3001):
        shaper.carry([NULL_PACKET] + [PAYLOAD] * 9 + ([PAYLOAD] if tick % 10 == 0 else []), tick / 100)
    assert (shaper.dropped, shaper.delay_s() < 0.05) == (0, True)
