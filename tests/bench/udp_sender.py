"""Sends one group a transport stream at a rate, cheaply: UDP GSO, 48 datagrams a call.

`python -m tests.bench.udp_sender SOURCE GROUP PORT BIT/S SECONDS`; prints the datagrams that were sent.
"""

from __future__ import annotations

import socket
import sys
import time

_UDP_SEGMENT = 103
SIZE, BURST = 1316, 48


def stream() -> bytes:
    """48 datagrams of 7 TS packets: 336, so that the continuity counters go on where it is repeated."""
    packets = (bytes((0x47, 0x01, 0x00, 0x10 | number & 15)) + bytes(184) for number in range(BURST * 7))
    return b"".join(packets)


def main(source: str, group: str, port: int, rate_bps: int, seconds: float) -> int:
    content = stream()
    interval_s = len(content) * 8 / rate_bps
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
        out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        out.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, SIZE)
        out.bind((source, 0))
        out.connect((group, port))
        begin = time.monotonic()
        count = 0
        while (now := time.monotonic() - begin) < seconds:
            if (ahead := count * interval_s - now) > 0:
                time.sleep(ahead)
            out.send(content)
            count += 1
    return count * BURST


if __name__ == "__main__":
    arguments = sys.argv[1:]
    print(main(arguments[0], arguments[1], *map(int, arguments[2:4]), float(arguments[4])), flush=True)
