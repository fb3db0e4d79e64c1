"""Stores under test: every test of the conformance suite runs over each of these factories."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from nf.clock import Clock, VirtualClock
from nf.store.contract import Store
from nf.store.sqlite import SqliteStore
from nf.trust.keys import AuditKey

Factory = Callable[[Path, Clock], Awaitable[Store]]


async def sqlite(directory: Path, clock: Clock) -> Store:
    key = AuditKey.load_or_create(directory / "audit.key")
    return await SqliteStore.open(directory / "store.db", sign=key.sign, clock=clock)


FACTORIES: dict[str, Factory] = {"sqlite": sqlite}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=sorted(FACTORIES))
def factory(request: pytest.FixtureRequest) -> Factory:
    return FACTORIES[request.param]


@pytest.fixture
async def store(factory: Factory, tmp_path: Path, clock: VirtualClock) -> AsyncIterator[Store]:
    opened = await factory(tmp_path, clock)
    yield opened
    await opened.close()
