"""Pure: the steps from the intakes that run to the intakes that are wanted."""

from __future__ import annotations

from nf.contracts.driver import State, Step
from nf.media.documents import IntakeChannel, IntakeSection
from nf.media.intake.units import key

START, STOP = "intake.start", "intake.stop"
_START_BUDGET_S = 40.0
_STOP_BUDGET_S = 15.0


def channels_of(section: IntakeSection | None) -> dict[str, IntakeChannel]:
    return {} if section is None else {key(channel): channel for channel in section.channels}


def plan(have: State, want: IntakeSection | None) -> tuple[Step, ...]:
    """One step for each intake that is new, other or no longer wanted. None costs anybody anything, as long as the
    path is not what a PoP has fallen back to: whether it has is the driver's to tell, who sends it on."""
    running = channels_of(None if have.value is None else IntakeSection.model_validate(have.value))
    wanted = channels_of(want)
    steps = [_stop(name, old) for name, old in sorted(running.items()) if name not in wanted]
    steps += [_start(name, new, running.get(name)) for name, new in sorted(wanted.items()) if running.get(name) != new]
    return tuple(steps)


def _start(name: str, channel: IntakeChannel, old: IntakeChannel | None) -> Step:
    return Step(
        id=f"take in {name}",
        kind=START,
        arguments={"channel": channel.to_json()},
        requires=frozenset(channel.requires),
        budget_s=_START_BUDGET_S,
        undo_budget_s=_START_BUDGET_S,
        disruption="" if old is None else f"{name} as a fallback is interrupted for some seconds",
        summary=f"take in {name} from {channel.url} for {_takers(channel)}",
    )


def _stop(name: str, channel: IntakeChannel) -> Step:
    return Step(
        id=f"stop taking in {name}",
        kind=STOP,
        arguments={"channel": channel.to_json()},
        budget_s=_STOP_BUDGET_S,
        undo_budget_s=_START_BUDGET_S,
        disruption=f"{name} is no fallback of {_takers(channel)} any more",
        summary=f"stop taking in {name}",
    )


def _takers(channel: IntakeChannel) -> str:
    return ", ".join(f"{channel.channel}/{output.taker}" for output in channel.outputs)
