"""The version that is installed, as the package's own metadata says it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def software_version() -> str:
    try:
        return version("streamverse-nf")
    except PackageNotFoundError:
        return "unknown"
