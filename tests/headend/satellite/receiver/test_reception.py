from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.devices.modelfile import load_models
from headend.satellite.documents import Margins
from headend.satellite.modcod import by_name
from headend.satellite.receiver.reception import SILENT, ReceiverReading, Reception, describe, reading_of, wanted_of
from headend.satellite.receiver.telemetry import FALLBACK, FEED, RECEPTION, CarrierWatch
from headend.satellite.threshold import required_es_n0_db
from nf.contracts.driver import Event
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.headend.satellite.receiver.samples import carrier, read, status, unreachable

MARGINS = Margins(down=0.5, up=1.2)
NEEDED = required_es_n0_db(by_name("8PSK 3/4"), MARGINS.losses)


def at_margin(margin_db: float) -> ReceiverReading:
    return reading_of(read(lock="locked", es_n0=NEEDED + margin_db, modcod="8PSK 3/4"), MARGINS)


def test_the_margin_is_over_what_the_modcod_seen_requires() -> None:
    assert at_margin(2.5).margin_db == 2.5
    assert at_margin(2.5).values == {"locked": 1.0, "es_n0_db": NEEDED + 2.5, "margin_db": 2.5}
    qpsk = reading_of(read(lock="locked", es_n0=NEEDED + 2.5, modcod="QPSK 1/2"), MARGINS)
    assert qpsk.margin_db is not None
    assert qpsk.margin_db > 8
    saturated = Margins(saturated=True)
    other = reading_of(read(lock="locked", es_n0=12.0, modcod="8PSK 3/4"), saturated).margin_db
    assert other is not None
    assert other < 12.0 - NEEDED


def test_a_receiver_that_tells_no_es_n0_is_believed_in_its_own_margin() -> None:
    cisco = reading_of(read(lock="locked", margin=1.6), MARGINS)
    assert (cisco.margin_db, cisco.modcod, cisco.es_n0_db) == (1.6, None, None)
    assert describe(cisco) == "margin 1.6 dB"
    unknown = reading_of(read(lock="locked", es_n0=9.0, modcod="4096APSK 9/10", margin=0.1), MARGINS)
    assert unknown.margin_db == 0.1


def test_what_cannot_be_read_is_no_figure() -> None:
    found = reading_of(read(lock="acquiring", es_n0=None, modcod=None, relock_count=3), MARGINS)
    assert (found.locked, found.es_n0_db, found.modcod, found.margin_db) == (False, None, None, None)
    assert found.values == {"locked": 0.0, "relocks": 3.0}
    assert describe(found) == "no lock"
    assert reading_of(unreachable(), MARGINS) == reading_of({}, MARGINS) == SILENT


def test_every_receiver_model_has_something_to_read() -> None:
    receivers = [model for model in load_models().values() if model.spec.kind.value == "receiver"]
    assert receivers
    for model in receivers:
        assert "lock" in wanted_of(model), model.name
    assert {"es_n0", "margin", "modcod"} <= set(wanted_of(load_models()["nf-lab-receiver"]))


def test_between_the_two_margins_it_stays_what_it_is() -> None:
    reception = Reception(MARGINS)
    story = [(0.8, True), (0.4, False), (0.8, False), (1.1, False), (1.2, True), (0.6, True), (-2.0, False)]
    assert [reception.take(at_margin(margin)) for margin, _ in story] == [good for _, good in story]
    assert reception.take(SILENT) is False
    assert reception.take(reading_of(read(lock="locked"), MARGINS)) is True  # it tells its lock and nothing else
    assert reception.take(reading_of(read(lock="unlocked"), MARGINS)) is False


def test_nothing_is_known_before_the_receiver_said_something() -> None:
    reception = Reception(MARGINS)
    assert reception.take(SILENT) is None
    assert reception.take(reading_of(read(relock_count=1), MARGINS)) is None


@given(st.lists(st.floats(-5, 10), min_size=1))
def test_it_changes_only_where_a_margin_was_passed(margins: list[float]) -> None:
    reception, before = Reception(MARGINS), None
    for margin in margins:
        reading = at_margin(margin)
        good = reception.take(reading)
        assert reading.margin_db is not None
        if before is True and good is False:
            assert reading.margin_db < MARGINS.down_db
        if before is False and good is True:
            assert reading.margin_db >= MARGINS.up_db
        before = good


def alarms(events: Iterable[Event]) -> list[tuple[str, str, Severity]]:
    return [(event.cause, event.object, event.severity) for event in events if isinstance(event, AlarmEvent)]


def hop(events: Iterable[Event]) -> Sample:
    (found,) = (event for event in events if isinstance(event, Sample) and event.kind == "path.hop")
    return found


def test_what_is_well_is_said_once_and_measured_each_time() -> None:
    watch = CarrierWatch(carrier())
    first = list(watch.take(at_margin(4.0), status(1000, uptime_s=1.0), 10.0))
    assert alarms(first) == [
        ("device-silent", "rx1", Severity.CLEARED),
        (RECEPTION, "c1/rx1", Severity.CLEARED),
        (FEED, "c1", Severity.CLEARED),
        (FALLBACK, "ch1/satellite", Severity.CLEARED),
    ]
    second = list(watch.take(at_margin(4.0), status(2000, uptime_s=2.0), 11.0))
    assert alarms(second) == []
    sample = hop(second)
    assert sample.labels == {"channel": "ch1", "path": "satellite", "point": "downlink"}
    assert (sample.values["bitrate_bps"], sample.text) == (1000 * 188 * 8, "on satellite")
    (receiver,) = (event for event in second if isinstance(event, Sample) and event.kind == "satellite.receiver")
    assert receiver.labels == {"carrier": "c1", "device": "rx1"}
    assert (receiver.values["margin_db"], receiver.values["good"]) == (4.0, 1.0)
    assert receiver.text == "margin 4.0 dB, 8PSK 3/4"


@pytest.mark.parametrize(
    ("margin", "told", "text"),
    [
        (-0.3, status(9, taken="fallback"), "on iptv (margin -0.3 dB)"),
        (0.2, status(9), "on satellite (margin 0.2 dB)"),
        (4.0, status(9, taken="fallback"), "on iptv (sound again, not for long enough)"),
        (4.0, status(9, age_ms=3000.0), "nothing comes on satellite"),
        (4.0, status(0, age_ms=None, taken="fallback"), "nothing comes on iptv (the service does not come)"),
    ],
)
def test_the_hop_says_where_the_service_comes_from_and_why(margin: float, told: object, text: str) -> None:
    assert hop(CarrierWatch(carrier()).take(at_margin(margin), told, 1.0)).text == text  # type: ignore[arg-type]


def test_a_service_without_anything_to_send_has_no_bits() -> None:
    values = hop(CarrierWatch(carrier()).take(None, status(0, age_ms=None), 1.0)).values
    assert values["bitrate_bps"] == values["packets"] == 0
    assert "age_ms" not in values


def test_alarms_are_raised_cleared_and_ended() -> None:
    watch = CarrierWatch(carrier())
    list(watch.take(at_margin(4.0), status(1), 1.0))
    bad = list(watch.take(at_margin(0.1), status(2, taken="fallback"), 2.0))
    assert alarms(bad) == [(RECEPTION, "c1/rx1", Severity.MAJOR), (FALLBACK, "ch1/satellite", Severity.MINOR)]
    assert alarms(watch.take(SILENT, None, 3.0)) == [
        ("device-silent", "rx1", Severity.MAJOR),
        (FEED, "c1", Severity.MAJOR),
    ]
    assert alarms(watch.take(None, None, 4.0)) == []
    back = alarms(watch.take(at_margin(3.0), status(3), 5.0))
    assert {severity for _, _, severity in back} == {Severity.CLEARED}
    assert len(back) == 4
    list(watch.take(at_margin(0.1), status(4), 6.0))
    assert alarms(watch.end(7.0)) == [(RECEPTION, "c1/rx1", Severity.CLEARED)]
    assert alarms(watch.end(8.0)) == []
