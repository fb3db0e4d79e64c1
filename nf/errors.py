"""One error tree for the whole appliance software.

Every error that may reach a person carries what happened, where, and what to do about it.

    NfError
    ├── InputError              INVALID_ARGUMENT     what was typed or sent is wrong
    │   └── DocumentError       INVALID_ARGUMENT     a document breaks rules; carries *all* problems
    ├── RefusedError            FAILED_PRECONDITION  valid, but not in the present state
    │   └── CommitRefused       FAILED_PRECONDITION  an appliance or a rule refused a commit; nothing was applied
    ├── BusyError               ABORTED              another transaction holds the lock      (retryable)
    ├── ConflictError           ABORTED              compare-and-swap lost                   (retryable)
    ├── NotFoundError           NOT_FOUND
    ├── IdentityError           UNAUTHENTICATED      certificate or token not acceptable
    ├── DeniedError             PERMISSION_DENIED    identity is known, its role does not allow this
    ├── UnavailableError        UNAVAILABLE          peer is not there now                   (retryable)
    ├── DeadlineError           DEADLINE_EXCEEDED    a budget or deadline ran out
    ├── StorageError            RESOURCE_EXHAUSTED   journal or store cannot be written
    ├── CancelledError          CANCELLED            a person or a shutdown cancelled it
    ├── DriverError             INTERNAL             a daemon or device did not do what was asked
    └── IntegrityError          DATA_LOSS            stored data fails its own check
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


class Status(Enum):
    """gRPC status codes that the tree uses (numbers as in google.rpc.Code)."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule: where it stands, what stands there, which rule, what to do.

    `line` and `column` count from 1 and are 0 where the problem has no place in a file.
    `key` is the dotted path inside the document, such as `spec.channels[2].lcn`, or the appliance and step
    that refused.
    """

    rule: str
    remedy: str
    file: str = ""
    line: int = 0
    column: int = 0
    key: str = ""
    value: str = ""

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place += f":{self.line}:{self.column}"
        what = f"{self.key} = {self.value}" if self.value else self.key
        told = ": ".join(part for part in (place, what, self.rule) if part)
        return f"{told} -> {self.remedy}" if self.remedy else told


class NfError(Exception):
    """Root of the tree. `where` names the object, `remedy` says what to do next."""

    status: ClassVar[Status] = Status.INTERNAL
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, where: str = "", remedy: str = "", problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.remedy = remedy
        self.problems = tuple(problems)

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        return f"{head} ({self.remedy})" if self.remedy else head


class InputError(NfError):
    status = Status.INVALID_ARGUMENT


class DocumentError(InputError):
    """A document breaks one or more rules; `problems` lists all of them."""

    def __init__(self, problems: Sequence[Problem], *, where: str = "") -> None:
        count = len(problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} found", where=where, problems=problems)


class RefusedError(NfError):
    status = Status.FAILED_PRECONDITION


class CommitRefused(RefusedError):
    """A commit was refused as a whole; no appliance changed. `problems` says who refused and why."""


class BusyError(NfError):
    status = Status.ABORTED
    retryable = True


class ConflictError(NfError):
    status = Status.ABORTED
    retryable = True


class NotFoundError(NfError):
    status = Status.NOT_FOUND


class IdentityError(NfError):
    status = Status.UNAUTHENTICATED


class DeniedError(NfError):
    status = Status.PERMISSION_DENIED


class UnavailableError(NfError):
    status = Status.UNAVAILABLE
    retryable = True


class DeadlineError(NfError):
    status = Status.DEADLINE_EXCEEDED


class StorageError(NfError):
    status = Status.RESOURCE_EXHAUSTED


class CancelledError(NfError):
    status = Status.CANCELLED


class DriverError(NfError):
    status = Status.INTERNAL


class IntegrityError(NfError):
    status = Status.DATA_LOSS
