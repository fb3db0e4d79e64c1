"""SIP and RTP at a phone, out of what dumpcap wrote there: the octets of its messages, the times of its packets."""

from __future__ import annotations

import itertools
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.interception.evidence import Evidence

_MAGIC: Final = {b"\xd4\xc3\xb2\xa1": ("<", 1e-6), b"\x4d\x3c\xb2\xa1": ("<", 1e-9)}
_LINKS: Final = {1: 14, 101: 0, 113: 16, 276: 20}
"""Link type -> octets before the IP packet: Ethernet, raw, Linux cooked and its second version."""
_UDP: Final = 17
_READY_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Packet:
    """Of UDP over IPv4. `at`: seconds since the epoch, by the kernel."""

    at: float
    source: tuple[str, int]
    destination: tuple[str, int]
    payload: bytes


def packets(data: bytes) -> Iterator[Packet]:
    """A pcap file, the end of which may be torn. Raises ValueError when it is none."""
    if len(data) < 24 or data[:4] not in _MAGIC:
        raise ValueError("not a pcap file")
    order, unit = _MAGIC[data[:4]]
    link = struct.unpack_from(order + "I", data, 20)[0] & 0x0FFFFFFF
    if link not in _LINKS:
        raise ValueError(f"packets of link type {link} are not known here")
    at, head = 24, struct.Struct(order + "IIII")
    while at + head.size <= len(data):
        seconds, parts, kept, _ = head.unpack_from(data, at)
        at += head.size
        found = _packet(data[at : at + kept][_LINKS[link] :], seconds + parts * unit)
        at += kept
        if found is not None and at <= len(data):
            yield found


def _packet(ip: bytes, at: float) -> Packet | None:
    if len(ip) < 28 or ip[0] >> 4 != 4 or ip[9] != _UDP:
        return None
    start = 4 * (ip[0] & 15)
    if len(ip) < start + 8:
        return None
    source, destination, length = struct.unpack_from("!HHH", ip, start)
    hosts = (".".join(map(str, ip[place : place + 4])) for place in (12, 16))
    return Packet(at, (next(hosts), source), (next(hosts), destination), ip[start + 8 : start + length])


@dataclass(frozen=True, slots=True)
class Party:
    """A phone: its name in the evidence, its address, its port of SIP, and the ports that its media may have."""

    name: str
    address: str
    sip: int
    media: tuple[int, int] = (1, 65535)

    def has(self, end: tuple[str, int]) -> bool:
        """Whether media there are this party's."""
        return end[0] == self.address and end[1] != self.sip and self.media[0] <= end[1] <= self.media[1]


def take(evidence: Evidence, found: Sequence[Packet], parties: Sequence[Party]) -> None:
    """What each party sent and received of SIP; of RTP, when it came, and how long it was on its way from another."""
    for party in parties:
        own = (party.address, party.sip)
        for way, mine in (("sent by", 0), ("received by", 1)):
            messages = [
                one.payload.decode("utf-8", "backslashreplace")
                for one in found
                if (one.source, one.destination)[mine] == own and len(one.payload) > 4
            ]
            evidence.add(f"sip:{way} {party.name}", messages)
    media = (one for one in found if _is_rtp(one.payload) and any(party.has(one.source) for party in parties))
    left = {_stream(one.payload): one.at for one in media}
    for party in parties:
        came = [one for one in found if party.has(one.destination) and _is_rtp(one.payload)]
        streams: dict[tuple[int, int], list[Packet]] = {}
        for one in came:
            streams.setdefault((_stream(one.payload)[0], one.destination[1]), []).append(one)
        apart = [after.at - before.at for stream in streams.values() for before, after in itertools.pairwise(stream)]
        evidence.add_samples(f"rtp:between packets at {party.name}", apart)
        under_way = [one.at - left[key] for one in came if (key := _stream(one.payload)) in left]
        evidence.add_samples(f"rtp:under way to {party.name}", under_way)
        evidence.add_figures(f"rtp:at {party.name}", {"streams": len(streams)})


def setup(evidence: Evidence, found: Sequence[Packet], caller: Party) -> None:
    """Seconds from each INVITE of the caller to the first answers to it: what it waits for."""
    began: dict[str, float] = {}
    answered: dict[str, set[str]] = {}
    for one in found:
        call = _header(one.payload, b"call-id")
        if one.source == (caller.address, caller.sip) and one.payload.startswith(b"INVITE "):
            began[call] = one.at  # the one with credentials is the last
            answered[call] = set()
        elif one.destination == (caller.address, caller.sip) and one.payload.startswith(b"SIP/2.0 "):
            code = one.payload[8:11].decode("ascii", "replace")
            wanted = code in {"100", "180", "200"} and b"INVITE" in _header(one.payload, b"cseq").encode()
            if wanted and call in began and code not in answered[call]:
                answered[call].add(code)
                evidence.add_samples(f"sip:from INVITE to {code} at {caller.name}", [one.at - began[call]])


def _is_rtp(data: bytes) -> bool:
    return len(data) >= 12 and data[0] >> 6 == 2 and not 192 <= data[1] <= 223  # RFC 5761


def _stream(rtp: bytes) -> tuple[int, int]:
    """SSRC and sequence number, which a relay leaves as they are."""
    return int.from_bytes(rtp[8:12]), int.from_bytes(rtp[2:4])


def _header(message: bytes, name: bytes) -> str:
    for line in message.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode("utf-8", "replace")
    return ""


@contextmanager
def capturing(interface: str, expression: str, file: Path, prefix: Sequence[str] = ()) -> Iterator[None]:
    """dumpcap of what `expression` says (pcap-filter(7)) while the block runs. Raises OSError, TimeoutError."""
    argv = [*prefix, "dumpcap", "-q", "-P", "-i", interface, "-f", expression, "-w", str(file)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            _begun(process)
            yield
        finally:
            process.terminate()
            process.wait(_READY_S)


def _begun(process: subprocess.Popen[bytes]) -> None:
    """It names its file when the interface is open. Raises OSError."""
    said = b""
    while b"File:" not in said:
        line = process.stderr.readline() if process.stderr is not None else b""
        if not line:
            raise OSError(f"dumpcap ended: {said.decode(errors='replace')[-300:]}")
        said += line
