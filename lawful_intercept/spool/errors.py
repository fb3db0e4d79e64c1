"""What can be wrong with a spool. The texts name numbers, never what is in it or whose it is."""

from __future__ import annotations

from nf.errors import IntegrityError, StorageError


class SpoolFullError(StorageError):
    """Its limit or the disk's end is reached. Nothing of what was to be appended is in it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, where="spool", remedy="confirm or drop what is in it, or give it more room")


class SpoolDamagedError(IntegrityError):
    """Something in it is not as it was written.

    number   the record that should have been read
    missing  the numbers from there on that cannot be read; empty when they all can, and there is what does not belong
    """

    def __init__(self, number: int, missing: range) -> None:
        super().__init__(
            f"at record {number} it is not as it was written; {len(missing)} records cannot be read",
            where="spool",
            remedy="keep a copy of its directory for who examines it; skip() goes on behind the place",
        )
        self.number = number
        self.missing = missing
