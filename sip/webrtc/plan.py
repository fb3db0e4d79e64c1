"""What separates a gateway or a TURN server from what is wanted, and what the way there costs. Pure."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from nf.contracts.driver import State, Step
from nf.contracts.json import Json, JsonObject
from nf.documents.model import DocumentModel
from sip.webrtc.daemon import Daemon
from sip.webrtc.documents import EdgeSection

BUDGET_S: Final = 60.0
RUN, TELL, REMOVE, RESTORE = "webrtc.run", "webrtc.tell", "webrtc.remove", "webrtc.restore"
FILES, UNIT, LIVE, TOLD, SECRETS, LOAD = "files", "unit", "live", "told", "secrets", "load"
"""Keys beside the section's in what is observed: files that somebody changed, a unit that is not as it should be, how
the process differs from its files, what it was told otherwise, secrets that were replaced; how much it carries."""

S = TypeVar("S", bound=EdgeSection)


class Planning(Generic[S]):
    def __init__(self, daemon: Daemon[S]) -> None:
        self._daemon = daemon

    def section_of(self, value: JsonObject | None) -> S | None:
        """What was observed, without what deviates; None when no section can be read."""
        known = {key: one for key, one in (value or {}).items() if key in self._daemon.model.model_fields}
        try:
            return self._daemon.model.model_validate(known)
        except ValueError:
            return None

    def plan(self, have: State, want: S | None) -> tuple[Step, ...]:
        if want is None:
            return () if have.value is None else (self._remove(have.value),)
        before = self.section_of(have.value)
        restart = self._restart_reason(have.value, before, want)
        parts = self._told(have.value, before, want)
        if not restart and not parts:
            return ()
        starting = have.value is None or before is None or UNIT in have.value
        noun, name = self._daemon.words[0], want.id
        if starting:
            summary = f"start {noun} {name}"
        elif restart:
            summary = f"restart {noun} {name}: {restart}"
        else:
            summary = f"{noun} {name}, without a restart: {', '.join(parts)}"
        return (
            Step(
                id=self._daemon.section,
                kind=RUN if restart else TELL,
                arguments={"section": want.to_json()},
                requires=frozenset(want.requires),
                provides=frozenset(want.provides),
                budget_s=BUDGET_S,
                undo_budget_s=BUDGET_S,
                disruption=self._cost(have.value) if restart and not starting else "",
                summary=summary,
            ),
        )

    def _restart_reason(self, have: JsonObject | None, before: S | None, want: S) -> str:
        if have is None or before is None:
            return "it is not there"
        if UNIT in have:
            return f"it is {have[UNIT]}"
        if LIVE in have:
            return str(have[LIVE])
        if _list(have.get(FILES)):
            return f"{', '.join(map(str, _list(have[FILES])))} was changed by hand"
        replaced = [str(one) for one in _list(have.get(SECRETS))]
        if replaced:
            return f"{', '.join(replaced)} was replaced"
        old, new = self._daemon.files(before), self._daemon.files(want)
        return f"other {', '.join(_changed(before, want)) or 'configuration'}" if old != new else ""

    def _told(self, have: JsonObject | None, before: S | None, want: S) -> tuple[str, ...]:
        if have is None or before is None:
            return ()
        found = [str(one) for one in _list(have.get(TOLD))]
        return tuple(dict.fromkeys([*found, *_changed(before, want)]))

    def _cost(self, have: JsonObject | None) -> str:
        return f"{self._load(have)} of {self._daemon.words[0]} end; whoever had them begins anew"

    def _load(self, have: JsonObject | None) -> str:
        count, noun = (have or {}).get(LOAD), self._daemon.words[1]
        return f"{count:,} {noun}{'s' if count != 1 else ''}" if isinstance(count, int) else f"the {noun}s"

    def _remove(self, have: JsonObject) -> Step:
        return Step(
            id=self._daemon.section,
            kind=REMOVE,
            arguments={},
            budget_s=BUDGET_S,
            undo_budget_s=BUDGET_S,
            disruption=f"removing the {self._daemon.words[0]}: {self._load(have)} end",
            summary=f"remove the {self._daemon.words[0]}",
        )

    def differences(self, have: JsonObject | None, want: S | None) -> tuple[str, ...]:
        """In an operator's words; empty = it runs as is wanted."""
        noun = self._daemon.words[0]
        if want is None:
            return () if have is None else (f"the {noun} is still there",)
        if have is None:
            return (f"the {noun} is not there",)
        before = self.section_of(have)
        lines = [f"{name} was changed by hand" for name in _list(have.get(FILES))]
        lines += [f"the {noun} is {have[UNIT]}"] if UNIT in have else []
        lines += [f"the {noun}: {have[LIVE]}"] if LIVE in have else []
        lines += [f"the {noun} has other {one}" for one in _list(have.get(TOLD))]
        lines += [f"{one} was replaced" for one in _list(have.get(SECRETS))]
        if before is None:
            lines.append(f"what the {noun} was made of cannot be read")
        elif before != want:
            lines.append(f"the {noun} has other {', '.join(_changed(before, want))}")
        return tuple(lines)


def _changed(before: DocumentModel, want: DocumentModel) -> list[str]:
    """Names of what differs; of what stands a level deeper, its own."""
    found: list[str] = []
    for key in type(want).model_fields:
        old, new = getattr(before, key), getattr(want, key)
        if old != new:
            deeper = isinstance(old, DocumentModel) and isinstance(new, DocumentModel)
            found += _changed(old, new) if deeper else [key.replace("_", " ")]
    return found


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
