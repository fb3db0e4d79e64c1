"""The core of models, for all tests of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.core5g.conformance.network import Network
from tests.lab.mobile.models import ask, core_of


@pytest.fixture(scope="module")
def started_core(require_root: Callable[[], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    require_root()
    with core_of(tmp_path_factory.mktemp("core")) as made:
        yield made


@pytest.fixture
def core(started_core: Network) -> Iterator[Network]:
    """Without sessions of other tests."""
    yield started_core
    for told in ask("/model/sessions"):
        ask(f"/model/sessions/{told['id']}", method="DELETE")
