"""The access log as it is followed: from its end, across rolling, and never more than can be read."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.clock import VirtualClock
from nf.media.documents import EdgeChannel, EdgeSection, Parent
from nf.media.edge import access_log
from nf.media.edge.access_log import ACCESS_LOG, AccessLog, Weight, parse_line
from nf.media.edge.telemetry import EdgeWatch
from nf.telemetry.samples import Sample


def line(path: str, octets: int, host: str = "cdn.test:8080") -> bytes:
    return json.dumps({"url": f"http://{host}{path}", "octets": octets}).encode() + b"\n"


def weight(octets: int) -> Weight:
    return ("cdn.test", "ch1", octets)


def test_lines_since_the_first_look_across_a_roll(tmp_path: Path) -> None:
    path = tmp_path / ACCESS_LOG
    path.write_bytes(line("/ch1/before.m4s", 1))
    log = AccessLog(path)
    assert log.read() == []
    with path.open("ab") as out:
        out.write(line("/ch1/a.m4s", 2) + line("/ch1", 7) + line("/ch1/b.m4s", 3)[:-5])
    assert log.read() == [weight(2)]
    with path.open("ab") as out:
        out.write(line("/ch1/b.m4s", 3)[-5:] + line("/ch1/c.m4s", 4))
    path.rename(tmp_path / "access.log.old")
    assert log.read() == [weight(3), weight(4)]
    path.write_bytes(line("/ch1/d.m4s", 5))
    assert log.read() == [weight(5)]
    log.close()


def test_a_log_that_comes_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / ACCESS_LOG)
    assert log.read() == []
    (tmp_path / ACCESS_LOG).write_bytes(line("/ch1/a.m4s", 2))
    assert log.read() == [weight(2)]
    log.close()


def test_too_much_at_once_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MAX_READ_OCTETS", 1000)
    path = tmp_path / ACCESS_LOG
    path.touch()
    log = AccessLog(path)
    assert log.read() == []
    path.write_bytes(line("/ch1/a.m4s", 2) * 100)
    assert log.read() is None
    with path.open("ab") as out:
        out.write(line("/ch1/b.m4s", 3))
    assert log.read() == [weight(3)]
    log.close()


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_octets_are_a_weight_or_none(data: bytes) -> None:
    parse_line(data)


@given(st.fixed_dictionaries({"url": st.text() | st.integers(), "octets": st.integers() | st.booleans() | st.text()}))
def test_any_entry_is_a_weight_or_none(entry: dict[str, object]) -> None:
    found = parse_line(json.dumps(entry).encode())
    assert found is None or (found[2] >= 0 and found[1] in str(entry["url"]))


async def test_the_bit_rate_is_that_of_the_last_ten_seconds(tmp_path: Path) -> None:
    path, clock = tmp_path / ACCESS_LOG, VirtualClock()
    path.touch()
    channel = EdgeChannel(channel="ch1", path="ott", host="cdn.test", bucket="media")
    section = EdgeSection(
        listen=(IPv4Address("127.0.0.1"),), shields=(Parent(address=IPv4Address("127.0.0.2")),), channels=(channel,)
    )
    log = AccessLog(path)
    watch = EdgeWatch("pop1", clock, log)

    async def rate(octets: int) -> float | None:
        with path.open("ab") as out:
            out.write(line("/ch1/a.m4s", octets) + line("/ch2/a.m4s", 999) + line("/ch1/a.m4s", 999, "other.test"))
        await clock.advance(2.0)
        watch._rates.take(log.read(), clock.monotonic())
        (sample,) = watch.samples(section, {})
        assert isinstance(sample, Sample)
        return sample.values.get("bitrate_bps")

    assert await rate(1000) is None, "nothing is known before the first look"
    assert await rate(1000) == 1000 * 8 / 2
    assert await rate(500) == 1500 * 8 / 4
    for _ in range(5):
        last = await rate(2000)
    assert last == 2000 * 8 / 2
    log.close()
