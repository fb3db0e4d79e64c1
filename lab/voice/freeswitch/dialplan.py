"""The XML dialplan: contexts, extensions, conditions with their break rules, and ${variables} in what is executed."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import NamedTuple

_VARIABLE = re.compile(r"\$\{([^${}]*)\}")
_REFERENCE = re.compile(r"\$(\d{1,2})|\$\{(\d{1,2})\}")
_SLICE = re.compile(r"(.+?):(-?\d+)(?::(\d+))?$")
Lookup = Callable[[str], str]
Inline = Callable[[str, str], None]
_CLOCK = ("year", "yday", "mon", "mday", "week", "mweek", "wday", "hour", "minute", "minute-of-day")


class Action(NamedTuple):
    application: str
    data: str


class Hunted(NamedTuple):
    """What the dialplan says: `extensions` that matched, `actions` in their order."""

    extensions: tuple[str, ...]
    actions: tuple[Action, ...]


def expand(text: str, lookup: Lookup, call: Callable[[str, str], str] | None = None) -> str:
    """`${name}`, `${name:offset:length}`, `${function(arguments)}` by `call`; what is not known is empty."""
    for _ in range(10):  # variables name variables

        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name.endswith(")") and "(" in name:
                function, _, arguments = name[:-1].partition("(")
                return call(function, arguments) if call is not None else ""
            known = lookup(name)
            part = _SLICE.match(name)
            if known or part is None:
                return known
            whole, start = expand(lookup(part[1]), lookup, call), int(part[2])
            cut = whole[start:]
            return cut[: int(part[3])] if part[3] else cut

        done = _VARIABLE.sub(value, text)
        if done == text:
            break
        text = done
    return text


def substituted(text: str, match: re.Match[str] | None) -> str:
    """`$1` of the expression that matched."""
    if match is None:
        return text

    def group(found: re.Match[str]) -> str:
        number = int(found[1] or found[2])
        return (match[number] or "") if number <= (match.re.groups) else ""

    return _REFERENCE.sub(group, text)


def searched(expression: str, value: str) -> re.Match[str] | None:
    """PCRE's ways of writing that Python's re has too; a leading / and a trailing one are taken away."""
    if len(expression) > 1 and expression.startswith("/") and expression.endswith("/"):
        expression = expression[1:-1]
    try:
        return re.search(expression, value)
    except re.error:
        return None


class Hunter:
    """One hunt. `lookup` gives fields of the caller's profile and variables; `inline` executes at once."""

    def __init__(self, lookup: Lookup, inline: Inline, call: Callable[[str, str], str] | None = None) -> None:
        self._lookup, self._inline, self._call = lookup, inline, call
        self.log: list[str] = []

    def hunt(self, contexts: list[ET.Element]) -> Hunted:
        names: list[str] = []
        actions: list[Action] = []
        for extension in (one for context in contexts for one in context.iterfind("extension")):
            name = extension.get("name", "")
            found = self._extension(extension)
            self.log.append(f"parsing [{name}] {'matched' if found is not None else 'no'}")
            if found is not None:
                names.append(name)
                actions += found
                if extension.get("continue") != "true":
                    break
        return Hunted(tuple(names), tuple(actions))

    def _extension(self, extension: ET.Element) -> list[Action] | None:
        """None: it did not match, and nothing of it is executed."""
        actions: list[Action] = []
        matched = self._conditions(extension, actions)
        return actions if matched or actions else None

    def _conditions(self, parent: ET.Element, actions: list[Action]) -> bool:
        """Whether all of them held; those of what is nested too."""
        whole = True
        for condition in parent.iterfind("condition"):
            holds, match = self._holds(condition)
            for one in condition.iterfind("action" if holds else "anti-action"):
                self._take(one, match, actions)
            if holds and condition.find("condition") is not None:
                nested = self._conditions(condition, actions)
                holds = nested or condition.get("require-nested", "true") == "false"
            whole = whole and holds
            breaking = condition.get("break", "on-false")
            if breaking == "always" or (breaking == "on-true" and holds) or (breaking == "on-false" and not holds):
                break
        return whole

    def _holds(self, condition: ET.Element) -> tuple[bool, re.Match[str] | None]:
        if not self._now(condition):
            return False, None
        kind = condition.get("regex")
        if kind:
            results = [self._matches(one) for one in condition.iterfind("regex")]
            count = sum(one is not None for one in results)
            holds = {"all": count == len(results), "any": count > 0, "xor": count == 1}.get(kind, False)
            return holds, next((one for one in reversed(results) if one is not None), None)
        if condition.get("field") is None:
            return True, None  # "absolute condition"
        match = self._matches(condition)
        return match is not None, match

    def _matches(self, one: ET.Element) -> re.Match[str] | None:
        field = one.get("field", "")
        value = expand(field, self._lookup, self._call) if "$" in field else self._lookup(field)
        expression = one.get("expression")
        if expression is None:
            found = one.find("expression")
            expression = (found.text or "").strip() if found is not None else ""
        return searched(expand(expression, self._lookup, self._call), value)

    def _take(self, element: ET.Element, match: re.Match[str] | None, actions: list[Action]) -> None:
        data = element.get("data")
        data = substituted(data if data is not None else (element.text or "").strip(), match)
        action = Action(element.get("application", ""), data)
        if element.get("inline") == "true":
            self._inline(action.application, expand(action.data, self._lookup, self._call))
        else:
            actions.append(action)

    @staticmethod
    def _now(condition: ET.Element) -> bool:
        """Times of day and days: ranges by `-`, lists by `,`."""
        now = time.localtime()
        values = {
            "year": now.tm_year, "yday": now.tm_yday, "mon": now.tm_mon, "mday": now.tm_mday,
            "week": int(time.strftime("%U", now)) + 1, "mweek": (now.tm_mday - 1) // 7 + 1,
            "wday": (now.tm_wday + 1) % 7 + 1, "hour": now.tm_hour, "minute": now.tm_min,
            "minute-of-day": now.tm_hour * 60 + now.tm_min + 1,
        }  # fmt: skip
        return all(_in(condition.get(name, ""), values[name]) for name in _CLOCK if condition.get(name) is not None)


def _in(said: str, value: int) -> bool:
    for part in said.split(","):
        first, _, last = part.partition("-")
        if first.strip().isdecimal() and int(first) <= value <= int(last if last.strip().isdecimal() else first):
            return True
    return False
