"""The SDP by which a relay offers copies of a party's media, and the answer to it (RFC 8866, RFC 3264). Sans-IO."""

from __future__ import annotations

import re
from typing import Final

_KEPT: Final = re.compile(r"a=(?:rtpmap|fmtp|ptime|maxptime):")
_PLAIN: Final = re.compile(r"m=(\S+) (\d+)(?:/\d+)? (RTP/AVPF?) (.+)")
_OTHER: Final = re.compile(r"m=(\S+) \d+(?:/\d+)? (\S+) (.+)")


def streams(offer: str) -> list[int]:
    """The relay's port of each."""
    return [int(port) for port in re.findall(r"^m=\S+ (\d{1,5})", offer, re.MULTILINE)]


def answer(offer: str, address: str, ports: list[int]) -> str:
    """Each stream to a port of ours, receive only; one that is no plain RTP is refused. Raises ValueError."""
    if len(ports) != len(streams(offer)):
        raise ValueError("as many ports as streams")
    version = "IP6" if ":" in address else "IP4"
    lines = ["v=0", f"o=- 1 1 IN {version} {address}", "s=-", f"c=IN {version} {address}", "t=0 0"]
    left, taken = [*ports], False
    for line in offer.splitlines():
        if line.startswith("m="):
            port = left.pop(0)
            plain = _PLAIN.fullmatch(line.strip())
            other = _OTHER.fullmatch(line.strip())
            taken = plain is not None and plain[2] != "0"
            if plain is not None and taken:
                lines += [f"m={plain[1]} {port} {plain[3]} {plain[4]}", "a=recvonly"]
            elif other is not None:
                lines.append(f"m={other[1]} 0 {other[2]} {other[3]}")
            else:
                raise ValueError("no stream")
        elif taken and _KEPT.match(line):
            lines.append(line.strip())
    return "\r\n".join(lines) + "\r\n"
