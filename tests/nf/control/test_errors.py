"""Every error of the tree crosses the wire whole."""

from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf import errors
from nf.control.errors import _KINDS, _MAX_DETAILS_BYTES, from_info, from_rpc_error, to_info, to_status
from nf.errors import DocumentError, InputError, NfError, Problem, UnavailableError

words = st.text(max_size=20)
problems = st.builds(Problem, words, words, words, st.integers(0, 9999), st.integers(0, 9999), words, words)
plain = st.sampled_from([kind for name, kind in _KINDS.items() if name != "DocumentError"])


@given(plain, words, words, words, st.lists(problems, max_size=4))
def test_there_and_back(kind: type[NfError], message: str, where: str, remedy: str, found: list[Problem]) -> None:
    error = from_info(to_info(kind(message, where=where, remedy=remedy, problems=found)))
    assert type(error) is kind
    assert (error.message, error.where, error.remedy, error.problems) == (message, where, remedy, tuple(found))


def test_the_whole_tree_is_known() -> None:
    named = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, NfError)}
    assert named == set(_KINDS)


def rpc_error(code: grpc.StatusCode, trailer: bytes | None, text: str = "text") -> grpc.aio.AioRpcError:
    pairs = [("grpc-status-details-bin", trailer)] if trailer is not None else []
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*pairs), text, text)


def test_a_document_error_keeps_all_its_problems_in_the_trailer() -> None:
    found = [
        Problem("wrong", "mend it", "l.yaml", number, 3, f"spec.channels[{number}].lcn", "x") for number in range(500)
    ]
    status = to_status(DocumentError(found, where="l.yaml"))
    error = from_rpc_error(rpc_error(grpc.StatusCode.INVALID_ARGUMENT, status.SerializeToString()))
    assert isinstance(error, DocumentError)
    assert error.problems == tuple(found)


def test_more_problems_than_fit_are_counted() -> None:
    status = to_status(InputError("many", problems=[Problem("r" * 1000, "m", key=str(n)) for n in range(5_000)]))
    assert status.ByteSize() < _MAX_DETAILS_BYTES + 2_000
    error = from_rpc_error(rpc_error(grpc.StatusCode.INVALID_ARGUMENT, status.SerializeToString()))
    assert "more problems" in error.problems[-1].rule


@pytest.mark.parametrize("trailer", [None, b"\xff\xff\xff", b""])
def test_without_details_the_code_decides(trailer: bytes | None) -> None:
    error = from_rpc_error(rpc_error(grpc.StatusCode.UNAVAILABLE, trailer, "nobody there"))
    assert isinstance(error, UnavailableError)
    assert error.message == "nobody there"
    assert error.remedy


def test_an_error_of_a_newer_peer_is_the_root() -> None:
    info = to_info(InputError("x"))
    info.kind = "SomethingNew"
    assert type(from_info(info)) is NfError
