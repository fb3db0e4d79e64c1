"""Names by which driver, planner and command of the trace mean the same."""

from __future__ import annotations

from typing import Final

TRACE: Final = "tree.trace"
DRIVER: Final = "multicast-tree"
"""It is there on every appliance, also where it has no section, such as the headend and receivers."""
