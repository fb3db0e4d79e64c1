"""Each result is labelled with whose behaviour was seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core5g.daemons import label


@pytest.fixture
def labelled(record_property: Callable[[str, object], None]) -> None:
    """For tests between a UPF of `NF_OPEN5GS_BIN` and the model of an SMF."""
    record_property("conformance", label())
