"""One relay for the tests of this folder that call, and a proxy for each file's section."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sip.kamailio.daemon import Relay
from tests.sip.kamailio.phones import Endpoint


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    folder: Path = tmp_path_factory.mktemp("relay")
    found = Relay("127.0.0.2", folder)
    yield found
    found.stop()


@pytest.fixture
def phones() -> Iterator[tuple[Endpoint, Endpoint]]:
    with Endpoint("127.0.0.1", 6001) as alice, Endpoint("127.0.0.1", 6002) as bob:
        yield alice, bob
