"""The error tree over gRPC: every error crosses the wire whole, with its place, its remedy and all its problems.

A status carries one `streamverse.nf.v1.ErrorInfo` in `google.rpc.Status.details` (trailer `grpc-status-details-bin`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from nf import errors
from nf.control.v1 import common_pb2
from nf.errors import NfError, Problem, Status

_DETAILS: Final = "grpc-status-details-bin"
_MAX_DETAILS_BYTES: Final = 1_000_000

_T = TypeVar("_T")


def _tree(root: type[NfError]) -> Iterator[type[NfError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child)


_KINDS: Final[dict[str, type[NfError]]] = {kind.__name__: kind for kind in _tree(NfError)}
_CODES: Final[dict[Status, grpc.StatusCode]] = {
    status: code for status in Status for code in grpc.StatusCode if code.value[0] == status.value
}
_BY_CODE: Final[dict[grpc.StatusCode, type[NfError]]] = {
    grpc.StatusCode.CANCELLED: errors.CancelledError,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InputError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.PERMISSION_DENIED: errors.DeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.StorageError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.RefusedError,
    grpc.StatusCode.ABORTED: errors.BusyError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.DATA_LOSS: errors.IntegrityError,
    grpc.StatusCode.UNAUTHENTICATED: errors.IdentityError,
}


def problem_to_proto(problem: Problem) -> common_pb2.Problem:
    return common_pb2.Problem(
        rule=problem.rule,
        remedy=problem.remedy,
        file=problem.file,
        line=problem.line,
        column=problem.column,
        key=problem.key,
        value=problem.value,
    )


def problem_from_proto(message: common_pb2.Problem) -> Problem:
    return Problem(
        rule=message.rule,
        remedy=message.remedy,
        file=message.file,
        line=message.line,
        column=message.column,
        key=message.key,
        value=message.value,
    )


def to_info(error: NfError) -> common_pb2.ErrorInfo:
    return common_pb2.ErrorInfo(
        kind=type(error).__name__,
        message=error.message,
        where=error.where,
        remedy=error.remedy,
        retryable=error.retryable,
        problems=[problem_to_proto(problem) for problem in error.problems],
    )


def from_info(info: common_pb2.ErrorInfo) -> NfError:
    """The error as it was raised on the other side; an unknown kind becomes the root of the tree."""
    problems = tuple(problem_from_proto(problem) for problem in info.problems)
    kind = _KINDS.get(info.kind, NfError)
    if kind is errors.DocumentError:
        return errors.DocumentError(problems, where=info.where)
    return kind(info.message, where=info.where, remedy=info.remedy, problems=problems)


def to_status(error: NfError) -> status_pb2.Status:
    """The `google.rpc.Status`; beyond about 1 MB of problems the rest is counted instead of listed."""
    info = to_info(error)
    total = len(info.problems)
    while info.ByteSize() > _MAX_DETAILS_BYTES and len(info.problems) > 1:
        del info.problems[len(info.problems) // 2 :]
    if len(info.problems) < total:
        rest = total - len(info.problems)
        info.problems.append(common_pb2.Problem(rule=f"{rest} more problems", remedy="mend the ones above first"))
    detail = any_pb2.Any()
    detail.Pack(info)
    return status_pb2.Status(code=error.status.value, message=str(error), details=[detail])


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: NfError) -> NoReturn:
    """End the call with `error`."""
    status = to_status(error)
    await context.abort(
        _CODES[error.status],
        status.message[:2000],
        trailing_metadata=((_DETAILS, status.SerializeToString()),),
    )
    raise AssertionError("abort does not return")


def from_rpc_error(error: grpc.aio.AioRpcError) -> NfError:
    """What the peer raised; without details, the class of the status code."""
    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS or not isinstance(value, bytes):
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except DecodeError:
            break
        for detail in status.details:
            info = common_pb2.ErrorInfo()
            if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
                return from_info(info)
    kind = _BY_CODE.get(error.code(), NfError)
    remedy = "check the address, the network and whether `nf noc run` is up" if kind is errors.UnavailableError else ""
    return kind(error.details() or error.code().name, remedy=remedy)


@contextmanager
def translated() -> Iterator[None]:
    """Turn `AioRpcError` into the error tree."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def call(awaitable: Awaitable[_T]) -> _T:
    """Await a unary call; its errors come out as the error tree."""
    with translated():
        return await awaitable
