"""When a clock counts as right. Not known is not right."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept import timesync
from lawful_intercept.timesync import ClockState, TimeSync, kernel, measured, read_tracking
from nf.errors import RefusedError

TRACKING = (
    "C0A80001,192.168.0.1,2,1700000000.123456789,0.000123456,-0.000012345,0.000456789,"
    "-12.345,0.001,0.045,0.012345678,0.000987654,64.5,Normal\n"
)


def test_chrony_is_read() -> None:
    found = read_tracking(TRACKING)
    assert found is not None
    assert (found.synchronised, found.source) == (True, "chrony 192.168.0.1 stratum 2")
    assert found.offset_s == pytest.approx(0.000123456)
    assert found.within(0.1)
    assert not found.within(0.0001)
    lost = read_tracking(TRACKING.replace("Normal", "Not synchronised"))
    assert lost is not None
    assert not lost.within(0.1)


@given(st.text() | st.lists(st.text(alphabet="0123456789.,-eN \n"), min_size=14, max_size=14).map(",".join))
def test_what_is_no_answer_of_chrony_is_none(text: str) -> None:
    found = read_tracking(text)
    assert found is None or found.source.startswith("chrony")


def test_the_kernel_is_asked() -> None:
    found = kernel()
    assert found.synchronised is not None
    assert found.source == "kernel"
    assert isinstance(measured(), ClockState)


def test_the_kernel_answers_in_microseconds_or_nanoseconds() -> None:
    steered = timesync._kernel(0, 0, 2_000, 16_000, 500)
    assert (steered.synchronised, steered.offset_s, steered.error_s) == (True, 0.002, 0.016)
    assert timesync._kernel(0, 0x2000, 2_000_000, 16_000, 500).offset_s == 0.002
    assert timesync._kernel(5, 0, 0, 16_000_000, 16_000_000).synchronised is False
    assert timesync._kernel(0, 0x40, 0, 16_000_000, 16_000_000).synchronised is False


def test_both_have_to_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, TRACKING, "")

    monkeypatch.setattr(timesync.subprocess, "run", answered)
    for steered in (True, False):
        monkeypatch.setattr(timesync, "kernel", lambda steered=steered: ClockState(steered, 0.0, 0.01, "kernel"))
        assert measured().within(0.1) is steered


def test_timesyncd_is_named_where_there_is_no_chrony(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timesync, "chrony", lambda: None)
    monkeypatch.setattr(timesync, "_TIMESYNCD", tmp_path)
    monkeypatch.setattr(timesync, "kernel", lambda: ClockState(True, 0.001, 0.01, "kernel"))
    assert str(measured()) == "synchronised by systemd-timesyncd, offset +1.000 ms"


async def test_unknown_fails_closed() -> None:
    def broken() -> ClockState:
        raise OSError

    for read in (broken, lambda: ClockState(None, None, None, "?"), lambda: ClockState(True, None, 0.0, "?")):
        with pytest.raises(RefusedError, match="clock"):
            await TimeSync(read).require()
    with pytest.raises(RefusedError):
        await TimeSync(lambda: ClockState(True, 0.2, 0.0, "x")).require()
    assert (await TimeSync(lambda: ClockState(True, -0.2, 0.0, "x"), limit_s=0.5).require()).source == "x"


async def test_a_laboratory_may_assume_and_it_shows() -> None:
    found = await TimeSync(assumed=True).require()
    assert found.assumed
    assert "assumed" in str(found)
