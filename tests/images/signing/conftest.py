"""Throw-away signing material, made once: RSA keys take a while."""

from __future__ import annotations

import pytest

from images.signing.keys import Keys, make_keys


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("signing") / "keys", organisation="Example Cable")
