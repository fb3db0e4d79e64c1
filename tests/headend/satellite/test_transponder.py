from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.satellite.modcod import Standard
from headend.satellite.picture import svg_picture, text_picture
from headend.satellite.transponder import (
    FLOOR_DB,
    Carrier,
    Transponder,
    gaps_hz,
    max_symbol_rate_baud,
    problems,
    sampled,
    spectrum_db,
)
from nf.errors import InputError

TRANSPONDER = Transponder("TP7", 11_747e6, 36e6, 0.5e6)
MAIN = Carrier("main", 11_740e6, 15e6, 0.20)
SECOND = Carrier("second", 11_757e6, 10e6, 0.05, level_db=-6.0)


@st.composite
def plans(draw: st.DrawFn) -> tuple[Carrier, ...]:
    return tuple(
        Carrier(
            f"c{number}",
            draw(st.integers(11_720_000, 11_775_000)) * 1e3,
            draw(st.integers(200, 30_000)) * 1e3,
            draw(st.sampled_from([0.05, 0.10, 0.15, 0.20, 0.25, 0.35])),
            level_db=draw(st.floats(-10, 2)),
        )
        for number in range(draw(st.integers(0, 5)))
    )


@given(plans())
def test_a_plan_has_problems_exactly_when_carriers_touch_a_guard(carriers: tuple[Carrier, ...]) -> None:
    guard = TRANSPONDER.guard_hz
    ordered = sorted(carriers, key=lambda carrier: carrier.low_hz)
    fits = all(
        carrier.low_hz >= TRANSPONDER.low_hz + guard - 0.5 and carrier.high_hz <= TRANSPONDER.high_hz - guard + 0.5
        for carrier in carriers
    )
    apart = all(
        later.low_hz - earlier.high_hz >= guard - 0.5 for at, later in enumerate(ordered) for earlier in ordered[:at]
    )
    assert (not problems(TRANSPONDER, carriers)) == (fits and apart)


def test_what_fits_has_no_problem_and_what_does_not_says_by_how_much() -> None:
    assert problems(TRANSPONDER, [MAIN, SECOND]) == ()
    [wide] = problems(TRANSPONDER, [Carrier("wide", 11_747e6, 30e6, 0.20)], key="spec.t")
    assert (wide.key, wide.value) == ("spec.t", "wide")
    assert "occupies 36.000 MHz, TP7 has room for 35.000 MHz" in wide.rule
    assert "29.167 Msym/s" in wide.remedy
    [over] = problems(TRANSPONDER, [Carrier("over", 11_756e6, 15e6, 0.20)])
    assert "reaches 0.500 MHz above TP7's edge" in over.rule
    [near] = problems(TRANSPONDER, [MAIN, Carrier("near", 11_754.4e6, 10e6, 0.05)])
    assert "main and near are 0.150 MHz apart" in near.rule
    assert "up by 0.350 MHz" in near.remedy
    [inside] = problems(TRANSPONDER, [MAIN, Carrier("inside", 11_740e6, 2e6, 0.20)])
    assert "overlap" in inside.rule
    [twice] = [p for p in problems(TRANSPONDER, [MAIN, Carrier("main", 11_757e6, 10e6, 0.05)]) if "twice" in p.rule]
    assert twice.value == "main"


def test_a_carrier_under_a_wide_one_is_found_behind_a_narrow_one() -> None:
    wide, narrow = Carrier("wide", 11_747e6, 25e6, 0.20), Carrier("narrow", 11_735e6, 1e6, 0.20)
    last = Carrier("last", 11_755e6, 1e6, 0.20)
    assert {p.value for p in problems(TRANSPONDER, [wide, narrow, last])} == {"narrow", "last"}


@pytest.mark.parametrize(("standard", "roll_off"), [(Standard.S2, 0.10), (Standard.S2X, 0.30), (Standard.S2, 0.0)])
def test_roll_offs_are_the_standards(standard: Standard, roll_off: float) -> None:
    with pytest.raises(InputError, match="roll-off"):
        Carrier("x", 11e9, 1e6, roll_off, standard)
    with pytest.raises(InputError, match="symbol rate"):
        Carrier("x", 11e9, 0, 0.2)


def test_symbol_rates_of_a_whole_transponder() -> None:
    rates = [round(max_symbol_rate_baud(36e6, roll_off) / 1e6, 2) for roll_off in (0.35, 0.25, 0.20, 0.15, 0.10, 0.05)]
    assert rates == [26.67, 28.80, 30.00, 31.30, 32.73, 34.29]


@given(st.sampled_from([0.05, 0.2, 0.35]), st.floats(-1, 1))
def test_the_filter_is_a_raised_cosine(roll_off: float, where: float) -> None:
    carrier = Carrier("x", 0.0, 1e6, roll_off)
    assert carrier.density(0.0) == 1.0
    assert carrier.density(0.5e6) == pytest.approx(0.5)
    assert carrier.density(carrier.high_hz + 1) == 0.0
    assert carrier.density(where * 1e6) == pytest.approx(carrier.density(-where * 1e6))
    # Nyquist: the edges of neighbouring spectra add up to one.
    assert carrier.density(0.5e6 + where * 0.4e6) + carrier.density(0.5e6 - where * 0.4e6) == pytest.approx(
        1.0, abs=1e-9
    )


@given(plans())
def test_gaps_are_where_no_carrier_is(carriers: tuple[Carrier, ...]) -> None:
    gaps = gaps_hz(TRANSPONDER, carriers)
    for low, high in gaps:
        assert TRANSPONDER.low_hz <= low < high <= TRANSPONDER.high_hz
        for carrier in carriers:
            assert carrier.high_hz <= low + 1 or carrier.low_hz >= high - 1
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(gaps))
    if not carriers:
        assert gaps == ((TRANSPONDER.low_hz, TRANSPONDER.high_hz),)


def test_the_text_picture_shows_carriers_where_they_are() -> None:
    lines = text_picture(TRANSPONDER, [SECOND, MAIN], columns=72, rows=8).splitlines()
    assert all(len(line) <= 72 for line in lines[:9])
    assert lines[8].count("|") == 2
    assert lines[9] == "TP7 11729.000 to 11765.000 MHz"
    assert [line.split(":")[0].strip() for line in lines[10:]] == ["main", "second"]
    bottom = lines[7].ljust(72)
    low_hz, step_hz = sampled(TRANSPONDER, [], 72)[0][0], 36e6 * 1.1 / 71
    for column, character in enumerate(bottom):
        busy = spectrum_db([MAIN, SECOND], low_hz + column * step_hz) > FLOOR_DB + 10
        assert not busy or character == "█"
    # The second carrier is 6 dB weaker, so it is less high.
    assert len(lines[0].rstrip()) < 40 < len(lines[1].rstrip())


@given(plans())
def test_the_svg_picture_is_well_formed_and_names_every_carrier(carriers: tuple[Carrier, ...]) -> None:
    root = ET.fromstring(svg_picture(TRANSPONDER, carriers))  # noqa: S314 - our own text
    texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    for carrier in carriers:
        assert any(text.startswith(carrier.name) for text in texts)


def test_names_cannot_break_the_svg() -> None:
    evil = Carrier('<script>"&', 11_740e6, 1e6, 0.2)
    assert "<script>" not in svg_picture(Transponder("</title>", 11_747e6, 36e6), [evil])
