"""How much of a task's product is lost, as an extension of ReportTaskIssue (Owner `StreamVerse`): numbers and no words,
so that an ADMF can show them without repeating what an element says. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lxml import etree

from lawful_intercept.x1 import xml
from lawful_intercept.x1.extensions import NAMESPACE, OWNER
from lawful_intercept.x1.messages import Extension

_ROOT: Final = f"{{{NAMESPACE}}}lost"


@dataclass(frozen=True, slots=True)
class Lost:
    """`iri`, `cc`: units, at most so many; `uncounted`: others that nobody can count."""

    iri: int = 0
    cc: int = 0
    uncounted: bool = False

    def __add__(self, other: Lost) -> Lost:
        return Lost(self.iri + other.iri, self.cc + other.cc, uncounted=self.uncounted or other.uncounted)

    def __str__(self) -> str:
        counts = [f"{count} {what}" for count, what in ((self.iri, "IRI"), (self.cc, "CC")) if count]
        others = ["an unknown number" if not counts else "others"] if self.uncounted else []
        return f"not delivered: {', '.join((*counts, *others)) or 'nothing'}"


def lost_extension(lost: Lost) -> Extension:
    """For `ReportTaskIssue.extensions`."""
    root = etree.Element(_ROOT, nsmap={None: NAMESPACE})
    xml.put(root, "iri", str(lost.iri), NAMESPACE)
    xml.put(root, "cc", str(lost.cc), NAMESPACE)
    xml.put(root, "uncounted", "true" if lost.uncounted else "false", NAMESPACE)
    return Extension(OWNER, (xml.canonical(root),))


def lost_of(extensions: Iterable[Extension]) -> Lost | None:
    """What is told as lost, or None. Raises X1Fault (1010): more than once, or not readable as ours."""
    found = [each for each in extensions if each.owner == OWNER]
    if not found:
        return None
    if len(found) > 1 or len(found[0].content) != 1:
        raise xml.syntax("a loss is told more than once, or not at all")
    root = xml.parse(found[0].content[0], xml.REQUEST_LIMIT)
    if root.tag != _ROOT:
        raise xml.syntax("an extension of this owner is not known")
    reader = xml.Reader(root)
    iri, cc = (xml.value_of(reader.one(name, NAMESPACE), xml.natural, exact=True) for name in ("iri", "cc"))
    uncounted = xml.value_of(reader.one("uncounted", NAMESPACE), xml.boolean, exact=True)
    reader.end()
    return Lost(iri, cc, uncounted=uncounted)
