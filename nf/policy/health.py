"""The verdict of one path at one site, from what is measured there and what the site's appliances say. Pure.

The receivers' proof counts most: a path that they receive is up, whatever is said about it elsewhere, unless it comes
by its fallback. Without receivers, the last place of the site that measures it counts; what comes before the site can
only tell that it is down. What else is known (reception, multicast losses, the age of segments, the gate of a
UPF) can make the verdict worse, never better. Brief badness is for the engine's `detect`, not for here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from nf.contracts.paths import Verdict
from nf.telemetry.samples import Quality, Sample

ON_FALLBACK: Final = "satellite-on-fallback"
"""Cause of the alarm by which an appliance says that it has taken the fallback of `CHANNEL/PATH`."""
RECEIVER: Final = "receiver"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """stale      s: a sample that came longer ago says nothing any more
    margin        dB of a satellite receiver above its MODCOD's threshold: less is degraded, less than 0 is down
    losses        continuity errors a second at a receiver that are degraded
    loss_share    of the packets of a multicast flow, likewise (media loss rate, RFC 4445 section 4)
    segment_age   s: a newest segment older than that is degraded; the probe says when it is down
    error_share   of an edge's answers that are its own errors: degraded; ten times as many: down
    """

    stale_s: float = 5.0
    margin_db: float = 1.0
    losses_per_s: float = 2.0
    loss_share: float = 0.001
    segment_age_s: float = 6.0
    error_share: float = 0.05


@dataclass(frozen=True, slots=True)
class Reading:
    """What came last from one place of the path's chain. `here`: it is of the site; else it comes before the site.

    age_s         since it came, by the clock of who judges; None: nothing ever came
    losses_per_s  continuity errors a second between the last two
    """

    appliance: str
    point: str
    order: int
    here: bool
    sample: Sample | None = None
    age_s: float | None = None
    losses_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the chain.

    on_fallback  what the appliance says that has taken the path's fallback; "" when none has
    reception    samples `satellite.receiver` of the path's carrier at the site
    flows        samples `path.mdi` of the path at the site
    gates        samples `steering.n6` of the UPFs by which the path leaves
    out          why nothing of it can come: its appliances at the site are out of contact for long; "" when not
    """

    on_fallback: str = ""
    reception: tuple[Sample, ...] = ()
    flows: tuple[Sample, ...] = ()
    gates: tuple[Sample, ...] = ()
    out: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    reason: str


_WORSE: Final = {Verdict.UP: 0, Verdict.UNKNOWN: 0, Verdict.DEGRADED: 1, Verdict.DOWN: 2}


def judge(readings: Sequence[Reading], facts: Facts, thresholds: Thresholds) -> Judgement:
    """The order of `readings` does not count."""
    if facts.on_fallback:
        return Judgement(Verdict.DOWN, facts.on_fallback)
    base = _base(sorted(readings, key=lambda one: (one.order, one.appliance)), facts, thresholds)
    # The first of the worst: `max` keeps the earlier of equals.
    return max((base, *_more(readings, facts, thresholds)), key=lambda one: _WORSE[one.verdict])


def _base(readings: Sequence[Reading], facts: Facts, thresholds: Thresholds) -> Judgement:
    fresh = [one for one in readings if _fresh(one, thresholds)]
    receivers = [one for one in fresh if one.here and one.point == RECEIVER]
    if receivers:
        return _received(receivers)
    before = next((one for one in fresh if not one.here and _said(one) is Verdict.DOWN), None)
    if before is not None:
        return Judgement(Verdict.DOWN, f"{before.point} at {before.appliance}: {_text(before)}")
    here = [one for one in fresh if one.here]
    if here:
        last = here[-1]
        verdict = _said(last)
        return Judgement(verdict, "" if verdict is Verdict.UP else f"{last.point} at {last.appliance}: {_text(last)}")
    if facts.out:
        return Judgement(Verdict.DOWN, facts.out)
    return Judgement(Verdict.UNKNOWN, _why_unknown(readings))


def _received(receivers: Sequence[Reading]) -> Judgement:
    """One receiver of several without it is that receiver's trouble, or the beginning of more."""
    down = [one for one in receivers if _said(one) is Verdict.DOWN]
    if not down:
        return Judgement(Verdict.UP, "")
    told = f"{down[0].appliance}: {_text(down[0])}"
    if len(down) == len(receivers):
        return Judgement(Verdict.DOWN, told)
    return Judgement(Verdict.DEGRADED, f"{len(down)} of {len(receivers)} receivers do not get it; {told}")


def _said(reading: Reading) -> Verdict:
    """Where nothing says `up`, bits flow, unless nobody asks for them. Mere counters tell that it is there."""
    values = reading.sample.values if reading.sample is not None else {}
    if "up" in values:
        return Verdict.UP if values["up"] > 0 else Verdict.DOWN
    if values.get("wanted", 1.0) == 0 or "bitrate_bps" not in values:
        return Verdict.UP
    return Verdict.UP if values["bitrate_bps"] > 0 else Verdict.DOWN


def _text(reading: Reading) -> str:
    return (reading.sample.text if reading.sample is not None else "") or "nothing comes"


def _fresh(reading: Reading, thresholds: Thresholds) -> bool:
    sample = reading.sample
    if sample is None or reading.age_s is None or reading.age_s > thresholds.stale_s:
        return False
    return sample.quality is not Quality.STALE


def _why_unknown(readings: Sequence[Reading]) -> str:
    ages = [one.age_s for one in readings if one.here and one.age_s is not None]
    return f"not measured for {min(ages):.0f} s" if ages else "nobody has measured it here"


# ---- what can make it worse ----


def _more(readings: Iterable[Reading], facts: Facts, thresholds: Thresholds) -> Iterator[Judgement]:
    for reading in readings:
        if reading.here and reading.sample is not None and _fresh(reading, thresholds):
            yield from _quality(reading, reading.sample, thresholds)
    for sample in facts.reception:
        yield from _reception(sample, thresholds)
    for sample in facts.flows:
        yield from _flow(sample, thresholds)
    for sample in facts.gates:
        if sample.values.get("open") == 0:
            yield Judgement(Verdict.DOWN, "the UPF's gate to the cache is shut")


def _quality(reading: Reading, sample: Sample, thresholds: Thresholds) -> Iterator[Judgement]:
    values, at = sample.values, f"{reading.point} at {reading.appliance}"
    if reading.point == RECEIVER and reading.losses_per_s >= thresholds.losses_per_s:
        yield Judgement(Verdict.DEGRADED, f"{at}: {reading.losses_per_s:.0f} continuity errors a second")
    # Between requests an edge's age is its last request's, not the programme's.
    if reading.point == RECEIVER and (age_ms := values.get("age_ms", 0.0)) > thresholds.segment_age_s * 1000:
        yield Judgement(Verdict.DEGRADED, f"{at}: nothing new for {age_ms / 1000:.0f} s")
    share = values.get("error_share", 0.0)
    if share >= thresholds.error_share:
        verdict = Verdict.DOWN if share >= min(1.0, 10 * thresholds.error_share) else Verdict.DEGRADED
        yield Judgement(verdict, f"{at}: {share:.0%} of its answers are errors")


def _reception(sample: Sample, thresholds: Thresholds) -> Iterator[Judgement]:
    margin_db = sample.values.get("margin_db")
    if sample.values.get("locked") == 0:
        yield Judgement(Verdict.DOWN, "the satellite receiver has no lock")
    elif margin_db is not None and margin_db < thresholds.margin_db:
        verdict = Verdict.DOWN if margin_db < 0 else Verdict.DEGRADED
        yield Judgement(verdict, f"the satellite receiver's margin is {margin_db:.1f} dB")


def _flow(sample: Sample, thresholds: Thresholds) -> Iterator[Judgement]:
    """Media loss rate is of lost TS packets a second (RFC 4445 section 4); what a second holds is told by bits."""
    if sample.quality is not Quality.GOOD:
        return
    lost, held = sample.values.get("media_loss_rate", 0.0), sample.values.get("bitrate_bps", 0.0) / (188 * 8)
    if lost > 0 and lost / (lost + held) >= thresholds.loss_share:
        yield Judgement(Verdict.DEGRADED, f"multicast loses {lost / (lost + held):.1%} of its packets on the way here")
