"""From what runs and what is wanted to steps, with what a restart costs the calls that are on the relay. Pure."""

from __future__ import annotations

from typing import Final

from nf.contracts.driver import State, Step
from nf.contracts.json import JsonObject
from sip.rtpengine.documents import RtpengineSection
from sip.rtpengine.render import program, rtpengine_conf

CONFIGURE, REMOVE, RESTORE = "rtpengine.configure", "rtpengine.remove", "rtpengine.restore"
BUDGET_S: Final = 45.0
AMISS, TEXT, SESSIONS = "amiss", "amiss-text", "sessions"
"""Keys beside the section's in what is observed: why it needs a step, the same in words, and how many calls a restart
would cut."""
STOPPED, ALTERED, SIDE = "stopped", "altered", "side"
"""Values of `amiss`: it does not run; it runs with another file; it runs well, and something beside it does not."""


def standing(value: JsonObject | None) -> RtpengineSection | None:
    """The section in what was observed."""
    found = {key: one for key, one in (value or {}).items() if key not in (AMISS, TEXT, SESSIONS)}
    return RtpengineSection.model_validate(found) if found else None


def restarts(before: RtpengineSection | None, want: RtpengineSection) -> bool:
    """Whether rtpengine itself reads something new."""
    return before is None or program(rtpengine_conf(before)) != program(rtpengine_conf(want))


def plan(have: State, want: RtpengineSection | None) -> tuple[Step, ...]:
    before = standing(have.value)
    amiss = str((have.value or {}).get(AMISS, ""))
    if want is None:
        return () if have.value is None else (_remove(before, have.value),)
    if before == want and not amiss:
        return ()
    anew = restarts(before, want) or amiss == ALTERED
    cut = anew and amiss != STOPPED and have.value is not None
    name = want.relay.id
    if have.value is None or amiss == STOPPED:
        summary = f"start relay {name}"
    else:
        summary = f"restart relay {name}: its file changed" if anew else f"relay {name}: what is beside it"
    step = Step(
        id="rtpengine.relay",
        kind=CONFIGURE,
        arguments={"section": want.to_json()},
        requires=frozenset(want.requires),
        provides=frozenset(want.provides),
        budget_s=BUDGET_S,
        undo_budget_s=BUDGET_S,
        disruption=cost(have.value, "restarting", restored=_restored(before, want)) if cut else "",
        summary=summary,
    )
    return (step,)


def _remove(before: RtpengineSection | None, value: JsonObject | None) -> Step:
    return Step(
        id="rtpengine.relay",
        kind=REMOVE,
        arguments={},
        budget_s=BUDGET_S,
        undo_budget_s=BUDGET_S,
        disruption=cost(value, "removing", restored=False),
        summary=f"remove relay {before.relay.id if before is not None else ''}".rstrip(),
    )


def _restored(before: RtpengineSection | None, want: RtpengineSection) -> bool:
    """What is in the store comes back, at the addresses and ports that it had."""
    if before is None or before.pair is None or before.pair != want.pair:
        return False
    return before.relay.address == want.relay.address and before.relay.id == want.relay.id


def cost(value: JsonObject | None, verb: str, *, restored: bool) -> str:
    """In an operator's words; empty when no call is there."""
    count = (value or {}).get(SESSIONS)
    if count == 0:
        return ""
    many = f"{count:,}" if isinstance(count, int) else "all"
    calls = "call" if count == 1 else "calls"
    lose = "loses its media" if count == 1 else "lose their media"
    if restored:
        pause = "is" if count == 1 else "are"
        return f"{verb} the relay: {many} {calls} {pause} silent for a moment and restored; those with DTLS begin anew"
    return f"{verb} the relay: {many} {calls} {lose}; to empty it first: drain it at the proxies and wait"


def differences(have: JsonObject | None, want: RtpengineSection | None) -> tuple[str, ...]:
    """In an operator's words; empty = it runs as wanted."""
    before = standing(have)
    if want is None:
        return () if have is None else ("a relay is still there",)
    if have is None:
        return (f"relay {want.relay.id} is not there",)
    amiss = have.get(AMISS)
    lines = [str(have.get(TEXT) or amiss)] if amiss else []
    if before is None or restarts(before, want):
        lines.append(f"relay {want.relay.id} has another configuration")
    elif before != want:
        lines.append(f"relay {want.relay.id} has other peers or ordering facts")
    return tuple(lines)
