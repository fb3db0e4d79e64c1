"""`python -m tests.lab.mobile.ping ADDRESS`: ends well once an echo request was answered (no ping is installed)."""

from __future__ import annotations

import os
import socket
import sys
import time
from ipaddress import ip_address

from lab.mobile.icmp import checksum

_LIMIT_S = 20.0


def main(destination: str) -> int:
    version, own = ip_address(destination).version, os.getpid().to_bytes(4)[2:]
    family, protocol = (socket.AF_INET, 1) if version == 4 else (socket.AF_INET6, 58)
    request, reply = (b"\x08\0", 0) if version == 4 else (b"\x80\0", 129)
    message = request + b"\0\0" + own + b"\0\1" + b"x" * 32
    message = request + checksum(message).to_bytes(2) + message[4:]
    deadline = time.monotonic() + _LIMIT_S
    with socket.socket(family, socket.SOCK_RAW, protocol) as speaking:
        speaking.sendto(message, (destination, 0))
        while (left := deadline - time.monotonic()) > 0:
            speaking.settimeout(left)
            try:
                data = speaking.recv(2048)
            except TimeoutError:
                break
            body = data[(data[0] & 15) * 4 :] if version == 4 else data
            if body[0] == reply and body[4:6] == own:
                return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
