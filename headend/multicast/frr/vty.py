"""The protocol of FRR's unix vty sockets (lib/vty.c, `vtysh_read`), without I/O.

A command is its text and a NUL. The answer is text, three NULs and the command's status.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

_END = b"\0\0\0"


class VtyStatus(IntEnum):
    """Statuses of lib/command.h that a caller tells apart; any other number is an error too."""

    SUCCESS = 0
    WARNING = 1
    NO_MATCH = 2
    AMBIGUOUS = 3
    INCOMPLETE = 4
    CONFIGURATION_FAILED = 13


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    status: int

    @property
    def ok(self) -> bool:
        return self.status == VtyStatus.SUCCESS


def encode_command(command: str) -> bytes:
    """Raises ValueError for a command that holds a NUL or a line break: it would be taken as two."""
    if "\0" in command or "\n" in command or "\r" in command:
        raise ValueError("a vty command is one line without NUL")
    return command.encode() + b"\0"


class ReplyParser:
    """Bytes in, replies out; the bytes may come in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def receive(self, data: bytes) -> tuple[Reply, ...]:
        """The replies that `data` completes, in order."""
        self._buffer += data
        replies: list[Reply] = []
        while (end := self._buffer.find(_END, self._searched)) >= 0 and end + len(_END) < len(self._buffer):
            text = self._buffer[:end].decode(errors="replace")
            replies.append(Reply(text, self._buffer[end + len(_END)]))
            del self._buffer[: end + len(_END) + 1]
            self._searched = 0
        if end < 0:
            self._searched = max(0, len(self._buffer) - len(_END) + 1)
        return tuple(replies)

    @property
    def pending(self) -> int:
        """Bytes of a reply that has not ended yet."""
        return len(self._buffer)
