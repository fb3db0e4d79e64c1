"""The verdict of one path at one site, by what is measured there: a table of everything that it counts."""

from __future__ import annotations

import pytest

from nf.contracts.paths import Verdict
from nf.policy.health import Facts, Judgement, Reading, Thresholds, judge
from nf.telemetry.samples import Quality, Sample

UP, DEGRADED, DOWN, UNKNOWN = Verdict.UP, Verdict.DEGRADED, Verdict.DOWN, Verdict.UNKNOWN
LIMITS = Thresholds()
ORDERS = {"origin": 1, "shield": 2, "edge": 3, "receiver": 6}
FLOWS = {"bitrate_bps": 8e6}
TS_SECOND = 1000 * 188 * 8.0
"""Bits of a flow that holds 1000 TS packets a second."""


def reading(
    point: str,
    *,
    appliance: str = "pop1",
    here: bool = True,
    age_s: float | None = 1.0,
    losses_per_s: float = 0.0,
    text: str = "",
    **values: float,
) -> Reading:
    sample = None if age_s is None else Sample("path.hop", 0.0, {}, values or FLOWS, text=text)
    return Reading(appliance, point, ORDERS[point], here, sample, age_s, losses_per_s)


def beside(kind: str, quality: Quality = Quality.GOOD, **values: float) -> Sample:
    return Sample(kind, 0.0, {}, values, quality=quality)


EDGE, ORIGIN = reading("edge"), reading("origin", appliance="headend", here=False)
SILENT = reading("edge", bitrate_bps=0.0)


@pytest.mark.parametrize(
    ("readings", "verdict", "reason"),
    [
        ((), UNKNOWN, "nobody has measured it here"),
        ((reading("edge", age_s=None),), UNKNOWN, "nobody has measured it here"),
        ((reading("edge", age_s=5.1),), UNKNOWN, "not measured for 5 s"),
        ((reading("edge", age_s=5.0),), UP, ""),
        ((EDGE,), UP, ""),
        ((SILENT,), DOWN, "edge at pop1: nothing comes"),
        ((reading("edge", bitrate_bps=0.0, text="no such file"),), DOWN, "edge at pop1: no such file"),
        ((reading("edge", bitrate_bps=0.0, wanted=0.0),), UP, ""),
        ((reading("edge", packets=0.0),), UP, ""),
        ((reading("edge", up=0.0, bitrate_bps=1.0),), DOWN, "edge at pop1: nothing comes"),
        ((reading("edge", up=1.0, bitrate_bps=0.0),), UP, ""),
        # What comes before the site can tell that it is down, and nothing else.
        ((ORIGIN,), UNKNOWN, "nobody has measured it here"),
        ((reading("origin", appliance="o", here=False, up=0.0), EDGE), DOWN, "origin at o: nothing comes"),
        ((reading("origin", appliance="o", here=False, up=0.0, age_s=9.0), EDGE), UP, ""),
        # The last place of the site counts.
        ((reading("shield", bitrate_bps=0.0), EDGE), UP, ""),
        ((EDGE, reading("shield", bitrate_bps=0.0)), UP, ""),
        ((reading("shield"), SILENT), DOWN, "edge at pop1: nothing comes"),
        # Receivers count most.
        ((SILENT, reading("receiver", up=1.0)), UP, ""),
        ((reading("origin", here=False, up=0.0), reading("receiver", up=1.0)), UP, ""),
        ((EDGE, reading("receiver", up=0.0)), DOWN, "pop1: nothing comes"),
        ((EDGE, reading("receiver", up=0.0, age_s=9.0)), UP, ""),
        (
            (reading("receiver", appliance="a", up=1.0), reading("receiver", appliance="b", up=0.0, text="stale")),
            DEGRADED,
            "1 of 2 receivers do not get it; b: stale",
        ),
    ],
)
def test_the_chain(readings: tuple[Reading, ...], verdict: Verdict, reason: str) -> None:
    assert judge(readings, Facts(), LIMITS) == Judgement(verdict, reason)
    assert judge(readings[::-1], Facts(), LIMITS).verdict is verdict


def test_a_stale_sample_says_nothing_however_fresh_it_came() -> None:
    stale = Reading("pop1", "edge", 3, True, Sample("path.hop", 0.0, {}, FLOWS, quality=Quality.STALE), 1.0)
    assert judge((stale,), Facts(), LIMITS).verdict is UNKNOWN


@pytest.mark.parametrize(
    ("more", "verdict", "reason"),
    [
        (reading("receiver", up=1.0, losses_per_s=1.9), UP, ""),
        (reading("receiver", up=1.0, losses_per_s=2.0), DEGRADED, "receiver at pop1: 2 continuity errors a second"),
        (reading("edge", losses_per_s=50.0), UP, ""),
        # The age of the newest segment, at a receiver only.
        (reading("receiver", up=1.0, age_ms=6000.0), UP, ""),
        (reading("receiver", up=1.0, age_ms=6001.0), DEGRADED, "receiver at pop1: nothing new for 6 s"),
        (reading("edge", bitrate_bps=1.0, age_ms=60_000.0), UP, ""),
        # Errors among an edge's answers.
        (reading("edge", bitrate_bps=1.0, error_share=0.049), UP, ""),
        (reading("edge", bitrate_bps=1.0, error_share=0.05), DEGRADED, "edge at pop1: 5% of its answers are errors"),
        (reading("edge", bitrate_bps=1.0, error_share=0.49), DEGRADED, "edge at pop1: 49% of its answers are errors"),
        (reading("edge", bitrate_bps=1.0, error_share=0.5), DOWN, "edge at pop1: 50% of its answers are errors"),
        (reading("edge", bitrate_bps=1.0, error_share=1.0, age_s=9.0), UNKNOWN, "not measured for 9 s"),
        (reading("edge", bitrate_bps=1.0, error_share=1.0, here=False), UNKNOWN, "nobody has measured it here"),
    ],
)
def test_what_a_place_of_the_chain_adds(more: Reading, verdict: Verdict, reason: str) -> None:
    assert judge((more,), Facts(), LIMITS) == Judgement(verdict, reason)


def test_errors_at_an_edge_count_beside_receivers_that_get_it() -> None:
    readings = (reading("edge", bitrate_bps=1.0, error_share=0.6), reading("receiver", up=1.0))
    assert judge(readings, Facts(), LIMITS).verdict is DOWN


@pytest.mark.parametrize(
    ("facts", "verdict", "reason"),
    [
        (Facts(on_fallback="it has taken iptv"), DOWN, "it has taken iptv"),
        (Facts(reception=(beside("satellite.receiver", locked=1.0, margin_db=1.0),)), UP, ""),
        (Facts(reception=(beside("satellite.receiver", locked=1.0),)), UP, ""),
        (
            Facts(reception=(beside("satellite.receiver", locked=1.0, margin_db=0.9),)),
            DEGRADED,
            "the satellite receiver's margin is 0.9 dB",
        ),
        (
            Facts(reception=(beside("satellite.receiver", locked=1.0, margin_db=-0.1),)),
            DOWN,
            "the satellite receiver's margin is -0.1 dB",
        ),
        (
            Facts(reception=(beside("satellite.receiver", locked=0.0, margin_db=9.0),)),
            DOWN,
            "the satellite receiver has no lock",
        ),
        (Facts(flows=(beside("path.mdi", media_loss_rate=0.0, bitrate_bps=TS_SECOND),)), UP, ""),
        (Facts(flows=(beside("path.mdi", media_loss_rate=0.9, bitrate_bps=TS_SECOND),)), UP, ""),
        (
            Facts(flows=(beside("path.mdi", media_loss_rate=250.0, bitrate_bps=3 * TS_SECOND / 4),)),
            DEGRADED,
            "multicast loses 25.0% of its packets on the way here",
        ),
        (Facts(flows=(beside("path.mdi", media_loss_rate=1.1, bitrate_bps=TS_SECOND),)), DEGRADED, None),
        (Facts(flows=(beside("path.mdi", Quality.SUSPECT, media_loss_rate=900.0, bitrate_bps=1.0),)), UP, ""),
        (Facts(gates=(beside("steering.n6", open=1.0),)), UP, ""),
        (Facts(gates=(beside("steering.n6", flows_reset=3.0),)), UP, ""),
        (Facts(gates=(beside("steering.n6", open=0.0),)), DOWN, "the UPF's gate to the cache is shut"),
        (Facts(gates=(beside("steering.n6", open=1.0), beside("steering.n6", open=0.0))), DOWN, None),
        (Facts(out="out of contact: pop1"), UP, ""),
    ],
)
def test_what_is_known_beside_the_chain(facts: Facts, verdict: Verdict, reason: str | None) -> None:
    found = judge((EDGE,), facts, LIMITS)
    assert found.verdict is verdict
    assert reason is None or found.reason == reason


def test_the_worst_counts_and_of_equals_the_first() -> None:
    facts = Facts(
        reception=(beside("satellite.receiver", margin_db=0.5),), gates=(beside("steering.n6", open=0.0),), out="away"
    )
    erring = reading("edge", bitrate_bps=1.0, error_share=0.1)
    assert judge((erring,), facts, LIMITS).reason == "the UPF's gate to the cache is shut"
    assert judge((SILENT,), facts, LIMITS).reason == "edge at pop1: nothing comes"
    assert judge((erring,), Facts(reception=facts.reception), LIMITS).reason.startswith("edge at pop1: 10%")


def test_out_of_contact_counts_where_nothing_is_measured() -> None:
    away = Facts(out="out of contact: pop1")
    assert judge((reading("edge", age_s=20.0),), away, LIMITS) == Judgement(DOWN, "out of contact: pop1")
