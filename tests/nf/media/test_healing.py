"""Which shields are asked for content, as a table; and what the parts of healing make of what they read."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nf.media.edge.healing.control import is_down
from nf.media.edge.healing.machine import MAX_HOLDS, ShieldMachine, Shields, State
from nf.media.edge.healing.telemetry import DOWN, OUT, HealingWatch
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

HOLD_S = 10.0
BAD = "it does not answer within 200 ms"


def test_two_failures_put_a_shield_out_and_it_comes_back_after_its_hold() -> None:
    machine = ShieldMachine(HOLD_S, 0.0)
    machine.probed("", 0.0)
    machine.probed(BAD, 1.0)
    assert (machine.state, machine.bad) == (State.SUSPECT, False)
    machine.probed(BAD, 1.1)
    assert (machine.state, machine.bad, machine.why) == (State.DOWN, True, BAD)
    machine.probed("", 2.0)
    assert (machine.state, machine.bad) == (State.HELD, True)
    machine.probed("", 11.9)
    assert machine.bad
    machine.probed("", 12.0)
    assert (machine.state, machine.bad) == (State.HALF_OPEN, False)
    machine.probed("", 22.0)
    assert (machine.state, machine.why) == (State.UP, "it answers")


def test_one_failure_on_probation_holds_it_twice_as_long_and_one_elsewhere_is_forgiven() -> None:
    machine = ShieldMachine(HOLD_S, 0.0, down=True)
    now = 0.0
    for holds in (1, 2, 4, 8, 8):
        assert machine.hold_s == HOLD_S * holds
        machine.probed("", now)
        machine.probed("", now := now + machine.hold_s)
        assert machine.state is State.HALF_OPEN
        machine.probed(BAD, now)
        assert machine.state is State.DOWN
    assert machine.hold_s == HOLD_S * MAX_HOLDS
    machine.probed("", now)
    machine.probed("", now := now + machine.hold_s)
    machine.probed("", now := now + machine.hold_s)
    assert (machine.state, machine.hold_s) == (State.UP, HOLD_S)
    machine.probed(BAD, now)
    machine.probed("", now)
    assert machine.state is State.UP


def test_the_last_shield_stays_and_one_that_answers_takes_its_place() -> None:
    shields = Shields(["a", "b"], HOLD_S, 0.0)
    a, b = shields.machines.values()
    for at, machine in ((1.0, a), (2.0, b)):
        machine.probed(BAD, at)
        machine.probed(BAD, at)
    assert shields.out == {"a"}, "the one that failed last had the content last"
    a.probed("", 3.0)
    assert shields.out == {"b"}, "one that answers is better than one that does not, hold or none"
    b.probed("", 4.0)
    assert len(shields.out) == 1


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0.01, 5.0)), max_size=300))
def test_whatever_probes_say_one_shield_is_asked_and_none_returns_before_its_hold(
    trace: list[tuple[str, bool, float]],
) -> None:
    shields = Shields("abc", HOLD_S, 0.0)
    now, went_bad = 0.0, dict.fromkeys("abc", 0.0)
    for name, well, pause in trace:
        now += pause
        machine = shields.machines[name]
        before = machine.bad
        machine.probed("" if well else BAD, now)
        assert len(shields.out) < len(shields.machines)
        assert shields.out <= {other for other, one in shields.machines.items() if one.bad}
        if machine.bad and not before:
            went_bad[name] = now
        if before and not machine.bad:
            assert now - went_bad[name] >= HOLD_S


def test_an_edge_of_one_shield_always_asks_it() -> None:
    shields = Shields(["a"], HOLD_S, 0.0, down=["a"])
    assert shields.out == frozenset()


def test_only_our_own_reason_counts() -> None:
    ours = "proxy.process.host_status.10.0.0.1 HOST_STATUS_DOWN,ACTIVE:DOWN:1795945512:0,LOCAL:UP:0:0,MANUAL:UP:0:0"
    assert is_down(ours, "10.0.0.1")
    assert not is_down(ours, "10.0.0.11")
    theirs = ours.replace("ACTIVE:DOWN", "ACTIVE:UP").replace("MANUAL:UP", "MANUAL:DOWN")
    assert not is_down(theirs, "10.0.0.1")
    assert not is_down("Traffic Server: failed to fetch 10.0.0.1: [11]", "10.0.0.1")


def test_alarms_are_said_once_and_end() -> None:
    watch = HealingWatch("pop1")

    def alarms(out: bool | None, wanted: bool = True) -> list[tuple[str, str, Severity]]:
        answer = None if out is None else {"shields": {"10.0.0.1": {"out": out, "why": BAD, "probes": 3, "outs": 1}}}
        events = list(watch.take(answer, 1.0, wanted=wanted))
        assert all(isinstance(event, Sample) or event.at == 1.0 for event in events)
        return [(e.cause, e.object, e.severity) for e in events if isinstance(e, AlarmEvent)]

    about = "pop1/shield/10.0.0.1"
    assert alarms(False) == [(DOWN, "pop1", Severity.CLEARED), (OUT, about, Severity.CLEARED)]
    assert alarms(True) == [(OUT, about, Severity.WARNING)]
    assert alarms(True) == []
    assert alarms(None) == [(DOWN, "pop1", Severity.MAJOR)]
    assert alarms(None, wanted=False) == [(DOWN, "pop1", Severity.CLEARED), (OUT, about, Severity.CLEARED)]
