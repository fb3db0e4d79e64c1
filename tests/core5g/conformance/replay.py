"""Recorded PFCP exchanges, sent anew: what a UPF assigns goes into later requests, and is masked in answers."""

from __future__ import annotations

import json
import re
import socket
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from lab.mobile import pfcp
from lab.mobile.pfcp import Kind, Message, T
from tests.core5g.conformance.network import until
from tests.core5g.daemons import LIMIT_S

DATA = Path(__file__).parents[2] / "data" / "core5g"
_GROUPED = {T.CREATED_PDR, T.USAGE_REPORT_DELETION, T.USAGE_REPORT_SESSION_REPORT, T.DOWNLINK_DATA_REPORT}
_TIMES = {T.TIME_OF_FIRST_PACKET, T.TIME_OF_LAST_PACKET}
_MASKED = {T.RECOVERY_TIME_STAMP, T.START_TIME, T.END_TIME, T.DURATION_MEASUREMENT}
_NOT_ASKED = (Kind.HEARTBEAT_REQUEST, Kind.HEARTBEAT_RESPONSE, Kind.SESSION_REPORT_RESPONSE)
_NEVER = pfcp.NTP_EPOCH.to_bytes(4)


@dataclass(frozen=True)
class Exchange:
    """`answer` None: the recorded UPF gave none."""

    name: str
    request: bytes
    answer: bytes | None


def exchanges(run: str) -> list[Exchange]:
    """Of `runN.json`, in order."""
    entries = json.loads((DATA / f"{run}.json").read_text(encoding="utf-8"))
    return _paired([(entry["dir"] == "CP->UP", entry["name"], bytes.fromhex(entry["hex"])) for entry in entries])


def smf_exchanges() -> list[Exchange]:
    """What the real SMF, and a proxy beside it, sent to the UPF."""
    lines = (DATA / "smf_upf_proxy_messages.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return _paired([(e["dir"].endswith("->UPF"), e.get("name", "smf"), bytes.fromhex(e["hex"])) for e in entries])


def _paired(entries: list[tuple[bool, str, bytes]]) -> list[Exchange]:
    found = []
    for at, (request, name, data) in enumerate(entries):
        message = pfcp.parse(data)
        if not request or message.type in _NOT_ASKED:
            continue
        answers = (
            other
            for asked, _, other in entries[at + 1 :]
            if not asked and other[1] == data[1] + 1 and pfcp.parse(other).seq == message.seq
        )
        found.append(Exchange(name, data, next(answers, None)))
    return found


def masked(data: bytes) -> list[object]:
    """The answer without what differs from run to run: SEIDs and TEIDs that the UPF chose, times."""
    message = pfcp.parse(data)
    return [message.type, message.seq, message.seid, *map(_masked, message.ies)]


def _masked(ie: pfcp.Ie) -> object:
    ie_type, value = ie
    if ie_type in _GROUPED:
        return ie_type, [_masked(member) for member in pfcp.members(value)]
    if ie_type in _TIMES:
        return ie_type, value == _NEVER
    if ie_type in _MASKED:
        return ie_type, len(value)
    if ie_type in (T.F_TEID, T.F_SEID):
        at, size = (1, 4) if ie_type == T.F_TEID else (1, 8)
        return ie_type, value[:at] + value[at + size :]
    return ie_type, value


class Caller:
    """A peer of N4 at an address of ours. Heartbeats are answered on the way; reports are kept."""

    def __init__(self, address: str, upf: str, rts: int = 0xEEAD94B0) -> None:
        self.address, self.upf, self.rts = address, (upf, pfcp.PORT), rts
        self.reports: list[Message] = []
        self.seids: dict[int | None, int] = {}  # of the UPF, by ours
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((address, pfcp.PORT))
        self._seq = 0x400000

    def close(self) -> None:
        self.socket.close()

    def associate(self) -> None:
        """Raises TimeoutError when no UPF answers. An association is asked for until one does."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            until(deadline)
            identity = (pfcp.node_id(IPv4Address(self.address)), self.recovery, pfcp.ie(T.CP_FUNCTION_FEATURES, b"\0"))
            data = pfcp.build(Kind.ASSOCIATION_SETUP_REQUEST, self.next_seq(), *identity)
            try:
                answer = self.ask(data, wait_s=0.5)
            except TimeoutError:
                continue
            assert answer.first(T.CAUSE) == b"\1"
            return

    @property
    def recovery(self) -> bytes:
        return pfcp.ie(T.RECOVERY_TIME_STAMP, self.rts.to_bytes(4))

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def ask(self, data: bytes, wait_s: float = LIMIT_S) -> Message:
        return pfcp.parse(self.ask_raw(data, wait_s))

    def ask_raw(self, data: bytes, wait_s: float = LIMIT_S) -> bytes:
        """The answer to this request. Raises TimeoutError."""
        seq, kind = pfcp.parse(data).seq, data[1]
        self.socket.sendto(data, self.upf)
        deadline = time.monotonic() + wait_s
        while True:
            answer = self._next(until(deadline))
            if answer is not None and answer[1] == kind + 1 and pfcp.parse(answer).seq == seq:
                return answer

    def report(self) -> Message:
        """The next session report, which is accepted. Raises TimeoutError."""
        deadline = time.monotonic() + LIMIT_S
        while not self.reports:
            self._next(until(deadline))
        return self.reports.pop(0)

    def heartbeat(self) -> None:
        """Everything that the UPF sent before its answer has come in afterwards."""
        self.ask(pfcp.build(Kind.HEARTBEAT_REQUEST, self.next_seq(), self.recovery))

    def _next(self, wait_s: float) -> bytes | None:
        self.socket.settimeout(wait_s)
        data = self.socket.recv(65536)
        message = pfcp.parse(data)
        if message.type == Kind.HEARTBEAT_REQUEST:
            self.socket.sendto(pfcp.build(Kind.HEARTBEAT_RESPONSE, message.seq, self.recovery), self.upf)
            return None
        if message.type == Kind.SESSION_REPORT_REQUEST:
            self.reports.append(message)
            seid, cause = self.seids.get(message.seid, 0), pfcp.ie(T.CAUSE, b"\1")
            self.socket.sendto(pfcp.build(Kind.SESSION_REPORT_RESPONSE, message.seq, cause, seid=seid), self.upf)
            return None
        return data


@dataclass
class Translation:
    """From what a recorded UPF assigned to what this one does."""

    seids: dict[int, int] = field(default_factory=dict)
    tunnels: dict[bytes, bytes] = field(default_factory=dict)

    def request(self, data: bytes) -> bytes:
        for old, new in self.tunnels.items():
            data = re.sub(re.escape(old), lambda _, new=new: new, data)  # type: ignore[misc]
        if data[0] & 1:
            seid = int.from_bytes(data[4:12])
            data = data[:4] + self.seids.get(seid, seid).to_bytes(8) + data[12:]
        return data

    def learn(self, recorded: bytes, live: bytes) -> None:
        """Of an answer and its recording."""
        old, new = pfcp.parse(recorded), pfcp.parse(live)
        if old.first(T.F_SEID) and new.first(T.F_SEID):
            self.seids[pfcp.seid_of(old.first(T.F_SEID))] = pfcp.seid_of(new.first(T.F_SEID))
        for was, now in zip(_tunnels(old), _tunnels(new), strict=False):
            self.tunnels[was[1:9]] = now[1:9]


def _tunnels(message: Message) -> list[bytes]:
    created = [pfcp.members(value) for value in message.all(T.CREATED_PDR)]
    return [fteid for ies in created if (fteid := pfcp.first(ies, T.F_TEID)) is not None]
