"""When a point's task ends, as an extension of its details (Owner `StreamVerse`): X1 has no end time for points. Pure.

The ADMF ends tasks; this is for the moment at which it cannot, and for a point that takes up its tasks after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from lxml import etree

from lawful_intercept.x1 import xml
from lawful_intercept.x1.details import time
from lawful_intercept.x1.extensions import NAMESPACE, OWNER
from lawful_intercept.x1.messages import Extension, time_text

_ROOT: Final = f"{{{NAMESPACE}}}taskEnd"


def ending_extension(at: datetime) -> Extension:
    """For `TaskDetails.extensions` of our own points. `at`: aware."""
    root = etree.Element(_ROOT, nsmap={None: NAMESPACE})
    root.text = time_text(at)
    return Extension(OWNER, (xml.canonical(root),))


def ending_of(extensions: Iterable[Extension]) -> datetime | None:
    """The end among extensions, or None. Raises X1Fault (1010): more than one, or not readable as ours."""
    found = [each for each in extensions if each.owner == OWNER]
    if not found:
        return None
    if len(found) > 1 or len(found[0].content) != 1:
        raise xml.syntax("there is an end more than once, or none")
    root = xml.parse(found[0].content[0], xml.REQUEST_LIMIT)
    if root.tag != _ROOT or len(root):
        raise xml.syntax("an extension of this owner is not known")
    return xml.value_of(root, time, exact=True)
