"""Certificates of a front as files. Each is named after what is in it, so that another one is another configuration,
which Caddy then loads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from nf.media.front.documents import FrontSection
from nf.trust.files import write_private


def resolve(section: FrontSection, secret: Callable[[str], str]) -> dict[str, str]:
    """Reference -> PEM. Raises what `secret` raises."""
    return {reference: secret(reference) for reference in section.certificates}


def file_name(pem: str) -> str:
    return f"{hashlib.sha256(pem.encode()).hexdigest()[:32]}.pem"


def install(directory: Path, pems: Mapping[str, str]) -> dict[str, str]:
    """Reference -> path, each file for root alone. Raises StorageError."""
    paths = {reference: directory / file_name(pem) for reference, pem in pems.items()}
    for reference, path in paths.items():
        if not path.exists():
            write_private(path, pems[reference].encode())
    return {reference: str(path) for reference, path in paths.items()}
