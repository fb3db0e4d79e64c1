"""An association with an AMF or a gNB, read in a thread of its own, and its trace as a file for Wireshark."""

from __future__ import annotations

import os
import queue
import struct
import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol

from lab.mobile import ngap
from lab.mobile.core import CoreError
from lab.mobile.sctp import SctpError

_CLOSE_S = 5.0
_PCAP = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 252)
"""Of link type 252, exported PDUs: the file names the dissector of each."""
_DISSECTOR, _SOURCE, _DESTINATION, _END = 12, 20, 21, 0


class N2Error(CoreError):
    """The AMF refuses, does not answer, or is gone."""


class Carrier(Protocol):
    """An association of `sctp` or `sctp_kernel`."""

    def send(self, data: bytes, ppid: int) -> None: ...
    def receive(self) -> bytes: ...
    def shutdown(self) -> None: ...
    def close(self) -> None: ...


class Trace:
    """`own`, `peer`: addresses that messages are shown with."""

    def __init__(self, file: Path, own: str, peer: str) -> None:
        self._own, self._peer = IPv4Address(own).packed, IPv4Address(peer).packed
        self._file = file.open("wb", buffering=0)
        self._file.write(_PCAP)

    def write(self, data: bytes, *, sent: bool) -> None:
        source, destination = (self._own, self._peer) if sent else (self._peer, self._own)
        tags = ((_DISSECTOR, b"ngap"), (_SOURCE, source), (_DESTINATION, destination), (_END, b""))
        frame = b"".join(struct.pack(">HH", tag, len(value)) + value for tag, value in tags) + data
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        self._file.write(struct.pack("<IIII", seconds, nanoseconds // 1000, len(frame), len(frame)) + frame)

    def close(self) -> None:
        self._file.close()


class N2Link:
    """Messages of an association; `fileno` is readable when some wait, or when it has ended."""

    def __init__(self, carrier: Carrier, trace: Trace | None = None) -> None:
        self._carrier, self._trace = carrier, trace
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self.ended = False
        self._reader = threading.Thread(target=self._read, name="n2", daemon=True)
        self._reader.start()

    def fileno(self) -> int:
        return self._woken

    def send(self, data: bytes) -> None:
        """Raises N2Error."""
        if self._trace is not None:
            self._trace.write(data, sent=True)
        try:
            self._carrier.send(data, ngap.PPID)
        except SctpError as error:
            raise N2Error(f"N2: {error}") from error

    def take(self, wait_s: float) -> bytes | None:
        """The next message; None when there is none in time. Raises N2Error when the association has ended."""
        if self.ended:
            raise N2Error("the association with the AMF has ended")
        try:
            data = self._waiting.get(timeout=wait_s) if wait_s > 0 else self._waiting.get_nowait()
        except queue.Empty:
            return None
        os.read(self._woken, 1)
        if data is None:
            self.ended = True
            raise N2Error("the association with the AMF has ended")
        if self._trace is not None:
            self._trace.write(data, sent=False)
        return data

    def close(self) -> None:
        """Says goodbye; the association is only freed once nobody reads from it any more."""
        self._carrier.shutdown()
        self._reader.join(_CLOSE_S)
        if not self._reader.is_alive():
            self._carrier.close()

    def _read(self) -> None:
        read: Callable[[], bytes] = self._carrier.receive
        while True:
            try:
                data: bytes | None = read()
            except SctpError:
                data = None
            self._waiting.put(data)
            os.write(self._wake, b"\0")
            if data is None:
                return
