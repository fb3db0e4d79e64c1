"""Secrets that documents name and never hold: one file for each, JSON, mode 0600.

A reference `secret:origin-writer` is the file `/etc/nf/secrets/origin-writer`. How it comes there is the operator's
business; what stands in it never enters a document, a step, an undo record, a difference or a log.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from nf.errors import InputError, IntegrityError, NotFoundError
from nf.trust.files import read_private

SECRETS_DIR = Path("/etc/nf/secrets")
_REFERENCE = re.compile(r"secret:([a-z][a-z0-9-]{0,38})")


@dataclass(frozen=True, slots=True)
class SecretFiles:
    """Resolves references: `SecretFiles()("secret:origin-writer")`. A file that was replaced is read anew."""

    directory: Path = SECRETS_DIR

    def path(self, reference: str) -> Path:
        """Raises InputError when `reference` is none."""
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise InputError("not a reference to a secret", where=reference, remedy="write it as secret:NAME")
        return self.directory / match[1]

    def __call__(self, reference: str) -> str:
        """The text of the file. Raises InputError, NotFoundError, IntegrityError, StorageError."""
        path = self.path(reference)
        try:
            return read_private(path, f"the value of {reference}").decode()
        except NotFoundError as error:
            raise NotFoundError(error.message, where=error.where, remedy="write it there with mode 0600") from None
        except UnicodeDecodeError:
            raise IntegrityError("the secret is no text", where=str(path), remedy="write it again") from None


@dataclass(frozen=True, slots=True)
class Credentials:
    """An S3 access key. The secret part shows nowhere, also not in `repr`."""

    access_key: str
    secret_key: str = field(repr=False)

    @classmethod
    def parse(cls, text: str, where: str) -> Credentials:
        """From `{"access_key": ..., "secret_key": ...}`. Raises IntegrityError, which does not quote the text."""
        try:
            data = json.loads(text)
            access, secret = data["access_key"], data["secret_key"]
        except (ValueError, KeyError, TypeError):
            access = secret = None
        if not (isinstance(access, str) and isinstance(secret, str) and access and secret):
            raise IntegrityError(
                "not an access key", where=where, remedy='write {"access_key": "...", "secret_key": "..."}'
            )
        return cls(access, secret)
