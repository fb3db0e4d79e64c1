from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headend.satellite.ladder import Rung, Service, build_ladder, by_priority, share
from headend.satellite.modcod import MODCODS, Modcod, by_name
from headend.satellite.transition import SetModcod, SetRates, order
from nf.errors import InputError

LAB = [by_name(name) for name in ("8PSK 3/4", "QPSK 3/4", "QPSK 1/2", "QPSK 1/4")]
THREE = (
    Service("news", 1_500_000, 800_000, 1),
    Service("film", 1_500_000, 600_000, 2),
    Service("shop", 900_000, 500_000, 3),
)


@st.composite
def lineups(draw: st.DrawFn) -> tuple[Service, ...]:
    services = []
    for number in range(draw(st.integers(0, 8))):
        rate = draw(st.integers(1, 6_000_000))
        services.append(Service(f"ch{number}", rate, draw(st.integers(1, rate)), draw(st.integers(1, 4))))
    return tuple(services)


@st.composite
def ladders(draw: st.DrawFn) -> tuple[Rung, ...]:
    return build_ladder(
        draw(lineups()),
        draw(st.lists(st.sampled_from(MODCODS), min_size=1, max_size=8)),
        draw(st.integers(500_000, 10_000_000)),
        pilots=draw(st.booleans()),
        reserve=draw(st.sampled_from([0, 0.02, 0.05, 0.3])),
        si_rate_bps=draw(st.integers(0, 400_000)),
    )


def lab(services: tuple[Service, ...] = THREE, modcods: list[Modcod] | None = None) -> tuple[Rung, ...]:
    return build_ladder(services, modcods or LAB, 2_000_000, pilots=True, reserve=0.05, si_rate_bps=50_000)


@given(lineups(), st.integers(-1_000_000, 30_000_000))
def test_shares_fit_and_respect_priorities(services: tuple[Service, ...], usable_bps: int) -> None:
    rates, left_out = share(services, usable_bps)
    assert sum(rates.values()) <= max(0, usable_bps)
    ranked = by_priority(services)
    assert [*rates, *left_out] == [service.channel for service in ranked]
    for service in ranked:
        if service.channel in rates:
            assert service.min_rate_bps <= rates[service.channel] <= service.rate_bps
    for higher, lower in ((h, low) for at, h in enumerate(ranked) for low in ranked[at + 1 :]):
        if rates.get(higher.channel, 0) < higher.rate_bps:
            assert rates.get(lower.channel, 0) <= lower.min_rate_bps
    # Whoever is left out first would not have fitted, even with everybody at the minimum.
    if left_out:
        kept = [service.min_rate_bps for service in ranked[: len(rates) + 1]]
        assert sum(kept) > usable_bps


@given(lineups(), st.integers(0, 30_000_000), st.integers(0, 5_000_000))
def test_who_left_last_comes_back_first(services: tuple[Service, ...], usable_bps: int, more_bps: int) -> None:
    _, out_below = share(services, usable_bps)
    _, out_above = share(services, usable_bps + more_bps)
    assert out_below[len(out_below) - len(out_above) :] == out_above


@given(lineups(), st.integers(0, 30_000_000))
def test_all_of_the_capacity_is_used_to_a_kilobit(services: tuple[Service, ...], usable_bps: int) -> None:
    rates, left_out = share(services, usable_bps)
    full = all(rates[s.channel] == s.rate_bps for s in services if s.channel in rates)
    assert full or usable_bps - sum(rates.values()) < 1000
    if sum(service.rate_bps for service in services) <= usable_bps:
        assert full
        assert not left_out


@given(ladders())
def test_no_rung_overfills_its_carrier(rungs: tuple[Rung, ...]) -> None:
    for rung in rungs:
        assert rung.used_bps <= max(0, rung.usable_bps)
        assert rung.usable_bps <= rung.ts_rate_bps <= rung.net_rate_bps
        assert rung.whole == (not rung.shortfall_bps)
        assert set(rung.wanted) == {*rung.services, *rung.left_out}


@given(ladders())
def test_each_rung_down_needs_less_and_carries_less(rungs: tuple[Rung, ...]) -> None:
    for upper, lower in pairwise(rungs):
        assert lower.required_es_n0_db < upper.required_es_n0_db
        assert lower.net_rate_bps < upper.net_rate_bps
        assert len(lower.services) <= len(upper.services)
        assert lower.services


def held(rates: Mapping[str, int], rung: Rung) -> bool:
    return sum(rates.values()) <= max(0, rung.usable_bps)


@given(ladders(), st.data())
def test_no_step_of_a_change_overfills_the_carrier(rungs: tuple[Rung, ...], data: st.DataObject) -> None:
    old, new = data.draw(st.sampled_from(rungs)), data.draw(st.sampled_from(rungs))
    rates, modcod = dict(old.services), old.modcod
    by_modcod = {rung.modcod: rung for rung in rungs}
    steps = order(old, new)
    for step in steps:
        if isinstance(step, SetModcod):
            modcod = step.modcod
        else:
            assert set(step.leave) == rates.keys() - step.rates.keys()
            assert set(step.join) == step.rates.keys() - rates.keys()
            assert dict(step.rates) != rates
            rates = dict(step.rates)
        assert held(rates, by_modcod[modcod])
    assert (rates, modcod) == (dict(new.services), new.modcod)
    assert sum(isinstance(step, SetModcod) for step in steps) == (old.modcod != new.modcod)


@given(ladders(), st.data())
def test_rates_fall_before_the_modcod_and_rise_after_it(rungs: tuple[Rung, ...], data: st.DataObject) -> None:
    old, new = data.draw(st.sampled_from(rungs)), data.draw(st.sampled_from(rungs))
    assume(old.modcod != new.modcod)
    steps = order(old, new)
    at = next(index for index, step in enumerate(steps) if isinstance(step, SetModcod))
    rates = dict(old.services)
    for index, step in enumerate(steps):
        if isinstance(step, SetRates):
            for channel in {*rates, *step.rates}:
                change = step.rates.get(channel, 0) - rates.get(channel, 0)
                assert (change <= 0) if index < at else (change >= 0)
            rates = dict(step.rates)


def test_the_least_important_leave_first_in_the_lab() -> None:
    top, middle, low, lowest = lab()
    assert top.whole
    assert top.net_rate_bps == 4_355_050
    assert middle.services == {"news": 1_500_000, "film": 708_000, "shop": 500_000}
    assert middle.reduced == ("film", "shop")
    assert (low.left_out, lowest.left_out) == (("shop",), ("film", "shop"))
    text = "\n".join(low.explain())
    assert "QPSK 1/2: needs Es/N0 1.50 dB" in text
    assert "news: 1.184 Mbit/s of 1.500 Mbit/s" in text
    assert "shop: left out" in text


def test_a_channel_may_rise_on_the_way_down_but_last() -> None:
    services = (Service("a", 1_800_000, 400_000, 1), Service("b", 1_500_000, 1_500_000, 2))
    upper, lower = lab(services, [by_name("QPSK 1/2"), by_name("QPSK 2/5")])
    assert upper.services == {"a": 1_784_000}
    assert lower.services == {"a": 1_414_000}
    down = order(upper, lower)
    assert [type(step) for step in down] == [SetRates, SetModcod]
    both = (Service("a", 1_800_000, 200_000, 1), Service("b", 1_500_000, 1_500_000, 2))
    upper, lower = lab(both, [by_name("QPSK 1/2"), by_name("QPSK 2/5")])
    assert upper.services == {"a": 284_000, "b": 1_500_000}
    first, change, last = order(upper, lower)
    assert isinstance(first, SetRates)
    assert (dict(first.rates), first.leave) == ({"a": 284_000}, ("b",))
    assert change == SetModcod(by_name("QPSK 2/5"))
    assert isinstance(last, SetRates)
    assert dict(last.rates) == {"a": 1_414_000}


def test_nothing_changes_between_a_rung_and_itself() -> None:
    assert order(lab()[0], lab()[0]) == ()


def test_what_does_not_fit_is_named_in_bits() -> None:
    greedy = (*THREE, Service("sport", 2_000_000, 2_000_000, 4))
    assert lab(greedy)[0].shortfall_bps == 5_900_000 - lab()[0].usable_bps
    assert lab()[0].shortfall_bps == 0


def test_a_modcod_that_costs_more_and_carries_less_is_no_rung() -> None:
    names = [
        rung.modcod.name for rung in lab(modcods=[by_name("8PSK 2/3"), by_name("16APSK 2/3"), by_name("8PSK 9/10")])
    ]
    # 8PSK 9/10 needs 2 dB more than 16APSK 2/3 for 2 % more.
    assert names == ["8PSK 9/10", "16APSK 2/3", "8PSK 2/3"]
    names = [rung.modcod.name for rung in lab(modcods=[by_name("8PSK 8/9"), by_name("16APSK 3/4")])]
    assert names == ["16APSK 3/4"]


def test_rungs_that_carry_nobody_are_left_out_but_the_first() -> None:
    big = (Service("a", 4_000_000, 4_000_000, 1),)
    assert [rung.modcod.name for rung in lab(big)] == ["8PSK 3/4"]
    assert [rung.services for rung in lab((Service("a", 9_000_000, 9_000_000, 1),))] == [{}]


def test_impossible_plans_are_refused() -> None:
    for services, modcods, reserve in (((), [], 0.0), ((THREE[0], THREE[0]), LAB, 0.0), ((), LAB, 1.0)):
        with pytest.raises(InputError):
            build_ladder(services, modcods, 2_000_000, pilots=True, reserve=reserve, si_rate_bps=0)
    for low, high in ((0, 1), (2, 1)):
        with pytest.raises(InputError, match="minimum"):
            Service("a", high, low, 1)
