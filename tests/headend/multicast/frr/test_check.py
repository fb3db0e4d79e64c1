from __future__ import annotations

from collections.abc import Callable

import pytest

from headend.multicast.frr.check import check_candidate, check_installed
from nf.errors import DriverError


@pytest.mark.daemon
async def test_frr_is_asked(require_programs: Callable[..., None]) -> None:
    require_programs("zebra", "vtysh")
    check_installed()
    await check_candidate("interface eth1\n ip ospf cost 10\nexit\n", None)
    with pytest.raises(DriverError, match="cost 99999999"):
        await check_candidate("interface eth1\n ip ospf cost 99999999\nexit\n", None)
