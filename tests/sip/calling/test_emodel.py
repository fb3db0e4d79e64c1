"""The E-model against the values that ITU-T G.107 and G.113 give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.errors import InputError
from sip.calling.emodel import CODECS, delay_impairment, equipment_impairment, estimate, mos

PCMU, G729 = CODECS["PCMU"], CODECS["G729"]
delays = st.floats(10, 2000)  # below, echo that is masked makes the curve of the recommendation rise by 0.1
losses = st.floats(0, 1)
bursts = st.floats(1, 20)


def test_the_default_values_give_the_rating_of_g_107() -> None:
    """Clause 7.7: all parameters at their defaults."""
    found = estimate(PCMU, delay_ms=0, loss=0)
    assert found.r == pytest.approx(93.2, abs=0.05)
    assert found.mos == pytest.approx(4.41, abs=0.005)


@pytest.mark.parametrize(
    ("rating", "score"), [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58), (0, 1.0), (100, 4.5), (-9, 1.0)]
)
def test_annex_b_table_b_1(rating: float, score: float) -> None:
    assert mos(rating) == pytest.approx(score, abs=0.01)


@pytest.mark.parametrize(("loss", "added"), [(0.01, 3.64), (0.02, 7.01), (0.05, 15.78), (0.10, 27.07)])
def test_random_loss_of_g_711_with_concealment(loss: float, added: float) -> None:
    """Ie,eff = Ie + (95 - Ie) Ppl / (Ppl + Bpl), clause 7.5, with Ie 0 and Bpl 25.1 of G.113."""
    assert equipment_impairment(PCMU, loss) == pytest.approx(added, abs=0.01)


def test_the_codec_of_g_729a() -> None:
    assert equipment_impairment(G729, 0.0) == 11.0
    assert equipment_impairment(G729, 0.02) == pytest.approx(11 + 84 * 2 / 21)


def test_bursts_are_worse_than_random_loss() -> None:
    """Clause 7.5: with BurstR 2, 2 % loss is 95 * 2 / (1 + 25.1)."""
    assert equipment_impairment(PCMU, 0.02, 2.0) == pytest.approx(95 * 2 / 26.1)


@pytest.mark.parametrize("delay_ms", [50, 100, 150, 250, 400])
def test_delay_is_near_to_what_is_often_used_in_its_place(delay_ms: float) -> None:
    """Id of 0.024 d + 0.11 (d - 177.3) above 177.3 ms, a fit to the same curves."""
    fitted = 0.024 * delay_ms + max(0.0, 0.11 * (delay_ms - 177.3))
    assert delay_impairment(delay_ms) == pytest.approx(fitted, abs=3.2)


@given(delays, delays, losses, losses, bursts)
def test_more_of_anything_never_sounds_better(d1: float, d2: float, l1: float, l2: float, burst: float) -> None:
    for codec in CODECS.values():
        best = estimate(codec, delay_ms=min(d1, d2), loss=min(l1, l2))
        worst = estimate(codec, delay_ms=max(d1, d2), loss=max(l1, l2), burst_ratio=burst)
        assert worst.r <= best.r + 1e-6
        assert worst.mos <= best.mos + 0.02  # below R = 6.5 the polynomial of Annex B dips
        assert 1.0 <= worst.mos <= best.mos + 0.02 <= 4.52


@pytest.mark.parametrize("wrong", [{"delay_ms": -1}, {"loss": 1.5}, {"burst_ratio": 0.0}, {"delay_ms": float("nan")}])
def test_what_no_call_has_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        estimate(PCMU, **{"delay_ms": 0.0, "loss": 0.0, **wrong})
