"""One small build for all tests, and copies of it for those that damage theirs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.images.supply.small_build import PROGRAMS, Maker, SmallBuild, make_build, make_maker


@pytest.fixture(scope="session")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return make_maker(tmp_path_factory.mktemp("maker") / "keys")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, maker: Maker, require_programs: Callable[..., None]) -> SmallBuild:
    """Not to be changed."""
    require_programs(*PROGRAMS)
    return make_build(tmp_path_factory.mktemp("built"), maker)


@pytest.fixture
def build(built: SmallBuild, tmp_path: Path) -> SmallBuild:
    """A copy of one's own."""
    return SmallBuild(Path(shutil.copytree(built.directory, tmp_path / "build")), built.maker)
