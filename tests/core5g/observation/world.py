"""What observation tests share: sessions, fake info APIs, packets, and a process in a namespace of its own."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from core5g.observation.sessions import Fteid, PduSession, ue_addresses
from nf.contracts.interception import Identity, IdentityKind, InterceptionPoint, Order

TARGET, OTHER = "imsi-001010000000001", "imsi-001010000000002"
TARGET_IP, OTHER_IP = "10.45.0.2", "10.45.0.3"
UPF, GNB = IPv4Address("10.70.0.1"), IPv4Address("10.70.0.2")
LIMIT_S = 90.0


def session(supi: str = TARGET, ue: str = TARGET_IP, teid: int = 0x11, **given: Any) -> PduSession:
    made: dict[str, Any] = {
        "supi": supi,
        "dnn": "internet",
        "s_nssai": {"sst": 1, "sd": "ffffff"},
        "ue": ue_addresses([ue]),
        "upf": (Fteid(UPF, teid),),
        "gnb": Fteid(GNB, teid + 0x1000),
    }
    return PduSession(**{**made, **given})


def order(value: str = TARGET, kind: IdentityKind = IdentityKind.SUPI, **given: Any) -> Order:
    return Order(given.pop("reference", "x1"), Identity(kind, value), **given)


def pdu_info(*entries: dict[str, Any]) -> dict[str, Any]:
    """As Open5GS' SMF answers for these: supi, psi, ipv4 or ipv6, teid (of the UPF), gnb_teid."""
    items = []
    for entry in entries:
        pdu: dict[str, Any] = {
            "psi": entry.get("psi", 1),
            "dnn": "internet",
            "snssai": {"sst": 1, "sd": "ffffff"},
            "qos_flows": [{"qfi": 1, "5qi": 9}],
            "n3": {
                "upf": {"teid": entry.get("teid", 0x11), "addr": f"[{entry.get('upf', UPF)}]:2152", "pdr_id": 2},
                "gnb": {"teid": entry.get("gnb_teid", 0x1011), "addr": f"[{GNB}]:2152"},
            },
            "pdu_state": entry.get("state", "active"),
            "ue_location_timestamp": 1_778_223_227_627_488,
        }
        pdu |= {key: entry[key] for key in ("ipv4", "ipv6") if key in entry}
        items.append({"supi": entry["supi"], "pdu": [pdu], "ue_activity": "active"})
    return {"items": items, "pager": {"page": 0, "page_size": 100, "count": len(items)}}


def ue_info(supi: str, **given: Any) -> dict[str, Any]:
    tac = given.pop("tac", 1)
    return {
        "supi": supi,
        "pei": "imeisv-3535938300494715",
        "cm_state": "connected",
        "guti": "00101-030080-CC00007AB",
        "gnb": {"ostream_id": 1, "amf_ue_ngap_id": 2, "ran_ue_ngap_id": 39, "gnb_id": 100, "cell_id": 1},
        "location": {
            "timestamp": 1_758_733_375_895_512,
            "nr_tai": {"plmn": "00101", "tac_hex": f"{tac:06x}", "tac": tac},
            "nr_cgi": {"plmn": "00101", "nci": 1_638_401, "gnb_id": 100, "cell_id": 1},
            "last_visited_plmn_id": "000000",
        },
        "msisdn": ["491700000001"],
        **given,
    }


class InfoServer:
    """An info API that answers with what a test puts into `answers`, page by page."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Any]] = {}
        self.asked = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1") -> None:
        self._server = await asyncio.start_server(self._serve, host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        path, _, query = line.partition("?")
        page, size = (int(part.partition("=")[2]) for part in query.split("&"))
        items = self.answers.get(path, [])[page * size : (page + 1) * size]
        body = json.dumps({"items": items, "pager": {"page": page, "page_size": size, "count": len(items)}}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()
        self.asked += 1

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()


async def until(true: Callable[[], Awaitable[bool] | bool]) -> None:
    """Awaits what becomes true; a limit for what never does."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            found = true()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)


class Taker:
    """Takes all deliveries of a connection."""

    def __init__(self, point: InterceptionPoint) -> None:
        self.taken: list[Any] = []
        self._task = asyncio.create_task(self._take(point))

    async def _take(self, point: InterceptionPoint) -> None:
        async for delivery in point.deliveries():
            self.taken.append(delivery)

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.taken if isinstance(one, kind)]

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def udp(source: str, destination: str, payload: bytes, port: int = 5000, identifier: int = 0) -> bytes:
    """A UDP packet over the addresses' version of IP, without checksums."""
    datagram = struct.pack("!HHHH", port, port, 8 + len(payload), 0) + payload
    one, other = ip_address(source), ip_address(destination)
    if isinstance(one, IPv6Address):
        return struct.pack("!IHBB", 6 << 28, len(datagram), 17, 64) + one.packed + other.packed + datagram
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), identifier, 0, 64, 17, 0) + one.packed + other.packed
    return head + datagram


def gtpu(teid: int, packet: bytes, *, qfi: int | None = None) -> bytes:
    """A G-PDU (TS 29.281), with the PDU session container (TS 38.415) when a QFI is given."""
    if qfi is None:
        return struct.pack("!BBHI", 0x30, 255, len(packet), teid) + packet
    extension = struct.pack("!HBB", 0, 0, 0x85) + bytes((1, 0x10, qfi, 0))
    return struct.pack("!BBHI", 0x34, 255, len(packet) + len(extension), teid) + extension + packet


def fragments(packet: bytes, size: int) -> list[bytes]:
    """Of an IPv4 packet, with `size` octets of payload in each but the last."""
    head, payload = packet[:20], packet[20:]
    found = []
    for at in range(0, len(payload), size):
        part = payload[at : at + size]
        more = 0x2000 if at + size < len(payload) else 0
        fragment = bytearray(head + part)
        struct.pack_into("!H", fragment, 2, len(fragment))
        struct.pack_into("!H", fragment, 6, more | at // 8)
        found.append(bytes(fragment))
    return found
