"""A small fleet, enrolled and on the underlay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.fleet import InProcessFleet, in_process_fleet


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[InProcessFleet]:
    async with in_process_fleet(tmp_path) as running:
        yield running
