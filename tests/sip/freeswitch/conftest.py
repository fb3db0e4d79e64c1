"""Each result is labelled with whose behaviour was seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sip.freeswitch.daemons import BIN, label


@pytest.fixture
def labelled(record_property: Callable[[str, object], None]) -> None:
    """For tests of the driver with the program of `NF_FREESWITCH_BIN`, or the lab's model."""
    if not (BIN / "freeswitch").is_file():
        pytest.skip("needs the program freeswitch: NF_FREESWITCH_BIN names its folder")
    record_property("conformance", label())
