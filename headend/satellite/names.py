"""Names by which planner, driver and command of the satellite link mean the same."""

from __future__ import annotations

from typing import Final

UPLINK: Final = "satellite-uplink"
RECEIVER: Final = "satellite-receiver"

STATUS: Final = "link-status"
PLAN: Final = "link-plan"
TRANSMIT: Final = "transmit"
OPERATIONS: Final = (STATUS, PLAN, TRANSMIT)
