from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nf.clock import VirtualClock
from nf.store.sqlite import SqliteStore
from nf.trust.authority import Authority
from nf.trust.keys import AuditKey

DOMAIN = "tv.example"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def authority(tmp_path: Path, clock: VirtualClock) -> Authority:
    return Authority.create(tmp_path / "ca", DOMAIN, clock)


@pytest.fixture
async def store(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[SqliteStore]:
    key = AuditKey.load_or_create(tmp_path / "audit.key")
    opened = await SqliteStore.open(tmp_path / "store.db", sign=key.sign, clock=clock)
    yield opened
    assert (await opened.audit_verify()).intact
    await opened.close()
