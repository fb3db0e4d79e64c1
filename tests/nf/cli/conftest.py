"""A NOC that says what the test tells it to, behind real gRPC and real mTLS, and `nf` called as a person would."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_status import rpc_status

from nf.cli.main import main
from nf.cli.profile import given, save_profile
from nf.clock import RealClock
from nf.control.errors import to_status
from nf.control.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    noc_pb2,
    noc_pb2_grpc,
    paths_pb2,
    paths_pb2_grpc,
    upgrade_pb2,
    upgrade_pb2_grpc,
)
from nf.errors import NfError
from nf.trust.authority import Authority
from nf.trust.identity import Identity, key_pem, new_key
from nf.trust.spiffe import SpiffeId

STREAMS = (
    "CommitLineUp",
    "ConfirmLineUp",
    "RollbackLineUp",
    "DrainSite",
    "ReturnSite",
    "CollectSupport",
    "WatchUpgrade",
)


@dataclass
class FakeNoc:
    """`answers`: method -> message, error, or function of the request; for streams a list, errors allowed in it."""

    address: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, Message]] = field(default_factory=list)

    def requests(self, method: str) -> list[Any]:
        return [request for name, request in self.calls if name == method]

    def answer(self, method: str, request: Message, context: grpc.ServicerContext) -> Any:
        self.calls.append((method, request))
        answer = self.answers[method]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, NfError):
            context.abort_with_status(rpc_status.to_status(to_status(answer)))
        return answer

    def stream(self, method: str, request: Message, context: grpc.ServicerContext) -> Iterator[Any]:
        for event in self.answer(method, request, context):
            if isinstance(event, NfError):
                context.abort_with_status(rpc_status.to_status(to_status(event)))
            yield event


def _servicer(noc: FakeNoc, service: Any, base: type) -> Any:
    def unary(name: str) -> Callable[..., Any]:
        return lambda _self, request, context: noc.answer(name, request, context)

    def stream(name: str) -> Callable[..., Any]:
        return lambda _self, request, context: noc.stream(name, request, context)

    members = {name: stream(name) if name in STREAMS else unary(name) for name in service.methods_by_name}
    return type("Servicer", (base,), members)()


def issue(authority: Authority, kind: Any, name: str, dns: tuple[str, ...] = ()) -> Identity:
    key = new_key()
    certificate = authority.issue(SpiffeId(authority.domain, kind, name), key.public_key(), 3600, dns)
    return Identity(key_pem(key), certificate, authority.ca_pem)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca"), "cli.test", RealClock())


@pytest.fixture(scope="session")
def _serving(authority: Authority) -> Iterator[FakeNoc]:
    noc = FakeNoc()
    identity = issue(authority, "noc", "noc", ("localhost",))
    server = grpc.server(ThreadPoolExecutor(4))
    service = noc_pb2.DESCRIPTOR.services_by_name["Noc"]
    noc_pb2_grpc.add_NocServicer_to_server(_servicer(noc, service, noc_pb2_grpc.NocServicer), server)
    admin = admin_pb2.DESCRIPTOR.services_by_name["NocAdmin"]
    admin_pb2_grpc.add_NocAdminServicer_to_server(_servicer(noc, admin, admin_pb2_grpc.NocAdminServicer), server)
    upgrades = upgrade_pb2.DESCRIPTOR.services_by_name["Upgrades"]
    servicer = _servicer(noc, upgrades, upgrade_pb2_grpc.UpgradesServicer)
    upgrade_pb2_grpc.add_UpgradesServicer_to_server(servicer, server)
    paths = _servicer(noc, paths_pb2.DESCRIPTOR.services_by_name["Paths"], paths_pb2_grpc.PathsServicer)
    paths_pb2_grpc.add_PathsServicer_to_server(paths, server)
    credentials = grpc.ssl_server_credentials(
        [(identity.key_pem, identity.certificate_pem)], identity.ca_pem, require_client_auth=True
    )
    noc.address = f"localhost:{server.add_secure_port('127.0.0.1:0', credentials)}"
    server.start()
    yield noc
    server.stop(None).wait()


@pytest.fixture(scope="session")
def profile(authority: Authority, _serving: FakeNoc, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("operator") / "profile"
    save_profile(directory, _serving.address, issue(authority, "operator", "anna"))
    return directory


@pytest.fixture
def noc(_serving: FakeNoc, profile: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNoc:
    monkeypatch.setenv("NF_PROFILE", str(profile))
    _serving.answers.clear()
    _serving.calls.clear()
    return _serving


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def error(self) -> Any:
        return json.loads(self.err)["error"]


Nf = Callable[..., Answer]


@pytest.fixture
def nf(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nf]:
    """`nf("lineup", "show")` -> exit code, stdout, stderr; in UTC, with no profile but the test's own."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setattr("nf.cli.profile.SYSTEM_PROFILE", Path("/nonexistent"))
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: str) -> Answer:
        given.set(None)
        capsys.readouterr()
        code = main(arguments)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    yield run
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden("name", text)`: equals golden/name.txt, spaces at line ends apart."""

    def check(name: str, text: str) -> None:
        expected = (request.path.parent / "golden" / f"{name}.txt").read_text()
        assert [line.rstrip() for line in text.splitlines()] == expected.splitlines()

    return check
