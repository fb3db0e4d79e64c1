"""A contribution that is looked at on its way to Shaka: from the UDP port to a pipe, with its cues."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

from nf.errors import UnavailableError
from nf.media.ingest.ts import payload_of
from nf.media.packager.cues import Cue, CueReader

_SOCKET_OCTETS: Final = 2_000_000
_PIPE_OCTETS: Final = 1 << 20
_DATAGRAM: Final = 65_536
_AT_ONCE: Final = 64
_WAITING_OCTETS: Final = 8 << 20
"""What Shaka does not take waits so far; then the oldest is lost, as it would be in the socket."""


class Relay:
    """Until it is closed, by which Shaka's input ends."""

    def __init__(self, sock: socket.socket, pipe: int, note: Callable[[Cue], None]) -> None:
        self._socket = sock
        self._pipe = pipe
        self._note = note
        self._reader = CueReader()
        self._waiting: deque[bytes] = deque()
        self._octets = 0
        self._writing = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)

    @classmethod
    def start(cls, port: int, note: Callable[[Cue], None]) -> tuple[Relay, int]:
        """The relay, and the descriptor that the stream is read from, which whoever gets it closes.

        Raises UnavailableError when the port cannot be had.
        """
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_OCTETS)
            sock.bind(("0.0.0.0", port))  # noqa: S104 - as Shaka does: a contribution comes from anywhere
        except OSError as error:
            sock.close()
            told = f"UDP port {port} cannot be had: {os.strerror(error.errno or 0)}"
            raise UnavailableError(told, where="packager", remedy="see what else listens there (`ss -lun`)") from None
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with contextlib.suppress(OSError):  # a kernel may allow less
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_OCTETS)
        return cls(sock, writing, note), reading

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = payload_of(self._socket.recv(_DATAGRAM))
            except OSError:
                break
            for cue in self._reader.read(data):
                self._note(cue)
            if data:
                self._waiting.append(data)
                self._octets += len(data)
        while self._octets > _WAITING_OCTETS:
            self._octets -= len(self._waiting.popleft())
        self._write()

    def _write(self) -> None:
        while self._waiting:
            try:
                written = os.write(self._pipe, self._waiting[0])
            except BlockingIOError:
                break
            except OSError:  # Shaka has ended, which the run notices
                self._waiting.clear()
                self._octets = 0
                break
            self._octets -= written
            left = self._waiting.popleft()[written:]
            if left:
                self._waiting.appendleft(left)
        if self._writing != bool(self._waiting):
            self._writing = bool(self._waiting)
            if self._writing:
                self._loop.add_writer(self._pipe, self._write)
            else:
                self._loop.remove_writer(self._pipe)

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._pipe)
        self._socket.close()
        os.close(self._pipe)
