"""The SMF model sends what the recorded one sent, octet by octet."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path

from lab.mobile import n4
from lab.mobile.n4 import PduSession, Tunnel

RECORDED = Path(__file__).parents[2] / "data" / "core5g" / "smf_upf_proxy_messages.jsonl"
SMF = IPv4Address("10.50.0.4")


def _recorded(kind: int) -> bytes:
    for line in RECORDED.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["dir"] == "SMF->UPF" and entry["type"] == kind:
            return bytes.fromhex(entry["hex"])
    raise LookupError(kind)


def _session() -> PduSession:
    session = PduSession("imsi-999700000000001", 1, "internet", 0x87E, 1, v4=IPv4Address("10.45.0.2"))
    session.up_seid = 0x3CF
    return session


def test_association_and_heartbeat() -> None:
    assert n4.association(1, SMF, 0xEEAD98C6) == _recorded(5)
    assert n4.heartbeat(2, 0xEEAD98C6) == _recorded(1)


def test_the_establishment_of_602_octets() -> None:
    made = n4.establishment(3, _session(), SMF)
    assert len(made) == 602
    assert made == _recorded(50)


def test_the_gnb_becomes_known() -> None:
    assert n4.to_gnb(4, _session(), Tunnel(0x9001, IPv4Address("10.50.0.2"))) == _recorded(52)


def test_deletion() -> None:
    assert n4.deletion(5, _session()) == _recorded(54)
