"""Who acts alone: what it remembers over a restart, an operator's approval, a broken file, a clock that jumps."""

from __future__ import annotations

from pathlib import Path

import pytest

from nf.clock import VirtualClock
from nf.contracts.paths import Verdict
from nf.policy.local import FAILBACK, LocalSwitch, failback_object
from nf.policy.model import Approve, Candidate, Rules

RULES = Rules(hold_down_s=10, failback_after_s=5)


class Jumping(VirtualClock):
    """Its wall clock can be set."""

    offset = 0.0

    def now(self) -> float:
        return super().now() + self.offset


def paths(sat: Verdict, iptv: Verdict = Verdict.UP) -> tuple[Candidate, ...]:
    return Candidate("sat", sat, 1), Candidate("iptv", iptv, 2)


async def moved(switch: LocalSwitch, clock: VirtualClock, seconds: float, sat: Verdict) -> list[str]:
    """Switches in so many seconds, asked ten times a second."""
    made = []
    for _ in range(round(seconds * 10)):
        await clock.advance(0.1)
        made += [action.target for action in switch.decide(paths(sat)) if action.switches]
    return made


async def test_it_goes_on_after_a_restart_and_returns_when_an_operator_lets_it(tmp_path: Path) -> None:
    clock, file = VirtualClock(), tmp_path / "ch1.json"
    switch = LocalSwitch(file, RULES, clock)
    assert switch.active == ""
    assert await moved(switch, clock, 1, Verdict.UP) == []
    assert await moved(switch, clock, 1, Verdict.DOWN) == ["iptv"]
    again = LocalSwitch(file, RULES, clock)
    assert again.active == "iptv"
    assert again.approve() == ""  # nothing waits
    assert await moved(again, clock, 20, Verdict.UP) == []
    assert again.approve("iptv") == ""  # it is the active one
    assert again.approve() == "sat"
    assert await moved(again, clock, 1, Verdict.UP) == ["sat"]


async def test_the_hold_down_outlives_the_process(tmp_path: Path) -> None:
    clock, file = VirtualClock(), tmp_path / "ch1.json"
    rules = Rules(hold_down_s=10, failback_after_s=0, failback_approve=Approve.AUTO)
    assert await moved(LocalSwitch(file, rules, clock), clock, 1, Verdict.DOWN) == ["iptv"]
    again = LocalSwitch(file, rules, clock)
    assert await moved(again, clock, 9, Verdict.UP) == []
    assert await moved(again, clock, 2, Verdict.UP) == ["sat"]


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
async def test_a_clock_that_jumps_shortens_nothing(tmp_path: Path, jump: float) -> None:
    clock = Jumping()
    switch = LocalSwitch(tmp_path / "ch1.json", Rules(hold_down_s=10, failback_after_s=0), clock)
    assert await moved(switch, clock, 1, Verdict.DOWN) == ["iptv"]
    clock.offset = jump
    switch.decide(paths(Verdict.UP))
    assert switch.approve("sat") == "sat"
    assert await moved(switch, clock, 8, Verdict.UP) == []
    assert await moved(switch, clock, 3, Verdict.UP) == ["sat"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"active": "sat"}'])
async def test_a_broken_file_is_told_and_begun_anew(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "ch1.json"
    file.write_bytes(content)
    switch = LocalSwitch(file, RULES, VirtualClock())
    assert switch.active == ""
    assert "begins with its first path" in caplog.text
    switch.decide(paths(Verdict.UP))
    assert LocalSwitch(file, RULES, VirtualClock()).active == "sat"


async def test_a_file_that_cannot_be_written_stops_no_switch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = VirtualClock()
    switch = LocalSwitch(tmp_path / "gone" / "ch1.json", RULES, clock)
    assert await moved(switch, clock, 1, Verdict.DOWN) == ["iptv"]
    assert "cannot be written" in caplog.text


def test_the_operation_is_one_of_a_channel_at_a_site() -> None:
    assert (FAILBACK, failback_object("ch1", "pop1")) == ("failback", "ch1/pop1")
