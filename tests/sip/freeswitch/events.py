"""Events as FreeSWITCH writes them, made from seeds: a channel's headers, URL-encoded, some with a body."""

from __future__ import annotations

import json
from random import Random
from urllib.parse import quote

NAMES = ("CHANNEL_CREATE", "CHANNEL_ANSWER", "CHANNEL_HANGUP_COMPLETE", "CHANNEL_EXECUTE", "PRESENCE_IN")
HOST = "media1.voice.streamverse.test"


def headers(random: Random) -> dict[str, str]:
    """About as many, as long and as often in need of encoding as those of a call."""
    uuid = f"{random.getrandbits(128):032x}"
    found = {
        "Event-Name": random.choice(NAMES),
        "Core-UUID": f"{random.getrandbits(128):032x}",
        "FreeSWITCH-Hostname": HOST,
        "FreeSWITCH-IPv4": f"10.{random.randrange(256)}.0.7",
        "FreeSWITCH-IPv6": "::1",
        "Event-Date-Local": f"2026-11-{random.randrange(1, 29):02d} 04:{random.randrange(60):02d}:13",
        "Event-Date-GMT": f"Mon, {random.randrange(1, 29)} Nov 2026 04:10:13 GMT",
        "Event-Date-Timestamp": str(random.randrange(10**15, 10**16)),
        "Event-Calling-File": "switch_channel.c",
        "Event-Sequence": str(random.randrange(10**7)),
        "Channel-State": "CS_EXECUTE",
        "Unique-ID": uuid,
        "Call-Direction": "inbound",
        "Answer-State": "answered",
        "Caller-Caller-ID-Name": random.choice(("Alice", "Jürgen Groß", "100 % echt")),
        "Caller-Destination-Number": str(random.randrange(10**6)),
    }
    for number in range(random.randrange(60, 90)):
        name = f"variable_sip_{number:02d}"
        plain = f"value{random.randrange(10**9)}"
        found[name] = random.choice((plain, plain, f"<sip:{plain}@{HOST}:5060;transport=udp>", f"{plain}, {plain}"))
    return found


def plain_body(found: dict[str, str], body: str = "") -> bytes:
    lines = [f"{name}: {quote(value, safe='/:@;=,<>!$&()*+')}" for name, value in found.items()]
    octets = body.encode()
    if octets:
        lines.append(f"Content-Length: {len(octets)}")
    return ("\n".join(lines) + "\n\n").encode() + octets


def framed(kind: str, body: bytes) -> bytes:
    return f"Content-Length: {len(body)}\nContent-Type: {kind}\n\n".encode() + body


def plain(found: dict[str, str], body: str = "") -> bytes:
    return framed("text/event-plain", plain_body(found, body))


def as_json(found: dict[str, str], body: str = "") -> bytes:
    return framed("text/event-json", json.dumps({**found, **({"_body": body} if body else {})}).encode())


def stream(count: int, seed: int = 9) -> bytes:
    """Every tenth is the end of a job, with a body of several lines."""
    random = Random(seed)  # noqa: S311 - no secret
    parts = []
    for number in range(count):
        body = "+OK\nchannel,state\n\n1 total.\n" if number % 10 == 0 else ""
        parts.append(plain(headers(random), body))
    return b"".join(parts)
