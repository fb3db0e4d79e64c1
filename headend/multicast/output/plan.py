"""Pure: the steps from the outputs that are sent to those that are wanted, and what differs in words."""

from __future__ import annotations

from collections.abc import Mapping

from headend.multicast.documents import Output, OutputSection
from headend.multicast.output.units import key
from nf.contracts.driver import State, Step
from nf.contracts.json import JsonObject

SET, REMOVE, CLEAR, RESTORE = "output.set", "output.remove", "output.clear", "output.restore"
STAGE = ""
"""Under `altered`: what is wrong with the stage as a whole."""
_SET_S, _REMOVE_S = 40.0, 15.0


def outputs_of(section: OutputSection | None) -> dict[str, Output]:
    return {} if section is None else {key(output): output for output in section.outputs}


def altered_of(have: State) -> Mapping[str, str]:
    """Output -> what is not as the file says."""
    altered = have.value.get("altered") if have.value is not None else None
    return {name: str(line) for name, line in altered.items()} if isinstance(altered, dict) else {}


def have_section(have: State) -> OutputSection | None:
    if have.value is None or "tap" not in have.value:
        return None
    return OutputSection.model_validate({name: part for name, part in have.value.items() if name != "altered"})


def plan(have: State, want: OutputSection | None) -> tuple[Step, ...]:
    """One step for each output that is new, other, not sent as it should be, or no longer wanted."""
    section = have_section(have)
    sent, wanted, altered = outputs_of(section), outputs_of(want), altered_of(have)
    moved = section is not None and want is not None and section.tap != want.tap
    steps: list[Step] = []
    for name in sorted(sent.keys() | wanted.keys()):
        old, new = sent.get(name), wanted.get(name)
        if new is None and old is not None:
            steps.append(_remove(name, old))
        elif new is not None and want is not None and (old != new or moved or name in altered or STAGE in altered):
            steps.append(_set(name, old, new, want.tap, moved=moved))
    if altered and not sent and not wanted:
        steps.append(
            Step(
                "clear outputs",
                CLEAR,
                {},
                budget_s=_REMOVE_S,
                undo_budget_s=_REMOVE_S,
                summary="a file changed by hand goes",
            )
        )
    return tuple(steps)


def _set(name: str, old: Output | None, new: Output, tap: str, *, moved: bool) -> Step:
    arguments: JsonObject = {"tap": tap, "output": new.to_json()}
    again = old is not None and (moved or _stream(old) != _stream(new))
    stopped = old is not None and not set(old.addresses) <= set(new.addresses)
    disruption = f"{name} is interrupted for a moment at this PoP" if again else ""
    return Step(
        id=f"output {name}",
        kind=SET,
        arguments=arguments,
        requires=frozenset(new.requires),
        provides=frozenset(new.provides),
        budget_s=_SET_S,
        undo_budget_s=_SET_S,
        disruption=f"{name} is no longer sent on every LAN as before" if stopped and not again else disruption,
        summary=f"send {name} as ({', '.join(map(str, new.addresses))}; {new.group}):{new.port} by {_how(new)}",
    )


def _how(output: Output) -> str:
    feeds = " and ".join(f"({feed.source}, {feed.group})" for feed in output.feeds)
    return f"{output.mode.value} of {feeds}"


def _remove(name: str, old: Output) -> Step:
    return Step(
        id=f"remove output {name}",
        kind=REMOVE,
        arguments={"output": name},
        budget_s=_REMOVE_S,
        undo_budget_s=_SET_S,
        disruption=f"{name} is no longer sent at this PoP",
        summary=f"stop sending {name} as {old.group}:{old.port}",
    )


def _stream(output: Output) -> Output:
    """What makes it another stream when it changes."""
    return output.model_copy(update={"addresses": (), "requires": (), "provides": ()})


def differences(have: State, want: OutputSection | None) -> tuple[str, ...]:
    """In an operator's words; empty when all is as wanted."""
    section = have_section(have)
    sent, wanted, altered = outputs_of(section), outputs_of(want), altered_of(have)
    lines = [f"output {name} is still sent" for name in sent.keys() - wanted.keys()]
    lines += [f"the output stage: {altered[STAGE]}"] if STAGE in altered else []
    if section is not None and want is not None and wanted and section.tap != want.tap:
        lines.append(f"the output stage listens on {section.tap} instead of {want.tap}")
    for name, output in wanted.items():
        if name not in sent:
            lines.append(f"output {name} is not sent")
        elif name in altered:
            lines.append(f"output {name}: {altered[name]}")
        elif sent[name] != output:
            lines.append(f"output {name} is sent with other settings")
    return tuple(sorted(lines))
