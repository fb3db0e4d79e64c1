"""What one event socket connection has asked for: formats, events, filters, permissions. No input or output."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lab.voice.freeswitch.events import MYEVENTS, NAMES, Event


@dataclass(slots=True)
class Session:
    """`names`: event types that are sent; `custom`: subclasses. Empty `allowed_*`: everything is."""

    form: str = "plain"
    listening: bool = False
    names: set[str] = field(default_factory=set)
    custom: set[str] = field(default_factory=set)
    filters: list[tuple[str, str]] = field(default_factory=list)
    mine: str = ""
    allowed_events: frozenset[str] = frozenset()
    allowed_apis: frozenset[str] = frozenset()
    log_level: int = -1
    log_allowed: bool = True

    def wants(self, event: Event) -> bool:
        """Whether the event is for it."""
        if not self.listening:
            return False
        if event.name == "CUSTOM":
            known = "CUSTOM" in self.names and (not event.subclass or event.subclass in self.custom)
            if not known and "ALL" not in self.names:
                return False
        elif "ALL" not in self.names and event.name not in self.names:
            return False
        if self.mine and event.get("Unique-ID") != self.mine:
            return False
        return self._filtered(event)

    def _filtered(self, event: Event) -> bool:
        """One that holds is enough, and one with `-` before its value that holds is too much."""
        if not self.filters:
            return True
        wanted = False
        for name, value in self.filters:
            found = event.get(name)
            plain = value.lstrip("+-")
            negative = value[: len(value) - len(plain)].endswith("-")
            if found is None or not _matches(plain, found):
                continue
            if negative:
                return False
            wanted = True
        return wanted

    def event(self, words: list[str]) -> str:
        """The reply to `event`."""
        keys = 0
        custom = False
        for index, word in enumerate(words):
            upper = word.upper()
            if not index and word.lower() in ("plain", "json", "xml"):
                self.form = word.lower()
            elif custom:
                if self.allowed_events and word not in self.allowed_events and "ALL" not in self.allowed_events:
                    return "-ERR permission denied"
                self.custom.add(word)
            elif upper in NAMES:
                if self.allowed_events and not {upper, "ALL"} & self.allowed_events:
                    return "-ERR permission denied"
                keys += 1
                self.names.add(upper)
                custom = upper == "CUSTOM"
        if not keys:
            return "-ERR no keywords supplied"
        self.listening = True
        return f"+OK event listener enabled {self.form}"

    def nixevent(self, words: list[str]) -> str:
        keys = 0
        custom = False
        for word in words:
            upper = word.upper()
            if custom:
                self.custom.discard(word)
            elif upper in NAMES:
                keys += 1
                if upper == "CUSTOM":
                    custom = True
                elif upper == "ALL":
                    self.names.clear()
                else:
                    if "ALL" in self.names:
                        self.names = set(NAMES) - {"ALL"}
                    self.names.discard(upper)
        if not keys:
            return "-ERR no keywords supplied"
        self.listening = True
        return "+OK events nixed"

    def noevents(self) -> str:
        if not self.listening:
            return "-ERR not listening for events"
        self.listening = False
        self.names.clear()
        self.custom.clear()
        return "+OK no longer listening for events"

    def filter(self, text: str) -> str:
        name, _, value = text.strip().partition(" ")
        if name.lower() == "delete" and value:
            name, _, value = value.partition(" ")
            if name.lower() == "all":
                self.filters.clear()
            else:
                self.filters = [
                    one for one in self.filters if one[0].lower() != name.lower() or (value and one[1] != value)
                ]
            return f"+OK filter deleted. [{name}][{value}]"
        if not value:
            return "-ERR invalid syntax"
        if name.lower() == "add":
            name, _, value = value.partition(" ")
        self.filters.append((name, value))
        return f"+OK filter added. [{name}]=[{value}]"

    def myevents(self, uuid: str, form: str) -> str:
        if self.mine:
            return "-ERR aready enabled."
        self.mine = uuid
        self.names |= MYEVENTS
        self.listening = True
        if form.lower() in ("plain", "json", "xml"):
            self.form = form.lower()
        return "+OK Events Enabled"


def _matches(wanted: str, found: str) -> bool:
    if len(wanted) > 1 and wanted.startswith("/") and wanted.endswith("/"):
        try:
            return re.search(wanted[1:-1], found) is not None
        except re.error:
            return False
    return wanted.lower() == found.lower()
