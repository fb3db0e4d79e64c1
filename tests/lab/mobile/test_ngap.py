"""N2: the gNB's setup as it was recorded with a real AMF, and over SCTP in UDP with a peer that plays the AMF."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lab.mobile import ngap
from lab.mobile.ngap import Gnb, NgapError
from lab.mobile.sctp import SctpError, _library
from lab.mobile.sctp_kernel import KernelAssociation

ROOT = Path(__file__).parents[3]
RECORDED = dict(line.split() for line in (ROOT / "tests/data/core5g/ngsetup.txt").read_text().splitlines())
LIMIT_S = 90.0

AMF = """
import sys
from lab.mobile.ngap import PPID
from lab.mobile.sctp import Stack
stack = Stack(9899)
print("listening", flush=True)
association = stack.accept("10.50.0.4", 38412)
print(association.receive().hex(), flush=True)
association.send(bytes.fromhex(sys.argv[1]), PPID)
sys.stdin.read()
"""


def test_the_request_is_the_recorded_one() -> None:
    assert ngap.setup_request(Gnb("999", "70")).hex() == RECORDED["req"]


def test_the_recorded_response_names_the_amf() -> None:
    assert ngap.amf_name(bytes.fromhex(RECORDED["rsp"])) == "open5gs-amf0"


@pytest.mark.parametrize("data", [b"", b"\xff", bytes.fromhex(RECORDED["req"])])
def test_everything_else_is_no_response(data: bytes) -> None:
    with pytest.raises(NgapError):
        ngap.amf_name(data)


@pytest.mark.parametrize(("mcc", "mnc", "octets"), [("999", "70", "99f907"), ("310", "410", "130014")])
def test_a_plmn(mcc: str, mnc: str, octets: str) -> None:
    assert ngap.plmn(mcc, mnc).hex() == octets


def test_a_kernel_without_sctp_is_told() -> None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132).close()
    except OSError:
        with pytest.raises(SctpError, match="modprobe sctp"):
            KernelAssociation("127.0.0.1", ngap.PORT, ngap.PPID)
    else:
        with pytest.raises(SctpError, match="no association with"):
            KernelAssociation("127.0.0.1", 1, ngap.PPID)


@pytest.fixture
def _usrsctp() -> None:
    try:
        _library()
    except SctpError as error:
        pytest.skip(str(error))


@pytest.mark.root
@pytest.mark.usefixtures("_usrsctp")
def test_a_gnb_sets_up_over_sctp_in_udp() -> None:
    """Only with a usrsctp peer: no real AMF of a Linux distribution is one."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    commands = [("link", "add", "n2", "type", "bridge"), ("address", "add", "10.50.0.4/24", "dev", "n2")]
    commands += [("address", "add", "10.50.0.2/24", "dev", "n2"), ("link", "set", "n2", "up")]
    for command in commands:
        subprocess.run(["ip", *command], check=True, timeout=LIMIT_S)
    amf = subprocess.Popen(
        [sys.executable, "-c", AMF, RECORDED["rsp"]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert amf.stdout is not None
        assert amf.stdout.readline() == "listening\n"
        asking = [sys.executable, "-m", "lab.mobile.n2", "--amf", "10.50.0.4", "--udp-port", "9900"]
        done = subprocess.run(asking, capture_output=True, text=True, env=environment, timeout=LIMIT_S, check=False)
        assert done.stdout.split() == ["open5gs-amf0"], done.stderr
        assert amf.stdout.readline().strip() == RECORDED["req"]
    finally:
        amf.kill()
        amf.communicate()
        subprocess.run(["ip", "link", "delete", "n2"], check=True, timeout=LIMIT_S)
