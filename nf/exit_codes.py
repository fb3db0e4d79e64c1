"""The exit codes of `nf` and `nf-li` (docs/exit-codes.md): what a script may rely on."""

from __future__ import annotations

from enum import IntEnum

from nf.errors import (
    BusyError,
    CancelledError,
    ConflictError,
    DeadlineError,
    DeniedError,
    IdentityError,
    InputError,
    IntegrityError,
    NfError,
    NotFoundError,
    RefusedError,
    StorageError,
    UnavailableError,
)


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1  # a daemon, a device or the software itself failed
    INPUT = 2  # what was typed, or a document, is wrong
    REFUSED = 3  # valid, but refused; nothing was changed
    UNDONE = 4  # a commit began and was taken back as a whole
    UNAVAILABLE = 5  # the peer is not there, or did not answer in time
    DENIED = 6  # certificate, token or role does not allow it
    NOT_FOUND = 7
    BUSY = 8  # somebody else holds it; try again
    RED = 9  # the answer came and it is bad: a path is down, the audit chain is broken
    STORAGE = 10  # a journal or a store cannot be written
    INTERRUPTED = 130  # Ctrl-C
    BROKEN_PIPE = 141  # the reader of our output went away


_CODES: tuple[tuple[type[NfError], ExitCode], ...] = (
    (InputError, ExitCode.INPUT),
    (RefusedError, ExitCode.REFUSED),
    (UnavailableError, ExitCode.UNAVAILABLE),
    (DeadlineError, ExitCode.UNAVAILABLE),
    (IdentityError, ExitCode.DENIED),
    (DeniedError, ExitCode.DENIED),
    (NotFoundError, ExitCode.NOT_FOUND),
    (BusyError, ExitCode.BUSY),
    (ConflictError, ExitCode.BUSY),
    (IntegrityError, ExitCode.RED),
    (StorageError, ExitCode.STORAGE),
    (CancelledError, ExitCode.INTERRUPTED),
)


def exit_code(error: NfError) -> ExitCode:
    """The code of an error's class; what is not listed is a failure."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)


class Ended(Exception):  # noqa: N818  # an end with a verdict, not an error of the program
    """A command ends with `error` shown and an exit code that the class of `error` alone does not give."""

    def __init__(self, error: NfError, code: ExitCode) -> None:
        super().__init__(str(error))
        self.error = error
        self.code = code
