"""What the API answers when it refuses: CAMARA's ErrorInfo (API design guide, section 3.2)."""

from __future__ import annotations

from typing import Final

from nf.contracts.json import JsonObject
from nf.errors import NfError, Status

_OF_STATUS: Final = {
    Status.INVALID_ARGUMENT: (400, "INVALID_ARGUMENT"),
    Status.UNAUTHENTICATED: (401, "UNAUTHENTICATED"),
    Status.PERMISSION_DENIED: (403, "PERMISSION_DENIED"),
    Status.NOT_FOUND: (404, "NOT_FOUND"),
    Status.ABORTED: (409, "ABORTED"),
    Status.UNAVAILABLE: (503, "UNAVAILABLE"),
    Status.RESOURCE_EXHAUSTED: (503, "UNAVAILABLE"),
}


class ApiError(Exception):
    """`status`: of HTTP; `code`: CAMARA's word for it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def to_json(self) -> JsonObject:
        return {"status": self.status, "code": self.code, "message": self.message}

    @classmethod
    def of(cls, error: NfError) -> ApiError:
        """The remedies of our own errors are for operators: consumers are told what, and nothing of the inside."""
        status, code = _OF_STATUS.get(error.status, (500, "INTERNAL"))
        inside = status >= 500
        return cls(status, code, "the service cannot do this now; try again later" if inside else error.message)


def invalid(message: str) -> ApiError:
    return ApiError(400, "INVALID_ARGUMENT", message)


def out_of_range(message: str) -> ApiError:
    return ApiError(400, "OUT_OF_RANGE", message)


def not_applicable(message: str) -> ApiError:
    return ApiError(422, "SERVICE_NOT_APPLICABLE", message)
