"""Who may order a relay about and read its store: table `inet nf_relay`. The ng protocol and the store ask for no
password, and whoever reaches either can listen to calls.

Of a pair it also leads to this relay what is sent to the partner's control address while that address is here.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from typing import Final

from nf.contracts.json import Json
from nf.errors import DriverError
from sip.rtpengine.documents import RtpengineSection
from sip.rtpengine.naming import STORE_PORT

FAMILY: Final = "inet"
TABLE: Final = "nf_relay"
_TIMEOUT_S: Final = 20.0


def text_of(section: RtpengineSection | None) -> str:
    """One nft transaction; without a section there is no table."""
    anew = f"add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"
    if section is None:
        return anew
    relay, pair = section.relay, section.pair
    peers = {*section.peers, relay.address} | ({pair.own.ip, pair.other, pair.address} if pair else set())
    listed = ", ".join(map(str, sorted(peers)))
    mark = f'comment "{_digest(section)}"'
    inside = (
        f'    iifname "lo" accept {mark}\n    ip daddr {relay.address} udp dport {relay.control} '
        f"ip saddr != {{ {listed} }} counter name refused drop {mark}\n"
    )
    led = ""
    if pair is not None and pair.first:
        inside += (
            f"    ip daddr {pair.own.ip} tcp dport {STORE_PORT} ip saddr != {pair.other} "
            f"counter name refused drop {mark}\n"
        )
    if pair is not None:
        rule = f"ip daddr {pair.address} udp dport {relay.control} dnat ip to {relay.address} {mark}"
        led = (
            f"  chain led {{\n    type nat hook prerouting priority dstnat; policy accept;\n    {rule}\n  }}\n"
            "  chain led_here {\n    type nat hook output priority -100; policy accept;\n"
            f"    fib daddr type local {rule}\n  }}\n"
        )
    return (
        f"{anew}table {FAMILY} {TABLE} {{\n  counter refused {{ }}\n"
        f"  chain control {{\n    type filter hook input priority filter; policy accept;\n{inside}  }}\n{led}}}\n"
    )


def _digest(section: RtpengineSection) -> str:
    """What the rules are made from, as their comment, so that those of one section can be told from another's."""
    parts = [section.relay.address, section.relay.control, *section.peers]
    pair = section.pair
    parts += [pair.first, pair.own, pair.other, pair.address] if pair is not None else []
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:32]


def rules_of(section: RtpengineSection) -> int:
    """How many rules the table has."""
    pair = section.pair
    return 2 + (2 + pair.first if pair is not None else 0)


async def make(section: RtpengineSection | None) -> None:
    """Raises DriverError."""
    status, _, told = await _nft("-f", "-", stdin=text_of(section))
    if status != 0:
        raise DriverError(f"nft refuses it: {' '.join(told.split())[:500]}", where=f"table {FAMILY} {TABLE}")


async def holds(section: RtpengineSection | None) -> bool:
    """Whether the table is as it should be. Raises DriverError."""
    listed = await _listed()
    if section is None or listed is None:
        return section is None and listed is None
    rules = [one["rule"] for one in listed if "rule" in one]
    return len(rules) == rules_of(section) and {rule.get("comment") for rule in rules} == {_digest(section)}


async def refused() -> int:
    """Packets dropped since the table was made. Raises DriverError."""
    for one in await _listed() or ():
        counter = one.get("counter")
        if isinstance(counter, dict) and counter.get("name") == "refused":
            return int(str(counter.get("packets", 0)))
    return 0


async def _listed() -> list[dict[str, dict[str, Json]]] | None:
    status, output, told = await _nft("-j", "list", "table", FAMILY, TABLE)
    if status != 0:
        if re.search("No such file or directory", told):
            return None
        raise DriverError(f"nftables cannot be read: {' '.join(told.split())[:500]}", where=f"table {FAMILY} {TABLE}")
    try:
        found = json.loads(output)["nftables"]
    except (ValueError, KeyError, TypeError) as error:
        raise DriverError("nft lists what is no JSON", where=f"table {FAMILY} {TABLE}") from error
    return [one for one in found if isinstance(one, dict)]


async def _nft(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec("nft", *arguments, stdin=pipe, stdout=pipe, stderr=pipe)
    except FileNotFoundError as error:
        raise DriverError("nft is not installed", where="nft", remedy="install the package nftables") from error
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            output, errors = await process.communicate(stdin.encode())
    except TimeoutError as error:
        raise DriverError(f"nft has not answered in {_TIMEOUT_S:.0f} s", where="nft") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")
