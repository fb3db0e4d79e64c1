"""The access log as it is followed: from its end, across rolling, and never more than can be read."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.clock import VirtualClock
from nf.contracts.paths import Verdict
from nf.media.documents import EdgeChannel, EdgeSection, Parent
from nf.media.edge import access_log
from nf.media.edge.access_log import ACCESS_LOG, AccessLog, Key, Served, tally
from nf.media.edge.telemetry import EdgeWatch
from nf.policy.health import Facts, Reading, Thresholds, judge
from nf.telemetry.samples import Sample


def line(path: str, octets: int, host: str = "cdn.test:8080", cache: str = "TCP_MISS", status: int = 200) -> bytes:
    """As Traffic Server writes it."""
    return (
        '{"ts":1795405772.980,"client":"10.3.1.10","method":"GET","url":"http://'
        f'{host}{path}","status":{status:03},"octets":{octets},"cache":"{cache}","hierarchy":"NONE","ttms":0}}\n'
    ).encode()


def served(*octets: int, hits: int = 0) -> dict[Key, Served]:
    return {("cdn.test", "ch1"): Served(len(octets), hits, sum(octets))}


def test_lines_since_the_first_look_across_a_roll(tmp_path: Path) -> None:
    path = tmp_path / ACCESS_LOG
    path.write_bytes(line("/ch1/before.m4s", 1))
    log = AccessLog(path)
    assert log.read() == {}
    with path.open("ab") as out:
        out.write(line("/ch1/a.m4s", 2) + line("/ch1", 7) + line("/ch1/b.m4s", 3)[:-5])
    assert log.read() == served(2)
    with path.open("ab") as out:
        out.write(line("/ch1/b.m4s", 3)[-5:] + line("/ch1/c.m4s", 4))
    path.rename(tmp_path / "access.log.old")
    assert log.read() == served(3, 4)
    path.write_bytes(line("/ch1/d.m4s", 5))
    assert log.read() == served(5)
    log.close()


def test_a_log_that_comes_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / ACCESS_LOG)
    assert log.read() == {}
    (tmp_path / ACCESS_LOG).write_bytes(line("/ch1/a.m4s", 2))
    assert log.read() == served(2)
    log.close()


def test_too_much_at_once_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MAX_READ_OCTETS", 1000)
    path = tmp_path / ACCESS_LOG
    path.touch()
    log = AccessLog(path)
    assert log.read() == {}
    path.write_bytes(line("/ch1/a.m4s", 2) * 100)
    assert log.read() is None
    with path.open("ab") as out:
        out.write(line("/ch1/b.m4s", 3))
    assert log.read() == served(3)
    log.close()


def test_what_comes_from_the_cache_is_a_hit() -> None:
    kinds = ("TCP_HIT", "TCP_MEM_HIT", "TCP_REFRESH_HIT", "TCP_MISS", "ERR_CONNECT_FAIL")
    assert tally(line("/ch1/a.m4s", 1, cache=cache) for cache in kinds) == served(1, 1, 1, 1, 1, hits=2)


def test_an_unknown_line_does_not_count() -> None:
    strange = [b"", b"not ours", line("/ch1", 1), line("/ch1/a", -1), line("/ch1/a", 1)[20:], line("/ch1/a", 10**30)]
    assert tally([*strange, line("/ch1/a?b=c", 1)]) == served(1)


def test_answers_of_status_5xx_are_errors() -> None:
    found = tally(line("/ch1/a.m4s", 1, status=status) for status in (200, 206, 304, 404, 499, 0, 500, 502, 599, 600))
    assert found["cdn.test", "ch1"].errors == 3


@given(st.lists(st.binary(max_size=200) | st.text().map(lambda text: line(f"/{text}", 1)), max_size=20))
def test_any_octets_are_counted_once_or_not(lines: list[bytes]) -> None:
    assert sum(one.requests for one in tally(lines).values()) <= len(lines)


def section_of(host: str = "cdn.test", *aliases: str) -> EdgeSection:
    channel = EdgeChannel(channel="ch1", path="ott", host=host, aliases=aliases, bucket="media")
    return EdgeSection(
        listen=(IPv4Address("127.0.0.1"),), shields=(Parent(address=IPv4Address("127.0.0.2")),), channels=(channel,)
    )


async def test_a_shield_that_answers_500_makes_the_path_degraded_then_down_then_up(tmp_path: Path) -> None:
    path, clock, section = tmp_path / ACCESS_LOG, VirtualClock(), section_of("cdn.test", "pop1.cdn.test")
    path.touch()
    log = AccessLog(path)
    watch = EdgeWatch("pop1", clock, log)

    async def verdict(good: int, bad: int) -> tuple[Verdict, float | None]:
        with path.open("ab") as out:
            out.write(line("/ch1/a.m4s", 1000) * good + line("/ch1/b.m4s", 200, "pop1.cdn.test", status=500) * bad)
        await clock.advance(2.0)
        watch.count(section, log.read())
        (sample,) = watch.samples(section)
        assert isinstance(sample, Sample)
        reading = Reading("pop1", "edge", 3, here=True, sample=sample, age_s=0.0)
        return judge((reading,), Facts(), Thresholds()).verdict, sample.values.get("error_share")

    await verdict(0, 0)
    assert await verdict(2, 2) == (Verdict.UP, None), "of four answers nothing is told"
    assert await verdict(96, 0) == (Verdict.UP, 0.02)
    assert await verdict(90, 10) == (Verdict.DEGRADED, 0.06)
    assert await verdict(0, 188) == (Verdict.DOWN, 200 / 388)
    for _ in range(4):
        last = await verdict(50, 0)
    assert last == (Verdict.DEGRADED, 188 / 388)
    assert await verdict(50, 0) == (Verdict.UP, 0.0), "what is older than ten seconds is forgotten"
    (sample,) = watch.samples(section)
    assert isinstance(sample, Sample)
    assert (sample.values["packets"], sample.values["errors"]) == (638.0, 200.0)
    log.close()


async def test_the_bit_rate_is_that_of_the_last_ten_seconds(tmp_path: Path) -> None:
    path, clock = tmp_path / ACCESS_LOG, VirtualClock()
    path.touch()
    section = section_of()
    log = AccessLog(path)
    watch = EdgeWatch("pop1", clock, log)

    async def rate(octets: int) -> float | None:
        with path.open("ab") as out:
            out.write(line("/ch1/a.m4s", octets) + line("/ch2/a.m4s", 999) + line("/ch1/a.m4s", 999, "other.test"))
        await clock.advance(2.0)
        watch.count(section, log.read())
        (sample,) = watch.samples(section)
        assert isinstance(sample, Sample)
        return sample.values.get("bitrate_bps")

    assert await rate(1000) is None, "nothing is known before the first look"
    assert await rate(1000) == 1000 * 8 / 2
    assert await rate(500) == 1500 * 8 / 4
    for _ in range(5):
        last = await rate(2000)
    assert last == 2000 * 8 / 2
    log.close()
