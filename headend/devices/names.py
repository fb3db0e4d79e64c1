"""Names by which planner, driver and command of devices mean the same."""

from __future__ import annotations

from typing import Final

DEVICES: Final = "snmp-devices"
"""The section, and the driver that makes it true."""

ALL: Final = "devices"
"""What the operation `device-list` is done to: every device of the fleet."""

LIST: Final = "device-list"
SHOW: Final = "device-show"
SET: Final = "device-set"
HISTORY: Final = "device-history"
SNAPSHOT: Final = "device-snapshot"
RESTORE: Final = "device-restore"
ACCEPT: Final = "device-accept"
OPERATIONS: Final = (SHOW, SET, HISTORY, SNAPSHOT, RESTORE, ACCEPT)
"""Those on one device."""

GROUP_SHOW: Final = "device-group-show"
GROUP_SWITCH: Final = "device-group-switch"
GROUP_LOCK: Final = "device-group-lock"
GROUP_OPERATIONS: Final = (GROUP_SHOW, GROUP_SWITCH, GROUP_LOCK)
"""Those on one redundancy group."""
