"""Pure: the steps from the stages that run to the stages that are wanted."""

from __future__ import annotations

from collections.abc import Mapping

from headend.multicast.documents import SourceSection, SourceStage
from headend.multicast.source.units import key
from nf.contracts.driver import State, Step

START, STOP, REPLACE = "source.start", "source.stop", "source.replace"
_START_BUDGET_S = 40.0
_STOP_BUDGET_S = 15.0


def stages_of(section: SourceSection | None) -> dict[str, SourceStage]:
    return {} if section is None else {key(stage): stage for stage in section.stages}


def section_of(have: State) -> SourceSection | None:
    return None if have.value is None else SourceSection.model_validate(have.value)


def plan(have: State, want: SourceSection | None) -> tuple[Step, ...]:
    """One step a stage, except where two stages exchange a contribution port: then each is stopped before any of
    them starts."""
    running, wanted = stages_of(section_of(have)), stages_of(want)
    holders = {stage.contribution_port: name for name, stage in running.items()}
    steps: list[Step] = []
    for name in sorted(running.keys() | wanted.keys()):
        old, new = running.get(name), wanted.get(name)
        if old == new:
            continue
        if new is None and old is not None:
            steps.append(_stop(name, old))
        elif old is None and new is not None:
            steps.append(_start(name, new, _released(new, name, holders)))
        elif old is not None and new is not None:
            steps += _change(name, old, new, holders, wanted)
    return tuple(steps)


def _change(
    name: str, old: SourceStage, new: SourceStage, holders: Mapping[int, str], wanted: Mapping[str, SourceStage]
) -> list[Step]:
    takes = _released(new, name, holders)
    given_on = any(
        other != name and stage.contribution_port == old.contribution_port for other, stage in wanted.items()
    )
    if takes or given_on:
        return [_stop(name, old), _start(name, new, takes)]
    return [
        Step(
            id=f"replace {name}",
            kind=REPLACE,
            arguments={"old": old.to_json(), "new": new.to_json()},
            provides=frozenset(new.provides),
            budget_s=_START_BUDGET_S,
            undo_budget_s=_START_BUDGET_S,
            disruption=f"{name} stops at the headend for about a second",
            summary=f"source stage {name}: {_differences(old, new)}",
        )
    ]


def _start(name: str, stage: SourceStage, requires: frozenset[str]) -> Step:
    return Step(
        id=f"start {name}",
        kind=START,
        arguments={"stage": stage.to_json()},
        requires=requires,
        provides=frozenset(stage.provides),
        budget_s=_START_BUDGET_S,
        undo_budget_s=_STOP_BUDGET_S,
        summary=f"emit {name} as ({stage.source}, {stage.group}):{stage.port}",
    )


def _stop(name: str, stage: SourceStage) -> Step:
    return Step(
        id=f"stop {name}",
        kind=STOP,
        arguments={"stage": stage.to_json()},
        provides=frozenset({_release_fact(stage.contribution_port, name)}),
        budget_s=_STOP_BUDGET_S,
        undo_budget_s=_START_BUDGET_S,
        disruption=f"{name} stops at the headend",
        summary=f"stop emitting {name} as ({stage.source}, {stage.group}):{stage.port}",
    )


def _release_fact(port: int, name: str) -> str:
    return f"source.contribution.{port}.released-by.{name}"


def _released(new: SourceStage, name: str, holders: Mapping[int, str]) -> frozenset[str]:
    """The fact that another stage has let go of the port that `new` takes."""
    holder = holders.get(new.contribution_port)
    return frozenset() if holder in (None, name) else frozenset({_release_fact(new.contribution_port, str(holder))})


def _differences(old: SourceStage, new: SourceStage) -> str:
    before, after = old.to_json(), new.to_json()
    return ", ".join(f"{k} {before.get(k)} -> {after.get(k)}" for k in after if before.get(k) != after.get(k))
