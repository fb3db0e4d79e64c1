"""What the process that runs says of itself, over its RPC."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nf.contracts.json import Json, JsonObject
from nf.errors import NfError
from sip.kamailio import pushing
from sip.kamailio.documents import KamailioSection
from sip.kamailio.jsonrpc import RpcRefused
from sip.kamailio.looking import Looked
from sip.kamailio.paths import DISPATCHER_FILE
from sip.kamailio.places import CERTIFICATE_FILE, DRAINED_FILE, TABLES_FILE, Places
from sip.kamailio.rpc import RpcClient
from sip.kamailio.tables import CONTROL, DRAINED, OPENED

_HANDSHAKE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A media server or a gateway, as dispatcher has it. `flags`: A active, I inactive, T trying, D disabled; P probed.

    `attributes`: as `sip.kamailio.sets` writes them.
    """

    group: int
    uri: str
    flags: str
    attributes: str = ""

    @property
    def drained(self) -> bool:
        return self.flags.startswith("D")

    @property
    def down(self) -> bool:
        return self.flags.startswith("I")

    def attribute(self, name: str) -> str:
        words = (word.partition("=") for word in self.attributes.split(";"))
        return next((value for key, _, value in words if key == name), "")


@dataclass(frozen=True, slots=True)
class RelayNode:
    url: str
    group: int
    weight: int
    drained: bool
    down: bool


@dataclass(frozen=True, slots=True)
class Calls:
    """`unanswered`: those that are being set up; a restart loses them. `up`: those that have been answered."""

    unanswered: int
    up: int


async def read_calls(rpc: RpcClient) -> Calls:
    found = await rpc.call("dlg.stats_active")
    table = found if isinstance(found, dict) else {}
    waiting = sum(_whole(table.get(key)) for key in ("starting", "connecting"))
    return Calls(waiting, sum(_whole(table.get(key)) for key in ("answering", "ongoing")))


async def read_peers(rpc: RpcClient) -> tuple[Peer, ...]:
    try:
        found = await rpc.call("dispatcher.list")
    except RpcRefused:
        return ()  # it has none
    return tuple(sorted(_peers(found), key=lambda one: (one.group, one.uri)))


def _peers(found: Json) -> Iterator[Peer]:
    for record in _inner(found, "RECORDS"):
        group = record.get("SET")
        for target in _inner(group, "TARGETS"):
            one = target.get("DEST")
            if isinstance(group, dict) and isinstance(one, dict):
                attributes = one.get("ATTRS")
                body = attributes.get("BODY", "") if isinstance(attributes, dict) else ""
                yield Peer(_whole(group.get("ID")), str(one.get("URI")), str(one.get("FLAGS")), str(body))


def written_peers(text: str) -> tuple[Peer, ...]:
    """Those of dispatcher.list. Flag 4 is `disabled`."""
    found = []
    for line in text.splitlines():
        group, uri, flags, _, attributes = line.split(" ", 4)
        found.append(Peer(int(group), uri, "DX" if int(flags) & 4 else "AX", attributes))
    return tuple(sorted(found, key=lambda one: (one.group, one.uri)))


def same_peers(live: tuple[Peer, ...], wanted: tuple[Peer, ...]) -> bool:
    """Whoever is down for now is the same."""

    def known(peers: tuple[Peer, ...]) -> list[tuple[int, str, bool, str]]:
        return [(one.group, one.uri, one.drained, one.attributes) for one in peers]

    return known(live) == known(wanted)


async def read_relays(rpc: RpcClient) -> tuple[RelayNode, ...]:
    return tuple(
        RelayNode(
            url=str(one.get("url")),
            group=_whole(one.get("set")),
            weight=_whole(one.get("weight")),
            drained=pushing.is_drained(one),
            down=pushing.is_down(one),
        )
        for one in await pushing.read_relays(rpc)
    )


@dataclass(frozen=True, slots=True)
class Live:
    """`fault`: why it is not as it should be, empty: it is. `tables`: names of those that differ."""

    fault: str = ""
    calls: int | None = None
    tables: tuple[str, ...] = ()
    peers: bool = True


async def read(rpc: RpcClient, places: Places, looked: Looked) -> Live:
    """Raises DriverError for what is on disk and cannot be read."""
    told = await asyncio.to_thread(places.read, TABLES_FILE)
    listed = await asyncio.to_thread(places.read, DISPATCHER_FILE)
    if told is None:
        return Live("its tables are not there")
    try:
        calls = await read_calls(rpc)
        drain = await pushing.read_drain(rpc)
        found = await looked.difference(rpc, pushing.from_text(told))
        same = same_peers(await read_peers(rpc), written_peers(listed or ""))
    except NfError as error:
        return Live(f"it does not answer: {error.message}")
    meant = DRAINED if places.file(DRAINED_FILE).exists() else OPENED
    names = found.names if drain == meant else (*found.names, CONTROL)
    return Live("", calls.up, tuple(sorted({*names})), same)


async def served_certificate(section: KamailioSection, places: Places) -> bool:
    """Whether its TLS listener shows the certificate that it was given. True where it has none."""
    port = next((one.port for one in section.proxy.listeners if one.transport in {"tls", "wss"}), None)
    text = places.read(CERTIFICATE_FILE)
    if port is None or text is None:
        return True
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_HANDSHAKE_S):
            _, writer = await asyncio.open_connection(str(section.proxy.address), port, ssl=context)
    except (OSError, TimeoutError, ValueError):
        return False
    shown: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_HANDSHAKE_S):
            await writer.wait_closed()
    end = "-----END CERTIFICATE-----"
    kept = ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERTIFICATE-----") : text.index(end) + len(end)])
    return hashlib.sha256(shown or b"").digest() == hashlib.sha256(kept).digest()


def _inner(value: Json, key: str) -> list[JsonObject]:
    listed = value.get(key) if isinstance(value, dict) else None
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _whole(value: Json) -> int:
    return value if isinstance(value, int) else 0
