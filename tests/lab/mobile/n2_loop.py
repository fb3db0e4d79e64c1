"""A gNB and the stand-in AMF in one process, without a wire; and an SMF that only remembers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from lab.mobile.amf import Amf
from lab.mobile.amf_security import Subscription
from lab.mobile.amf_ue import Profile
from lab.mobile.core import CoreError
from lab.mobile.identities import plmn
from lab.mobile.n2_core import N2Core
from lab.mobile.ngap import Gnb
from lab.mobile.usim import Usim

IMSI = "999700000000001"
SUPI = f"imsi-{IMSI}"
K, OPC = bytes.fromhex("465b5ce8b199b49faa5f0a2ee238a6bc"), bytes.fromhex("cd63cb71954a9f4e48a5994e37a02baf")
NETWORK = b"5G:mnc070.mcc999.3gppnetwork.org"
END = {"address": "10.50.0.2", "teid": 5}


@dataclass
class Smf:
    """`calls`: what was asked of it."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(("create", asked["supi"], asked["dnn"]))
        if asked["dnn"] == "full":
            raise CoreError("no address is left")
        upf = {"address": "10.50.0.7", "teid": 77}
        told = {"id": f"{asked['supi']}-{asked['psi']}", "supi": asked["supi"], "ue_ip": "10.45.0.2", "upf": upf}
        self.told.append({**told, "qfi": 1, "paged": 0})
        return self.told[-1]

    def sessions(self) -> list[dict[str, Any]]:
        return self.told

    def idle(self, key: str) -> None:
        self.calls.append(("idle", key))

    def gnb(self, key: str, act: str, end: dict[str, Any]) -> None:
        self.calls.append((act, key, end["teid"]))

    def delete(self, key: str) -> None:
        self.calls.append(("delete", key))
        self.told = [told for told in self.told if told["id"] != key]


class Loop:
    """The link between both. `sent`: all that went over it."""

    def __init__(self, ciphering: int = 2, usim: Usim | None = None) -> None:
        self.smf, self.said = Smf(), list[str]()
        profile = Profile(NETWORK, plmn("999", "70"), 1, ciphering)
        home = {IMSI: Subscription(K, int.from_bytes(OPC))}
        self.amf = Amf(profile, home, self.smf, self.said.append)
        self._waiting: deque[bytes] = deque()
        self.sent: list[bytes] = []
        self.core = N2Core(Gnb("999", "70"), {SUPI: usim or Usim(IMSI, K, OPC)}, self, limit_s=1)

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        self.push(self.amf.received(1, data))

    def push(self, sent: list[tuple[int, bytes]]) -> None:
        self._waiting.extend(data for _, data in sent)

    def take(self, wait_s: float) -> bytes | None:
        """There is nothing to wait for: who would send has sent."""
        assert wait_s <= 1
        if not self._waiting:
            return None
        self.sent.append(self._waiting.popleft())
        return self.sent[-1]

    def session(self, dnn: str = "internet") -> dict[str, Any]:
        return self.core.create({"supi": SUPI, "dnn": dnn, "gnb": END})
