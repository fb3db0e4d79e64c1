"""Names by which planner, driver and command of the satellite link mean the same."""

from __future__ import annotations

from typing import Final

UPLINK: Final = "satellite-uplink"
RECEIVER: Final = "satellite-receiver"

MUX_PORT_BASE: Final = 20000
"""Row n of the encoder sends to UDP port MUX_PORT_BASE + n of the mux."""
STANDBY_PORT_OFFSET: Final = 1000
"""Row n of the encoder that stands by sends so many ports higher: the mux chooses."""

STATUS: Final = "link-status"
PLAN: Final = "link-plan"
TRANSMIT: Final = "transmit"
OPERATIONS: Final = (STATUS, PLAN, TRANSMIT)
