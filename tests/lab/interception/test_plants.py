"""The published mask, at the views of the reference network: it hides what each run has of its own, and no leak."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lab.interception.evidence import Evidence
from lab.interception.judge import Round, judge
from lab.interception.mask import published
from lab.interception.plants import PLANTS, overlooked

CALL = "5f1c2a{0}b7d94e@10.1.1.2"
AUDIT = '{{"number": {0}, "at": 179607695{0}.2, "action": "backup.create", "hash": "{1}", "actor": "operator"}}'


def run(number: int) -> Evidence:
    """The `number`-th look at a network in which nothing changes but time, calls and what is counted."""
    made = Evidence()
    noise = np.random.default_rng(number)
    call = CALL.format(number)
    made.add_text(
        "noc:nf appliance list",
        f'[{{"id": "pop1", "alarms": 2, "online": true, "confirmed_revision": 2, "last_seen": 17960769{number}1.25}}]',
    )
    made.add_text(
        "noc:nf appliance show pop1",
        f'{{"id": "pop1", "last_seen": 17960769{number}1.5, "config": {{"sections": {{"kamailio": {{"workers": 4}}}}}},'
        f' "alarms": [{{"id": "pop1:device-alarm:rx1", "first_at": 1796076153.68, "count": 1, "appliance": "pop1"}}]}}',
    )
    made.add_text("noc:nf alarms", '[{"appliance": "pop1", "cause": "device-alarm", "last_at": 1796076153.68}]')
    made.add_text(
        "noc:nf sip nodes",
        f'{{"rows": [{{"id": "proxy1", "appliance": "pop1", "calls": 1, "detail": "up {840 + 60 * number} s"}}]}}',
    )
    made.add_text(
        "noc:nf sip cdr",
        f'{{"rows": [{{"call_id": "{call}", "from_tag": "e{number}", "began": 17960769{number}0.1, "code": 200}}]}}',
    )
    # A record for each backup that was made: a history grows.
    made.add_text("noc:nf audit show", "\n".join(AUDIT.format(one, f"{one:064x}") for one in range(1, 2 + number)))
    rate = 480_000 + 9_000 * noise.random()
    made.add(
        "gauges:noc",
        [
            'streamverse_appliance_online{node="pop1",pop="pop1"} 1',
            f'streamverse_path_rate_bytes_per_second{{channel="ch1",node="pop1"}} {rate:g}',
        ],
    )
    made.add("metrics:noc", ['streamverse_appliance_online{node="pop1",pop="pop1"}'])
    made.add_figures("interface:packets while they talk", {"pop1 eth1 out": 700 + 15 * noise.random()})
    made.add_text("log:pop1/cmd.log", f"2026-11-30T22:0{number}:11Z kamailio: started")
    made.add("processes:pop1", ["root 0 1 nf agent run"])
    made.add("backup:entries", ["lineup/current value spec.channels: 3"])
    return made


@pytest.fixture(scope="module")
def looked() -> Round:
    """In the order of the chapter: two looks without a task, one with, one without."""
    return Round((run(1), run(2), run(4)), run(3))


def test_what_each_run_has_of_its_own_is_no_difference(looked: Round) -> None:
    verdict = judge([looked], published())
    assert verdict.text() == ""
    assert set(verdict.compared) >= {source for source, _ in PLANTS.values()}


@pytest.mark.parametrize("name", PLANTS)
def test_a_leak_in_the_views_of_the_noc_is_found(looked: Round, name: str) -> None:
    assert overlooked(looked, published(), {name: PLANTS[name]}) == []


def _say(source: str, text: str, *values: float) -> Callable[[Evidence], None]:
    return lambda run: run.add(source, [text.format(value) for value in values])


@pytest.mark.parametrize(
    ("source", "text", "usual", "seen"),
    [
        ("gauges:noc", 'streamverse_alarm_standing{{cause="failover",node="pop1"}} {:g}', 1, 2),
        ("gauges:noc", 'streamverse_path_rate_bytes_per_second{{channel="ch2",node="pop1"}} {:g}', 5e5, 1.2e6),
        ("counters:noc", 'streamverse_failover_total{{channel="ch1",reason="failover"}} {:g}', 0, 1),
        ("noc:nf channel show voice", "rows[].hops[].receivers: {:g}", 2, 3),
        ("noc:nf channel show voice", "rows[].hops[].bitrate_bps: {:g}", 64_000, 128_000),
        ("counters:noc", 'streamverse_cdn_requests_total{{node="pop1",result="miss",tier="edge"}} {:g}', 12, 120),
        ("noc:nf channel show voice", "rows[].packets: {:g}", 1000, 5000),
        ("bundle:pop1/state.json", "queue: {:g}", 0, 8),
    ],
)
def test_a_number_that_changed_is_found_and_told(
    looked: Round, source: str, text: str, usual: float, seen: float
) -> None:
    runs = [run(number) for number in (1, 2, 3, 4)]
    for one, value in zip(runs, (usual, usual, seen, usual), strict=True):
        _say(source, text, value)(one)
    verdict = judge([Round((runs[0], runs[1], runs[3]), runs[2])], published())
    assert {one.source for one in verdict.differences} == {source}
    assert all(one.item and "without a task" in one.what for one in verdict.differences)
    _say(source, text, usual)(same := run(3))
    assert judge([Round((runs[0], runs[1], runs[3]), same)], published()).same
