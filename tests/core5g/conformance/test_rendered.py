"""Each daemon takes the file that our renderer makes for it: it listens where the file says, and SMF and UPF associate.

With real daemons, what needs a database wants one in `NF_OPEN5GS_DB` (`mongodb://HOST:PORT/open5gs`), reached from a
namespace of the test; what speaks S1AP or NGAP wants the kernel's SCTP. Without, those are skipped.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core5g.documents import Core5g
from core5g.open5gs.documents import ManagedFunction
from core5g.open5gs.naming import METRICS_PORTS, PFCP_PORT, START_ORDER
from core5g.open5gs.render import function_tree, to_text, tree_of_upf
from core5g.open5gs.units import listens
from tests.core5g.conformance.network import Network, daemon, holds, ip
from tests.core5g.daemons import LIMIT_S, is_model, label, program

pytestmark = pytest.mark.root

UPF = "10.50.0.7"
CORES = {
    "5gc": ("nrf", "scp", "udr", "udm", "ausf", "bsf", "pcf", "nssf", "upf", "smf", "amf"),
    "epc": ("sgwu", "hss", "pcrf", "sgwc", "mme"),
}
_WITH_DATABASE = frozenset({"udr", "pcf", "hss", "pcrf"})
_WITH_SCTP = frozenset({"amf", "mme"})
_ADDRESSES = {kind: f"10.50.9.{number}" for number, kind in enumerate(START_ORDER, 1)} | {"upf": UPF}
KINDS = [(core, kind) for core, kinds in CORES.items() for kind in kinds]


def core_of(name: str) -> Core5g:
    functions = [
        {"kind": kind, "appliance": "box", "address": _ADDRESSES[kind]} for kind in CORES[name] if kind != "upf"
    ]
    upf = {"id": "upf1", "appliance": "box", "n3": UPF, "n4": UPF, "dnns": ["internet"], "exit": "n3"}
    data: dict[str, Any] = {
        "plmn": {"mcc": "999", "mnc": "70"},
        "tacs": [1],
        "slices": [{"sst": 1}],
        "networks": [{"dnn": "internet", "pools": ["10.45.0.0/16", "2001:db8:45::/48"]}],
        "functions": functions,
        "upfs": [upf],
        "database": os.environ.get("NF_OPEN5GS_DB", "mongodb://127.0.0.1:27017/open5gs"),
        "resolvers": ["192.0.2.53"],
    }
    return Core5g.model_validate(data)


def managed(name: str, kind: str) -> ManagedFunction:
    core = core_of(name)
    if kind == "upf":
        tree = tree_of_upf(core, core.upfs[0])
    else:
        tree = function_tree(core, next(one for one in core.functions if one.kind == kind))
    return ManagedFunction(kind=kind, name=kind, config=tree)  # type: ignore[arg-type] - a literal of the model


def _missing(kind: str) -> str:
    """What a real daemon of this kind would want and has not; empty for a model."""
    if not program(kind).exists():
        return f"there is no {program(kind)}"
    if is_model(program(kind)):
        return ""
    if kind in _WITH_DATABASE and "NF_OPEN5GS_DB" not in os.environ:
        return "NF_OPEN5GS_DB names no database"
    if kind in _WITH_SCTP:
        try:
            socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
        except OSError:
            return "the kernel has no SCTP"
    return ""


@pytest.fixture(scope="module")
def namespace(require_root: Callable[[], None]) -> Iterator[str]:
    """One appliance with all functions, each at an address of its own."""
    require_root()
    with Network() as network:
        made = network.upf_namespace("box", UPF)
        for address in set(_ADDRESSES.values()) - {UPF}:
            ip("-n", made, "address", "add", f"{address}/32", "dev", "lo")
        yield made


def said(namespace: str, *command: str) -> str:
    argv = ["ip", "netns", "exec", namespace, *command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False).stdout


def taken(namespace: str, function: ManagedFunction, process: subprocess.Popen[bytes], errors: Path) -> bool:
    """Whether it listens: by TCP for its metrics or its SBI, else for PFCP."""
    assert process.poll() is None, errors.read_text(encoding="utf-8")
    address = listens(function)
    flag, end = ("-Hltn", address) if address else ("-Hlun", f"{_ADDRESSES[function.kind]}:{PFCP_PORT}")
    return end in said(namespace, "ss", flag).split()


@contextlib.contextmanager
def started(namespace: str, name: str, kind: str, folder: Path) -> Iterator[None]:
    function = managed(name, kind)
    with daemon(namespace, kind, to_text(function), folder) as process:
        holds(lambda: taken(namespace, function, process, folder / f"{kind}-{namespace}.err"))
        yield


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_daemon_starts_with_its_file_and_listens(
    namespace: str, tmp_path: Path, name: str, kind: str, record_property: Callable[[str, object], None]
) -> None:
    if missing := _missing(kind):
        pytest.skip(missing)
    record_property("conformance", f"{label(kind)}, {kind}")
    with started(namespace, name, kind, tmp_path):
        pass


def test_smf_and_upf_associate_with_their_files(
    namespace: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    kinds = ("nrf", "upf", "smf")
    if missing := next((text for kind in kinds if (text := _missing(kind))), ""):
        pytest.skip(missing)
    record_property("conformance", f"{label('upf')}, upf; {label('smf')}, smf")

    def associated(kind: str) -> bool:
        text = said(namespace, "curl", "-s", "-m", "60", f"http://{_ADDRESSES[kind]}:{METRICS_PORTS[kind]}/metrics")
        return any(line.split()[:2] == ["pfcp_peers_active", "1"] for line in text.splitlines())

    with contextlib.ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(started(namespace, "5gc", kind, tmp_path))
        holds(lambda: associated("smf"))
        holds(lambda: associated("upf"))
