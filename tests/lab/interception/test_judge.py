"""The judge of undetectability: it forgives what runs without a task differ by, and finds what is planted."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.interception.evidence import Evidence, flat, lines
from lab.interception.judge import Round, compare_runs, judge
from lab.interception.mask import Mask, Masking, Seen, published
from lab.interception.timing import LEVEL, compare, distance

NOTHING = Mask()
MASK = Mask.model_validate(
    {
        "fields": [
            {"id": "time", "sources": ["log:*"], "pattern": r"^\d\d:\d\d ", "replace": "", "reason": "when it was"},
        ],
        "figures": [{"id": "octets", "sources": ["metric:octets*"], "relative": 0.1, "reason": "traffic varies"}],
        "times": [{"id": "clock", "sources": ["rtp:*"], "seconds": 0.000125, "reason": "a receiver's clock"}],
    }
)


def evidence(*log: str, **figures: float) -> Evidence:
    made = Evidence()
    made.add("log:proxy", log)
    made.figures.update({f"metric:{name}": value for name, value in figures.items()})
    return made


def test_the_same_is_the_same() -> None:
    runs = [evidence("12:00 started", "12:01 ended", calls=3) for _ in range(3)]
    verdict = compare_runs(*runs, MASK)
    assert verdict.same
    assert verdict.compared == {"log:proxy": 2, "metric:calls": 1}
    assert verdict.unused == ()


def test_runs_that_show_nothing_prove_nothing() -> None:
    assert not compare_runs(Evidence(), Evidence(), Evidence(), MASK).same
    with pytest.raises(ValueError, match="noise"):
        judge([Round((evidence(),), evidence())], MASK)


@pytest.mark.parametrize("planted", ["12:02 copying", "12:00 started"])
def test_a_planted_line_is_found_and_one_too_often_as_well(planted: str) -> None:
    without = [evidence("12:00 started", "12:01 ended") for _ in range(2)]
    verdict = compare_runs(*without, evidence("12:00 started", "12:01 ended", planted), MASK)
    (found,) = verdict.differences
    assert planted[6:] in found.text()
    assert verdict.about("log:")


def test_a_line_that_is_missing_is_found() -> None:
    without = [evidence("started", "ended") for _ in range(2)]
    assert "ended" in compare_runs(*without, evidence("started"), NOTHING).text()


def test_what_comes_and_goes_without_a_task_may_come_and_go_with_one() -> None:
    for with_task in (evidence("a"), evidence("a", "ping")):
        assert compare_runs(evidence("a"), evidence("a", "ping"), with_task, NOTHING).same


def test_a_planted_figure_is_found_by_its_name_and_by_its_value() -> None:
    without = [evidence(octets=1000), evidence(octets=1010)]
    assert compare_runs(*without, evidence(octets=1100), MASK).same
    assert "without a task 1000, 1010, with one 1200" in compare_runs(*without, evidence(octets=1200), MASK).text()
    assert "not there in every run" in compare_runs(*without, evidence(octets=1000, copies=0), MASK).text()
    assert not compare_runs(*without, evidence(octets=1100), NOTHING).same


def test_a_source_that_is_there_only_sometimes_is_told() -> None:
    first, second, third = evidence("a"), Evidence(), evidence("a")
    second.add("log:relay", ["b"])
    assert "nothing can be said" in compare_runs(first, second, third, NOTHING).text()


def rounds(count: int, shift: float = 0.0, busy: float = 0.02, seed: int = 7) -> list[Round]:
    """Runs of a machine that is busy from time to time, which all packets of a run feel."""
    dice = np.random.default_rng(seed)

    def run(delay: float) -> Evidence:
        made = Evidence()
        late = dice.exponential(busy) if dice.random() < 0.4 else 0.0
        made.add_samples("rtp:under way", delay + late * dice.random() + dice.gamma(4.0, 2.5e-5, 100))
        return made

    return [Round((run(0.0), run(0.0)), run(shift)) for _ in range(count)]


def test_two_milliseconds_are_found_among_the_noise_of_a_busy_machine() -> None:
    found = judge(rounds(6, 0.002, busy=0.0005), MASK)
    assert "rtp:under way: D = " in found.text()
    assert found.times["rtp:under way"].median == pytest.approx(0.002, abs=0.0005)


def test_noise_alone_is_no_difference_whoever_it_meets() -> None:
    verdicts = [judge(rounds(6, 0.0, seed=seed), MASK) for seed in range(30)]
    assert sum(not one.same for one in verdicts) <= 1  # one of two hundred is what LEVEL lets pass


def test_what_no_receiver_can_tell_is_forgiven_and_measured() -> None:
    verdict = judge(rounds(6, 0.00004, busy=0.0), MASK)
    assert verdict.same
    assert verdict.times["rtp:under way"].plain > 0.2
    assert not judge(rounds(6, 0.00004, busy=0.0), NOTHING).same


def test_what_few_packets_do_is_forgiven_where_the_mask_says_so() -> None:
    made = rounds(6, busy=0.0)
    for one in made:
        one.with_.samples["rtp:under way"][:8] += 0.01
    assert not judge(made, MASK).same
    forgiving = MASK.model_dump(mode="json")
    forgiving["times"][0]["share"] = 0.1
    assert judge(made, Mask.model_validate(forgiving)).same


def test_too_few_rounds_are_measured_and_not_judged() -> None:
    verdict = judge(rounds(2, 0.002, busy=0.0), MASK)
    assert verdict.same
    assert verdict.times["rtp:under way"].p == 1.0
    assert verdict.times["rtp:under way"].statistic > 0.9


def test_a_run_without_packets_is_told() -> None:
    made = rounds(6)
    made[2].with_.samples["rtp:under way"] = np.zeros(0)
    assert "nothing was timed" in judge(made, MASK).text()


def test_many_rounds_are_tried_at_random() -> None:
    made = [
        ([run.samples["rtp:under way"] for run in one.without], one.with_.samples["rtp:under way"])
        for one in rounds(20, 0.002, busy=0.0005)
    ]
    assert compare(made).p < LEVEL


values = st.lists(st.integers(0, 2000).map(lambda step: step * 5e-6), min_size=1, max_size=40)


@given(values, values)
def test_the_distance_is_that_of_the_definition(first: list[float], second: list[float]) -> None:
    ones, others = (np.array(one) for one in (first, second))
    places = np.concatenate([ones, others]) + 1e-7
    expected = max(abs((ones <= x).mean() - (others <= x).mean()) for x in places)
    assert distance(ones, others) == pytest.approx(expected)
    assert distance(others, ones) == pytest.approx(expected)
    assert distance(ones, others, 0.001) <= expected + 1e-12
    assert distance(ones, ones + 0.0005, 0.0006) == 0.0


def test_text_is_taken_apart_by_lines_and_by_values() -> None:
    assert lines('{"a": [{"b": 1}, {"b": 2}], "c": []}') == ["a[].b: 1", "a[].b: 2", "c: []"]
    assert lines('{"a": [{"name": "x", "b": 1}, {"appliance": "y", "b": 2}]}')[1::2] == ["a[x].b: 1", "a[y].b: 2"]
    assert lines('x\n\n{"a": 1}\n{torn') == ["x", "a: 1", "{torn"]
    assert list(flat("text")) == [': "text"']


@given(st.recursive(st.none() | st.integers() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one)))
def test_each_value_of_a_document_counts(value: object) -> None:
    made = list(flat(value))
    assert made
    if isinstance(value, list):
        shuffled = value[:]
        random.Random(1).shuffle(shuffled)  # noqa: S311 - an order, no secret
        assert sorted(flat(shuffled)) == sorted(made)


def test_the_published_mask_has_a_reason_for_each_field_and_names_each_once() -> None:
    mask = published()
    assert len(set(mask.ids())) == len(mask.ids())
    masking = Masking(mask)
    message = (
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 1.2.3.4;branch=z9hG4bKx;rport\r\nCall-ID: 5\r\nTo: <sip:b@d>;tag=7\r\n"
        'Authorization: Digest username="alice", nonce="a", nc=00000001, uri="sip:d"\r\n\r\nv=0\r\no=- 5 6 IN IP4 1\r\n'
        "m=audio 30000 RTP/AVP 0\r\n"
    )
    assert masking.item("sip:sent by the caller", message) == Seen(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 1.2.3.4;branch=*;rport\r\nCall-ID: *\r\nTo: <sip:b@d>;tag=*\r\n"
        'Authorization: Digest username="alice", nonce=*, nc=*, uri="sip:d"\r\n\r\nv=0\r\no=- * IN IP4 1\r\n'
        "m=audio * RTP/AVP 0\r\n"
    )
    assert masking.item("log:proxy", message) == Seen(message)
