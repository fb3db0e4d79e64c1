"""Pure: the steps from the packagers that run to the packagers that are wanted."""

from __future__ import annotations

from nf.contracts.driver import State, Step
from nf.media.documents import PackagerChannel, PackagerSection
from nf.media.packager.units import key

START, STOP, REPLACE = "packager.start", "packager.stop", "packager.replace"
_START_BUDGET_S = 40.0
_STOP_BUDGET_S = 15.0


def channels_of(section: PackagerSection | None) -> dict[str, PackagerChannel]:
    return {} if section is None else {key(channel): channel for channel in section.channels}


def plan(have: State, want: PackagerSection | None) -> tuple[Step, ...]:
    """Those that end come first, since one of the others may take over their contribution port."""
    running = channels_of(None if have.value is None else PackagerSection.model_validate(have.value))
    wanted = channels_of(want)
    steps = [_stop(name, old) for name, old in sorted(running.items()) if name not in wanted]
    for name, new in sorted(wanted.items()):
        old = running.get(name)
        if old is None:
            steps.append(_start(name, new))
        elif old != new:
            steps.append(_replace(name, old, new))
    return tuple(steps)


def _start(name: str, channel: PackagerChannel) -> Step:
    return Step(
        id=f"package {name}",
        kind=START,
        arguments={"channel": channel.to_json()},
        requires=frozenset(channel.requires),
        provides=frozenset(channel.provides),
        budget_s=_START_BUDGET_S,
        undo_budget_s=_STOP_BUDGET_S,
        summary=f"package {name} from udp port {channel.contribution_port} into bucket {channel.bucket}",
    )


def _stop(name: str, channel: PackagerChannel) -> Step:
    return Step(
        id=f"stop {name}",
        kind=STOP,
        arguments={"channel": channel.to_json()},
        budget_s=_STOP_BUDGET_S,
        undo_budget_s=_START_BUDGET_S,
        disruption=f"{name} stops for everybody who plays it",
        summary=f"stop packaging {name}",
    )


def _replace(name: str, old: PackagerChannel, new: PackagerChannel) -> Step:
    before, after = old.to_json(), new.to_json()
    changed = ", ".join(
        f"{k} {before.get(k)} -> {after.get(k)}"
        for k in sorted(before.keys() | after.keys())
        if before.get(k) != after.get(k)
    )
    return Step(
        id=f"replace {name}",
        kind=REPLACE,
        arguments={"old": before, "channel": after},
        requires=frozenset(new.requires),
        provides=frozenset(new.provides),
        budget_s=_START_BUDGET_S,
        undo_budget_s=_START_BUDGET_S,
        disruption=f"players of {name} see a discontinuity of about a segment",
        summary=f"packager of {name}: {changed}",
    )
